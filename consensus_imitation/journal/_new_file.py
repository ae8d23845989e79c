"""A journal's file as it is made: what is set for writing it, and a whole one written at once."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from consensus_imitation.journal import _disk
from consensus_imitation.journal.reader import APPLICATION_ID, FORMAT, SCHEMA, Head
from consensus_imitation.journal.record import ROW, Row

#: What is durable when a transaction ends, also if the machine loses power: the rollback journal is emptied, not
#: deleted, and that is waited for. (``fullfsync`` is for macOS, where waiting is otherwise not for the disk.)
_PRAGMAS = (
    "journal_mode = PERSIST",
    "journal_size_limit = 1048576",
    "synchronous = EXTRA",
    "fullfsync = ON",
    "trusted_schema = OFF",
)
#: An entry, and an observation.
INSERT = f"INSERT INTO entries ({', '.join(ROW)}) VALUES ({', '.join('?' * len(ROW))})"
KEEP = "INSERT INTO observations (call, seq, data) VALUES (?, ?, ?)"


def set_up(connection: sqlite3.Connection) -> None:
    """Prepare a connection for writing."""
    for pragma in _PRAGMAS:
        _disk.execute(connection, f"PRAGMA {pragma}")


def write_new(
    path: Path, text: str, head: Head, rows: "Iterator[Row] | Sequence[Row]", kept: "Iterator[Row] | Sequence[Row]"
) -> None:
    """Write a whole journal into a file, replacing it; it is on the disk when this returns.

    Args:
        path: of the file.
        text: the run's description.
        head: where it ends.
        rows: the entries.
        kept: the observations: call, number of its first entry, bytes.
    """
    clear(path)
    # Closed before SQLite opens it: a process that closes a file lets go of all its locks on it.
    os.close(_disk.create(path))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        set_up(connection)
        _disk.execute(connection, "BEGIN IMMEDIATE")
        _disk.execute(connection, f"PRAGMA application_id = {APPLICATION_ID}")
        _disk.execute(connection, f"PRAGMA user_version = {FORMAT}")
        for statement in SCHEMA:
            _disk.execute(connection, statement)
        _disk.execute(connection, "INSERT INTO meta VALUES (1, ?)", (text,))
        _disk.execute_many(connection, INSERT, rows)
        _disk.execute_many(connection, KEEP, kept)
        _disk.execute(connection, "INSERT INTO head VALUES (1, ?, ?, ?, ?, ?)", astuple(head))
        _disk.execute(connection, "COMMIT")
    finally:
        connection.close()
    _disk.remove(beside(path))


def beside(path: Path) -> Path:
    """SQLite's rollback journal of a file."""
    return path.with_name(path.name + "-journal")


def clear(path: Path) -> None:
    """Delete a file that was not finished."""
    _disk.remove(path)
    _disk.remove(beside(path))
