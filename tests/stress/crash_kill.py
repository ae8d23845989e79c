"""Kill runs with SIGKILL, take them up again, kill them again; at the end nothing may be missing, double or different.

Run it from the top of the repository::

    python -m tests.stress.crash_kill --points 200

Every process is forked from one that has imported everything and computed nothing, so that it starts as fresh as any,
but sooner; what is compiled is kept in a directory for all of them.
"""

import argparse
import json
import mmap
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from consensus_imitation.errors import JournalError
from consensus_imitation.imitator import _step
from consensus_imitation.imitator._warm_start import warm_start
from consensus_imitation.journal import _disk
from consensus_imitation.journal.directory import RunDirectory

from .crash_runs import Plan, Player, fingerprint, networks, place_of, read, resend, tables, told

PHASES = ("between", "beginning", "resuming", "deciding", "learning", "commit", "checkpoint", "closing")
SEAM = ("execute", "execute_many", "create", "write", "sync", "replace", "remove", "make_directory")


@dataclass(frozen=True)
class Point:
    """Where a process is to be killed.

    Attributes:
        phase: only events of this phase count; None for all.
        event: the how manieth; 0 for never.
        when: before or after it has been performed, or with half of the bytes of a file written.
        delay: seconds after the run has been taken up, instead; the killer is a process of its own.
    """

    phase: str | None = None
    event: int = 0
    when: str = "before"
    delay: float = 0.0


NEVER = Point()


class Mark:
    """A few bytes that outlive the process: in which phase it is, and how many queries wait."""

    def __init__(self) -> None:
        self._bytes = mmap.mmap(-1, 16)

    def clear(self) -> None:
        self._bytes[:3] = bytes(3)

    @property
    def phase(self) -> str:
        return PHASES[self._bytes[0]]

    @phase.setter
    def phase(self, name: str) -> None:
        self._bytes[0] = PHASES.index(name)

    @property
    def pending(self) -> int:
        return self._bytes[1]

    @pending.setter
    def pending(self, count: int) -> None:
        self._bytes[1] = count

    @property
    def running(self) -> bool:
        return self._bytes[2] > 0

    def run(self) -> None:
        self._bytes[2] = 1

    @contextmanager
    def within(self, name: str) -> Generator[None, None, None]:
        """The outermost one counts, but for what begins and ends a run."""
        outer = self.phase
        if outer in ("between", "beginning", "resuming", "closing") and not (outer != "between" and name == "commit"):
            self.phase = name
        try:
            yield
        finally:
            self.phase = outer


# --- in the process that is killed ---


