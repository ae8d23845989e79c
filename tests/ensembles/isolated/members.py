"""Functions that members run in processes of their own: sound ones, and every kind of fault."""

import contextlib
import ctypes
import inspect
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

GOOD = [0.6, 0.4]
HOARD: list[Any] = []


def good(observation: Any) -> list[float]:
    return GOOD


def by_sum(observation: Any) -> list[float]:
    """1 / sum of an array, so that one can see that all of it arrived."""
    return [1 / float(np.sum(observation)), 0.0]


def hangs_on(observation: Any) -> list[float]:
    """On observation 1, for ever."""
    while observation == 1:
        time.sleep(1.0)
    return GOOD


def is_killed(observation: Any) -> list[float]:
    os._exit(3)


def says_where(observation: Any) -> list[float]:
    """Write what this process is like to the file that the observation names."""
    loaded = "jax" in sys.modules or "consensus_imitation" in sys.modules
    kinds: list[str] = []
    for number in os.listdir("/proc/self/fd"):
        # The folder being listed is open, too, and closed by now.
        with contextlib.suppress(FileNotFoundError):
            kinds.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
    guardian = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    Path(str(observation)).write_text(
        f"{guardian[1]}\n{loaded}\n{' '.join(sorted(kinds))}\n{os.getcwd()}", encoding="utf-8"
    )
    return GOOD


def note(observation: Any, *pids: int) -> None:
    """Say in the folder that the observation names which processes there are."""
    for pid in pids:
        (Path(str(observation)) / str(pid)).touch()


def starts_another(observation: Any) -> None:
    """A process that would stay."""
    note(observation, os.getpid(), subprocess.Popen(["sleep", "1000"]).pid)
    hangs(observation)


def noted_hangs(observation: Any) -> None:
    note(observation, os.getpid())
    hangs(observation)


def noted_hangs_in_c(observation: Any) -> None:
    note(observation, os.getpid())
    hangs_in_c(observation)


def stops(observation: Any) -> None:
    note(observation, os.getpid())
    os.kill(os.getpid(), signal.SIGSTOP)


def stops_its_group(observation: Any) -> None:
    note(observation, os.getpid())
    os.kill(0, signal.SIGSTOP)


def ignores_signals(observation: Any) -> None:
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(0)
    noted_hangs(observation)


def blocks_signals(observation: Any) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    noted_hangs_in_c(observation)


def forks(observation: Any) -> None:
    """A copy of itself, which ignores signals; both hang."""
    os.fork()
    ignores_signals(observation)


def forks_and_stops(observation: Any) -> None:
    os.fork()
    stops(observation)


#: What may outlive its parent, each noting its processes first; and how many those are.
STAYING: dict[Callable[[Any], Any], int] = {
    noted_hangs: 1,
    noted_hangs_in_c: 1,
    stops: 1,
    stops_its_group: 1,
    ignores_signals: 1,
    blocks_signals: 1,
    forks: 2,
    forks_and_stops: 2,
    starts_another: 2,
}


def hangs(observation: Any) -> None:
    while True:
        with contextlib.suppress(BaseException):  # it does not want to end
            time.sleep(0.01)


def hangs_in_c(observation: Any) -> None:
    """Without giving up the interpreter's lock, so that no other thread can do anything about it."""
    ctypes.PyDLL(None).sleep(1000)


def _unprintable() -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    raise UnprintableError


def _talks_at_length() -> None:
    raise RuntimeError("\x1b[2Jno\nprediction\r" + "x" * 10**7)


def _no_end() -> None:
    _no_end()


def _crash() -> None:
    ctypes.string_at(0)


def _hoard() -> None:
    while True:
        HOARD.append(np.empty(2**24))


def _link() -> socket.socket:
    """The worker's socket, as hostile code would find it."""
    for n in range(3, 100):
        try:
            if stat.S_ISSOCK(os.fstat(n).st_mode):
                return socket.socket(fileno=os.dup(n))
        except OSError:
            continue
    raise RuntimeError("no socket")


def _number() -> int:
    """Of the question, as hostile code would find it: a local variable of the worker."""
    return next(one.frame.f_locals["number"] for one in inspect.stack(0) if "number" in one.frame.f_locals)


