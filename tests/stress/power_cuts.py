"""Cut the power of runs that keep a journal, at random moments: nothing that was acknowledged may be lost.

Run it from the top of the repository, on Linux with a C compiler::

    python -m tests.stress.power_cuts --cuts 1000 --seed 1

A run is recorded once: what its process did to its files, when it waited for the disk, and what it acknowledged. Then
its disk is taken back to many moments, each time without some of what nobody had waited for (`power_disk`), the run is
taken up from what is left, and goes on for a few calls.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from consensus_imitation import ConsensusImitator, Journal
from consensus_imitation.errors import JournalError
from consensus_imitation.journal.record import Entry
from tests.imitator.probe import directory_of, keeps_journal

from .crash_kill import first_difference
from .crash_runs import Plan, Player, answer_to, place_of, read, resend, tables, told
from .power_disk import Disk, Event, acknowledgement, of_run, read_log

ROOT = Path(__file__).parents[2]
SHIM = Path(__file__).with_name("power_shim.c")
#: Below what a process writes: two directories that it has to make itself.
RUN = "runs/first"
GROUP = 5
#: Steps that a run takes after it was taken up.
FURTHER = 3
#: What is not waited for, to see that it is noticed: by its path, and whether it is a directory.
SABOTAGE: dict[str, Callable[[str, bool], bool]] = {
    "nothing": lambda path, is_directory: False,
    "sqlite": lambda path, is_directory: "journal.sqlite" in path,
    "files": lambda path, is_directory: not is_directory,
    "directories": lambda path, is_directory: is_directory,
}


class Kind(NamedTuple):
    """One kind of run."""

    way: Any
    group: int

    def plan(self, calls: int) -> Plan:
        return tables(self.way, calls, checkpoint_every=7, group=self.group)


KINDS = (Kind("single", 1), Kind("apart", GROUP), Kind("lockstep", 1), Kind("single", GROUP), Kind("apart", 1))


def compiler() -> str | None:
    """The C compiler, if this machine can record at all."""
    return shutil.which("cc") if sys.platform == "linux" else None


# --- in the process that is recorded ---


def live(plan: Plan, path: Path, file: int, run: int) -> None:
    """A run that ends in the middle, is taken up and goes on to the end; it writes what is acknowledged into a file."""
    imitator: ConsensusImitator | None = None

    def acknowledged() -> None:
        if imitator is not None and keeps_journal(imitator):
            os.write(file, acknowledgement(run, directory_of(imitator).store.last_call))

    def asked(observation: Any) -> int:
        # A question is out: it has to be on the disk, and all before it.
        acknowledged()
        return answer_to(observation)

    settings = Journal(path, checkpoint_every=plan.checkpoint_every, group=plan.group)
    imitator = ConsensusImitator(
        plan.members(), asked, seed=7, num_envs=plan.num_envs, journal=settings, **plan.rules()
    )
    acknowledged()
    for part in (plan.num_calls // 2, plan.num_calls):
        if part == plan.num_calls:
            imitator = ConsensusImitator.resume(path, plan.members(), asked, **plan.rules())
            acknowledged()
        player = Player(plan, imitator, place_of(read(path), plan))
        while player.place.calls < part:
            player.one()
            acknowledged()
        imitator.close()
        acknowledged()


# --- in the process that watches ---


@dataclass
class Recording:
    """A run, and how it came about.

    Attributes:
        plan: what was played.
        events: what its process did and said, in order.
        entries: its journal at the end.
    """

    plan: Plan
    root: str
    events: list[Event]
    entries: list[Entry]

    def required(self, acknowledged: int) -> int:
        """The last call that has to be there, once so many were acknowledged.

        Each is, unless the imitator's own steps are written in groups: then as many as a group has may be gone, but
        nothing that anything else followed.
        """
        group = self.plan.group
        if group == 1:
            return acknowledged
        firm = {entry.call for entry in self.entries if entry.record.kind != "act"}
        return max(max((call for call in firm if call <= acknowledged), default=0), acknowledged - group + 1)


def record(kinds: Sequence[Kind], calls: int, work: Path) -> list[Recording]:
    """Play runs in a process of its own, and write down what it does to the disk."""
    shim, log = work / "shim.so", work / "log"
    roots = [work / f"disk-{i}" for i in range(len(kinds))]
    for root in roots:
        root.mkdir()
    command = [str(compiler()), "-shared", "-fPIC", "-O1", "-o", str(shim), str(SHIM), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    environment = {"LD_PRELOAD": str(shim), "POWER_ROOT": str(work / "disk-"), "POWER_LOG": str(log)}
    command = [sys.executable, "-m", "tests.stress.power_cuts", "--calls", str(calls), "--record", str(work)]
    for kind in kinds:
        command += ["--kind", kind.way, str(kind.group)]
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)
    events = read_log(log)
    return [
        Recording(kind.plan(calls), str(root), of_run(events, i, str(root)), read(root / RUN))
        for i, (kind, root) in enumerate(zip(kinds, roots, strict=True))
    ]


@dataclass
class Figures:
    """What came out."""

    cuts: int = 0
    changed: int = 0
    acknowledged: int = 0
    answers: int = 0
    lost: int = 0
    forgotten: int = 0
    mended: int = 0
    wrong: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.wrong)

    def lines(self) -> list[str]:
        return [
            f"power cuts {self.cuts}, of which {self.changed} with changes that nobody had waited for",
            f"calls acknowledged {self.acknowledged}, with {self.answers} answers; runs that lost some: {self.lost}",
            f"steps of groups forgotten, as said: {self.forgotten}; journals cut back: {self.mended}",
            f"runs that could not be taken up, or went on otherwise: {self.wrong}",
            *self.notes[:20],
        ]


def cut(
    recording: Recording, cuts: int, rng: random.Random, work: Path, figures: Figures, sabotage: str = "nothing"
) -> None:
    """Cut the power of one run at so many moments."""
    events, played = recording.events, Disk(recording.root, SABOTAGE[sabotage])
    moments = sorted(rng.choices(range(len(events) + 1), k=cuts))
    acknowledged = 0
    for before, moment in pairwise([0, *moments]):
        for event in events[before:moment]:
            if event.what == "A":
                acknowledged = event.number
            else:
                played.play(event)
        target = work / "cut"
        figures.changed += played.lose_power(rng, target) > 0
        wrong = judge(recording, acknowledged, target / RUN, figures)
        figures.cuts += 1
        if wrong:
            figures.notes.append(f"{recording.plan.way}, group {recording.plan.group}, moment {moment}: {wrong}")
        shutil.rmtree(target)


def judge(recording: Recording, acknowledged: int, path: Path, figures: Figures) -> str:
    """Take up what is left, and compare it with what was acknowledged: what is wrong, "" if nothing is."""
    plan, whole = recording.plan, recording.entries
    answers = sum(entry.record.kind == "answer" and entry.call <= acknowledged for entry in whole)
    figures.acknowledged, figures.answers = figures.acknowledged + acknowledged, figures.answers + answers
    try:
        imitator = plan.resume(path)
    except JournalError as error:
        if acknowledged or "holds no run" not in str(error):
            figures.lost += acknowledged > 0
            figures.wrong += acknowledged == 0
            return f"{acknowledged} calls were acknowledged, and it is refused: {error}"
        imitator = plan.begin(path)
        imitator.close()
        return ""
    with imitator:
        entries = read(path)
        left = entries[:-1]  # the last one says that it was taken up
        figures.mended += any("lost" in line for line in imitator.repairs)
        if [entry.chain for entry in left] != [entry.chain for entry in whole[: len(left)]]:
            figures.wrong += 1
            return "it holds what was never written"
        last = left[-1].call if left else 0
        if last < recording.required(acknowledged):
            figures.lost += 1
            return f"{acknowledged} calls were acknowledged, and {last} are there"
        figures.forgotten += max(0, acknowledged - last)
        if resend(imitator, left):
            figures.wrong += 1
            return "an answer that it holds was not taken as a repeat"
        player = Player(plan, imitator, place_of(left, plan))
        player.play(FURTHER)
        found, expected = told(read(path)), told(whole)
        if found != expected[: len(found)]:
            figures.wrong += 1
            return f"it goes on otherwise: {first_difference(found, expected)}"
    return ""


def run(recordings: Sequence[Recording], cuts: int, seed: int, work: Path, sabotage: str = "nothing") -> Figures:
    """Cut the power so many times, of several runs in turn."""
    figures, rng = Figures(), random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, recording in enumerate(recordings):
            share = cuts // len(recordings) + (i < cuts % len(recordings))
            cut(recording, share, rng, work, figures, sabotage)
    return figures


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000, help="moments at which the power goes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of what is lost")
    parser.add_argument("--calls", type=int, default=60, help="calls of each run")
    parser.add_argument("--sabotage", choices=SABOTAGE, default="nothing", help="what does not wait for the disk")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", nargs=2, action="append", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.record is not None:
        warnings.simplefilter("ignore")
        file = os.open(chosen.record / "log", os.O_WRONLY | os.O_APPEND)
        for i, (way, group) in enumerate(chosen.kind):
            live(Kind(way, int(group)).plan(chosen.calls), chosen.record / f"disk-{i}" / RUN, file, i)
        return 0
    if compiler() is None:
        print("power cuts are recorded on Linux, with a C compiler (cc): there is none here")  # noqa: T201
        return 2
    began = time.time()
    # In memory, if there is such a place: nothing here has to outlast a power cut.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as work:
        recordings = record(KINDS, chosen.calls, Path(work))
        figures = run(recordings, chosen.cuts, chosen.seed, Path(work), chosen.sabotage)
    print("\n".join(figures.lines()))  # noqa: T201
    print(f"{time.time() - began:.0f} s")  # noqa: T201
    return 0 if figures.sound else 1


if __name__ == "__main__":
    sys.exit(main())
