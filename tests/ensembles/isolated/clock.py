"""A clock that only moves where a member is to hang: until all others have answered, the system has all the time."""

import select
import sys
import time
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from consensus_imitation import ensembles
from consensus_imitation.core._packing import pack
from consensus_imitation.ensembles.isolated import _process

#: Seconds after which a test gives up: not how long anything may take, but how long nothing may happen.
GIVE_UP = 120.0


class Clock:
    """What members are timed by.

    Attributes:
        now: in seconds; time passes where somebody waits for members that are all to hang.
        waited: how many members were waited for, each time.
        hangs: names of members' functions, and packed observations on which they hang.
        when: time passes only once this is so.
        tick: seconds that pass each time anybody waits, besides.
        interrupted: whether Ctrl-C comes while members are waited for, once.
    """

    def __init__(self) -> None:
        self.now, self.tick = 1000.0, 0.0
        self.waited: list[int] = []
        self.hangs: set[tuple[str, bytes]] = set()
        self.when: Callable[[], bool] = lambda: True
        self.interrupted = False
        self._asked = weakref.WeakKeyDictionary[Any, tuple[str, bytes]]()

    def monotonic(self) -> float:
        return self.now

    def hang(self, name: str, *observations: Any) -> None:
        """What a member's function hangs on."""
        self.hangs |= {(name, pack(observation)) for observation in observations}

    def asked(self, member: _process.Member, data: bytes) -> None:
        assert member._process is not None
        self._asked[member._process.socket] = (member._job.target.name, data)

    def poll(self) -> "Poll":
        return Poll(self)

    def is_silent(self, file: Any) -> bool:
        """Whether what is waited for does not come."""
        return self._asked.get(file) in self.hangs


class Poll:
    """In place of `select.poll`."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._real, self._files = clock, select.poll(), list[Any]()

    def register(self, file: Any, events: int) -> None:
        self._real.register(file, events)
        self._files.append(file)

    def poll(self, milliseconds: float) -> Any:
        clock = self._clock
        clock.waited.append(len(self._files))
        if clock.interrupted:
            clock.interrupted = False
            raise KeyboardInterrupt
        if all(map(clock.is_silent, self._files)):
            until(clock.when)
            clock.now += milliseconds / 1000
            return []
        clock.now += clock.tick
        found = self._real.poll(1000 * GIVE_UP)
        assert found, "nothing happens"
        return found


@contextmanager
def clocked() -> Generator[Clock, None, None]:
    """The clock, by which members are timed within."""
    clock, ask = Clock(), _process.Member.ask

    def noted(member: _process.Member, data: bytes) -> None:
        clock.asked(member, data)
        ask(member, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[ensembles.Isolated.__module__], "time", clock)
        patch.setattr(_process, "time", clock)
        patched = SimpleNamespace(poll=clock.poll, POLLIN=select.POLLIN, POLLOUT=select.POLLOUT)
        patch.setattr(_process, "select", patched)
        patch.setattr(_process.Member, "ask", noted)
        yield clock


def until(what: Callable[[], Any]) -> None:
    """Let the system come on until something is so."""
    end = time.monotonic() + GIVE_UP
    while not what():
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.01)


def until_ready(ensemble: ensembles.Isolated, clock: Clock) -> None:
    """Wait for members that are starting again; the pauses between starts pass at once."""

    def ready() -> bool:
        for member in ensemble._members:
            if member._state == "down":
                clock.now = max(clock.now, member._not_before)
        return bool(ensemble.ready.all())

    until(ready)
