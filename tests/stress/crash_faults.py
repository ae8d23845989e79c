"""The faults of `tests.journal.faults`, each with an error that its call can give."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from consensus_imitation.journal import _disk
from tests.journal.faults import CALLS, Faults

FILES = [OSError(28, "No space left on device"), OSError(5, "Input/output error"), OSError(122, "Disk quota exceeded")]
SQL = [sqlite3.OperationalError("database or disk is full"), sqlite3.OperationalError("disk I/O error")]


class Fitting(Faults):
    """The error is one of SQLite's where SQLite is called, and one of the operating system's elsewhere."""

    interruption: BaseException | None = None

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        wrapped = super().wrap(name, call)

        def fitting(*arguments: Any) -> Any:
            errors = SQL if name.startswith("execute") else FILES
            self.error = self.interruption or errors[len(self.seen) % len(errors)]
            return wrapped(*arguments)

        return fitting


@contextmanager
def failing(at: int, after: bool, interruption: BaseException | None = None) -> Generator[Fitting, None, None]:
    """The call with the number ``at`` fails, or is interrupted."""
    found = Fitting(at, FILES[0], after)
    found.interruption = interruption
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(_disk, name, found.wrap(name, getattr(_disk, name)))
        yield found
