"""The code in a member's own process: take observations from a socket, call the function, send back its result.

Between that process and the imitator's process there is a guardian, which only waits: for the message that the member
is to end, or for the end of the imitator's process. Then it kills the member, whatever the member does or ignores, and
all that the member has started in its process group.

`ensembles.isolated` runs this file by its path: as a part of the package it would import JAX first, which takes
seconds. For the same reason it imports nothing from the package, and has its own code to read what `journal.packing`
wrote.

Both directions use frames: `HEADER`, the number of the question and the length of what follows. Then a question has the
observation (`journal.packing`), and a reply has one of the kinds below and its content. Reply 0 states that the
function is ready, and in which process.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<QQ")
#: The function is ready: the number of its process, as little-endian int64.
READY = b"r"
#: Probabilities: A little-endian float64.
PROBS = b"p"
#: Why there are none, as text of at most `MAX_TEXT` bytes.
FAILED = b"f"
#: The same, and the process wants to be replaced.
SPENT = b"s"
MAX_TEXT = 1000

#: How often the guardian checks that its parent still lives, where the system does not report it by itself.
_WATCH_MS = 500
_PR_SET_PDEATHSIG = 1


def frame(number: int, content: bytes) -> bytes:
    """Return one message, as it goes through the socket."""
    return HEADER.pack(number, len(content)) + content


def describe(error: BaseException) -> bytes:
    """Return the type and message of an exception, in at most `MAX_TEXT` bytes."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - the message is the member's code, too
        text = type(error).__name__
    return text.encode("utf-8", "replace")[:MAX_TEXT]


def guard(job: dict[str, Any]) -> None:
    """Start the member, and wait until it has to end: the guardian, which has no thread and runs no user's code.

    Args:
        job: ``life`` (number of a pipe that sends something, or closes, when the member is to end), ``parent`` (process
            id), and what `serve` needs.
    """
    guardian = os.getpid()
    member = os.fork()
    if member == 0:
        # Its own session: signals to the member's group are not for the guardian.
        os.setsid()
        os.close(job["life"])
        _die_with(guardian)
        serve(job)
    os.close(job["socket"])
    poll = select.poll()
    poll.register(job["life"], select.POLLIN)
    # The other end of the pipe may be open in a copy of the parent, too.
    while os.getppid() == job["parent"] and not poll.poll(_WATCH_MS):
        pass
    # Nobody has waited for it yet, so the number cannot belong to another process.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(member, signal.SIGKILL)
    os.waitpid(member, 0)


def serve(job: dict[str, Any]) -> None:
    """Answer until the socket is closed.

    Args:
        job: ``socket`` (its number), ``module`` or ``file``, ``name``, ``num_actions``, ``memory`` (bytes or None) and
            ``path`` (of imports).
    """
    link = socket.socket(fileno=job["socket"])
    link.set_inheritable(False)
    sys.path[:] = job["path"]
    _make_expendable()
    try:
        # Before the limit: they need what they reserve.
        importlib.import_module("numpy")
        importlib.import_module("msgpack")
        if job["memory"] is not None:
            _limit_memory(job["memory"])
        function = load(job["module"], job["file"], job["name"])
    except BaseException as error:  # noqa: BLE001 - SystemExit at import is a failed import
        link.sendall(frame(0, FAILED + describe(error)))
        return
    link.sendall(frame(0, READY + os.getpid().to_bytes(8, "little")))
    while True:
        number, size = HEADER.unpack(_receive(link, HEADER.size))
        data = _receive(link, size)
        link.sendall(frame(number, reply(function, data, job["num_actions"])))


def load(module: str | None, file: str | None, name: str) -> Callable[[Any], Any]:
    """Return the function of that name, from a module or a file.

    Raises:
        Exception: whatever the import raises; AttributeError or TypeError if there is no such function.
    """
    if file is None:
        found = importlib.import_module(str(module))
    else:
        # As for a script: its neighbours can be imported. Not as "__main__": its main part must not run.
        sys.path.insert(0, str(Path(file).parent))
        spec = importlib.util.spec_from_file_location("__mp_main__", file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} is not a Python file")
        found = importlib.util.module_from_spec(spec)
        sys.modules["__mp_main__"] = found
        spec.loader.exec_module(found)
    function = getattr(found, name)
    if not callable(function):
        raise TypeError(f"{name} is not a function but {type(function).__name__}")
    return function


def unpack(data: bytes) -> Any:
    """Return what `journal.packing.pack` has packed."""
    import msgpack

    return msgpack.unpackb(data, ext_hook=_restored)


def reply(function: Callable[[Any], Any], data: bytes, num_actions: int) -> bytes:
    """Return the kind and content of the reply to one question. Raises nothing."""
    import numpy as np

    try:
        said = function(unpack(data))
        if np.ma.is_masked(said):
            return FAILED + b"returned masked probabilities, and what is masked has no value"
        probs = np.asarray(said)
        if probs.dtype.kind not in "fiub" or probs.shape != (num_actions,):
            problem = f"returned {probs.dtype} of shape {probs.shape}, not {num_actions} numbers"
            return FAILED + problem.encode()[:MAX_TEXT]
        return PROBS + probs.astype("<f8").tobytes()
    except MemoryError as error:
        # What it keeps in memory would make every later call fail, too.
        return SPENT + describe(error)
    except BaseException as error:  # noqa: BLE001 - whatever a member does, it becomes an invalid prediction
        return FAILED + describe(error)


def _receive(link: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = link.recv(min(size - len(parts), 1 << 20))
        if not part:
            _end()
        parts += part
    return bytes(parts)


def _restored(code: int, data: bytes) -> Any:
    """Return what MessagePack has no types for: tuples, and NumPy's arrays and scalars."""
    import msgpack
    import numpy as np

    inner = msgpack.unpackb(data, ext_hook=_restored)
    if code == 1:
        return tuple(inner)
    name, shape, content = inner
    try:
        dtype = np.dtype(name)
    except TypeError:
        # JAX's small floats and integers have their names from here.
        importlib.import_module("ml_dtypes")
        dtype = np.dtype(name)
    array = np.ndarray(tuple(shape), dtype, content).copy()
    return array[()] if code == 3 else array


def _die_with(guardian: int) -> None:
    """Tell Linux to end this process with the guardian: nobody else would."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guardian:
        _end()


def _make_expendable() -> None:
    """Mark this process to end before the parent if memory runs out; let crashes leave no core files."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end() -> None:
    """End at once, with all processes that the member has started: no exit handlers, no waiting for threads."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    try:
        guard(json.loads(sys.argv[1]))
    except OSError:
        # The parent has ended, or has given this process up.
        pass
    finally:
        _end()
