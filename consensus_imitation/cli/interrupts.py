"""Ctrl-C and SIGTERM end a command at once, whatever it is doing, with a message and an exit code.

Python's own way is an exception, `KeyboardInterrupt`, in the main thread. It does not suit a program that spends its
time in native code:

* It waits until native code returns. Compiling or running a program of JAX takes many seconds.
* It is raised between any two instructions. If native code still runs in other threads then, or a module is half
  imported, the interpreter ends in a segmentation fault when it shuts down.
* Inside a callback or a finaliser it is printed, and lost.

So this module raises nothing and shuts nothing down. A separate thread receives the signal, prints what is saved, and
ends the process as a power cut would. This is safe because the results on disk are whole at every moment: see
`consensus_imitation.experiments.ledger`.

This module imports nothing heavy: `watch` is the first thing that the command does.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Puts the cursor back on, which a progress bar hides.
_SHOW_CURSOR = "\x1b[?25h"


#: What is done before the process ends, the latest first.
_BEFORE_LEAVING: list[Callable[[], object]] = []


@contextmanager
def before_leaving(function: Callable[[], object]) -> Generator[None, None, None]:
    """Have a function called if a signal ends the process meanwhile: no `finally` runs then.

    Args:
        function: short; it runs in another thread. What it raises is ignored.
    """
    _BEFORE_LEAVING.append(function)
    try:
        yield
    finally:
        _BEFORE_LEAVING.remove(function)


class Interrupts:
    """What to say when the process is ended by a signal.

    Attributes:
        message: one line.
    """

    def __init__(self, message: str) -> None:
        self.message = message

    def leave(self, number: int) -> None:
        """Print the message on standard error and end the process, and the processes that it started."""
        with suppress(Exception):
            cursor = _SHOW_CURSOR if os.isatty(2) else ""
            os.write(2, f"{cursor}\n{self.message}\n".encode())
        for function in reversed(_BEFORE_LEAVING.copy()):
            with suppress(Exception):
                function()
        # Only if it is imported: nothing may be imported in the middle of another import.
        multiprocessing = sys.modules.get("multiprocessing")
        with suppress(Exception):
            for child in multiprocessing.active_children() if multiprocessing else ():
                child.kill()
        os._exit(128 + number)


def watch(message: str) -> Interrupts:
    """Make Ctrl-C and SIGTERM end the process with exit code 130 and 143 from now on.

    If the process was started to ignore a signal, it still ignores it. Call this function once, in the main thread.

    Args:
        message: printed at that moment.

    Returns:
        The `Interrupts`, whose message may change.
    """
    watched = Interrupts(message)
    reading, writing = os.pipe()
    if sys.platform != "win32":
        os.set_blocking(writing, False)

    def wait() -> None:
        watched.leave(os.read(reading, 1)[0])

    threading.Thread(target=wait, name="interrupts", daemon=True).start()
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            # The interpreter writes the signal's number to the pipe as soon as it comes, in native code, too. There has
            # to be a handler, which does nothing.
            signal.signal(number, lambda *_: None)
    return watched
