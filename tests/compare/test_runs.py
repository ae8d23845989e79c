"""Several runs at a time, in processes of their own."""

import multiprocessing
import os
from concurrent.futures import Future
from typing import Any

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


def test_runs_that_nobody_waits_for_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C: what runs ends at its next word, what waits in the queue does not begin."""
    monkeypatch.setattr(runs, "_shared", None)  # put back afterwards
    context = multiprocessing.get_context("spawn")
    taken, stop = context.Value("q", 0), context.Event()
    run = RunConfig("random", 20, 600, 2, 1, 2, 0, 0, training={"updates": 1})

    class StopsLater:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 3

    runs._begin(taken, StopsLater())
    with pytest.raises(runs.StoppedError):
        runs._run_by_name("frozenlake", run)
    assert taken.value == 2 * 6
    stop.set()
    runs._begin(taken, stop)
    with pytest.raises(runs.StoppedError):
        runs._run_by_name("no such task", run)


def test_a_failure_or_the_end_of_waiting_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Pool:
        def __init__(self, *_: object, initargs: tuple[Any, Any], **__: object) -> None:
            self.stop = initargs[1]

        def submit(self, *_: object) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(([], []))
            return future

        def shutdown(self, **settings: object) -> None:
            told.append((self.stop.is_set(), settings))

    monkeypatch.setattr(runs, "ProcessPoolExecutor", Pool)
    config = RunConfig("random", 20, 600, 2, 1, 2, 0, 0)
    found = runs.at_once("frozenlake", [config, config], 2, lambda _: None)
    next(found)
    assert told == []
    found.close()
    assert told == [(True, {"wait": True, "cancel_futures": True})]
