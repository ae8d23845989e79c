"""A clock that only moves while somebody is waited for who hangs: whoever is to answer has all the time."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from consensus_imitation.demonstrators import _asking, _calls

from .people import LONG, Person


class Clock:
    """What patience is measured by.

    Attributes:
        now: in seconds.
        waits: for how long somebody was waited for who hung, and the pauses, in order.
        people: who may hang. A coroutine hangs when its event loop has nothing to do but it.
    """

    def __init__(self, people: list[Person]) -> None:
        self.now, self.people = 1000.0, people
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def wait(self, call: Any, seconds: float) -> None:
        if seconds > LONG / 2:
            _calls.wait(call, seconds)
            return
        end = time.monotonic() + LONG
        while not _calls.is_over(call):
            assert time.monotonic() < end, "nothing happens"
            if self._hangs(call):
                self.sleep(seconds)
                return
            time.sleep(0.001)

    async def wait_async(self, call: Any, seconds: float) -> None:
        if seconds > LONG / 2:
            await _calls.wait_async(call, seconds)
            return
        for turn in range(10_000):
            if _calls.is_over(call):
                return
            if self._hangs(call) or (isinstance(call, asyncio.Task) and turn > 100):
                self.sleep(seconds)
                return
            await asyncio.sleep(0 if isinstance(call, asyncio.Task) else 0.001)
        raise AssertionError("nothing happens")

    def _hangs(self, call: Any) -> bool:
        return any(getattr(call, "about", None) in person.at_gate for person in self.people)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have it measure patience."""

        class Noted(_calls.ThreadCall):
            """A call that knows what it is about."""

            def __init__(self, function: Any, name: str) -> None:
                (self.about,) = function.args
                super().__init__(function, name)

        patch.setattr(_asking, "ThreadCall", Noted)
        patch.setattr(_asking, "time", self)
        patch.setattr(_asking, "wait", self.wait)
        patch.setattr(_asking, "wait_async", self.wait_async)
        patch.setattr(_asking, "asyncio", SimpleNamespace(sleep=self.sleep_async))
