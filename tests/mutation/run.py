"""Do the tests notice mistakes? Each deliberate fault of `faults/` is put into a copy of the library, one at a time.

From the root of the repository, with the test dependencies installed (about 15 minutes on two cores)::

    python -m tests.mutation.run                            # all faults, two at a time
    python -m tests.mutation.run --list                     # their names, files and tests
    python -m tests.mutation.run --only mean-for-minimum    # one of them; may be repeated

First all chosen tests run without a fault and have to pass. A fault is *caught* if one of its tests fails. The exit
code is 1 if a fault survives, or cannot be applied because its text is not found exactly once: then the library has
changed, and the fault has to follow. ``pytest`` does not collect this.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from .faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 900
CHECK = """
import importlib, pathlib, sys
for name in ("", ".core.learner", ".envs", ".benchmarks", ".imitator"):
    module = importlib.import_module("consensus_imitation" + name)
    assert pathlib.Path(module.__file__).resolve().is_relative_to(pathlib.Path(sys.argv[1]).resolve()), module.__file__
"""


class Result(NamedTuple):
    """What became of one fault.

    Attributes:
        verdict: "caught", "survived", "not applied" or "broken" (the tests could not even be collected).
        detail: the first test that failed, or what is wrong.
        seconds: of the tests.
    """

    verdict: str
    detail: str
    seconds: float


def copy_to(place: Path) -> None:
    """The packages as they are installed, and the tests."""
    without = shutil.ignore_patterns("__pycache__", "*.pyc")
    package = place / "consensus_imitation"
    shutil.copytree(ROOT / "consensus_imitation", package, ignore=without)
    for part in ("envs", "benchmarks"):
        shutil.copytree(ROOT / part, package / part, ignore=without)
    shutil.copytree(ROOT / "tests", place / "tests", ignore=without)
    # Rows that tests read.
    shutil.copytree(ROOT / "docs" / "benchmarks" / "suite", place / "docs" / "benchmarks" / "suite")
    shutil.copy(ROOT / "docs" / "suite_benchmark.md", place / "docs")
    shutil.copy(ROOT / "pyproject.toml", place)


def source_of(fault: Fault, root: Path) -> Path:
    """The file that a fault is about; `envs` and `benchmarks` lie at the top of the repository."""
    package = root / "consensus_imitation" / f"{fault.file}.py"
    return package if package.exists() else root / f"{fault.file}.py"


def applied(fault: Fault, text: str) -> str:
    """The source with the fault.

    Raises:
        ValueError: unless the text to replace occurs exactly once.
    """
    found = text.count(fault.old)
    if found != 1:
        raise ValueError(f"the text occurs {found} times in {fault.file}.py: {fault.old!r}")
    return text.replace(fault.old, fault.new)


def apply(fault: Fault, place: Path) -> str:
    """Put the fault in; returns what is wrong, or the empty string."""
    path = source_of(fault, place)
    try:
        path.write_text(applied(fault, path.read_text()))
    except ValueError as error:
        return str(error)
    return ""


def run_tests(place: Path, tests: Sequence[str]) -> tuple[int, str]:
    """pytest's exit code, and the first failure or the last line."""
    environment = os.environ | {"PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", CHECK, str(place)], cwd=place, env=environment, check=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--tb=no",
        "-p",
        "no:cacheprovider",
        "-m",
        "not long",
        *tests,
    ]
    try:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return 1, f"no end after {TIMEOUT} s"
    lines = done.stdout.strip().splitlines()
    failed = [line.split(" - ")[0] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return done.returncode, (failed or lines or [done.stderr.strip()])[-1 if not failed else 0]


def judge(fault: Fault | None, tests: Sequence[str]) -> Result:
    """Run the tests on a copy with the fault, or without any."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        place = Path(folder)
        copy_to(place)
        wrong = "" if fault is None else apply(fault, place)
        if wrong:
            return Result("not applied", wrong, 0.0)
        begin = time.perf_counter()
        code, detail = run_tests(place, tests)
        seconds = time.perf_counter() - begin
    verdict = {0: "survived", 1: "caught"}.get(code, "broken")
    return Result(verdict, detail.removeprefix("FAILED "), seconds)


def main() -> int:
    """Run the faults asked for."""
    parser = argparse.ArgumentParser(description="Do the tests notice deliberate mistakes?")
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help="run this fault; repeatable")
    parser.add_argument("--list", action="store_true", help="show the faults and stop")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    arguments = parser.parse_args()
    console = Console(width=150)
    chosen = [fault for fault in FAULTS if not arguments.only or fault.name in arguments.only]
    if arguments.list:
        table = Table("fault", "file", "tests")
        for fault in chosen:
            table.add_row(fault.name, fault.file, ", ".join(fault.tests))
        console.print(table)
        return 0

    begin = time.perf_counter()
    tests = sorted({test for fault in chosen for test in fault.tests})

    def unharmed(test: str) -> Result:
        result = judge(None, [test])
        console.print(f"without a fault: {test}: {result.detail} ({result.seconds:.0f} s)")
        return result

    with ThreadPoolExecutor(arguments.jobs) as pool:
        sound = list(pool.map(unharmed, tests))
    if any(result.verdict != "survived" for result in sound):
        console.print("[red]the tests fail without any fault: nothing can be said")
        return 1

    def one(fault: Fault) -> Result:
        result = judge(fault, fault.tests)
        console.print(f"{fault.name}: {result.verdict} ({result.seconds:.0f} s)")
        return result

    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(one, chosen))
    table = Table("fault", "file", "verdict", "first test that fails", "s")
    for fault, result in zip(chosen, results, strict=True):
        colour = "green" if result.verdict == "caught" else "red"
        table.add_row(fault.name, fault.file, f"[{colour}]{result.verdict}", result.detail, f"{result.seconds:.0f}")
    console.print(table)
    caught = sum(result.verdict == "caught" for result in results)
    console.print(f"{caught} of {len(results)} faults caught, in {time.perf_counter() - begin:.0f} s")
    return 0 if caught == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
