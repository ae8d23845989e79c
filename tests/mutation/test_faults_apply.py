"""Every deliberate fault can still be put in: whether a test notices it takes long, `python -m tests.mutation.run`."""

import ast
from collections import Counter

import pytest

from .faults import FAULTS, Fault
from .run import ROOT, applied, source_of


def test_names_are_unique() -> None:
    assert [name for name, count in Counter(fault.name for fault in FAULTS).items() if count > 1] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_fault_applies_and_leaves_a_program(fault: Fault) -> None:
    text = source_of(fault, ROOT).read_text()
    changed = applied(fault, text)
    assert changed != text
    ast.parse(changed)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_tests_exist(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        assert (ROOT / test.split("::")[0]).exists(), test


def test_a_fault_whose_text_is_gone_is_told() -> None:
    with pytest.raises(ValueError, match="occurs 0 times"):
        applied(Fault("none", "learner", "a text that is nowhere", "another", ("tests/core",)), "some source")
