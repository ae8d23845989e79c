"""The runs of a comparison, one after another or several at a time, with word of how far they are."""

import multiprocessing
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.compare_run import RunConfig, run_method
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks import Task

#: Is told how many steps were taken since it was told last, all runs together.
Advance = Callable[[int], None]

#: What one run gives: see `compare_run.run_method`.
Found = tuple[list[Row], list[Row]]

#: One thread per process: several processes that all use all cores get in each other's way.
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

#: How often it is looked how far the processes are, in seconds.
_LOOK_EVERY = 0.5


def in_turn(task: Task, runs: Sequence[RunConfig], advance: Advance) -> Generator[Found, None, None]:
    """In this process, in the order given."""
    for run in runs:
        yield run_method(task, run, advance)


def at_once(name: str, runs: Sequence[RunConfig], processes: int, advance: Advance) -> Generator[Found, None, None]:
    """In so many processes, in the order in which they end."""
    # Spawned, not forked: JAX's threads do not survive a fork. The processes see the environment as it is now.
    context = multiprocessing.get_context("spawn")
    taken, told = context.Value("q", 0), 0
    with _environment(XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} {SINGLE_THREADED}".strip(), OMP_NUM_THREADS="1"):
        pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(taken,))
        try:
            running = {pool.submit(_run_by_name, name, run) for run in runs}
            while running:
                ended, running = wait(running, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
                now = taken.value
                advance(now - told)
                told = now
                for future in ended:
                    yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


#: In a process of the pool: the steps of all processes.
_taken: Any = None


def _begin(taken: Any) -> None:
    global _taken
    _taken = taken


def _run_by_name(name: str, run: RunConfig) -> Found:
    def advance(steps: int) -> None:
        with _taken.get_lock():
            _taken.value += steps

    return run_method(tasks.make(name), run, advance)


@contextmanager
def _environment(**values: str) -> Generator[None, None, None]:
    before: dict[str, Any] = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
