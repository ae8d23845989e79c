"""Ctrl-C at any instruction; `python -m tests.stress.interrupts` tries a thousand of them."""

from dataclasses import replace
from typing import Any

import pytest

from consensus_imitation.imitator._live import Live

from . import interrupts


@pytest.mark.parametrize("journal", [False, True])
def test_what_is_interrupted_is_over_or_has_not_begun(journal: bool) -> None:
    assert interrupts.strike(60, journal) == (60, 0)


def test_a_step_that_is_closed_field_by_field_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what was learned is put down before the query is closed."""
    settle = Live.settle

    def in_two(self: Any, waiting: Any, reply: Any) -> Any:
        before = self.run
        closed = settle(self, waiting, reply)
        after, self.run = self.run, replace(before, state=self.run.state)
        halfway(after)
        self.run = after
        return closed

    monkeypatch.setattr(Live, "settle", in_two)
    monkeypatch.setattr(interrupts, "LIBRARY", __file__)
    struck, differ = interrupts.strike(200, False)
    assert struck == 200
    assert differ > 0


def halfway(after: Any) -> None:
    """Some instructions, at which it may be interrupted."""
    for _ in range(10):
        assert after is not None
