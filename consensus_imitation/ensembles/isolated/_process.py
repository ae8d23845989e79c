"""One isolated member: its present process, what that does, and when the next one starts. Nothing here waits."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from consensus_imitation.ensembles.isolated import _worker as worker
from consensus_imitation.ensembles.isolated._target import Target

_WORKER = str(Path(worker.__file__))
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_REAP_S = 5.0
# poll() takes milliseconds in 32 bits.
_LONGEST_POLL_S = 3600.0


class Job(NamedTuple):
    """The settings of a member's processes.

    Attributes:
        target: the function.
        num_actions: A.
        deadline: seconds for a prediction.
        start_deadline: seconds for a start.
        memory: limit of the address space in bytes, or None.
        folder: working directory.
        path: where modules are imported from.
    """

    target: Target
    num_actions: int
    deadline: float
    start_deadline: float
    memory: int | None
    folder: str
    path: tuple[str, ...]


class _BrokenError(Exception):
    """The process has ended, or sends what no worker sends."""


class _Process:
    """One process of a member, the socket to it, and the pipe to its guardian (see `_worker`)."""

    def __init__(self, job: Job) -> None:
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair()
            opened.callback(theirs.close)
            read, write = os.pipe()
            opened.callback(os.close, read)
            try:
                self.guardian = subprocess.Popen(
                    _command(job, theirs.fileno(), read),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), read),
                    cwd=job.folder,
                    # Ctrl-C must not reach it.
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                os.close(write)
                raise
        self._life = write
        ours.setblocking(False)
        self.socket = ours
        self._largest = 1 + max(8 * job.num_actions, worker.MAX_TEXT)
        self._number = 0
        self._unsent = memoryview(b"")
        self._received = bytearray()

    @property
    def events(self) -> int:
        """The file number to wait for."""
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def ask(self, data: bytes) -> None:
        self._number += 1
        self._unsent = memoryview(worker.frame(self._number, data))

    def exchange(self) -> bytes | None:
        """Send and receive what is possible now: return the reply's kind and content, or None until it is whole.

        The buffer never holds more than one reply, and none that is longer than a reply can be.

        Raises:
            _BrokenError: if there will be no reply.
        """
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            while missing := self._missing():
                part = self.socket.recv(missing)
                if not part:
                    raise _BrokenError("its process ended")
                self._received += part
        except BlockingIOError:
            return None
        except OSError as error:
            raise _BrokenError("its process ended") from error
        content = bytes(self._received[worker.HEADER.size :])
        self._received.clear()
        return content

    def _missing(self) -> int:
        have = len(self._received)
        if have < worker.HEADER.size:
            return worker.HEADER.size - have
        number, size = worker.HEADER.unpack_from(self._received)
        if number != self._number or not 1 <= size <= self._largest:
            raise _BrokenError("it sent something that is not a reply")
        return worker.HEADER.size + size - have

    def kill(self) -> None:
        """Let the guardian end the process, and what that has started. Call it only once."""
        self.socket.close()
        # Closing is not enough: a copy of this process may have the pipe open, too.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._life, b".")
        os.close(self._life)


class Member:
    """A member. It always has a process, or a time at which the next one starts: it is never given up.

    Args:
        job: what to run.

    Attributes:
        failure: why the member last gave no prediction, "" if it always did.
        starts: processes started so far.
    """

    def __init__(self, job: Job) -> None:
        self.failure = ""
        self.starts = 0
        self._job = job
        self._process: _Process | None = None
        self._state: Literal["down", "starting", "ready", "asked"] = "down"
        self._started = 0.0
        self._not_before = 0.0
        self._failures_in_row = 0
        self._ending: list[subprocess.Popen[bytes]] = []
        self._pid: int | None = None
        self._prediction: bytes | None = None

    @property
    def ready(self) -> bool:
        """Whether the member is ready for a question."""
        return self._state == "ready"

    @property
    def pid(self) -> int | None:
        """The number of the present process; None until it is ready."""
        return self._pid

    def tend(self) -> None:
        """Start the process that is due, check whether the one that starts is ready, forget those that have ended."""
        self._ending = [guardian for guardian in self._ending if guardian.poll() is None]
        now = time.monotonic()
        if self._state == "down" and now >= self._not_before:
            self._start(now)
        elif self._state == "starting":
            self.come_on()
            if self._state == "starting" and now > self._started + self._job.start_deadline:
                self.fail(f"it was not ready {self._job.start_deadline:g} s after its start")

    def ask(self, data: bytes) -> None:
        """Ask a question: a packed observation."""
        process = self._process
        if process is None or self._state != "ready":
            raise RuntimeError("a member that is not ready cannot be asked")
        self._prediction = None
        self._state = "asked"
        process.ask(data)

    def come_on(self) -> bool:
        """Return whether there is nothing more to wait for: an answer came, the start is over, or the process ended."""
        if self._process is None or self._state not in ("starting", "asked"):
            return True
        try:
            reply = self._process.exchange()
        except _BrokenError as error:
            self.fail(str(error))
            return True
        if reply is None:
            return False
        self._take(reply[:1], reply[1:])
        return True

    def take_prediction(self) -> bytes | None:
        """Return the answer to the last question, A float64; None if there is none (yet)."""
        prediction, self._prediction = self._prediction, None
        return prediction

    def fail(self, reason: str) -> None:
        """End the process, and start another: at once, or after repeated failures with a pause that doubles."""
        self.failure = reason
        self._stop()
        self._failures_in_row += 1
        doublings = min(self._failures_in_row - 2, 20)
        pause = 0.0 if doublings < 0 else min(_FIRST_PAUSE_S * 2**doublings, _LONGEST_PAUSE_S)
        self._not_before = time.monotonic() + pause
        self.tend()

    def close(self) -> None:
        """End the process without a replacement, and wait for the end."""
        self._stop()
        self._not_before = float("inf")
        for guardian in self._ending:
            try:
                guardian.wait(_REAP_S)
            except subprocess.TimeoutExpired:
                guardian.kill()
        self._ending.clear()

    def register(self, poll: "select.poll") -> None:
        """Register the member's socket with the selector."""
        if self._process is not None:
            poll.register(self._process.socket, self._process.events)

    def _start(self, now: float) -> None:
        self._started = now
        try:
            self._process = _Process(self._job)
        except (OSError, ValueError) as error:
            self.fail(f"its process could not be started: {error}")
            return
        self.starts += 1
        self._state = "starting"

    def _take(self, kind: bytes, content: bytes) -> None:
        started = self._state == "starting"
        if started and kind == worker.READY and len(content) == 8:
            self._state, self._pid = "ready", int.from_bytes(content, "little")
        elif not started and kind == worker.PROBS and len(content) == 8 * self._job.num_actions:
            self._state, self._failures_in_row = "ready", 0
            self._prediction = content
        elif not started and kind == worker.FAILED:
            self._state, self._failures_in_row = "ready", 0
            self.failure = readable(content)
        elif kind in (worker.FAILED, worker.SPENT):
            self.fail(readable(content))
        else:
            self.fail("it sent something that is not a reply")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._ending.append(self._process.guardian)
        self._process, self._pid, self._state = None, None, "down"


def wait(members: Iterable[Member], until: float) -> list[Member]:
    """Let members make progress.

    Args:
        members: those that were asked, or are starting.
        until: the latest `time.monotonic` to return at.

    Returns:
        Those that are not finished.
    """
    waiting = [member for member in members if not member.come_on()]
    while waiting and (left := until - time.monotonic()) > 0:
        poll = select.poll()
        for member in waiting:
            member.register(poll)
        poll.poll(1000 * min(left, _LONGEST_POLL_S))
        waiting = [member for member in waiting if not member.come_on()]
    return waiting


def readable(content: bytes) -> str:
    """Return a member's own words for a message: on one line, with nothing that a terminal would obey."""
    text = content[: worker.MAX_TEXT].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)


def _command(job: Job, number: int, life: int) -> list[str]:
    told = {
        "socket": number,
        "life": life,
        "parent": os.getpid(),
        "module": job.target.module,
        "file": job.target.file,
        "name": job.target.name,
        "num_actions": job.num_actions,
        "memory": job.memory,
        "path": job.path,
    }
    # -P: the worker's neighbours are not top-level modules.
    return [sys.executable, "-P", _WORKER, json.dumps(told)]
