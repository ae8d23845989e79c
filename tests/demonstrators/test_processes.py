"""A demonstrator that hangs for ever keeps nobody from leaving, and nobody from interrupting."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .people import LONG

#: Whoever starts the tests in the background may have Ctrl-C ignored, and children inherit that.
START = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)

def say(text):
    sys.stdout.write(text + chr(10))
    sys.stdout.flush()

def hangs(observation):
    say("asked")
    threading.Event().wait()
"""

IMPORTS = """
import asyncio
from consensus_imitation.demonstrators import Panel, Patience
from consensus_imitation.errors import DemonstratorTimeoutError
"""

GIVES_UP = """
try:
    Panel(hangs, None, Patience(timeout=0.05)).ask(0)
except DemonstratorTimeoutError:
    say("given up")

async def main():
    try:
        await Panel(hangs, None, Patience(timeout=0.05)).ask_async(0)
    except DemonstratorTimeoutError:
        say("given up")

asyncio.run(main())
say("the end")
"""

#: The same with a thread pool of the standard library.
HANGS = """
try:
    from concurrent.futures import ThreadPoolExecutor
    ThreadPoolExecutor(1).submit(hangs, 0).result(timeout=0.05)
except TimeoutError:
    say("given up")
say("the end")
"""

WAITS = """
try:
    {ask}
except KeyboardInterrupt:
    say("interrupted")
"""


@contextmanager
def process(code: str) -> Iterator[subprocess.Popen[str]]:
    """A fresh interpreter, which is ended after a while in any case: reading from it cannot hang."""
    running = subprocess.Popen([sys.executable, "-c", START + code], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(LONG, running.kill)
    watchdog.start()
    try:
        yield running
    finally:
        watchdog.cancel()
        running.kill()
        running.communicate()


def read_to(running: subprocess.Popen[str], line: str) -> list[str]:
    """What it says up to that line."""
    assert running.stdout is not None
    said: list[str] = []
    while not said or said[-1] not in (line, ""):
        said.append(running.stdout.readline().strip())
    return said


def test_the_interpreter_leaves_a_hung_demonstrator_behind() -> None:
    with process(IMPORTS + GIVES_UP) as running:
        assert read_to(running, "the end") == ["asked", "given up", "asked", "given up", "the end"]
        assert running.wait(LONG) == 0


def test_with_other_threads_it_would_not() -> None:
    with process(HANGS) as running:
        assert read_to(running, "the end") == ["asked", "given up", "the end"]
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1.5)


@pytest.mark.parametrize(
    "ask",
    [
        "Panel(hangs, None, Patience(timeout=3600.0)).ask(0)",
        "asyncio.run(Panel(hangs, None).ask_async(0))",
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="interrupts are sent otherwise there")
def test_ctrl_c_ends_the_waiting_at_once(ask: str) -> None:
    with process(IMPORTS + WAITS.format(ask=ask)) as running:
        assert read_to(running, "asked") == ["asked"]
        time.sleep(0.1)  # It is waiting by now, or about to.
        running.send_signal(signal.SIGINT)
        assert read_to(running, "interrupted") == ["interrupted"]
        assert running.wait(LONG) == 0
