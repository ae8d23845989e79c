"""The runs of a comparison, one after another or several at a time, with reports of their progress."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.compare.config import CompareConfig
from consensus_imitation.experiments.compare.one_run import Advance, run_method
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks import Task

#: A method and the number of its run.
Run = tuple[str, int]

#: What one run gives: see `one_run.run_method`.
Found = tuple[list[Row], list[Row]]

#: One thread per process: several processes that all use all cores get in each other's way.
SINGLE_THREADED = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

#: Seconds between two checks of the progress of the processes.
_LOOK_EVERY = 0.5


def in_turn(task: Task, config: CompareConfig, runs: Sequence[Run], advance: Advance) -> Generator[Found, None, None]:
    """Run in this process, in the order given."""
    for method, seed in runs:
        yield run_method(task, config, method, seed, advance)


def at_once(
    config: CompareConfig, runs: Sequence[Run], processes: int, advance: Advance
) -> Generator[Found, None, None]:
    """Run in so many processes; yield in the order in which the runs end."""
    # Spawned, not forked: JAX's threads do not survive a fork. The processes see the environment as it is now.
    context = multiprocessing.get_context("spawn")
    with _environment(
        XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} {SINGLE_THREADED}".strip(),
        OMP_NUM_THREADS="1",
        # If something else ends this process, another one removes the pool's semaphores, and prints a complaint.
        PYTHONWARNINGS=",".join(
            filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"])
        ),
    ):
        taken, told, stop = context.Value("q", 0), 0, context.Event()
        pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(taken, stop))
        try:
            with _children_deaf_to_interrupts():
                running = {pool.submit(_run_by_name, config, *run) for run in runs}
            while running:
                ended, running = wait(running, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
                # Without the lock: a process that dies with it must not keep this one waiting.
                now = taken.get_obj().value
                advance(now - told)
                told = now
                for future in ended:
                    yield future.result()
        finally:
            # After Ctrl-C or a failure nobody wants the other runs' results: they end at their next report.
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


class StoppedError(Exception):
    """A run was given up, since nobody wants its result any more."""


class _Shared(NamedTuple):
    taken: Any
    stop: Any


#: In a process of the pool: the steps of all processes, and whether to stop.
_shared: _Shared | None = None


def _begin(taken: Any, stop: Any) -> None:
    global _shared
    _shared = _Shared(taken, stop)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    """End this run if its parent was killed: then nobody needs the result."""
    parent.join()
    os._exit(1)


@contextmanager
def _children_deaf_to_interrupts() -> Generator[None, None, None]:
    """Let new processes ignore Ctrl-C, which reaches all of a terminal: their parent decides when they end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_by_name(config: CompareConfig, method: str, seed: int) -> Found:
    assert _shared is not None
    taken, stop = _shared

    def advance(steps: int) -> None:
        if stop.is_set():
            raise StoppedError
        with taken.get_lock():
            taken.value += steps

    # Jobs that wait in the pool's queue cannot be cancelled.
    advance(0)
    return run_method(tasks.make(config.task), config, method, seed, advance)


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
