"""Ctrl-C at a real terminal, at many moments of every command: ``python -m tests.cli.interrupts --moments 20``.

Each command runs once undisturbed. Then it runs again for every moment, in a directory and a pseudo-terminal of its
own, and the terminal sends Ctrl-C at that moment. After it,

* the exit code is 130, or that of the undisturbed run if it was over already;
* there is one message and no traceback;
* every table on disk holds whole rows of the undisturbed run and nothing else.

Some of them are run once more, to the end, and have to leave the same tables as the undisturbed run.

The first moment is the one at which the command begins to listen. What comes before, some hundredths of a second, is
the start of the interpreter, which answers itself.
"""

# ruff: noqa: T201
import argparse
import csv
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

CTRL_C = b"\x03"

#: Makes the terminal that it finds on standard input its own, and becomes the command. Whoever runs this in the
#: background may have Ctrl-C ignored, which would be inherited.
_AT_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.executable, [sys.executable, '-m', 'consensus_imitation', *sys.argv[1:]])"
)

#: Differ between two runs that do the same.
_MEASURED = ("seconds",)

#: Small runs: long enough to be hit in all their phases. A journal stands in ``run``.
COMMANDS: Mapping[str, str] = {
    "kinds": "kinds --task cartpole --kinds mlp tangent-last --curve masks/8/0.5 --answers 100 --members 2 --out out",
    "knowledge": "knowledge --seeds 8 --steps 100 --out out",
    "redteam": "redteam --seeds 8 --scenarios time-bomb knows-the-draw --out out",
    "bounds": "bounds --env ring --seeds 8 --steps 40 --out out",
    "stakes": "stakes --seeds 8 --steps 40 --members 3 --out out",
    "sweep": "sweep --env ring --k 1 2 --alpha 0.1 --members 3 --seeds 34 --steps 200 --out out",
    "compare": "compare --task frozenlake --methods minimum random map --queries 20 --seeds 2 --steps 100 --members 2 "
    "--evaluations 1 --training updates=1 --out out",
    "compare, 2 processes": "compare --task frozenlake --methods minimum random map --queries 20 --seeds 2 --steps 100 "
    "--members 2 --evaluations 1 --training updates=1 --processes 2 --out out",
    "collapse": "collapse --task frozenlake --variants top2 alpha0.1 top2/share0.1 --seeds 2 --steps 60 --members 2 "
    "--out out",
    "planted": "planted --task cartpole --seeds 1 --steps 40 --demonstrations 40 --training 200 --honest 2 "
    "--contestants minimum MAP --out out",
    "shift": "shift --task cartpole --seeds 1 --steps 60 --episodes 2 --calibration 2 --more-episodes 1 "
    "--contestants minimum --worlds standard --out out",
    "frontier": "frontier --task frozenlake --contestants plain temperature --queries 20 --seeds 1 --steps 60 "
    "--members 2 --evaluations 1 --episodes 2 --demonstrator-episodes 5 --out out",
    "noisy": "noisy --world softmax --variants temperature plain --seeds 1 --steps 100 --members 2 --k 2 --out out",
    "online": "online --seeds 1 --steps 60 --poisoned 0 --contestants loop top-2 --out out",
    "poison": "poison --task digits --demonstrations 60 --poisoned 0 2 --divisions 'by slot' --seeds 1 --out out",
    "pendulum": "pendulum --seeds 2 --episodes 1 --contestants demonstrator consensus --out out",
    "demo": "demo --env ring --out out",
    "bench": "bench --cases decide-small --out out",
    "journal verify": "journal verify run",
    "journal export": "journal export run --format csv --out out.csv",
    "journal show": "journal show run",
    "envs": "envs",
    "tasks": "tasks",
}


class Ended(NamedTuple):
    """How a call ended: exit code as a shell has it, what the terminal showed, seconds, and whether Ctrl-C was sent."""

    code: int
    shown: str
    seconds: float
    struck: bool


class WrongEndError(AssertionError):
    """What was seen instead of what has to be."""