def _send(size: int, content: bytes, late: int = 0) -> Callable[[], list[float]]:
    def send() -> list[float]:
        _link().sendall(struct.pack("<QQ", _number() - late, size) + content)
        return GOOD

    return send


def _flood_the_socket() -> None:
    link = _link()
    while True:
        link.sendall(b"\0" * 2**16)


def _close_the_socket() -> list[float]:
    os.closerange(3, 100)
    return GOOD


def _print_a_lot() -> list[float]:
    for n in (1, 2):
        for _ in range(200):
            os.write(n, b"spam" * 2**16)
    return GOOD


def _raise(error: BaseException) -> None:
    raise error


#: What happens on observation n: name, function, and words of the reason that is given.
FAULTS: list[tuple[str, Callable[[], Any], str]] = [
    ("nothing", lambda: GOOD, ""),
    ("hang", lambda: hangs(0), "no answer within"),
    ("hang-in-c", lambda: hangs_in_c(0), "no answer within"),
    ("stopped", lambda: os.kill(os.getpid(), signal.SIGSTOP), "no answer within"),
    ("exit", lambda: os._exit(0), "process ended"),
    ("crash", _crash, "process ended"),
    ("segv", lambda: os.kill(os.getpid(), signal.SIGSEGV), "process ended"),
    ("abort", os.abort, "process ended"),
    ("killed", lambda: os.kill(os.getpid(), signal.SIGKILL), "process ended"),
    ("raises", lambda: _raise(RuntimeError("no prediction today")), "RuntimeError: no prediction today"),
    ("sys-exit", lambda: sys.exit(0), "SystemExit"),
    ("interrupt", lambda: _raise(KeyboardInterrupt()), "KeyboardInterrupt"),
    ("unprintable", _unprintable, "UnprintableError"),
    ("talks", _talks_at_length, "RuntimeError: .*no prediction xxx"),
    ("recursion", _no_end, "RecursionError"),
    ("memory", lambda: np.empty(2**30), "MemoryError"),
    ("hoards", _hoard, "MemoryError"),
    ("nan", lambda: [0.5, np.nan], ""),
    ("negative", lambda: [1.1, -0.1], ""),
    ("infinite", lambda: [np.inf, 0.0], ""),
    ("sum-above-one", lambda: [0.7, 0.7], ""),
    ("too-short", lambda: [1.0], r"shape \(1,\)"),
    ("matrix", lambda: [GOOD], r"shape \(1, 2\)"),
    ("none", lambda: None, "object"),
    ("text", lambda: "abc", "<U3"),
    ("ragged", lambda: [[0.5], [0.5, 0.1]], "ValueError"),
    ("giant", lambda: np.zeros(10**7), r"shape \(10000000,\)"),
    ("complex", lambda: [0.5j, 0.5], "complex"),
    ("garbage", lambda: _link().sendall(b"\x93" * 99), "not a reply"),
    ("giant-frame", _send(2**63, b""), "not a reply"),
    ("large-frame", _send(2**30, b"p"), "not a reply"),
    ("frame-of-length-0", _send(0, b""), "not a reply"),
    ("unknown-kind", _send(1, b"?"), "not a reply"),
    ("short-probs", _send(2, b"p0"), "not a reply"),
    ("long-probs", _send(25, b"p" + b"\0" * 24), "not a reply"),
    ("ready-again", _send(1, b"r"), "not a reply"),
    ("an-earlier-number", _send(17, b"p" + struct.pack("<dd", 0.6, 0.4), late=1), "not a reply"),
    ("a-later-number", _send(17, b"p" + struct.pack("<dd", 0.6, 0.4), late=-1), "not a reply"),
    ("floods-the-socket", _flood_the_socket, "not a reply"),
    ("closes-the-socket", _close_the_socket, "process ended"),
]
SOUND: list[tuple[str, Callable[[], Any]]] = [("prints", _print_a_lot), ("zero", lambda: [1, 0])]


def faulty(observation: Any) -> Any:
    return FAULTS[int(observation)][1]()


def sound(observation: Any) -> Any:
    return SOUND[int(observation)][1]()


def twice(observation: Any) -> list[float]:
    """Both copies of the process go on, and each one answers; what they say is the question."""
    if observation == 1:
        os.fork()
    return [float(observation) / 10, 0.0]
