"""Whole files, and the lock."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consensus_imitation.errors import JournalError, LockedError
from consensus_imitation.journal import disk
from consensus_imitation.journal.files import write_whole
from consensus_imitation.journal.lock import Lock

from .faults import ERRORS, faults


def calls_of_a_write(path: Path) -> list[str]:
    with faults() as found:
        write_whole(path, b"new" * 1000)
    return found.seen


def test_a_write_waits_for_the_disk_before_and_after_it_replaces(tmp_path: Path) -> None:
    assert calls_of_a_write(tmp_path / "file") == ["remove", "create", "write", "sync", "replace", "sync"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ["full", "broken"])
@pytest.mark.parametrize("at", range(6))
def test_every_call_that_fails_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, at: int, error: str, after: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with faults(at, ERRORS[error], after) as found, pytest.raises(OSError, match=r"left on device|Input/output"):
        write_whole(path, b"new" * 1000)
    assert found.struck
    replaced = at > 4 or (at == 4 and after)
    assert path.read_bytes() == (b"new" * 1000 if replaced else b"old")
    assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = disk.write
    monkeypatch.setattr(disk, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write_whole(tmp_path / "file", bytes(range(256)))
    assert (tmp_path / "file").read_bytes() == bytes(range(256))


def test_a_file_is_its_owners_alone_and_leftovers_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"left over" * 1000)
    old = os.umask(0)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert (tmp_path / "file").read_bytes() == b""
    assert os.listdir(tmp_path) == ["file"]


HOLD = """
import sys, time
from pathlib import Path
from consensus_imitation.journal.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock.sqlite")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, holder: Any) -> None:
    with pytest.raises(LockedError, match="being written by another imitator"):
        Lock(tmp_path / "lock.sqlite")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    Lock(tmp_path / "lock.sqlite").close()


def test_a_second_one_in_the_same_process_is_refused(tmp_path: Path) -> None:
    one = Lock(tmp_path / "lock.sqlite")
    for _ in range(3):  # a refusal does not let go of the first one's lock
        with pytest.raises(LockedError):
            Lock(tmp_path / "lock.sqlite")
    one.close()
    Lock(tmp_path / "lock.sqlite").close()


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "lock.sqlite").mkdir()
    with pytest.raises(JournalError, match="cannot be opened"):
        Lock(tmp_path / "lock.sqlite")
    with pytest.raises(JournalError, match="cannot be opened"):
        Lock(tmp_path / "nowhere" / "lock.sqlite")
