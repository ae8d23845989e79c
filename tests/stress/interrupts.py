"""Ctrl-C at any instruction of the interpreter: a call has happened or it has not, and nothing happens twice.

From the root of the repository (a few minutes)::

    python -m tests.stress.interrupts --points 1000             # without a journal
    python -m tests.stress.interrupts --points 1000 --journal   # with one

A run is a list of calls. In each try one of them is interrupted at one instruction of the library's own code, and made
again if it has not happened. In the end every leaf of the state, and the counters, have to be those of a run that was
not interrupted.
"""

import argparse
import contextlib
import gc
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

import consensus_imitation
from consensus_imitation import ConsensusImitator
from consensus_imitation.errors import ConsensusImitationError, JournalWriteError

from .crowd_world import A, again, make

LIBRARY = str(Path(consensus_imitation.__file__).parent)


class Call(NamedTuple):
    """One call of a run.

    Attributes:
        do: makes it.
        count: a number that it changes once it has happened; None if it may as well be made twice.
    """

    do: Callable[[ConsensusImitator], Any]
    count: Callable[[ConsensusImitator], Any] | None = None


def expert(observation: Any) -> int:
    return int(observation) % A


def steps(imitator: ConsensusImitator) -> list[int]:
    return np.asarray(imitator.state.stream.step).reshape(-1).tolist()


def act(observation: Any, active: Any = None, env: int | None = None) -> Call:
    return Call(lambda imitator: imitator.act(observation, active, env=env), steps)


def ask_and_tell(observation: int, env: int | None = None) -> Call:
    def do(imitator: ConsensusImitator) -> None:
        own = [one for one in imitator.pending if one.env == env]
        decision = own[0] if own else imitator.decide(observation, env=env)
        if decision.queried:
            imitator.answer(decision, expert(observation))

    return Call(do, steps)


def ask_and_withdraw(observation: int, env: int | None = None) -> Call:
    def do(imitator: ConsensusImitator) -> None:
        own = [one for one in imitator.pending if one.env == env]
        for decision in own or [imitator.decide(observation, env=env)]:
            if decision.queried:
                imitator.withdraw(decision)

    return Call(do, steps)


BEGIN = Call(lambda imitator: imitator.begin_episode())
CLEAR = Call(lambda imitator: imitator.clear_alarm())
STUDY = Call(lambda imitator: imitator.pretrain([1, 2], [1, 2]), lambda imitator: int(imitator.state.studied))

SINGLE = [
    act(1),
    ask_and_tell(2),
    act(3),
    BEGIN,
    act(1),
    STUDY,
    ask_and_tell(6),
    CLEAR,
    act(5),
    act(1),
    ask_and_withdraw(6),
    act(6),
    act(4),
]
BATCH = [
    act(np.array([1, 2, 3])), act(2, env=1), BEGIN, ask_and_tell(6, env=0), act(np.array([4, 5, 6])), act(1, env=2),
    act(np.array([1, 1, 6]), np.array([True, False, True])), CLEAR, act(3, env=0), act(np.array([6, 0, 1])),
]  # fmt: skip
RUNS = {"single": (None, SINGLE), "batch": (3, BATCH)}


def begun(num_envs: int | None, path: Path | None) -> ConsensusImitator:
    return make(num_envs, expert, journal=path)


def outcome(imitator: ConsensusImitator) -> list[Any]:
    state = imitator.state.replace(stream=imitator.state.stream.replace(key=None))
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    return [*leaves, imitator.num_steps, imitator.num_queries, imitator.pending, imitator.query_rate]


class Interrupter:
    """Counts the instructions of the library's code, and raises KeyboardInterrupt before one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.passed, self.struck = at, 0, False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(LIBRARY):
            return None
        # Python 3.13 reports a frame's instructions only if its tracer was there before they were asked for.
        frame.f_trace = self
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            if self.passed == self.at:
                self.struck = True
                raise KeyboardInterrupt
            self.passed += 1
        return self

    def during(self, do: Callable[[], Any]) -> None:
        # A finaliser would be counted wherever it happens to run.
        gc.disable()
        sys.settrace(self)
        try:
            do()
        finally:
            sys.settrace(None)
            gc.enable()


def made(call: Call, imitator: ConsensusImitator, before: Any, path: Path | None) -> ConsensusImitator:
    """Make an interrupted call again, unless it has happened; by a run that is taken up, if this one refuses."""
    for _ in range(3):
        try:
            if call.count is None or call.count(imitator) == before:
                call.do(imitator)
            else:
                # Whether it refuses.
                imitator.begin_episode()
            return imitator
        except JournalWriteError:
            assert path is not None
            with contextlib.suppress(JournalWriteError):
                imitator.close()
            imitator = again(path, expert)
    raise RuntimeError("the run that was taken up refuses, too")


def tried(name: str, which: int, at: int | None, path: Path | None) -> tuple[list[Any], int]:
    """The outcome of a run in which call ``which`` is interrupted, and how many instructions were passed in it."""
    num_envs, calls = RUNS[name]
    imitator = begun(num_envs, path)
    interrupter = Interrupter(at)
    for place, call in enumerate(calls):
        if place != which:
            call.do(imitator)
            continue
        before = None if call.count is None else call.count(imitator)
        try:
            interrupter.during(lambda imitator=imitator, call=call: call.do(imitator))
        except (KeyboardInterrupt, JournalWriteError):
            assert interrupter.struck
            try:
                imitator = made(call, imitator, before, path)
            except ConsensusImitationError as error:
                return [repr(error)], interrupter.passed
    found = outcome(imitator)
    imitator.close()
    return found, interrupter.passed


def strike(points: int, journal: bool, report: Callable[[str], Any] = lambda line: None) -> tuple[int, int]:
    """Interrupt at so many instructions, spread evenly over all calls; how many were struck, and how many differ."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    number, struck, differ = 0, 0, 0

    def path() -> Path | None:
        nonlocal number
        number += 1
        return folder / str(number) if journal else None

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, sizes = {}, []
            for name, (_, calls) in RUNS.items():
                # Twice: the first compiles.
                expected[name] = [tried(name, -1, None, path())[0] for _ in range(2)][1]
                for which in range(len(calls)):
                    tried(name, which, None, path())
                    sizes.append((name, which, tried(name, which, None, path())[1]))
            total = sum(size for *_, size in sizes)
            report(f"{total} instructions in {len(sizes)} calls")
            places = np.linspace(0, total - 1, points).astype(int).tolist()
            first = 0
            for name, which, size in sizes:
                for place in places:
                    if first <= place < first + size:
                        used = path()
                        found, _ = tried(name, which, place - first, used)
                        struck += 1
                        if found != expected[name]:
                            differ += 1
                            report(f"{name}, call {which}, instruction {place - first} of {size}: differs")
                        if used is not None:
                            shutil.rmtree(used)
                first += size
    finally:
        shutil.rmtree(folder)
    return struck, differ


def main() -> int:
    """Interrupt, and say what came of it."""
    parser = argparse.ArgumentParser(description="Ctrl-C at any instruction")
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--journal", action="store_true")
    arguments = parser.parse_args()
    console = Console()
    struck, differ = strike(arguments.points, arguments.journal, console.print)
    console.print(f"interrupted at {struck} instructions, inconsistent {differ}")
    return 0 if struck == arguments.points and not differ else 1


if __name__ == "__main__":
    sys.exit(main())
