"""People who leave when the test is over, and a shorter pause after a failure."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from consensus_imitation.demonstrators import asking

from .people import Person


@pytest.fixture
def person() -> Iterator[Callable[..., Person]]:
    """Makes people."""
    everybody: list[Person] = []

    def make(slow: Any = ()) -> Person:
        everybody.append(Person(slow))
        return everybody[-1]

    yield make
    for one in everybody:
        one.leave()


@pytest.fixture
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure it goes on soon."""
    monkeypatch.setattr(asking, "PAUSE", 0.001)
