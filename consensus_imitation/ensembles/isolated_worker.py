"""What runs in a member's own process: take observations from a socket, call the function, send back what it says.

`ensembles.isolated` runs this file by its path: imported as a part of the package it would import JAX first, which
takes seconds. For the same reason it imports nothing of the package, and reads by itself what `journal.packing` wrote.

Both directions speak in frames: `HEADER`, the number of the question and the length of what follows, and then for a
question the observation (`journal.packing`), for a reply one of the kinds below and its content. Reply 0 says that the
function is there.
"""

import contextlib
import importlib
import importlib.util
import json
import math
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<QQ")
#: The function is there.
READY = b"r"
#: Probabilities: A little-endian float64.
PROBS = b"p"
#: Why there are none, as text of at most `MAX_TEXT` bytes.
FAILED = b"f"
#: The same, and the process wants to be replaced.
SPENT = b"s"
MAX_TEXT = 1000

_WATCH_S = 0.5
_GRACE_S = 2.0


def frame(number: int, content: bytes) -> bytes:
    """One message, as it goes through the socket."""
    return HEADER.pack(number, len(content)) + content


def describe(error: BaseException) -> bytes:
    """Type and message of an exception, in at most `MAX_TEXT` bytes."""
    try:
        text = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - the message is the member's code, too
        text = type(error).__name__
    return text.encode("utf-8", "replace")[:MAX_TEXT]


def serve(job: dict[str, Any]) -> None:
    """Answer until the socket is closed.

    Args:
        job: ``socket`` (its number), ``parent`` (process id), ``module`` or ``file``, ``name``, ``num_actions``,
            ``deadline`` and ``start_deadline`` (seconds), ``memory`` (bytes or None) and ``path`` (of imports).
    """
    link = socket.socket(fileno=job["socket"])
    link.set_inheritable(False)
    threading.Thread(target=_end_with, args=(job["parent"],), daemon=True).start()
    sys.path[:] = job["path"]
    _set_alarm(job["start_deadline"])
    _make_expendable()
    try:
        # Before the limit: what these reserve, they need.
        importlib.import_module("numpy")
        importlib.import_module("msgpack")
        if job["memory"] is not None:
            _limit_memory(job["memory"])
        function = load(job["module"], job["file"], job["name"])
    except BaseException as error:  # noqa: BLE001 - SystemExit at import is a failed import
        link.sendall(frame(0, FAILED + describe(error)))
        return
    link.sendall(frame(0, READY))
    while True:
        signal.alarm(0)
        number, size = HEADER.unpack(_receive(link, HEADER.size))
        data = _receive(link, size)
        _set_alarm(job["deadline"])
        link.sendall(frame(number, reply(function, data, job["num_actions"])))


def load(module: str | None, file: str | None, name: str) -> Callable[[Any], Any]:
    """The function of that name, from a module or a file.

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
            raise ImportError(f"{file} is no Python file")
        found = importlib.util.module_from_spec(spec)
        sys.modules["__mp_main__"] = found
        spec.loader.exec_module(found)
    function = getattr(found, name)
    if not callable(function):
        raise TypeError(f"{name} is no function but {type(function).__name__}")
    return function


def unpack(data: bytes) -> Any:
    """What `journal.packing.pack` has packed."""
    import msgpack

    return msgpack.unpackb(data, ext_hook=_restored)


def reply(function: Callable[[Any], Any], data: bytes, num_actions: int) -> bytes:
    """Kind and content of the reply to one question. Raises nothing."""
    import numpy as np

    try:
        probs = np.asarray(function(unpack(data)))
        if probs.dtype.kind not in "fiub" or probs.shape != (num_actions,):
            problem = f"returned {probs.dtype} of shape {probs.shape}, not {num_actions} numbers"
            return FAILED + problem.encode()[:MAX_TEXT]
        return PROBS + probs.astype("<f8").tobytes()
    except MemoryError as error:
        # What it hoards would make every later call fail, too.
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
    """What MessagePack has no types for: tuples, and NumPy's arrays and scalars."""
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


def _end_with(parent: int) -> None:
    """End this process soon after its parent, whatever the function is doing in Python."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    _end()


def _set_alarm(deadline: float) -> None:
    """The last resort against a function that never lets `_end_with` run, say in C: the system ends the process."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(min(math.ceil(deadline + _GRACE_S), 10**9))


def _make_expendable() -> None:
    """If memory runs out, this process is to be ended rather than the parent; and crashes leave no core files."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _limit_memory(limit: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end() -> None:
    """At once, with all processes that the member has started: no exit handlers, no waiting for threads."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    try:
        serve(json.loads(sys.argv[1]))
    except OSError:
        # The parent is gone, or has given this process up.
        pass
    finally:
        _end()
