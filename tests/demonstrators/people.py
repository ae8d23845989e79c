"""Demonstrators that answer when they are let, and write down what happens to them."""

import asyncio
import threading
from typing import Any

#: Longer than any test takes that passes: what waits so long has hung.
LONG = 60.0


class Person:
    """Answers an observation with itself. Those in ``slow`` it answers only once ``gate`` is open."""

    def __init__(self, slow: Any = ()) -> None:
        self.slow = set(slow)
        self.gate = threading.Event()
        self.asked: list[Any] = []
        self.at_gate: list[Any] = []
        self.threads: list[threading.Thread] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def __call__(self, observation: Any) -> Any:
        with self._lock:
            self.asked.append(observation)
            self.threads.append(threading.current_thread())
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        if observation in self.slow and not self.gate.is_set():
            self.at_gate.append(observation)
            self.gate.wait()
            self.at_gate.remove(observation)
        with self._lock:
            self._at_once -= 1
        return observation

    def leave(self) -> None:
        """Let all threads come to an end."""
        self.gate.set()
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(LONG)


class AsyncPerson:
    """The same in an event loop: those in ``slow`` it never answers. It minds being cancelled unless ``stubborn``."""

    def __init__(self, slow: Any = (), stubborn: bool = False) -> None:
        self.slow = set(slow)
        self.stubborn = stubborn
        self.gate = asyncio.Event()
        self.asked: list[Any] = []
        self.cancelled: list[Any] = []
        self.most_at_once = 0
        self._at_once = 0

    async def __call__(self, observation: Any) -> Any:
        self.asked.append(observation)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            while observation in self.slow and not self.gate.is_set():
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    self.cancelled.append(observation)
                    if not self.stubborn:
                        raise
        finally:
            self._at_once -= 1
        return observation


class Flaky:
    """Raises what it is given, one after the other, and then answers 1."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self, observation: Any) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return 1
