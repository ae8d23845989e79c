"""Runs outlive changes of the library: those that were written before, done again bit for bit."""

import json
import platform
from pathlib import Path
from types import ModuleType

import pytest

from . import kept_learning, kept_run
from .kept_runs import last_bits, resumed


@pytest.mark.skipif(platform.machine() != "x86_64", reason="written on another kind of processor: other last bits")
@pytest.mark.parametrize("from_the_first_call", [False, True])
@pytest.mark.parametrize("kept", [kept_run, kept_learning], ids=["before the house was rebuilt", "members that learn"])
def test_a_run_from_before_is_done_again_to_the_same_bits(
    tmp_path: Path, kept: ModuleType, from_the_first_call: bool
) -> None:
    expected = json.loads((kept.KEPT / "expected.json").read_text())
    if expected.get("last_bits", last_bits()) != last_bits():
        pytest.skip("networks have other last bits under this version of JAX, or on this processor")
    there, then = resumed(kept, tmp_path / "copy", from_the_first_call=from_the_first_call)
    assert there == expected["end"]
    assert then == expected["then"]
