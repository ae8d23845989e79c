"""The sweep in any environment: the same tables, from runs that anybody can count."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, TopK
from consensus_imitation.experiments import SweepConfig, read_csv, run_sweep, sweep_environment
from consensus_imitation.experiments.sweep import figure
from consensus_imitation.experiments.sweep.columns import COLUMNS, CURVE_COLUMNS

from .compare.tiny import expert
from .own_place import TABLES, Told, arrived, fell, members

OWN = "tests.experiments.own_place"
STEPS, SEEDS = 120, 2


class Counting:
    """An expert who counts his answers."""

    made: ClassVar[list["Counting"]] = []

    def __init__(self) -> None:
        self.answers = 0
        Counting.made.append(self)

    def __call__(self, observation: Any) -> int:
        self.answers += 1
        return expert(observation)


def sweep(rules: Any, out: Path | None = None, **settings: Any) -> Any:
    given: dict[str, Any] = {"harm": fell, "success": arrived, "num_seeds": SEEDS, "num_steps": STEPS, "out": out}
    return sweep_environment(Told, lambda env, seed: Counting(), members, rules=rules, **{**given, **settings})


@pytest.fixture(autouse=True)
def _nothing_made() -> None:
    Told.made.clear()
    Counting.made.clear()


@pytest.mark.slow
def test_the_rates_are_those_that_the_runs_own_environments_and_experts_counted() -> None:
    rules = [TopK(1), TopK(3), AlphaThreshold(0.5), TopK(2) | AlphaThreshold(0.5)]
    rows, curve = sweep(rules)
    assert all(tuple(row) == COLUMNS for row in rows)
    assert all(tuple(row) == CURVE_COLUMNS for row in curve)
    assert [figure.setting_label(row) for row in rows[::SEEDS]] == ["k=1", "k=3", "alpha=0.5", "k=2 | alpha=0.5"]
    # The first is looked at before anything runs; then the demonstrator acts alone, once for each seed.
    alone, played = slice(1, 1 + SEEDS), slice(1 + SEEDS, None)
    assert [one.answers for one in Counting.made[alone]] == [STEPS] * SEEDS
    assert all(env.steps == STEPS for env in Told.made[1:])
    assert [row["queries"] for row in rows] == [one.answers for one in Counting.made[played]]
    assert [row["harms"] for row in rows] == [env.falls for env in Told.made[played]]
    assert sum(row["harms"] for row in rows) > 0
    for row in rows:
        assert row["query_rate"] == row["queries"] / STEPS
        assert row["harm_rate"] == row["harms"] / STEPS
        assert row["demonstrator_harm"] == 0
        # The expert never falls: all that fell, fell by its own action.
        assert row["harms_unasked"] == row["harms"]
        assert row["successes"] == row["episodes"] - row["harms"]
        own = [one for one in curve if all(one[name] == row[name] for name in ("rule", "k", "alpha", "seed"))]
        widths = np.diff([0, *(one["step"] for one in own)])
        assert np.sum(widths * [one["query_rate"] for one in own]) == pytest.approx(row["queries"])
        assert np.mean(widths * [one["withheld_rate"] for one in own]) * len(own) == pytest.approx(
            row["withheld_rate"] * STEPS
        )


def test_caution_is_told_apart_from_disagreement() -> None:
    """All three: the least mass is 0.9 in every room, and the minimum of the three tables sums to 0.72 + 0.0098."""
    rows, _ = sweep([TopK(3)])
    least, lowest = TABLES.sum(-1).min(axis=0), TABLES.min(axis=0).sum(-1)
    assert np.ptp(least) < 1e-9
    assert np.ptp(lowest) < 1e-9
    for row in rows:
        assert row["withheld_rate"] == pytest.approx(1 - least[0], abs=1e-5)
        assert row["disagreement_rate"] == pytest.approx(least[0] - lowest[0], abs=1e-5)
    assert figure.table(rows).columns[1:4] == ("asks, % of steps", "withheld", "disagree")


def test_run_s_is_the_same_world_under_every_rule() -> None:
    sweep([TopK(1), TopK(3)])
    seeds = [env.seeds[0] for env in Told.made[1 + SEEDS :]]
    assert seeds[:SEEDS] == seeds[SEEDS:]
    assert len(set(seeds)) == SEEDS


def test_an_interrupted_sweep_goes_on_and_has_the_same_table(tmp_path: Path) -> None:
    rules = [TopK(2), TopK(3), TopK(2) | AlphaThreshold(0.5)]
    told: list[tuple[int, int]] = []
    whole = sweep(rules, tmp_path / "whole", progress=lambda *call: told.append(call))
    assert [done for done, _ in told[:3]] == [0, STEPS, 2 * STEPS], "the demonstrator's runs count"

    def stop(done: int, total: int) -> None:
        if done > (SEEDS + 2.5) * STEPS:  # in the middle of the third run, after the demonstrator's own
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(rules, tmp_path / "cut", progress=stop)
    assert len(read_csv(tmp_path / "cut" / "sweep.csv")) == 2, "half a run is none"
    Counting.made.clear()
    calls: list[tuple[int, int]] = []
    again = sweep(rules, tmp_path / "cut", progress=lambda *call: calls.append(call))
    assert len(Counting.made) == 1 + 4, "finished runs are not run again, nor is the demonstrator"
    everything = (6 + SEEDS) * STEPS  # the demonstrator's own runs, too
    assert calls[:2] == [(2 * STEPS, everything), ((2 + SEEDS) * STEPS, everything)]
    assert calls[-1] == (everything, everything)
    assert [list(rows) for rows in again] == [list(rows) for rows in whole]
    for name in ("sweep.csv", "curve.csv"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_ctrl_c_in_the_loop_ends_the_sweep(tmp_path: Path) -> None:
    """`run_gymnasium` returns what there is; a sweep must not take that for a whole run."""

    class Impatient(Told):
        def step(self, action: int) -> Any:
            if len(Told.made) > 1 + SEEDS and self.steps == 50:
                raise KeyboardInterrupt
            return super().step(action)

    with pytest.raises(KeyboardInterrupt):
        sweep_environment(
            Impatient, lambda env, seed: expert, members, rules=[TopK(2)], num_seeds=SEEDS, num_steps=STEPS,
            harm=fell, out=tmp_path,
        )  # fmt: skip
    assert not (tmp_path / "sweep.csv").exists()


def test_without_judges_harm_and_success_are_unknown_and_not_zero() -> None:
    rows, curve = sweep([TopK(2)], harm=None, success=None)
    for name in ("harms", "harms_unasked", "harm_rate", "demonstrator_harm", "successes"):
        assert {row[name] for row in rows} == {None}
    said = figure.table(rows)
    assert said.columns == ("setting", "asks, % of steps", "withheld", "disagree", "return")
    assert "Nothing says what counts as harm" in said.title
    pytest.importorskip("matplotlib")
    assert len(figure.draw(rows, curve, None).axes) == 4


def test_the_names_of_functions_a_task_and_functions_give_the_same(tmp_path: Path) -> None:
    """The command line's way, with judges by name; a Task by name; and functions in Python."""
    settings: dict[str, Any] = {"k": (2,), "num_seeds": SEEDS, "num_steps": STEPS}
    named, _ = run_sweep(SweepConfig(f"{OWN}:make", harm=f"{OWN}:fell", success=f"{OWN}:arrived", **settings))
    own, _ = sweep([TopK(2)])
    assert [{**row, "env": ""} for row in named] == [{**row, "env": ""} for row in own]
    assert {row["env"] for row in named} == {f"{OWN}:make"}
    file = Path(__file__).with_name("own_place_alone.py")
    as_file, _ = run_sweep(SweepConfig(f"{file}:make", **settings))
    assert [row["queries"] for row in as_file] == [row["queries"] for row in own]
    by_task, _ = run_sweep(
        SweepConfig(f"{OWN}:make_task", network={"hidden": 4}, num_members=2, k=(2,), num_seeds=1, num_steps=40)
    )
    assert by_task[0]["withheld_rate"] > 0
    assert by_task[0]["successes"] is not None


