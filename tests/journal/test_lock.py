"""The writer's lock: who holds it, what does not let go of it, and what does."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import consensus_imitation
from consensus_imitation.errors import JournalError, JournalWriteError, LockedError
from consensus_imitation.journal._lock import Lock
from consensus_imitation.journal.directory import Journal, RunDirectory

from .runs import META, observation, step

#: Without the package's own imports: a process that is to be copied must not have JAX's threads.
BARE = f"""
import os, sys, time, types
from pathlib import Path
for name in ("consensus_imitation", "consensus_imitation.journal"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [{str(Path(consensus_imitation.__file__).parents[1])!r} + "/" + name.replace(".", "/")]
from consensus_imitation.errors import LockedError
from consensus_imitation.journal._lock import Lock
"""

HOLD = """
lock = Lock(Path(sys.argv[1]))
copied = sys.argv[2:] == ["copied"]
if not copied or os.fork() == 0:  # a copy says so itself, once it is one
    print(os.getpid(), flush=True)
time.sleep(60)
"""

TRY = """
try:
    Lock(Path(sys.argv[1]))
except LockedError:
    print("refused")
else:
    print("taken")
"""


def elsewhere(path: Path) -> str:
    """What another process gets: "refused" or "taken"."""
    done = subprocess.run([sys.executable, "-c", BARE + TRY, path], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def hold(path: Path, *how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", BARE + HOLD, path, *how], stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["directory", "file"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of lock, in this process: the second is for systems that cannot lock a directory."""
    if request.param == "file":
        real = os.open

        def refusing(path: Any, flags: int, *mode: int) -> int:
            if Path(path).is_dir():
                raise OSError(errno.EBADF, "no directory is locked here")
            return real(path, flags, *mode)

        monkeypatch.setattr("consensus_imitation.journal._lock.os.open", refusing)
    return request.param


def test_a_second_one_in_the_same_process_is_refused(tmp_path: Path, kind: str) -> None:
    one = Lock(tmp_path)
    assert os.listdir(tmp_path) == (["lock"] if kind == "file" else [])
    for _ in range(3):  # a refusal does not let go of the first one's lock
        with pytest.raises(LockedError, match="being written by another imitator"):
            Lock(tmp_path)
    one.close()
    one.close()
    Lock(tmp_path).close()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(LockedError):
            Lock(tmp_path)
        holder.kill()
        holder.wait()
        Lock(tmp_path).close()


def test_a_copy_of_the_process_that_outlives_it_does_not_keep_the_lock(tmp_path: Path) -> None:
    with hold(tmp_path, "copied") as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait()
        try:
            os.kill(child, 0)  # it is there
            Lock(tmp_path).close()
        finally:
            os.kill(child, signal.SIGKILL)


def _copy(path: Path) -> None:
    shutil.copytree(path, path.with_name("copy"))


def _read(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            file.read_bytes()


def _list(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _delete_what_looks_like_a_lock(path: Path) -> None:
    for file in path.glob("*lock*"):
        file.unlink()


def _touch(path: Path) -> None:
    (path / "notes.txt").write_text("mine")


def _refuse_another(path: Path) -> None:
    with pytest.raises(LockedError):
        RunDirectory.open(path)


#: What a program may do with the directory of a run that goes on.
WAYS: list[Callable[[Path], None]] = [_copy, _read, _list, _delete_what_looks_like_a_lock, _touch, _refuse_another]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("entrance", ["create", "open"])
def test_what_does_not_let_go_of_the_lock(tmp_path: Path, way: Callable[[Path], None], entrance: str) -> None:
    path = tmp_path / "run"
    directory = RunDirectory.create(Journal(path), META)
    if entrance == "open":
        directory.close()
        directory = RunDirectory.open(path)
    way(path)
    assert elsewhere(path) == "refused"
    with pytest.raises(LockedError):
        RunDirectory.open(path)
    with pytest.raises(LockedError):
        RunDirectory.create(Journal(path), META)
    directory.close()
    assert elsewhere(path) == "taken"


def test_a_group_is_not_written_into_another_directory(tmp_path: Path) -> None:
    path = tmp_path / "run"
    one = RunDirectory.create(Journal(path, group=3), META)
    one.append([step(0)], observation(0))
    path.rename(tmp_path / "elsewhere")
    other = RunDirectory.create(Journal(path), META)
    other.append([step(1)], observation(1))
    one.store.append_later(lambda: ([step(2)], observation(2)))
    with pytest.raises(JournalWriteError, match="was moved, deleted or replaced"):
        one.store.append_later(lambda: ([step(3)], observation(3)))
    with pytest.raises(JournalWriteError, match="was moved, deleted or replaced"):
        one.append([step(4)])
    one.close()
    other.close()
    again = RunDirectory.open(path)
    assert again.report.sound
    assert [entry.record.step for entry in again.store.entries()] == [1]
    again.close()


def test_a_checkpoint_is_not_put_into_another_directory(tmp_path: Path) -> None:
    path = tmp_path / "run"
    one = RunDirectory.create(Journal(path), META)
    path.rename(tmp_path / "elsewhere")
    RunDirectory.create(Journal(path), META).close()
    with pytest.raises(JournalWriteError, match="was moved, deleted or replaced"):
        one.checkpoint({}, {})
    assert not list(path.glob("**/*.msgpack"))
    one.close()


@pytest.mark.parametrize("what", ["moved", "deleted", "replaced"])
def test_a_directory_that_is_gone_is_not_written_any_more(tmp_path: Path, what: str) -> None:
    """Least of all another run in its place: SQLite goes by names, and its rollback journal would undo the other's."""
    path = tmp_path / "run"
    one = RunDirectory.create(Journal(path), META)
    one.append([step(0)], observation(0))
    if what == "deleted":
        shutil.rmtree(path)
    else:
        path.rename(tmp_path / "elsewhere")
    other = None
    if what == "replaced":
        other = RunDirectory.create(Journal(path), META)
        other.append([step(1)], observation(1))
    for _ in range(2):
        with pytest.raises(JournalWriteError, match="was moved, deleted or replaced"):
            one.append([step(2)], observation(2))
    with pytest.raises(JournalWriteError, match="was moved, deleted or replaced"):
        one.checkpoint(None, {})  # type: ignore[arg-type]
    one.close()
    if other is not None:
        other.append([step(3)])
        other.close()
        again = RunDirectory.open(path)
        assert again.report.sound
        assert [entry.record.step for entry in again.store.entries()] == [1, 3]
        again.close()
    if what != "deleted":
        again = RunDirectory.open(tmp_path / "elsewhere")
        assert [entry.record.step for entry in again.store.entries()] == [0]
        again.close()


def test_a_copy_of_the_directory_is_another_run_to_write(tmp_path: Path) -> None:
    directory = RunDirectory.create(Journal(tmp_path / "run"), META)
    _copy(tmp_path / "run")
    RunDirectory.open(tmp_path / "copy").close()
    directory.close()


def test_what_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("nowhere", "file/run"):
        with pytest.raises(JournalError, match="cannot be locked"):
            Lock(tmp_path / path)
