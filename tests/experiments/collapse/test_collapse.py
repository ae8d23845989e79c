"""The study of collapse: names of variants, measures against data made by hand, and runs on a small lake."""

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, ConsensusImitator, Reweighting, TopK, ensembles
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.experiments import CollapseConfig, read_csv, run_collapse, tasks
from consensus_imitation.experiments.collapse import figure
from consensus_imitation.experiments.collapse import run as collapse
from consensus_imitation.experiments.collapse.figure import panels
from consensus_imitation.experiments.collapse.run import COLUMNS, CURVE_COLUMNS, effective_by_weight, measures
from consensus_imitation.experiments.collapse.variant import Variant
from consensus_imitation.experiments.figures import as_png
from consensus_imitation.imitator.policy import Policy
from tests.cli.command import outcome_of

LOCKS_UP = "alpha0.3/bayes/caution0"
LAKE = CollapseConfig("frozenlake", ("default", LOCKS_UP), num_seeds=2, num_steps=600, num_members=3, episodes=4)


class Counted:
    """A demonstrator that counts how often it is asked."""

    asked = 0

    def __init__(self, own: Any) -> None:
        self._own = own

    def __call__(self, observation: Any) -> int:
        Counted.asked += 1
        return int(self._own(observation))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any], Path, int]:
    """Rows, curve, directory, and how often the demonstrator was asked."""
    out = tmp_path_factory.mktemp("collapse") / "lake"
    task = tasks.make("frozenlake")
    build = task.build_demonstrator
    counted = replace(task, build_demonstrator=lambda env, seed, epsilon: Counted(build(env, seed, epsilon)))
    Counted.asked = 0
    rows, curve = run_collapse(LAKE, out, task=counted)
    return rows, curve, out, Counted.asked


@pytest.mark.slow
@pytest.mark.parametrize("deterministic", [True, False])
def test_policies_are_evaluated_as_the_task_says(deterministic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    predict = Policy.predict

    def noted(self: Policy, observation: Any, **how: Any) -> Any:
        drawn.append(how["deterministic"])
        return predict(self, observation, **how)

    monkeypatch.setattr(Policy, "predict", noted)
    task = replace(tasks.make("frozenlake"), deterministic=deterministic)
    run_collapse(
        CollapseConfig("frozenlake", ("default",), num_seeds=1, num_steps=3, num_members=2, episodes=2), task=task
    )
    assert set(drawn) == {deterministic}


# --- names ---


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("default", Variant()),
        ("top3", Variant(TopK(3))),
        ("top2+alpha0.01/bayes", Variant(TopK(2) | AlphaThreshold(0.01), Reweighting())),
        ("alpha1e-3/temper0.1/forget0.9/share0.2", Variant(AlphaThreshold(1e-3), Reweighting(0.1, 0.9, 0.2))),
        ("default/caution0", Variant(caution=0.0)),
        ("top2/caution5/smooth0.02", Variant(TopK(2), caution=5.0, smoothing=0.02)),
    ],
)
def test_names_mean_what_they_say(text: str, meant: Variant) -> None:
    assert repr(Variant.parse(text)) == repr(meant)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("top", "there is no part"),
        ("best2", "there is no part"),
        ("top2/", "there is no part"),
        ("top1.5", "must be an integer"),
        ("top0", "at least 1"),
        ("alpha0", r"\(0, 1\]"),
        ("alpha0.0.1", "there is no part"),
        ("share1", "below 1"),
        ("top2/top3", "ambiguous"),
        ("share0.1/share0.2", "ambiguous"),
        ("top2+share0.1", "ambiguous"),
        ("bayes/temper0.1", "no remedy"),
    ],
)
def test_bad_names_are_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Variant.parse(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"variants": ()},
        {"variants": ("top2", "top2")},
        {"variants": ("top4",)},
        {"num_steps": 0},
        {"num_seeds": 0},
        {"episodes": 0},
        {"num_members": 0},
        {"seed": -1},
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|each|exceeds|nothing"):
        replace(LAKE, **changes)


# --- measures ---


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=8))
def test_effective_members_lie_between_one_and_all(sizes: list[float]) -> None:
    weights = np.array(sizes) / sum(sizes)
    found = effective_by_weight(weights)
    assert 1 - 1e-9 <= found <= len(sizes) + 1e-9
    # Members that are split into equal halves are twice as many.
    assert math.isclose(effective_by_weight(np.repeat(weights / 2, 2)), 2 * found)


