"""One writer at a time: a lock that the operating system lets go of when its holder dies, however it dies."""

import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path

from consensus_imitation.errors import JournalError, LockedError
from consensus_imitation.journal import _disk


class Lock:
    """Held from construction until `close`, or until the process ends, by ``kill -9`` too.

    What is locked is the run's directory itself: nobody can delete it while the run is in it, and reading or copying
    its files, in this process too, does not let go of it. Where the system cannot lock a directory (Windows, some
    network file systems), it is a file ``lock`` in it, which then has to stay. On a network file system a lock is as
    good as that system's.

    Args:
        directory: of the run.

    Raises:
        LockedError: if another process, or another object of this one, holds it.
        JournalError: if there is no such directory, or it cannot be locked.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp())
        >>> held = Lock(path)
        >>> Lock(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        consensus_imitation.errors.LockedError: ...
        >>> held.close()
        >>> Lock(path).close()
    """

    def __init__(self, directory: Path) -> None:
        try:
            descriptor = _locked(directory)
        except OSError as error:
            raise JournalError(f"the directory {directory} cannot be locked: {error}") from error
        if descriptor is None:
            raise LockedError(
                f"{directory} is being written by another imitator, in this process or another one: wait until "
                "it ends, close() it, or choose another directory"
            )
        self._directory, self._is_of = directory, os.stat(directory)
        self._descriptor: int | None = descriptor
        _HELD.add(self)

    def check(self) -> None:
        """Raise JournalError if another directory is in the place of the one that is locked, or none."""
        try:
            same = os.path.samestat(os.stat(self._directory), self._is_of)
        except OSError:
            same = False
        if not same:
            raise JournalError(f"{self._directory} was moved, deleted or replaced while it was being written")

    def close(self) -> None:
        """Release the lock. Closing it again does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_HELD: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def _locked(directory: Path) -> int | None:
    """The descriptor by which the lock is held; None if somebody else holds it."""
    try:
        return _taken(os.open(directory, os.O_RDONLY))
    except OSError:
        if not directory.is_dir():
            raise
    file = directory / "lock"
    with suppress(FileExistsError):
        os.close(_disk.create(file))
    return _taken(os.open(file, os.O_RDWR))


def _taken(descriptor: int) -> int | None:
    """The descriptor, once what it is of is locked by it; closed if that cannot be."""
    try:
        if _lock(descriptor):
            return descriptor
    except BaseException:
        # Ctrl-C, say: nobody else can close the descriptor.
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool:
    """Lock what a descriptor is of: False if somebody else has. The lock is the descriptor's, not the process's."""
    if sys.platform == "win32":
        import msvcrt

        with suppress(PermissionError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
    else:
        import fcntl

        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _let_go_in_a_copy() -> None:
    """A copy of this process made by fork would hold the lock, too, and for as long as it lives."""
    for lock in list(_HELD):
        lock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_a_copy)