def test_a_gymnasium_id_with_a_demonstrator() -> None:
    config = SweepConfig(
        "FrozenLake-v1", k=(1,), num_members=2, num_seeds=1, num_steps=30, demonstrator=f"{OWN}:expert"
    )
    (row,), _ = run_sweep(config)
    assert row["queries"] > 0
    assert row["harms"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"env": "CartPole-v1"}, "--demonstrator module:function"),
        ({"env": "cartpol"}, "did you mean 'cartpole'"),
        ({"env": "clif"}, "did you mean 'cliff'"),
        ({"env": "Nothing-like-it-v9", "demonstrator": f"{OWN}:expert"}, "name a function"),
        ({"env": "nowhere.at_all:make"}, "there is no module 'nowhere'"),
        ({"env": "nowhere.py:make"}, "there is no file nowhere.py"),
        ({"env": f"{OWN}:made"}, "has no function 'made'"),
        ({"env": f"{OWN}:TABLES"}, "is not a function"),
        ({"env": f"{OWN}:Told"}, r"is a class: name a function that takes a seed .*def make\(seed\)"),
        ({"env": f"{OWN}:make_seedless"}, r"cannot be called with a seed .*def make\(seed\)"),
        ({"env": "mine.py"}, "name the function in that file .*: mine.py:make"),
        ({"env": f"{OWN}:wrong"}, r"must return \(env, demonstrator\)"),
        ({"env": f"{OWN}:make", "demonstrator": f"{OWN}:expert"}, "leave out demonstrator"),
        ({"env": f"{OWN}:make", "k": (4,)}, "k=4 exceeds the ensemble's 3 members"),
        ({"env": f"{OWN}:make", "harm": "fell"}, "harm is a function that you name"),
        ({"env": "cartpole", "harm": f"{OWN}:fell"}, "has its own demonstrator, harm and success"),
        ({"env": "cliff", "harm": f"{OWN}:fell"}, "means nothing in the world 'cliff'"),
        ({"env": f"{OWN}:make", "training": {"caution": 0}}, "settings of a task's members"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_mistake_names_its_remedy(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        run_sweep(SweepConfig(**{"k": (1,), "num_seeds": 1, "num_steps": 5, **settings}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rules_that_do_not_fit_are_refused_before_anything_runs() -> None:
    for rules, said in (([], "nothing to sweep"), ([TopK(4)], "k=4 exceeds"), ([TopK(2), TopK(2)], "given once")):
        with pytest.raises(ValueError, match=said):
            sweep(rules)
    assert sum(one.answers for one in Counting.made) == 0


def test_every_k_is_the_default() -> None:
    rows, _ = sweep(None, num_seeds=1, num_steps=20)
    assert [row["k"] for row in rows] == [1, 2, 3]


def test_a_task_whose_harm_is_in_info_has_it_counted_in_info() -> None:
    rows, _ = run_sweep(SweepConfig(f"{OWN}:make_told", num_members=2, k=(2,), num_seeds=1, num_steps=60))
    assert rows[0]["harms"] == Told.made[-1].falls
    assert rows[0]["harms"] > 0