def test_measures_of_a_run_made_by_hand() -> None:
    # 40 steps: asked on the first eight and on step 20; alone from step 30 on.
    queried = np.isin(np.arange(40), [*range(8), 20])
    alone = np.arange(40) >= 30
    lead = np.array([0.5, 0.6, 0.89, 0.9, 0.5, 0.5, 0.99, 0.5, 0.5])
    weights = np.stack([lead, 1 - lead], axis=-1)
    curve = [{"step": step, "answers": int(queried[:step].sum())} for step in (8, 16, 32, 36, 40)]
    found = measures(queried, alone, weights, curve)
    assert (found["steps"], found["answers"], found["last_query"]) == (40, 9, 20)
    assert found["one_in_charge_at"] == 4  # the fourth answer gave one of them 90%
    assert found["alone"] == 10 / 40
    assert found["alone_late"] == 10 / 20
    assert found["late_rate"] == 0.0
    assert found["effective_end"] == pytest.approx(2.0)
    assert found["effective"] == pytest.approx(np.mean([1 / (p * p + (1 - p) * (1 - p)) for p in lead]))


def test_measures_of_a_run_without_answers() -> None:
    curve = [{"step": 4, "answers": 0}, {"step": 8, "answers": 0}]
    found = measures(np.zeros(8, bool), np.ones(8, bool), np.empty((0, 3)), curve)
    assert found["one_in_charge_at"] is None
    assert found["effective"] is None
    assert found["last_query"] is None
    assert (found["answers"], found["alone"], found["late_rate"]) == (0, 1.0, 0.0)


def test_nobody_is_in_charge_of_equal_weights() -> None:
    curve = [{"step": 8, "answers": 8}]
    found = measures(np.ones(8, bool), np.zeros(8, bool), np.full((8, 4), 0.25), curve)
    assert found["one_in_charge_at"] is None
    assert found["effective"] == 4.0


# --- runs ---


@pytest.mark.slow
def test_rows_are_what_happened(run: tuple[list[Any], list[Any], Path, int]) -> None:
    rows, curve, out, asked = run
    assert [(row["variant"], row["seed"]) for row in rows] == [(v, s) for s in (0, 1) for v in LAKE.variants]
    assert sum(row["answers"] for row in rows) == asked
    for row in rows:
        assert set(row) == set(COLUMNS)
        own = [point for point in curve if (point["variant"], point["seed"]) == (row["variant"], row["seed"])]
        assert all(set(point) == set(CURVE_COLUMNS) for point in own)
        assert (own[-1]["step"], own[-1]["answers"]) == (LAKE.num_steps, row["answers"])
        assert own[-1]["effective"] == pytest.approx(row["effective_end"], rel=1e-5)
        assert own[-1]["alone"] == row["alone"] * LAKE.num_steps
        assert own[-1]["harms"] == row["harms"] <= row["failures"] <= row["episodes"]
        assert row["early_harms"] == row["harms"]  # fewer than 500 answers in all
    saved = read_csv(out / "collapse.csv")
    assert [row["answers"] for row in saved] == [row["answers"] for row in rows]
    assert len(read_csv(out / "curve.csv")) == len(curve)


@pytest.mark.slow
def test_the_bare_alpha_rule_locks_up_and_the_default_does_not(
    run: tuple[list[Any], list[Any], Path, int],
) -> None:
    rows = run[0]
    for row in rows:
        if row["variant"] == LOCKS_UP:
            assert row["alone_late"] == 1.0
            assert row["late_rate"] == 0.0
            assert row["last_query"] < LAKE.num_steps / 2
        else:
            assert row["alone"] == 0.0
            assert row["answers"] > 0
    answers = {name: [row["answers"] for row in rows if row["variant"] == name] for name in LAKE.variants}
    assert max(answers[LOCKS_UP]) < min(answers["default"])


def play(imitator: ConsensusImitator, steps: int) -> bool:
    """Whether the run warned."""
    env = tasks.make("frozenlake").make_env()
    observation, _ = env.reset(seed=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConsensusWarning)
        for _ in range(steps):
            decision = imitator.act(observation)
            observation, _, terminated, truncated, _ = env.step(decision.action)
            if terminated or truncated:
                observation, _ = env.reset()
    env.close()
    return any("selected alone" in str(one.message) for one in said)


