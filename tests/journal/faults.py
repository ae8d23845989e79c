"""Making the n-th call that changes the disk fail, before or after it has done its work."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from consensus_imitation.journal import _disk

CALLS = ("execute", "execute_many", "create", "write", "sync", "replace", "remove", "make_directory")


class Faults:
    """Counts the calls; the one with the number ``at`` fails."""

    def __init__(self, at: int | None, error: BaseException, after: bool) -> None:
        self.at, self.error, self.after = at, error, after
        self.seen: list[str] = []

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            self.seen.append(name)
            if len(self.seen) - 1 != self.at:
                return call(*arguments)
            if self.after:
                call(*arguments)
            elif name == "write":
                # A short write, of which the rest fails.
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise self.error

        return wrapped

    @property
    def struck(self) -> bool:
        return self.at is not None and len(self.seen) > self.at


@contextmanager
def faults(
    at: int | None = None, error: BaseException | None = None, after: bool = False
) -> Generator[Faults, None, None]:
    found = Faults(at, OSError(28, "No space left on device") if error is None else error, after)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(_disk, name, found.wrap(name, getattr(_disk, name)))
        yield found


ERRORS = {
    "full": OSError(28, "No space left on device"),
    "broken": OSError(5, "Input/output error"),
    "sqlite": sqlite3.OperationalError("disk I/O error"),
}
