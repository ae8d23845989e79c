"""Guards are raised, not asserted: they hold under ``python -O``."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_bad_inputs_are_refused_without_asserts() -> None:
    command = [sys.executable, "-O", "-W", "error", "-m", "tests.imitator.optimised"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.fullmatch(r"(\d+) refused\n", done.stdout)
    assert found is not None
    assert int(found[1]) >= 150