def test_lock_up_is_warned_of_and_only_lock_up() -> None:
    task = tasks.make("frozenlake")
    env = task.make_env()
    members = ensembles.mlp(env.observation_space, env.action_space, num_members=3, training=Training(caution=0.0))
    demonstrator = task.make_demonstrator(env, 0)
    assert play(ConsensusImitator(members, demonstrator, selection=AlphaThreshold(0.3), seed=0), 200)
    assert not play(ConsensusImitator(members, demonstrator, seed=0), 200)


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(
    run: tuple[list[Any], list[Any], Path, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows, curve, done, _ = run
    out = tmp_path / "copy"
    out.mkdir()
    for name in ("config.json", "collapse.csv", "curve.csv"):
        (out / name).write_bytes((done / name).read_bytes())
    # The process ended between the two tables: the last run is missing, and its curve goes.
    text = (out / "collapse.csv").read_text().splitlines(keepends=True)
    (out / "collapse.csv").write_text("".join(text[:-1]))
    calls: list[tuple[str, int]] = []

    def again(task: Any, config: Any, name: str, seed: int) -> Any:
        calls.append((name, seed))
        own = [point for point in curve if (point["variant"], point["seed"]) == (name, seed)]
        return rows[-1], own

    monkeypatch.setattr(collapse, "run_variant", again)
    seen: list[tuple[int, int]] = []
    found, points = run_collapse(LAKE, out, lambda *progress: seen.append(progress))
    assert calls == [(LOCKS_UP, 1)]
    assert seen == [(3, 4), (4, 4)]
    assert [row["answers"] for row in found] == [row["answers"] for row in rows]
    assert len(points) == len(curve) == len(read_csv(out / "curve.csv"))
    with pytest.raises(ValueError, match="another configuration"):
        run_collapse(replace(LAKE, num_steps=401), out)


# --- table and picture ---


def hand_made(variant: str, seed: int, answers: list[int], effective: list[float]) -> list[dict[str, Any]]:
    points = zip((8, 16, 32, 64), answers, effective, strict=True)
    label = {"task": "lake", "variant": variant, "members": 3, "seed": seed}
    return [
        {**label, "step": s, "answers": a, "effective": e, "alone": 0, "episodes": 1, "harms": 0} for s, a, e in points
    ]


def test_picture_shows_the_numbers() -> None:
    curve = [
        *hand_made("top2", 0, [8, 12, 16, 16], [3.0, 2.0, 1.0, 1.0]),
        *hand_made("top2", 1, [8, 12, 16, 16], [3.0, 2.0, 1.0, 1.0]),
        *hand_made("top2/share0.1", 0, [8, 16, 32, 64], [3.0, 3.0, 3.0, 3.0]),
    ]
    drawn = figure.draw(curve)
    above, below = drawn.axes
    assert above.get_title() == "top2"
    collapsing, kept = above.get_lines()
    np.testing.assert_allclose(collapsing.get_xydata(), [[8, 3], [12, 2], [16, 1]])
    assert set(kept.get_ydata()) == {3.0}
    rates, all_asked = below.get_lines()
    # 8 of 8; 4 of the next 8; 4 of 16; none of 32, which is drawn as half of one.
    np.testing.assert_allclose(rates.get_xydata(), [[8, 1], [16, 0.5], [32, 0.25], [64, 0.5 / 32]])
    assert set(all_asked.get_ydata()) == {1.0}
    assert as_png(drawn).startswith(b"\x89PNG")


def test_panels_hold_every_variant() -> None:
    names = ["top2", "top3", "top2/share0.1", "top3/share0.1", "alpha0.1/caution0"]
    found = panels(names)
    assert found == {
        "selection rules": ["top2", "top3"],
        "top2": ["top2", "top2/share0.1"],
        "top3": ["top3", "top3/share0.1"],
        "others": ["alpha0.1/caution0"],
    }


def test_table_shows_medians_and_pooled_harm() -> None:
    common = {"task": "lake", "variant": "top2", "members": 3, "steps": 64, "effective": 1.5, "alone_late": 0.25}
    rest = {"episodes": 10, "late_rate": 0.01, "decay": -0.5, "mean_return": 7.0, "success": 0.5}
    runs = ((0, None, 10, 0), (1, None, 20, 1), (2, 30, 40, 5))
    rows = [
        {
            **common,
            **rest,
            "seed": seed,
            "one_in_charge_at": at,
            "answers": answers,
            "harms": harms,
            "early_harms": harms,
        }
        for seed, at, answers, harms in runs
    ]
    table = figure.table(rows)
    (cells,) = table.rows
    named = dict(zip(table.columns, cells, strict=True))
    assert named["90%"] == "never"  # in two of three
    assert named["answers"] == "20 [10, 40]"
    assert named["asks"] == "1.0"
    assert named["alone"] == "25"
    assert named["unsafe"].startswith("6/30 [8, 39]")
    assert (named["return"], named["solved"], named["early"]) == ("7.00", "50", "1.0")


def test_command_writes_table_and_picture(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sizes = ("--seeds", "1", "--steps", "40", "--members", "3", "--episodes", "2")
    found = outcome_of("collapse", "--task", "frozenlake", "--variants", "default", LOCKS_UP, *sizes, "--out", out)
    assert [row[0] for row in found.tables[0].rows] == ["default", LOCKS_UP]
    assert found.lines == [f"written: {out}/collapse.csv, curve.csv, collapse.png"]
    assert all((out / name).stat().st_size > 0 for name in ("collapse.csv", "curve.csv", "collapse.png"))


def test_nothing_is_written_for_a_bad_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no part"):
        run_collapse(CollapseConfig("frozenlake", ("best",)), tmp_path / "out")
    with pytest.raises(ValueError, match="there is no task"):
        run_collapse(CollapseConfig("nowhere", ("top2",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_returns_below_one_are_not_rounded_to_it(run: tuple[list[Any], list[Any], Path, int]) -> None:
    own = [{**row, "mean_return": 0.9} for row in run[0]]
    assert {line[9] for line in figure.table(own).rows} == {"0.90"}
    assert {line[9] for line in figure.table([{**row, "mean_return": -212.4} for row in own]).rows} == {"-212"}
