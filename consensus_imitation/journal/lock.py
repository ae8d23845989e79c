"""One writer at a time: a lock that the operating system lets go of when its holder dies, however it dies."""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from consensus_imitation.errors import JournalError, LockedError
from consensus_imitation.journal import disk


class Lock:
    """Held from construction until `close`, or until the process ends, by ``kill -9`` too.

    It is SQLite's exclusive lock on an empty file, which works alike wherever SQLite does. On a network file system it
    is as good as that system's locks.

    Args:
        path: of the lock file, which is made if need be and stays.

    Raises:
        LockedError: if another process, or another object of this one, holds it.
        JournalError: if the file cannot be opened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "lock.sqlite"
        >>> held = Lock(path)
        >>> Lock(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        consensus_imitation.errors.LockedError: ...
        >>> held.close()
        >>> Lock(path).close()
    """

    def __init__(self, path: Path) -> None:
        try:
            # Only a file that is new: a process that closes a file lets go of all its locks on it.
            if not path.exists():
                with suppress(FileExistsError):
                    os.close(disk.create(path))
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"the lock {path} cannot be opened: {error}") from error
        try:
            disk.execute(self._connection, "BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise LockedError(
                    f"{path.parent} is being written by another imitator, in this process or another one: wait until "
                    "it ends, close() it, or choose another directory"
                ) from error
            raise JournalError(f"the lock {path} cannot be taken: {error}") from error
        except BaseException:
            # Ctrl-C, say: nobody has the lock, to let go of it.
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go."""
        self._connection.close()
