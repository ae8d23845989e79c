"""Runs outlive changes of the library: one that was written before the house was rebuilt, done again bit for bit."""

import json
import platform
from pathlib import Path

import pytest

from . import kept_run

EXPECTED = json.loads((kept_run.KEPT / "expected.json").read_text())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="written on another kind of processor: other last bits")
@pytest.mark.parametrize("from_the_first_call", [False, True])
def test_a_run_from_before_is_done_again_to_the_same_bits(tmp_path: Path, from_the_first_call: bool) -> None:
    path = kept_run.KEPT / "run"
    there, then = kept_run.resumed(path, tmp_path / "copy", from_the_first_call=from_the_first_call)
    assert there == EXPECTED["end"]
    assert then == EXPECTED["then"]