def call(
    argv: Sequence[str], place: Path, moment: float | None = None, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run the command in a pseudo-terminal, with Ctrl-C after so many seconds (0: as soon as it can; None: never)."""
    began = time.monotonic()
    own = {**os.environ, "TERM": "xterm", "PYTHONFAULTHANDLER": "1", **(environment or {})}
    terminal, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _AT_TERMINAL, *argv],
        stdin=slave, stdout=slave, stderr=slave, cwd=place, env=own, start_new_session=True,
    )  # fmt: skip
    os.close(slave)
    shown, struck = b"", False
    while True:
        if select.select([terminal], [], [], 0.01)[0]:
            try:
                some = os.read(terminal, 65536)
            except OSError:  # the last process has left the terminal
                some = b""
            if not some:
                break
            shown += some
        if moment is not None and not struck and time.monotonic() - began >= moment and _listens(process.pid):
            os.write(terminal, CTRL_C)
            struck = True
    code = process.wait()
    os.close(terminal)
    return Ended(128 - code if code < 0 else code, shown.decode(errors="replace"), time.monotonic() - began, struck)


def _listens(pid: int) -> bool:
    """Whether the process handles SIGTERM, which the interpreter alone does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def tables(place: Path) -> dict[str, list[tuple[tuple[str, str], ...]]]:
    """The rows of every table below a directory, without what was measured by the clock."""
    found: dict[str, list[tuple[tuple[str, str], ...]]] = {}
    for path in sorted(place.rglob("*.csv")):
        if path.name == "bench.csv":
            continue
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        kept = [tuple((key, cell) for key, cell in row.items() if key not in _MEASURED) for row in rows]
        # Processes end their runs in any order.
        found[str(path.relative_to(place))] = sorted(kept, key=repr)
    return found


_WRITE_JOURNAL = """
import numpy as np
from consensus_imitation import ConsensusImitator, TopK, ensembles

members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
with ConsensusImitator(members, lambda _: 1, selection=TopK(2), seed=0, journal="run") as imitator:
    for _ in range(300):
        imitator.act(0)
"""


def prepare(folder: Path, name: str) -> Path:
    """A directory in which a command can be called."""
    place = folder / name
    place.mkdir()
    if (folder / "run").exists():
        shutil.copytree(folder / "run", place / "run")
    return place


class Struck(NamedTuple):
    """One interrupted call: seconds until Ctrl-C, its exit code, finished rows, and the next call's exit code."""

    moment: float
    code: int
    rows: int
    next_code: int | None


def strike(name: str, moments: int, again: int, folder: Path) -> Iterator[Struck]:
    """Interrupt a command at so many moments, evenly from its beginning to its end.

    Args:
        name: of `COMMANDS`.
        moments: at least 2.
        again: how many of them are followed by an undisturbed call, evenly.
        folder: for files; new and empty.

    Raises:
        WrongEndError: if something is not as it has to be.
    """
    argv = shlex.split(COMMANDS[name])
    # What the undisturbed run compiles, the calls after the interrupts need not compile again.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    if "run" in argv:
        subprocess.run([sys.executable, "-c", _WRITE_JOURNAL], cwd=folder, check=True)
    whole = call(argv, prepare(folder, "whole"), environment=cache)
    if "Traceback" in whole.shown or whole.code not in (0, 1):
        raise WrongEndError(f"{name}: exit code {whole.code} undisturbed\n{whole.shown[-2000:]}")
    expected = tables(folder / "whole")
    followed = {round(i * (moments - 1) / max(again - 1, 1)) for i in range(again)}
    for i in range(moments):
        place = prepare(folder, f"moment-{i}")
        moment = whole.seconds * i / moments
        ended = call(argv, place, moment)
        where = f"{name}, Ctrl-C after {moment:.1f} s"
        _check(ended, whole, where)
        found = tables(place)
        for table, rows in found.items():
            strange = set(rows) - set(expected[table])
            if strange:
                raise WrongEndError(f"{where}: {table} holds rows that the undisturbed run does not have: {strange}")
        next_code = None
        if i in followed:
            after = call(argv, place, environment=cache)
            next_code = after.code
            # An export that was finished at that moment is not replaced, and the next one says so.
            code = 2 if "is there already" in after.shown else whole.code
            if (after.code, tables(place)) != (code, expected):
                raise WrongEndError(
                    f"{where}: the next call left other tables, exit code {after.code}\n{after.shown[-2000:]}"
                )
        yield Struck(moment, ended.code, sum(map(len, found.values())), next_code)


def _check(ended: Ended, whole: Ended, where: str) -> None:
    over = ended.code == whole.code and "interrupted;" not in ended.shown
    message = "interrupted" in ended.shown
    if not (over or (ended.code == 130 and message)) or any(
        word in ended.shown
        for word in ("Traceback", "Fatal Python error", "Segmentation", "leaked", "Exception ignored")
    ):
        raise WrongEndError(f"{where}: exit code {ended.code}\n{ended.shown[-3000:]}")


def main() -> int:
    """Interrupt the commands and print a line for each moment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20, help="of each command, at least 2")
    parser.add_argument("--again", type=int, default=3, help="of them are followed by a call to the end")
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS), metavar="NAME")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.commands:
        codes: list[int] = []
        with tempfile.TemporaryDirectory() as folder:
            try:
                for struck in strike(name, arguments.moments, arguments.again, Path(folder)):
                    codes.append(struck.code)
                    then = "" if struck.next_code is None else f", the next call {struck.next_code}"
                    print(
                        f"{name}: Ctrl-C after {struck.moment:.1f} s, exit code {struck.code}, {struck.rows} rows{then}"
                    )
                    sys.stdout.flush()
            except WrongEndError as failure:
                failed += 1
                print(f"FAILED {failure}", flush=True)
        print(f"== {name}: " + ", ".join(f"{codes.count(code)} x {code}" for code in sorted(set(codes))), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
