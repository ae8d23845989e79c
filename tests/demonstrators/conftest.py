"""People who leave when the test is over, and a shorter pause after a failure."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consensus_imitation.demonstrators import _asking

from .clock import Clock
from .people import Person


@pytest.fixture
def everybody() -> list[Person]:
    """Those that there are."""
    return []


@pytest.fixture
def clock(everybody: list[Person], monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which patience is measured."""
    clock = Clock(everybody)
    clock.install(monkeypatch)
    return clock


@pytest.fixture
def person(everybody: list[Person]) -> Iterator[Callable[..., Person]]:
    """Makes people."""

    def make(slow: Any = ()) -> Person:
        everybody.append(Person(slow))
        return everybody[-1]

    yield make
    for one in everybody:
        one.leave()


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure it goes on soon."""
    monkeypatch.setattr(_asking, "PAUSE", 0.001)
