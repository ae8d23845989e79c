"""Every call that changes what is on disk, in one place, so that each can be looked at, and made to fail."""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

#: Of the files: a checkpoint holds the key of the draws, which a member must not see.
FILE_MODE, DIRECTORY_MODE = 0o600, 0o700


def execute(connection: sqlite3.Connection, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """One statement of SQL."""
    return connection.execute(sql, values)


def execute_many(connection: sqlite3.Connection, sql: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
    """One statement of SQL for each of several rows."""
    return connection.executemany(sql, rows)


def create(path: Path) -> int:
    """Make a file that is not there yet, and open it for writing: its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, FILE_MODE)


def write(descriptor: int, data: memoryview) -> int:
    """Write some of it: how many bytes."""
    return os.write(descriptor, data)


def sync(descriptor: int) -> None:
    """Wait until it is on the disk."""
    os.fsync(descriptor)


def replace(source: Path, target: Path) -> None:
    """Put one file in another's place, in one go."""
    os.replace(source, target)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, in one go, unless something has that name."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # Some file systems have one name for each file.
        os.close(create(target))
        os.replace(source, target)


def remove(path: Path) -> None:
    """Delete a file, if it is there."""
    path.unlink(missing_ok=True)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, unless they are there."""
    path.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
