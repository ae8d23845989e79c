"""Reading a journal: every entry is checked against the chain while it is read.

Reads are short, a few hundred rows at a time, so that nobody who looks keeps the imitator from writing.
"""

import json
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus_imitation.core._packing import digest
from consensus_imitation.errors import JournalCorruptedError, JournalError, LockedError
from consensus_imitation.journal.record import COLUMNS, ROW, SETTLING, Entry, Row, Shapes, first_chain, from_row, link

#: Marks a file as a journal of this library, in SQLite's own header; and the version of its tables.
APPLICATION_ID, FORMAT = 0x43494A31, 2

#: Seconds to wait while somebody else has the file locked.
PATIENCE = 60.0

_AT_ONCE = 256
_COLUMNS = ", ".join(ROW)
_SETTLING = ", ".join(f"'{kind}'" for kind in SETTLING)

#: An index on what ended the wait for each query (in each environment of a batch that was asked about as a whole) also
#: refuses a second such entry.
SCHEMA = (
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL)",
    "CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, call INTEGER NOT NULL,"
    " query INTEGER NOT NULL, chain BLOB NOT NULL, observations INTEGER NOT NULL)",
    "CREATE TABLE entries (seq INTEGER PRIMARY KEY, call INTEGER NOT NULL, size INTEGER NOT NULL, kept TEXT NOT NULL, "
    + ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    + ", chain BLOB NOT NULL)",
    f"CREATE UNIQUE INDEX settled ON entries (query, ifnull(env, -1)) WHERE kind IN ({_SETTLING})",
    "CREATE INDEX calls ON entries (call)",
    "CREATE INDEX queries ON entries (query) WHERE query IS NOT NULL",
    "CREATE TABLE observations (call INTEGER PRIMARY KEY, seq INTEGER NOT NULL, data BLOB NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the journal ends, said beside the entries, so that missing ones are noticed.

    Attributes:
        seq: number of the last entry, 0 if there is none.
        call: number of the last call.
        query: the highest number of a query, -1 if none was posed.
        chain: of the last entry, or of the run's description.
        observations: how many are kept.
    """

    seq: int
    call: int
    query: int
    chain: bytes
    observations: int


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a journal that is there; SQLite undoes a transaction that was cut off.

    Raises:
        JournalError: if it cannot be opened.
    """
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}")
    try:
        place = f"{path.resolve().as_uri()}?mode=rw"
        # Threads take turns: whoever uses the connection sees to that.
        return sqlite3.connect(place, timeout=PATIENCE, isolation_level=None, uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise JournalError(f"{path} cannot be opened: {error}") from error


@contextmanager
def reading(path: Path) -> "Generator[Reader, None, None]":
    """A reader of a journal that somebody else may be writing; ``path`` is of the file or of the run's directory."""
    file = path / "journal.sqlite" if path.is_dir() else path
    connection = connect(file)
    try:
        yield Reader(connection, file)
    finally:
        connection.close()


class Reader:
    """What a journal says.

    Args:
        connection: from `connect`.
        path: of the file, for messages.

    Attributes:
        meta: the run's description.
        shapes: numbers of members and actions.

    Raises:
        JournalCorruptedError: if it is no journal.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path
        application, version = (self.select(f"PRAGMA {name}")[0][0] for name in ("application_id", "user_version"))
        if application != APPLICATION_ID:
            raise JournalCorruptedError(f"{path} is no journal of this library")
        if version != FORMAT:
            raise JournalError(
                f"{path} is a journal in format {version}, this version of the library reads format {FORMAT}"
            )
        # A view of the name of a table could make up rows without end.
        made = {row[0] for row in self.select("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if made - set(SCHEMA):
            raise JournalCorruptedError(f"{path} has other tables than a journal: restore the file from a copy")
        rows = self.select("SELECT json FROM meta")
        try:
            ((text,),) = rows
            self.meta: dict[str, Any] = json.loads(text)
            self.shapes = Shapes.described(self.meta)
            self._first_chain = first_chain(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise JournalCorruptedError(f"the description of the run in {path} cannot be read: {error}") from error

    @property
    def first_chain(self) -> bytes:
        """What the first entry is chained to."""
        return self._first_chain

    def select(self, sql: str, values: tuple[Any, ...] = ()) -> list[Row]:
        """All rows.

        Raises:
            LockedError: if somebody else has the file locked, and does not let go.
            JournalCorruptedError: if SQLite cannot make sense of it.
        """
        try:
            return self._connection.execute(sql, values).fetchall()
        except (sqlite3.Error, OverflowError, ValueError) as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise LockedError(f"{self.path} is locked by somebody else: {error}") from error
            raise JournalCorruptedError(f"{self.path} cannot be read: {error}") from error

    def head(self) -> Head:
        """Where it ends.

        Raises:
            JournalCorruptedError: if it does not say.
        """
        rows = self.select("SELECT seq, call, query, chain, observations FROM head")
        if len(rows) != 1 or [type(value) for value in rows[0]] != [int, int, int, bytes, int]:
            raise JournalCorruptedError(f"{self.path} does not say where it ends")
        return Head(*rows[0])

    def rows(self, after: int, up_to: int) -> Iterator[Row]:
        """Rows of the entries ``after + 1`` to ``up_to`` that are there, unchecked."""
        while after < up_to:
            found = self.select(
                f"SELECT {_COLUMNS} FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT {_AT_ONCE}",
                (after, up_to),
            )
            yield from found
            if len(found) < _AT_ONCE:
                return
            after = found[-1][0]

    def row(self, seq: int) -> Row | None:
        """The row of one entry, unchecked."""
        found = self.select(f"SELECT {_COLUMNS} FROM entries WHERE seq = ?", (seq,))
        return found[0] if found else None

    def entries(self, after_call: int = 0) -> Iterator[Entry]:
        """The entries of the calls after a given one, each checked, up to where the journal ends now.

        Raises:
            JournalCorruptedError: at the first entry that is missing or not what was written, naming it.
        """
        head = self.head()
        last, chain = self._end_of(after_call)
        for row in self.rows(last, head.seq):
            last, chain = check(row, last, chain, self.path), row[-1]
            yield from_row(row, self.shapes)
        if (last, chain) != (head.seq, head.chain):
            raise JournalCorruptedError(
                f"{self.path} ends with entry {last}, but {head.seq} were written: mend it first"
            )

    def last(self, count: int) -> list[Entry]:
        """The last ``count`` entries, or all if there are fewer, each checked."""
        head = self.head()
        start = max(0, head.seq - count)
        chain = self._chain_of(start)
        found: list[Entry] = []
        for row in self.rows(start, head.seq):
            start, chain = check(row, start, chain, self.path), row[-1]
            found.append(from_row(row, self.shapes))
        return found

    def answered(self, query: int) -> Entry | None:
        """The entry that ended the wait for an answer to a query; None if there is none.

        Raises:
            JournalCorruptedError: if it is not what was written.
        """
        found = self.select(f"SELECT {_COLUMNS} FROM entries WHERE query = ? AND kind IN ({_SETTLING})", (query,))
        if not found:
            return None
        before = int(found[0][0]) - 1
        check(found[0], before, self._chain_of(before), self.path)
        return from_row(found[0], self.shapes)

    def of_query(self, query: int) -> list[Entry]:
        """The entries about a query, in order: what was asked, and what became of it.

        Raises:
            JournalCorruptedError: if one is not what was written.
        """
        found: list[Entry] = []
        for row in self.select(f"SELECT {_COLUMNS} FROM entries WHERE query = ? ORDER BY seq", (query,)):
            before = int(row[0]) - 1
            check(row, before, self._chain_of(before), self.path)
            found.append(from_row(row, self.shapes))
        return found

    def kind_of(self, call: int) -> str | None:
        """The kind of the first entry of a call; None if the journal does not hold it."""
        found = self.select("SELECT kind FROM entries WHERE call = ? LIMIT 1", (call,))
        return found[0][0] if found else None

    def observation_of(self, call: int) -> bytes | None:
        """The bytes that were kept with a call; None if there were none, or they were forgotten.

        Raises:
            JournalCorruptedError: if they are not what was kept.
        """
        found = self.select("SELECT seq, data FROM observations WHERE call = ?", (call,))
        if not found:
            return None
        seq, data = found[0]
        row = self.row(seq) if isinstance(seq, int) else None
        if row is None or row[1] != call or not isinstance(data, bytes) or digest(data) != row[3]:
            raise JournalCorruptedError(f"the observation that was kept with call {call} in {self.path} is damaged")
        return data

    def chain_at(self, call: int) -> bytes | None:
        """The chain after a call; None if the journal does not hold it."""
        if call == 0:
            return self._first_chain
        return self._end_of(call)[1] if call <= self.head().call else None

    def _end_of(self, call: int) -> tuple[int, bytes]:
        """The last entry of the calls up to a given one."""
        if call <= 0:
            return 0, self._first_chain
        found = self.select("SELECT seq, chain FROM entries WHERE call <= ? ORDER BY seq DESC LIMIT 1", (call,))
        return (found[0][0], found[0][1]) if found else (0, self._first_chain)

    def _chain_of(self, seq: int) -> bytes:
        if seq == 0:
            return self._first_chain
        row = self.row(seq)
        if row is None:
            raise JournalCorruptedError(f"entry {seq} of {self.path} is missing")
        return row[-1]


def check(row: Row, last: int, chain: bytes, path: Path) -> int:
    """The number of a row that follows entry ``last``, whose chain is given.

    Raises:
        JournalCorruptedError: if it does not follow, or is not what was written.
    """
    if row[0] != last + 1:
        raise JournalCorruptedError(f"entry {last + 1} of {path} is missing")
    if not fits(row, chain):
        raise JournalCorruptedError(f"entry {last + 1} of {path} is damaged: its content does not give its checksum")
    return last + 1


def fits(row: Row, previous: bytes) -> bool:
    """Whether a row's chain fits its content after the ``previous`` chain."""
    try:
        return link(previous, row[:-1]) == row[-1]
    except TypeError:
        # A damaged chain need not be bytes.
        return False
