"""Several runs at a time, in processes of their own."""

import os

import pytest

from consensus_imitation.experiments import CompareConfig, compare, runs
from consensus_imitation.experiments.compare_run import RunConfig

LAKE = CompareConfig(
    "frozenlake", ("minimum", "random"), queries=20, num_seeds=2, num_steps=60,
    num_members=2, evaluations=1, episodes=2, demonstrator_episodes=5, training={"updates": 1},
)  # fmt: skip


def test_processes_find_what_one_process_finds() -> None:
    alone = compare(LAKE)
    seen: list[tuple[int, int]] = []
    environment = dict(os.environ)
    together = compare(LAKE, processes=2, progress=lambda done, total: seen.append((done, total)))
    assert dict(os.environ) == environment
    assert together.curve == alone.curve
    assert len(together.rows) == len(alone.rows)
    for own, other in zip(together.rows, alone.rows, strict=True):
        measured = {name: value for name, value in other.items() if name not in ("seconds", "log_loss")}
        assert {name: own[name] for name in measured} == measured
        # Other threads may add in another order.
        losses = [row["log_loss"] or 0.0 for row in (own, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert (seen[0], seen[-1]) == ((0, 240), (240, 240))
    assert seen == sorted(seen)


def test_what_fails_in_a_process_is_told() -> None:
    config = RunConfig("minimum", 4, 12, 2, 1, 2, 0, 0)
    with pytest.raises(ValueError, match="no task 'gotomoon'"):
        list(runs.at_once("gotomoon", [config], 1, lambda _: None))
