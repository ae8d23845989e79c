"""Ask the demonstrator of one environment: one query at a time, and never two calls at a time.

A plain function cannot be stopped. Where it must not block its caller it runs in its own daemon thread, at most one per
environment. If its query is given up, its later answer is dropped. Until it has returned, this demonstrator is neither
asked nor told anything else; what it has to be told waits, and is told before the next question.
"""

import asyncio
import inspect
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, cast

from consensus_imitation.core._observations import given, private
from consensus_imitation.demonstrators._calls import (
    Call,
    ThreadCall,
    call_here,
    call_in_loop,
    is_over,
    wait,
    wait_async,
)
from consensus_imitation.demonstrators.patience import Patience
from consensus_imitation.errors import ConfigurationError, DemonstratorTimeoutError

#: Seconds from the beginning of an attempt that fails at once to the next: there are no calls in a tight loop.
PAUSE = 1.0


class Wait(NamedTuple):
    """What a query has to wait for.

    Attributes:
        call: until it is over; None to let time pass.
        seconds: at most; may be infinite.
    """

    call: Call | None
    seconds: float


class Query:
    """One question to the demonstrator, and the call for it.

    Args:
        start: makes a call.
        failures: exceptions after which another attempt makes sense.

    Attributes:
        call: the latest of this query; None before there is one.
    """

    def __init__(self, start: Callable[[], Call], failures: tuple[type[Exception], ...]) -> None:
        self._start = start
        self._failures = failures
        self._stopped = False
        self.call: Call | None = None

    @property
    def settled(self) -> bool:
        """Whether the call has ended by itself; to be stopped does not count."""
        if self.call is None or not is_over(self.call):
            return False
        return not self._stopped or not (self.call.cancelled() or isinstance(self.call.exception(), self._failures))

    @property
    def failure(self) -> BaseException | None:
        """Why the call gave no answer, if another attempt makes sense."""
        if self.call is None or not self.settled or self.call.cancelled():
            return None
        error = self.call.exception()
        return error if isinstance(error, self._failures) else None

    def start(self) -> Call:
        """Make a call."""
        self._stopped = False
        self.call = self._start()
        return self.call

    def result(self) -> Any:
        """Return the answer, or what the demonstrator raised, of a settled query."""
        return cast("Call", self.call).result()

    def stop(self) -> None:
        """Cancel the call, if it is one that can be cancelled."""
        if self.call is not None and self.call.cancel():
            self._stopped = True


class Asker:
    """Something that asks one demonstrator, with patience, one query at a time.

    Args:
        demonstrator: called with an observation; ``async def`` or not.
        is_async: whether a call of it gives a coroutine.
        patience: with the demonstrator.
        whom: for messages: "the demonstrator of environment 3".
        sees_mask: whether it is called with ``action_mask=``, too.
    """

    def __init__(
        self, demonstrator: Callable[..., Any], is_async: bool, patience: Patience, whom: str, sees_mask: bool = False
    ) -> None:
        self._demonstrator = demonstrator
        self._is_async = is_async
        self._patience = patience
        self._is_trusting = patience == Patience()
        self._whom = whom
        self._sees_mask = sees_mask
        self._call: Call | None = None  # of the latest query; it may continue long after the query was given up
        self._untold: deque[Callable[[], None]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a call is still running, even one for a query that was given up."""
        return self._call is not None and not is_over(self._call)

    def tell(self, message: Callable[[], None]) -> None:
        """Call a function as soon as the demonstrator is not busy: now, or before it is told or asked the next time."""
        self._untold.append(message)
        if not self.busy:
            self._tell()

    def ask(self, observation: Any, mask: Any = None) -> Any:
        """Wait in this thread for the answer, and return it; ``mask`` is bool [A], or None where all is legal.

        Raises:
            DemonstratorTimeoutError: if patience is over.
            ConfigurationError: if the demonstrator is ``async def``, or answers with an awaitable.
        """
        if self._is_async:
            raise ConfigurationError(
                f"{self._whom} is async def, and act() cannot wait for it: use await act_async(observation), or pass a "
                "plain function"
            )
        if self._is_trusting and not self.busy:
            self._tell()
            return self._checked(self._call_demonstrator(observation, mask))
        function = partial(self._call_demonstrator, private(observation), mask=mask)
        in_thread = self._patience.timeout is not None
        start = partial(ThreadCall, function, self._whom) if in_thread else partial(call_here, function)
        query = Query(start, self._patience.failures)
        for call, seconds in self._waits(query):
            if call is None:
                time.sleep(seconds)
            else:
                wait(call, seconds)
        return self._checked(query.result())

    async def ask_async(self, observation: Any, mask: Any = None) -> Any:
        """`ask`, without blocking the event loop.

        Raises:
            DemonstratorTimeoutError: if patience is over.
            ConfigurationError: if a demonstrator that is not ``async def`` answers with an awaitable.
        """
        function = partial(self._call_demonstrator, private(observation), mask=mask)
        start = partial(call_in_loop, function) if self._is_async else partial(ThreadCall, function, self._whom)
        query = Query(start, self._patience.failures)
        try:
            for call, seconds in self._waits(query):
                await (asyncio.sleep(seconds) if call is None else wait_async(call, seconds))
        finally:
            query.stop()
        return self._checked(query.result())

    def _call_demonstrator(self, observation: Any, mask: Any) -> Any:
        """Call the demonstrator with a new copy each time: an earlier attempt may have written to its copy."""
        if self._sees_mask:
            return self._demonstrator(given(observation), action_mask=given(mask))
        return self._demonstrator(given(observation))

    def _waits(self, query: Query) -> Iterator[Wait]:
        """Ask as often as patience allows, and yield each time what to wait for. Afterwards the query is settled.

        Raises:
            DemonstratorTimeoutError: if patience is over.
        """
        patience, began = self._patience, time.monotonic()
        for attempt in itertools.count(1):
            started = time.monotonic()
            end = math.inf if patience.timeout is None else started + patience.timeout
            while not query.settled:
                left = end - time.monotonic()
                if left <= 0:
                    break
                if self.busy:
                    yield Wait(self._call, left)
                else:
                    self._tell()
                    self._call = query.start()
            if query.settled and query.failure is None:
                return
            if attempt >= patience.attempts:
                raise DemonstratorTimeoutError(
                    self._silence(query, attempt, time.monotonic() - began)
                ) from query.failure
            if query.failure is None:
                query.stop()
                continue
            query.call = None
            pause = min(PAUSE, end - started) - (time.monotonic() - started)
            if pause > 0:
                yield Wait(None, pause)

    def _silence(self, query: Query, attempts: int, seconds: float) -> str:
        timeout = self._patience.timeout
        return (
            f"{self._whom} did not answer: {attempts} attempt{'s' if attempts > 1 else ''} in {seconds:.3g} s"
            + (f", with {timeout:g} s for each" if timeout is not None else "")
            + (f"; the last failed: {query.failure!r}" if query.failure is not None else "")
            + ("; an earlier query was given up, but its call still runs" if query.call is None else "")
            + '. Call again to ask again, or change its Patience: a longer timeout, more retries, then="block", or a '
            "SafeAction to take instead"
        )

    def _tell(self) -> None:
        while self._untold:
            self._untold.popleft()()

    def _checked(self, answer: Any) -> Any:
        if not inspect.isawaitable(answer):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()
        raise ConfigurationError(
            f"{self._whom} answered with an awaitable, but is not async def itself: define it with async def, and use "
            "act_async()"
        )
