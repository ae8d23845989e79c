"""The comparison: rows, resumption, summaries against data made by hand, the command."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from consensus_imitation.ensembles import tabular
from consensus_imitation.experiments import CompareConfig, figures, read_csv, run_compare
from consensus_imitation.experiments.compare import figure, one_run, processes
from consensus_imitation.experiments.compare.config import METHODS
from consensus_imitation.experiments.compare.one_run import COLUMNS
from consensus_imitation.experiments.compare.summary import (
    Demonstrated,
    answers_to_target,
    decay_exponent,
    late_rate,
    median_interval,
    summarise,
)
from consensus_imitation.experiments.curves import edges
from tests.cli.command import outcome_of

from .test_methods import FIXED
from .tiny import rooms

EXPERT = Demonstrated(measure="return", score=100.0, success=1.0, harm=0.0, mean_return=100.0, episodes=10)
SMALL: dict[str, Any] = {
    "task": "rooms", "queries": 12, "num_seeds": 2, "num_steps": 60, "num_members": 3,
    "evaluations": 3, "episodes": 4, "demonstrator_episodes": 5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def fixed_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_run, "members_for", lambda *_: lambda outputs: tabular(FIXED))


def small(*methods: str, **changes: Any) -> CompareConfig:
    return CompareConfig(methods=methods, **{**SMALL, **changes})


def timeless(rows: Any) -> list[dict[str, Any]]:
    """Rows without what differs from run to run, and as they come back from a file."""
    return [{**row, "seconds": 0, "query_rate": 0, "log_loss": 0, "success": 0, "harm": 0} for row in rows]


@pytest.mark.slow
def test_every_method_and_seed_is_run_and_written_down(tmp_path: Path) -> None:
    found = run_compare(small("minimum", "bc"), tmp_path, task=rooms())
    rows = read_csv(tmp_path / "compare.csv")
    assert timeless(rows) == timeless(found.rows)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["method"], row["seed"]) for row in rows if row["final"]] == [
        ("minimum", 0), ("bc", 0), ("minimum", 1), ("bc", 1),
    ]  # fmt: skip
    cloned = [row for row in rows if row["method"] == "bc" and row["seed"] == 0]
    assert [row["answers"] for row in cloned] == [4, 8, 12, 12]
    assert [row["steps"] for row in cloned] == [4, 8, 12, 60]
    assert [row["query_rate"] for row in cloned] == [1, 1, 1, 0]
    assert [row["log_loss"] is None for row in cloned] == [False, False, False, True]
    # Twelve steps are two episodes of the expert; the other eight are the learned policy's, which errs nowhere.
    assert (cloned[-1]["episodes"], cloned[-1]["deployed_episodes"], cloned[-1]["deployed_steps"]) == (2, 8, 48)
    assert (cloned[-1]["failures"], cloned[-1]["deployed_failures"], cloned[-1]["deployed_harms"]) == (0, 0, 0)
    assert {row["success"] for row in rows} == {1}
    curve = read_csv(tmp_path / "curve.csv")
    assert [row["step"] for row in curve[: len(edges(60))]] == edges(60)
    assert found.demonstrator.success == 1.0


def test_progress_is_told_in_steps(tmp_path: Path) -> None:
    """Of all runs together, often enough to see it move within a run; what is there already counts as taken."""
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    run_compare(small("bc", num_seeds=1, num_steps=300), tmp_path, progress=progress, task=rooms())
    assert seen == [(done, 300) for done in range(0, 301, 3)]
    seen.clear()
    run_compare(small("minimum", "bc", num_seeds=1, num_steps=300), tmp_path, progress=progress, task=rooms())
    assert seen == [(300 + done, 600) for done in range(0, 301, 3)]
    seen.clear()
    run_compare(small("random", num_seeds=1, num_steps=7), progress=progress, task=rooms())
    assert seen == [(done, 7) for done in range(8)]


def test_what_is_there_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted after two runs of three, resumed: the same rows as in one go, and only the missing run is made."""
    config = small("minimum", "random", num_seeds=1)
    whole = run_compare(small("minimum", "random", "bc", num_seeds=1), tmp_path / "whole", task=rooms())
    made: list[str] = []
    real = one_run.run_method

    def recorded(task: Any, config: Any, method: str, seed: int, advance: Any) -> Any:
        if method == "bc" and "stop" in made:
            raise KeyboardInterrupt
        made.append(method)
        return real(task, config, method, seed, advance)

    monkeypatch.setattr(processes, "run_method", recorded)
    run_compare(config, tmp_path / "parts", task=rooms())
    made.append("stop")
    everything = small("minimum", "random", "bc", num_seeds=1)
    with pytest.raises(KeyboardInterrupt):
        run_compare(everything, tmp_path / "parts", task=rooms())
    # The process ended between the two tables: the curve has a run that compare.csv does not have.
    with (tmp_path / "parts" / "curve.csv").open("a", encoding="utf-8") as file:
        file.write("rooms,bc,0,4,4,False\n")
    made.clear()
    resumed = run_compare(everything, tmp_path / "parts", task=rooms())
    assert made == ["bc"]
    assert timeless(resumed.rows) == timeless(whole.rows)
    assert resumed.curve == [dict(row) for row in whole.curve]
    made.clear()
    assert timeless(run_compare(config, tmp_path / "parts", task=rooms()).rows) == [
        row for row in timeless(whole.rows) if row["method"] != "bc"
    ]
    assert made == []
    with pytest.raises(ValueError, match="another configuration"):
        run_compare(small("bc", queries=20), tmp_path / "parts", task=rooms())