class Killer:
    """Kills its own process at one event."""

    def __init__(self, mark: Mark, point: Point) -> None:
        self.mark, self.point, self.seen = mark, point, 0

    def due(self) -> bool:
        if self.point.event and self.point.phase in (None, self.mark.phase):
            self.seen += 1
            return self.seen == self.point.event
        return False

    def event(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            due = self.due()
            if due and self.point.when == "half" and name == "write":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if due and self.point.when != "after":
                die()
            result = call(*arguments, **more)
            if due:
                jax.block_until_ready(result) if name in ("settled", "warm_start") else None
                die()
            return result

        return wrapped

    def phase(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            with self.mark.within(name):
                return call(*arguments, **more)

        return wrapped

    def install(self) -> None:
        for name in SEAM:
            setattr(_disk, name, self.event(name, getattr(_disk, name)))
        for phase, call in (("deciding", _step.judge), ("learning", _step.settled), ("learning", warm_start)):
            patched = self.phase(phase, self.event(call.__name__, call))
            for module in [module for name, module in sys.modules.items() if name.startswith("consensus_imitation.")]:
                if getattr(module, call.__name__, None) is call:
                    setattr(module, call.__name__, patched)
        RunDirectory.append = self.phase("commit", RunDirectory.append)
        RunDirectory.checkpoint = self.phase("checkpoint", RunDirectory.checkpoint)


def die() -> None:
    """As if by ``kill -9``; it is."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def killed_later(mark: Mark, delay: float, rng: random.Random) -> None:
    """Have another process kill this one."""
    victim = os.getpid()
    if os.fork():
        return
    while not mark.running and os.getppid() == victim:
        time.sleep(0.001)
    time.sleep(delay * rng.random())
    if os.getppid() == victim:
        os.kill(victim, signal.SIGKILL)
    os._exit(0)


def live(plan: Plan, path: Path, mark: Mark) -> None:
    """Begin or go on, until the end of the plan; then say how it ended."""
    run_dir = path / "run"
    try:
        with mark.within("resuming"):
            running = plan.resume(run_dir)
    except JournalError as error:
        if "holds no run" not in str(error):
            raise
        with mark.within("beginning"):
            running = plan.begin(run_dir)
    entries = read(run_dir)
    said = os.open(path / "handed_out", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    # Before it goes on: what is lost would be done once more, in the same way, and nobody would notice.
    for line in (path / "handed_out").read_text().splitlines():
        if not is_held(json.loads(line), entries):
            _append(said, ("lost", *json.loads(line)))
    wrong = resend(running, entries)
    if wrong or len(read(run_dir)) != len(entries):
        _append(said, ("wrong", wrong, len(read(run_dir)), len(entries)))
    player = Player(plan, running, place_of(entries, plan), lambda *line: _append(said, line))
    mark.run()
    while player.place.calls < plan.num_calls:
        player.one()
        mark.pending = len(running.pending)
    found = fingerprint(running)
    with mark.within("closing"):
        running.close()
    (path / "end.part").write_text(json.dumps(found))
    os.replace(path / "end.part", path / "end")


def is_held(said: list[Any], entries: list[Any]) -> bool:
    """Whether the journal holds what was acknowledged or handed out."""
    kind, number, env, action = said[:4]
    for entry in entries:
        record = entry.record
        where = record.query if kind == "answer" else record.step
        if (record.kind, where, record.env, record.action) == (kind, number, env, action):
            return True
    return kind not in ("answer", "act")


def _append(file: int, said: tuple[Any, ...]) -> None:
    os.write(file, json.dumps(said).encode() + b"\n")


def spawn(plan: Plan, path: Path, mark: Mark, point: Point, seed: int) -> int:
    """A process that plays the plan, and is killed at the point: its number."""
    mark.clear()
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        warnings.simplefilter("ignore")
        if point.delay:
            killed_later(mark, point.delay, random.Random(seed))
        Killer(mark, point).install()
        live(plan, path, mark)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the watching process reports it
        (path / "error").write_text(traceback.format_exc())
    finally:
        os._exit(status)


# --- in the process that watches ---


@dataclass
class Figures:
    """What came out."""

    points: int = 0
    processes: int = 0
    runs: int = 0
    lost: int = 0
    duplicated: int = 0
    not_written: int = 0
    mismatches: int = 0
    errors: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    answers: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.duplicated or self.not_written or self.mismatches or self.errors)

    def lines(self) -> list[str]:
        phases = ", ".join(f"{name} {self.phases[name]}" for name in PHASES if self.phases[name])
        return [
            f"points {self.points} in {self.runs} runs ({self.processes} processes): {phases}",
            f"with queries that waited: {self.pending}",
            f"answers acknowledged {self.answers}, lost {self.lost}, duplicated {self.duplicated}",
            f"actions handed out that the journal does not hold {self.not_written}",
            f"trajectories or states that differ {self.mismatches}, errors {self.errors}",
            *self.notes,
        ]


class Chain:
    """One run, killed and taken up again until it ends."""

    def __init__(self, plan: Plan, path: Path, points: Iterator[Point]) -> None:
        self.plan, self.path, self.mark = plan, path, Mark()
        self._points = points
        path.mkdir(parents=True)

    def start(self, seed: int) -> int:
        """The next process."""
        return spawn(self.plan, self.path, self.mark, next(self._points, NEVER), seed)

    def ended(self, status: int, figures: Figures) -> bool:
        """Note how a process ended: whether the run is over, too."""
        figures.processes += 1
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            figures.points += 1
            figures.phases[self.mark.phase] += 1
            figures.pending += self.mark.pending > 0
            # Killed while its end was written down: that is the harness, not the library.
            return (self.path / "end").exists()
        if status:
            error = self.path / "error"
            figures.errors += 1
            figures.notes.append(f"{self.path}: status {status}\n{error.read_text() if error.exists() else ''}")
        return True


def judge_run(chain: Chain, reference: "Reference", figures: Figures) -> None:
    """Compare a run that has ended with the one that nobody stopped."""
    figures.runs += 1
    entries = read(chain.path / "run")
    if told(entries) != reference.told:
        figures.mismatches += 1
        figures.notes.append(f"{chain.path}: another trajectory; {first_difference(told(entries), reference.told)}")
    end = chain.path / "end"
    found = json.loads(end.read_text()) if end.exists() else {}
    different = [name for name in reference.found if found.get(name) != reference.found[name]]
    if different:
        figures.mismatches += 1
        figures.notes.append(f"{chain.path}: another state at the end: {different}")
    count_answers(chain.path / "handed_out", entries, figures)


def count_answers(side: Path, entries: list[Any], figures: Figures) -> None:
    """What was acknowledged or handed out, against what the journal holds: each once."""
    held = Counter(
        (entry.record.query, entry.record.env, entry.record.action)
        for entry in entries
        if entry.record.kind == "answer"
    )
    per_query = Counter((query, env) for query, env, _ in held.elements())
    acted = {
        (entry.record.step, entry.record.env): entry.record.action for entry in entries if entry.record.kind == "act"
    }
    said = [json.loads(line) for line in side.read_text().splitlines()] if side.exists() else []
    for kind, number, env, action, *_ in said:
        if kind == "lost":
            figures.lost += number == "answer"
            figures.not_written += number == "act"
            figures.notes.append(f"{side}: not in the journal when it was taken up: {number} {env} {action}")
        elif kind == "wrong":
            figures.duplicated += 1
            figures.notes.append(f"{side}: repeats were not taken as repeats: {number}, {env}, {action}")
        elif kind == "answer":
            figures.answers += 1
            figures.lost += held[number, env, action] == 0
        else:
            figures.not_written += acted.get((number, env)) != action
    figures.duplicated += sum(count - 1 for count in per_query.values())


def first_difference(one: list[Any], other: list[Any]) -> str:
    """For people."""
    for i, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return f"entry {i}: {[(x, y) for x, y in zip(a, b, strict=True) if x != y]}"[:600]
    return f"{len(one)} entries, {len(other)} in the other"


@dataclass
class Reference:
    """The run that nobody stopped."""

    told: list[tuple[Any, ...]]
    found: dict[str, str]


def refer(plan: Plan, path: Path) -> Reference:
    """Play a plan from end to end, in a process of its own."""
    chain = Chain(plan, path, iter(()))
    _, status = os.waitpid(chain.start(0), 0)
    figures = Figures()
    chain.ended(status, figures)
    if figures.errors:
        raise RuntimeError(figures.notes[0])
    return Reference(told(read(path / "run")), json.loads((path / "end").read_text()))


def points(rng: random.Random, num_calls: int) -> Iterator[Point]:
    """Where to kill: everywhere, and where it hurts."""
    span = max(8, num_calls)
    while True:
        when = rng.choice(["before", "after", "half"])
        kind = rng.random()
        if kind < 0.3:
            yield Point(None, rng.randint(1, span), when)
        elif kind < 0.45:
            yield Point("checkpoint", rng.randint(1, max(1, span // 4)), when)
        elif kind < 0.6:
            yield Point("commit", rng.randint(1, span), when)
        elif kind < 0.7:
            yield Point("learning", rng.randint(1, max(1, span // 8)), when)
        elif kind < 0.8:
            yield Point(rng.choice(["resuming", "resuming", "closing"]), rng.randint(1, 20), when)
        else:
            yield Point(delay=rng.choice([0.05, 0.3, 1.0]))


def first_points(rng: random.Random, num_calls: int) -> Iterator[Point]:
    """Now and then while the run is begun; then `points`."""
    if rng.random() < 0.4:
        yield Point("beginning", rng.randint(1, 45), rng.choice(["before", "after", "half"]))
    yield from points(rng, num_calls)


def run(plans: list[Plan], wanted: int, seed: int, work: Path, jobs: int = 2, seconds: float = 1e9) -> Figures:
    """Kill at so many points.

    Args:
        plans: played in turn.
        wanted: how many points.
        seed: of where they are.
        work: a directory.
        jobs: runs at a time.
        seconds: after which no further process is killed.
    """
    began, figures = time.time(), Figures()
    references = [refer(plan, work / f"reference-{i}") for i, plan in enumerate(plans)]
    running: dict[int, tuple[Chain, int]] = {}
    number = 0

    def enough() -> bool:
        return figures.points + len(running) >= wanted or time.time() - began > seconds

    def until_enough(wheres: Iterator[Point]) -> Iterator[Point]:
        while not enough():
            yield next(wheres)

    while running or not enough():
        while len(running) < jobs and not enough():
            rng, which = random.Random(seed * 1000 + number), number % len(plans)
            wheres = until_enough(first_points(rng, plans[which].num_calls))
            chain = Chain(plans[which], work / f"run-{number}", wheres)
            number += 1
            running[chain.start(number)] = chain, which
        child, status = os.wait()
        chain, which = running.pop(child)
        if not chain.ended(status, figures):
            running[chain.start(figures.processes)] = chain, which
            continue
        judge_run(chain, references[which], figures)
        if figures.sound:
            shutil.rmtree(chain.path)
    return figures


def prepare(cache: Path) -> None:
    """Keep what is compiled, for all processes."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200, help="processes to kill")
    parser.add_argument("--calls", type=int, default=150, help="calls of each run")
    parser.add_argument("--ways", nargs="+", default=["single", "apart", "lockstep"], help="kinds of run")
    parser.add_argument("--tables", action="store_true", help="members that are tables: quicker, and they do not train")
    parser.add_argument("--seed", type=int, default=0, help="of where they are killed")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--seconds", type=float, default=3600.0, help="stop killing after")
    parser.add_argument("--compiled", type=Path, help="where compiled code is kept from one time to the next")
    parser.add_argument("--work", type=Path, help="where the runs are kept; by default they are deleted")
    chosen = parser.parse_args(arguments)
    began = time.time()
    work = Path(tempfile.mkdtemp(prefix="crash-")) if chosen.work is None else chosen.work
    prepare(chosen.compiled or work / "compiled")
    plans = [(tables if chosen.tables else networks)(way, chosen.calls) for way in chosen.ways]
    figures = run(plans, chosen.points, chosen.seed, work, chosen.jobs, chosen.seconds)
    print("\n".join(figures.lines()))  # noqa: T201
    print(f"{time.time() - began:.0f} s")  # noqa: T201
    if chosen.work is None and figures.sound:
        shutil.rmtree(work)
    return 0 if figures.sound else 1


if __name__ == "__main__":
    sys.exit(main())
