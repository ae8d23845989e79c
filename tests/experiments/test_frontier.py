"""Fewer answers: each contestant runs as `compare` runs it, and is charged for what it did."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from consensus_imitation.ensembles import Training
from consensus_imitation.experiments import CompareConfig, FrontierConfig, run_compare
from consensus_imitation.experiments.compare.summary import Demonstrated
from consensus_imitation.experiments.frontier import figure
from consensus_imitation.experiments.frontier.config import CONTESTANTS
from consensus_imitation.experiments.frontier.run import COLUMNS, run
from consensus_imitation.experiments.frontier.summary import costs
from consensus_imitation.experiments.results import Row

ALONE = Demonstrated("return", score=100.0, success=0.9, harm=0.1, mean_return=100.0, episodes=50)


def rows_of(contestant: str, seed: int, points: Sequence[tuple[int, float, int, int]]) -> list[Row]:
    """The rows of a run that was evaluated after so many answers, with so much return, episodes and harms so far."""
    return [
        {"task": "small", "contestant": contestant, "seed": seed, "answers": answers, "mean_return": mean_return,
         "episodes": episodes, "harms": harms, "success": 0.0, "final": number == len(points) - 1}
        for number, (answers, mean_return, episodes, harms) in enumerate(points)
    ]  # fmt: skip


@pytest.fixture
def rows() -> list[Row]:
    """Two contestants on three seeds: the second arrives earlier on each, and on one it does more harm."""
    first = [[(10, 0, 3, 1), (20, 94, 6, 2), (30, 95, 9, 3)], [(10, 0, 2, 0), (20, 99, 4, 1), (30, 0, 5, 1)],
             [(10, 0, 1, 0), (20, 0, 2, 0), (30, 94.9, 4, 2)]]  # fmt: skip
    second = [[(10, 95, 3, 1), (20, 0, 6, 2), (30, 0, 9, 3)], [(10, 96, 2, 0), (20, 0, 4, 0), (30, 0, 5, 1)],
              [(10, 0, 3, 1), (20, 97, 5, 3), (30, 0, 8, 6)]]  # fmt: skip
    runs = {"plain": first, "one-update": second}
    return [row for name, own in runs.items() for seed, run in enumerate(own) for row in rows_of(name, seed, run)]


def test_what_is_charged(rows: list[Row]) -> None:
    """All by hand."""
    first, second = costs(rows, ALONE)
    assert (first.contestant, first.to_target) == ("plain", [30, 20, math.inf])
    assert (first.episodes, first.harms) == ([9, 5, 4], [3, 1, 2])
    assert first.early == (9 + 4 + 4, 3 + 1 + 2)
    assert (first.fewer, first.more) == (1.0, 1.0)
    assert second.to_target == [10, 10, 20]
    assert (second.episodes, second.harms) == ([9, 5, 8], [3, 1, 6])
    assert second.early == (3 + 2 + 5, 1 + 0 + 3)
    # Fewer on each of three seeds, by 20, 10 and 10: one of eight patterns of signs is as good.
    assert second.fewer == 1 / 8
    # More on one seed, the others alike: half of the patterns.
    assert second.more == 1 / 2


def test_the_picture_and_the_table_show_each_contestant(rows: list[Row]) -> None:
    found = costs(rows, ALONE)
    frontier, score = figure.draw(rows, found, ALONE).axes
    assert sorted(frontier.get_legend_handles_labels()[1]) == ["one-update", "plain", "the demonstrator alone"]
    assert len(score.lines) == 3
    table = figure.table("small", found, ALONE)
    assert table.rows[0][:3] == ("plain", "30 [20, never]", "2/3")
    assert table.rows[1] == ("one-update", "10 [10, 20]", "3/3", "0.12", "10 of 22 (45.5%)", "0.5", "4 of 10 (40.0%)")


def test_plain_is_the_default() -> None:
    """What is measured as the default must not fall behind it; and each of the others differs from it."""
    method, network, training = CONTESTANTS["plain"]
    assert (method, network, Training(**training)) == ("minimum", {}, Training())
    others = {str(one) for name, one in CONTESTANTS.items() if name != "plain"}
    assert len(others | {str(CONTESTANTS["plain"])}) == len(CONTESTANTS)


def test_each_contestant_has_its_own_comparison() -> None:
    config = FrontierConfig("cartpole", queries=7, num_seeds=2, num_steps=30, num_members=3, evaluations=4, episodes=5)
    for name, (method, network, training) in CONTESTANTS.items():
        own = config.comparison(name)
        assert (own.methods, own.network, own.training) == ((method,), network, training)
        for size in ("task", "queries", "num_seeds", "num_steps", "num_members", "evaluations", "episodes", "seed"):
            assert getattr(own, size) == getattr(config, size)


SMALL = FrontierConfig("frozenlake", ("plain", "temperature"), queries=40, num_seeds=1, num_steps=120, num_members=2,
                       evaluations=2, episodes=2, demonstrator_episodes=5)  # fmt: skip


@pytest.mark.slow
def test_contestants_run_as_compare_runs_them_and_go_on(tmp_path: Path) -> None:
    rows, demonstrator = run(SMALL, tmp_path)
    assert run(SMALL, tmp_path) == (rows, demonstrator)
    assert all(tuple(row) == COLUMNS for row in rows)
    for name in SMALL.contestants:
        training = {"temperature": name == "temperature"}
        config = CompareConfig("frozenlake", ("minimum",), queries=40, num_seeds=1, num_steps=120, num_members=2,
                               evaluations=2, episodes=2, demonstrator_episodes=5, training=training)  # fmt: skip
        alone = run_compare(config)
        assert alone.demonstrator == demonstrator
        own = [row for row in rows if row["contestant"] == name]
        measured = [column for column in COLUMNS if column not in ("contestant", "seconds")]
        assert [[row[column] for column in measured] for row in own] == [
            [row[column] for column in measured] for row in alone.rows
        ]
    losses = [[row["log_loss"] for row in rows if row["contestant"] == name] for name in SMALL.contestants]
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    "wrong",
    [{"contestants": ("best",)}, {"contestants": ()}, {"contestants": ("plain", "plain")}, {"queries": 0},
     {"num_seeds": 0}, {"seed": -1}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FrontierConfig(**wrong)  # type: ignore[arg-type]