def test_all_methods_meet_the_same_demonstrations() -> None:
    """Run s of each method begins with the same episode; run s + 1 with another."""
    seeds: list[Any] = []

    def build(render_mode: str | None) -> Any:
        env = rooms().build_env(render_mode)
        seeds.append(env.seeds)
        return env

    for method, run in (("bc", 0), ("random", 0), ("bc", 1)):
        config = small(method, queries=4, num_steps=12, evaluations=1, episodes=2)
        one_run.run_method(rooms(build_env=build), config, method, run)
    training = [own[0] for own in seeds[:: len(seeds) // 3]]
    assert training[0] == training[1] != training[2]


def curve_of(answers: Any, steps: Any, spent_from: float = math.inf) -> list[dict[str, Any]]:
    return [
        {"method": "minimum", "seed": 0, "step": int(step), "answers": int(answers(step)), "spent": step >= spent_from}
        for step in steps
    ]


@pytest.mark.parametrize("exponent", [-0.9, -0.5, -0.25, 0.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    curve = curve_of(lambda step: round(50 * step ** (1 + exponent)), edges(20_000))
    assert decay_exponent(curve) == pytest.approx(exponent, abs=0.03)


def test_the_exponent_of_random_queries_is_found() -> None:
    """Bernoulli queries at rate t^-1/2: the mean over 40 runs is within 5 standard errors."""
    fits = []
    rates = np.minimum(1.0, np.arange(1, 20_001) ** -0.5)
    for seed in range(40):
        asked = np.cumsum(np.random.default_rng(seed).random(20_000) < rates)
        fits.append(decay_exponent(curve_of(lambda step, asked=asked: asked[int(step) - 1], edges(20_000))))
    assert abs(np.mean(fits) + 0.5) < 5 * np.std(fits) / np.sqrt(40) + 0.01


def test_steps_without_answers_left_are_no_decay() -> None:
    """Asking always and then never, since the budget is spent, is a rate of one, and no late rate."""
    curve = curve_of(lambda step: min(step, 400), edges(4000), spent_from=400)
    assert decay_exponent(curve) == pytest.approx(0.0, abs=0.02)
    assert late_rate(curve) is None
    assert decay_exponent(curve[:4]) is None
    assert late_rate(curve_of(lambda step: step / 4, edges(4000))) == pytest.approx(0.25)


@pytest.mark.parametrize("n", [1, 2, 5, 6, 9, 17, 40])
def test_the_interval_of_the_median_against_a_search(n: int) -> None:
    values = np.random.default_rng(n).permutation(n).astype(float)
    middle, low, high = median_interval(values.tolist())
    assert middle == np.median(values)
    # Coverage of [x_(l), x_(n+1-l)], by summing the binomial; the largest rank that keeps 95%.
    coverage = {rank: sum(stats.binom.pmf(i, n, 0.5) for i in range(rank, n + 1 - rank)) for rank in range(1, n + 1)}
    enough = [rank for rank, share in coverage.items() if share >= 0.95] or [1]
    assert (low, high) == (max(enough) - 1, n - max(enough))


def test_never_is_never() -> None:
    assert median_interval([math.inf, math.inf, 3.0]) == (math.inf, 3.0, math.inf)
    assert median_interval([math.inf, 1.0, 2.0, 3.0])[0] == 2.5
    assert median_interval([math.inf] * 4)[0] == math.inf
    with pytest.raises(ValueError, match="at least one"):
        median_interval([])


def made(method: str, seed: int, points: list[tuple[int, float, int]]) -> list[dict[str, Any]]:
    """Rows from (answers, return, harms so far); 10 steps for each answer."""
    return [
        {
            "method": method, "seed": seed, "answers": answers, "steps": 10 * answers, "mean_return": score,
            "success": 0.5, "harms": harms, "failures": harms + 1, "deployed_harms": 2 * (i == len(points) - 1),
            "deployed_episodes": 4, "task": "made", "final": i == len(points) - 1,
        }
        for i, (answers, score, harms) in enumerate(points)
    ]  # fmt: skip


ROWS = [
    *made("minimum", 0, [(10, 50.0, 1), (20, 95.0, 2), (30, 40.0, 2)]),
    *made("minimum", 1, [(10, 94.9, 0), (20, 94.9, 1), (30, 96.0, 1)]),
    *made("minimum", 2, [(10, 0.0, 3), (20, 99.0, 3), (30, 99.0, 3)]),
    *made("gate", 0, [(10, 0.0, 4), (20, 0.0, 5), (30, 10.0, 6)]),
    *made("gate", 1, [(10, 97.0, 0)]),  # asked ten times in all
    *made("gate", 2, [(10, 0.0, 7), (20, 20.0, 8), (30, 94.0, 9)]),
]
CURVE = [
    {**row, "method": method, "seed": seed}
    for method in ("minimum", "gate")
    for seed in range(3)
    for row in curve_of(lambda step: step / 10, edges(300))
]


def test_summaries_of_rows_made_by_hand() -> None:
    minimum, gate = summarise(ROWS, CURVE, EXPERT)
    assert (minimum.method, gate.method, minimum.seeds) == ("minimum", "gate", 3)
    assert minimum.to_target == [20.0, 30.0, 20.0]  # 95 counts, 94.9 does not, and falling back is too late
    assert gate.to_target == [math.inf, 10.0, math.inf]
    assert minimum.harms_at_equal == [2, 1, 3]
    assert gate.harms_at_equal == [5, 0, 8]  # at 20 answers, or at the end of a run that never had them
    assert gate.harms == [6, 0, 9]
    assert gate.failures == [7, 1, 10]
    assert gate.all_harms == [8, 2, 11]
    assert minimum.score == [40.0, 96.0, 99.0]
    assert minimum.late_rate == pytest.approx([0.1] * 3)


def test_the_target_of_a_negative_score_is_below_it() -> None:
    walker = EXPERT._replace(score=-13.0)
    assert walker.target == pytest.approx(-13.65)
    solver = EXPERT._replace(measure="success", score=0.5)
    assert answers_to_target(ROWS[:3], solver) == 10.0


def test_the_table_says_never_where_the_median_run_never_arrives() -> None:
    table = figure.table("made", summarise(ROWS, CURVE, EXPERT), EXPERT)
    cells = {row[0]: row for row in table.rows}
    assert cells["minimum"][1] == "20 [20, 30] 3/3"
    assert cells["gate"][1] == "never [10, never] 1/3"
    spent = [{**row, "spent": True} for row in CURVE]
    assert "spent" in figure.table("made", summarise(ROWS, spent, EXPERT), EXPERT).rows[0]


def test_the_command_writes_rows_a_picture_and_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus_imitation.experiments.tasks.make", lambda name: rooms(name=name))
    words = f"--task rooms --methods minimum bc --queries 10 --seeds 2 --steps 60 --out {tmp_path}"
    found = outcome_of("compare", *words.split())
    assert [row[0] for row in found.tables[0].rows] == ["minimum", "bc"]
    assert found.lines == [f"written: {tmp_path}/compare.csv, curve.csv, compare.png"]
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_methods_are_all_of_them() -> None:
    from consensus_imitation.experiments import methods

    assert methods.names() == METHODS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ()}, "nothing to compare"),
        ({"methods": ("minimun",)}, "did you mean 'minimum'"),
        ({"methods": ("minimum-0",)}, "k must be an integer and at least 1"),
        ({"methods": ("minimum-",)}, "comes a number"),
        ({"methods": ("maxprob-7",)}, "must lie in"),
        ({"methods": ("thriftydagger-1",)}, "must lie in"),
        ({"methods": ("bc", "bc")}, "named once"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"num_seeds": 0}, "num_seeds must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_configurations_that_make_no_sense(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CompareConfig(**{**SMALL, "methods": ("bc",), **changes})


def test_a_task_of_ones_own_needs_one_process() -> None:
    with pytest.raises(ValueError, match="one process"):
        run_compare(small("bc"), processes=2, task=rooms())
    with pytest.raises(ValueError, match="no task 'rooms'"):
        run_compare(small("bc"))


def test_the_order_of_methods_is_that_of_the_configuration(tmp_path: Path) -> None:
    """Not that in which the runs were made: tables and colours should not depend on it."""
    run_compare(small("random", "bc"), tmp_path, task=rooms())
    found = run_compare(small("bc", "minimum", "random"), tmp_path, task=rooms())
    for rows in (found.rows, found.curve):
        assert list(dict.fromkeys(row["method"] for row in rows)) == ["bc", "minimum", "random"]
        assert [row["seed"] for row in rows] == sorted(row["seed"] for row in rows)


@pytest.mark.long
def test_two_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    config = CompareConfig(
        "frozenlake",
        ("minimum", "bc"),
        queries=30,
        num_seeds=1,
        num_steps=100,
        num_members=2,
        evaluations=2,
        episodes=4,
    )
    one, two = run_compare(config, tmp_path / "one"), run_compare(config, tmp_path / "two", processes=2)

    def ordered(found: Any) -> list[Any]:
        return sorted(timeless(found.rows), key=lambda row: (row["method"], row["steps"], row["answers"]))

    assert ordered(one) == ordered(two)


def test_a_single_evaluation_is_drawn_as_a_dot() -> None:
    axes = figures.new_figure(2.0, 2.0).add_subplot()
    for points in (1, 2):
        figures.draw_band(axes, np.arange(points), np.ones((3, points)), {"color": "black"})
    assert [line.get_marker() for line in axes.lines] == ["o", "None"]
