"""Several runs at a time, in processes of their own."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus_imitation.experiments import CompareConfig, run_compare
from consensus_imitation.experiments.compare import processes

LAKE = CompareConfig(
    "frozenlake", ("minimum", "random"), queries=20, num_seeds=2, num_steps=60,
    num_members=2, evaluations=1, episodes=2, demonstrator_episodes=5, training={"updates": 1},
)  # fmt: skip


@pytest.mark.slow
def test_processes_find_what_one_process_finds() -> None:
    alone = run_compare(LAKE)
    seen: list[tuple[int, int]] = []
    environment = dict(os.environ)
    together = run_compare(LAKE, processes=2, progress=lambda done, total: seen.append((done, total)))
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


@pytest.mark.slow
def test_what_fails_in_a_process_is_told() -> None:
    config = replace(LAKE, task="gotomoon")
    with pytest.raises(ValueError, match="no task 'gotomoon'"):
        list(processes.at_once(config, [("minimum", 0)], 1, lambda _: None))


def test_runs_that_nobody_waits_for_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C: what runs ends at its next word, what waits in the queue does not begin."""
    monkeypatch.setattr(processes, "_shared", None)  # put back afterwards
    context = multiprocessing.get_context("spawn")
    taken, stop = context.Value("q", 0), context.Event()
    config = replace(LAKE, num_steps=600)

    class StopsLater:
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            return self.asked > 3

    processes._begin(taken, StopsLater())
    with pytest.raises(processes.StoppedError):
        processes._run_by_name(config, "random", 0)
    assert taken.value == 2 * 6
    stop.set()
    processes._begin(taken, stop)
    with pytest.raises(processes.StoppedError):
        processes._run_by_name(replace(config, task="no such task"), "random", 0)


def test_ctrl_c_at_a_terminal_is_left_to_the_parent() -> None:
    """Every process of the terminal gets it, and those of the pool would answer with a traceback."""
    program = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"

    def deaf() -> str:
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    with processes._children_deaf_to_interrupts():
        assert deaf() == "True\n"
    assert deaf() == "False\n"


_MANY_STEPS = """
import multiprocessing
from consensus_imitation.experiments import CompareConfig
from consensus_imitation.experiments.compare import processes

def tell(steps):
    if steps:
        print(multiprocessing.active_children()[0].pid, flush=True)

if __name__ == "__main__":
    config = CompareConfig("frozenlake", queries=20, num_steps=100_000_000, num_members=2, training={"updates": 1})
    list(processes.at_once(config, [("random", 0)], 1, tell))
"""


@pytest.mark.long
def test_a_run_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_MANY_STEPS)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert worker != parent.pid
        parent.kill()
        # The worker holds the other end of this pipe, too: it is at its end when the worker is over, or never.
        parent.stdout.read()


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

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    found = processes.at_once(LAKE, [("random", 0), ("random", 1)], 2, lambda _: None)
    next(found)
    assert told == []
    found.close()
    assert told == [(True, {"wait": True, "cancel_futures": True})]
