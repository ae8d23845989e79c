"""Calls of a demonstrator with a deadline for the wait, from a thread or from an event loop."""

import asyncio
import contextlib
import contextvars
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from typing import Any, TypeAlias, cast


class ThreadCall(futures.Future[Any]):
    """A call in its own daemon thread, which lets the interpreter end, however long the call hangs.

    It begins at once, and cannot be cancelled.

    Args:
        function: called without arguments.
        name: of the thread.
    """

    def __init__(self, function: Callable[[], Any], name: str) -> None:
        super().__init__()
        self._echo: asyncio.Future[None] | None = None
        self.set_running_or_notify_cancel()
        self.add_done_callback(lambda _: self._wake())
        # As asyncio.to_thread does: np.errstate, for example, holds for the demonstrator, too.
        run = contextvars.copy_context().run
        threading.Thread(target=lambda: run(self._work, function), name=name, daemon=True).start()

    def echo(self) -> "asyncio.Future[None]":
        """Return a future of the running event loop that is done when the call is; all waiters there share it."""
        loop = asyncio.get_running_loop()
        if self._echo is None or self._echo.get_loop() is not loop:
            self._echo = loop.create_future()
            if self.done():  # The thread may have looked for an echo before this one was there.
                self._wake()
        return self._echo

    def _work(self, function: Callable[[], Any]) -> None:
        try:
            answer = function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiter gets it
            self.set_exception(error)
        else:
            self.set_result(answer)

    def _wake(self) -> None:
        echo = self._echo
        if echo is not None:
            with contextlib.suppress(RuntimeError):  # The event loop is closed: nobody waits in it any more.
                echo.get_loop().call_soon_threadsafe(_set, echo)


#: A call in a thread, in an event loop, or one made there and then (which is over).
Call: TypeAlias = futures.Future[Any] | asyncio.Task[Any]


def call_here(function: Callable[[], Any]) -> Call:
    """Make the call at once, in this thread. Ctrl-C passes through."""
    call: futures.Future[Any] = futures.Future()
    try:
        call.set_result(function())
    except Exception as error:  # noqa: BLE001 - raised when somebody reads the answer
        call.set_exception(error)
    return call


def call_in_loop(function: Callable[[], Coroutine[Any, Any, Any]]) -> Call:
    """Run the coroutine in the running event loop."""
    task = asyncio.get_running_loop().create_task(function())
    # Always read it: for a query that was given up, asyncio must not complain about an exception never retrieved.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def is_over(call: Call) -> bool:
    """Return whether no answer can come any more: the call is done, or its event loop was closed."""
    return call.done() or (isinstance(call, asyncio.Task) and call.get_loop().is_closed())


def wait(call: Call, seconds: float) -> None:
    """Wait in this thread until the call is over; ``seconds`` (may be infinite) at most. Ctrl-C ends it at once."""
    futures.wait([cast("futures.Future[Any]", call)], _finite(seconds))


async def wait_async(call: Call, seconds: float) -> None:
    """Wait in the running event loop until the call is over; ``seconds`` (may be infinite) at most."""
    future = call.echo() if isinstance(call, ThreadCall) else cast("asyncio.Future[Any]", call)
    await asyncio.wait({future}, timeout=_finite(seconds))


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def _set(echo: "asyncio.Future[None]") -> None:
    if not echo.done():
        echo.set_result(None)
