"""Runs that are killed with SIGKILL and taken up again (`crash_kill`); the networks that learn are in the long test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(work: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.stress.crash_kill", "--work", str(work / "runs"), *arguments]
    # One thread of its linear algebra: a process that is forked has no others.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_runs_that_are_killed_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    done = killed(tmp_path, "--points", "6", "--calls", "40", "--ways", "apart", "--tables")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "points 6 in " in done.stdout
    assert ", lost 0, duplicated 0" in done.stdout


@pytest.mark.long
def test_runs_that_are_killed_two_hundred_times_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    done = killed(tmp_path, "--points", "200", "--calls", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "points 200 in " in done.stdout
    assert ", lost 0, duplicated 0" in done.stdout
