"""The journal's file, open for writing: calls are appended, one transaction each, and nothing is ever changed."""

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from consensus_imitation.core._packing import digest
from consensus_imitation.errors import ConfigurationError, JournalError, JournalWriteError
from consensus_imitation.journal import _disk
from consensus_imitation.journal._files import sync_directory
from consensus_imitation.journal._new_file import INSERT, KEEP, set_up, write_new
from consensus_imitation.journal.reader import Head, Reader, connect
from consensus_imitation.journal.record import Entry, Record, Row, Shapes, first_chain, link, meta_text, to_values

#: Calls that are written in groups wait no longer than until the first call after that many seconds.
GROUP_SECONDS = 1.0

_MOVE_HEAD = (
    "UPDATE head SET seq = ?, call = ?, query = ?, chain = ?, observations = ?"
    " WHERE id = 1 AND seq = ? AND chain = ? AND observations = ?"
)

#: Calls whose records are made at a time.
_MADE_AT_ONCE = 16

#: Makes the records of a call, and the observation that is kept with it (None for none).
Making = Callable[[], tuple[Sequence[Record], bytes | None]]


class Store:
    """One SQLite file, by one connection, which one thread uses.

    Made by `create` or `open`. After a `JournalWriteError` every method raises it again: what was written may
    or may not be on the disk, and only opening the journal anew tells.

    Attributes:
        meta: the run's description.
        group: calls per transaction.
        before_writing: called before each transaction; if it raises, nothing is written any more.

    Example:
        >>> import tempfile
        >>> from consensus_imitation.journal.record import Record
        >>> path = Path(tempfile.mkdtemp()) / "journal.sqlite"
        >>> store = Store.create(path, {"num_members": 2, "num_actions": 3})
        >>> store.append([Record(kind="begin")])
        1
        >>> [entry.record.kind for entry in store.entries()]
        ['begin']
        >>> store.close()
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, group: int) -> None:
        self._connection, self._path, self.group = connection, path, group
        self.before_writing: Callable[[], None] = lambda: None
        self._failed: BaseException | None = None
        self._reader = Reader(connection, path)
        self.meta = self._reader.meta
        self._written = self._head = self._reader.head()
        self._waiting: list[Row] = []
        self._kept: list[tuple[int, int, bytes]] = []
        self._later: list[Making] = []
        self._calls_waiting = 0
        self._since = 0.0

    @classmethod
    def create(cls, path: Path, meta: dict[str, Any], group: int = 1) -> "Store":
        """Start a journal.

        Args:
            path: of the file, which may not be there yet.
            meta: the run's description, anything that JSON can hold, with ``num_members`` and ``num_actions``; with
                ``actions="any"`` instead of the latter, if they cannot be listed.
            group: calls per transaction.

        Raises:
            ConfigurationError: if the description is not one.
            JournalError: if there is a file already.
            JournalWriteError: if it cannot be written.
        """
        try:
            Shapes.described(meta)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        text = meta_text(meta)
        if path.exists():
            raise JournalError(f"there is a journal at {path} already")
        new = path.with_name(path.name + ".new")
        try:
            head = Head(0, 0, -1, first_chain(text), 0)
            write_new(new, text, head, (), ())
            _disk.replace(new, path)
            sync_directory(path.parent)
        except (OSError, sqlite3.Error) as error:
            raise JournalWriteError(f"the journal {path} could not be started: {error}") from error
        return cls.open(path, group)

    @classmethod
    def open(cls, path: Path, group: int = 1) -> "Store":
        """Go on with a journal, which is sound: see `recovery.examine`.

        Raises:
            JournalError: if there is none.
            JournalCorruptedError: if it cannot be read.
        """
        connection = connect(path)
        try:
            set_up(connection)
            return cls(connection, path, group)
        except sqlite3.Error as error:
            connection.close()
            raise JournalError(f"the journal {path} cannot be opened: {error}") from error
        except BaseException:
            connection.close()
            raise

    @property
    def last_call(self) -> int:
        """Number of the last call, 0 before the first."""
        return self._head.call + len(self._later)

    @property
    def last_query(self) -> int:
        """The highest number of a query, -1 before the first."""
        return self._head.query

    @property
    def num_entries(self) -> int:
        """How many entries there are, those that wait for their group included.

        Raises:
            JournalWriteError: if those cannot be made, or something could not be written before.
        """
        with self.writing():
            self._make()
        return self._head.seq

    @property
    def chain(self) -> bytes:
        """The checksum over everything up to the last call.

        Raises:
            JournalWriteError: as for `num_entries`.
        """
        with self.writing():
            self._make()
        return self._head.chain

    def append(self, records: Sequence[Record], observation: bytes | None = None) -> int:
        """Write one call, as one transaction.

        In groups, calls that only consist of ``act`` wait for their group; any other takes those that wait with it to
        the disk, and is there when this returns.

        Args:
            records: at least one.
            observation: packed, to be kept until `forget_observations`; None for none.

        Returns:
            The number of the call.

        Raises:
            ConfigurationError: if a record is not what it has to be; nothing has changed.
            JournalWriteError: if it cannot be written, or something could not be before.
        """
        with self.writing():
            self._make()
        head, rows = self._rows_of(records, observation)
        with self.writing():
            self._take(head, rows, observation)
            self._wait(until_full=all(record.kind == "act" for record in records))
        return head.call

    def append_later(self, make: Making) -> int:
        """Write one call that asks and answers nothing, with its group; its records are made some calls later.

        A step on which nobody is active is such a call, too.

        Between other work, to make the records of one call takes three times as long as when those of several are made.

        Args:
            make: gives what `append` takes. It is called once, at the latest when the group is written; what it reads
                may not change until then.

        Returns:
            The number of the call.

        Raises:
            JournalWriteError: if it cannot be written, or something could not be before. That a record is not what it
                has to be is found when it is made, and nothing is written any more.
        """
        with self.writing():
            self._later.append(make)
            if len(self._later) >= _MADE_AT_ONCE:
                self._make()
            self._wait(until_full=True)
        return self.last_call

    def _rows_of(self, records: Sequence[Record], observation: bytes | None) -> tuple[Head, list[Row]]:
        """The rows of the next call, and where the journal ends after them; nothing has changed."""
        if not records:
            raise ConfigurationError("a call has at least one record")
        head, shapes = self._head, self._reader.shapes
        seq, call, query, chain = head.seq, head.call + 1, head.query, head.chain
        kept = "" if observation is None else digest(observation)
        rows: list[Row] = []
        for record in records:
            seq += 1
            values = (seq, call, len(records), kept, *to_values(record, shapes))
            chain = link(chain, values)
            rows.append((*values, chain))
            query, kept = max(query, -1 if record.query is None else record.query), ""
        return Head(seq, call, query, chain, head.observations + (observation is not None)), rows

    def _take(self, head: Head, rows: list[Row], observation: bytes | None) -> None:
        """Let the rows of a call wait for being written."""
        self._waiting += rows
        if observation is not None:
            self._kept.append((head.call, rows[0][0], observation))
        self._head = head

    def _make(self) -> None:
        """Make the rows of the calls that wait for it."""
        while self._later:
            records, observation = self._later[0]()
            self._take(*self._rows_of(records, observation), observation)
            del self._later[0]

    def _wait(self, until_full: bool) -> None:
        """One call more waits; write if it may not, or the group is full or old."""
        if not self._calls_waiting:
            self._since = time.monotonic()
        self._calls_waiting += 1
        full = self._calls_waiting >= self.group or time.monotonic() - self._since >= GROUP_SECONDS
        if full or not until_full:
            self._write()

    def flush(self) -> None:
        """Bring what waits for its group to the disk.

        Raises:
            JournalWriteError: if it cannot be written, or something could not be before.
        """
        with self.writing():
            self._write()

    def forget_observations(self, up_to_call: int, spare: Collection[int] = ()) -> None:
        """Delete the observations that were kept with the calls up to a given one; what is said of them stays.

        Args:
            up_to_call: the last of them.
            spare: calls whose observations are kept.

        Raises:
            JournalWriteError: if that cannot be written, or something could not be before.
        """
        self.flush()
        with self.writing():
            marks = ", ".join("?" * len(spare))
            statement = f"DELETE FROM observations WHERE call <= ? AND call NOT IN ({marks})"
            _disk.execute(self._connection, "BEGIN IMMEDIATE")
            gone = _disk.execute(self._connection, statement, (up_to_call, *spare)).rowcount
            self._head = replace(self._head, observations=self._head.observations - gone)
            self._move_head()
            _disk.execute(self._connection, "COMMIT")
            self._written = self._head

    def entries(self, after_call: int = 0) -> Iterator[Entry]:
        """The entries of the calls after a given one, each checked while it is read.

        Raises:
            JournalCorruptedError: at the first that is missing or not what was written, naming it.
        """
        self.flush()
        return self._reader.entries(after_call)

    def observation_of(self, call: int) -> bytes | None:
        """The bytes that were kept with a call; None if there were none, or they were forgotten.

        Raises:
            JournalCorruptedError: if they are not what was kept.
        """
        self.flush()
        return self._reader.observation_of(call)

    def answered(self, query: int) -> Entry | None:
        """The entry that ended the wait for an answer to a query; None if there is none.

        Raises:
            JournalCorruptedError: if it is not what was written.
        """
        self.flush()
        return self._reader.answered(query)

    def of_query(self, query: int) -> list[Entry]:
        """The entries about a query, in order: what was asked, and what became of it.

        Raises:
            JournalCorruptedError: if one is not what was written.
        """
        self.flush()
        return self._reader.of_query(query)

    def kind_of(self, call: int) -> str | None:
        """The kind of the first entry of a call; None if the journal does not hold it."""
        self.flush()
        return self._reader.kind_of(call)

    def chain_at(self, call: int) -> bytes | None:
        """The checksum over everything up to a call; None if the journal does not hold it."""
        self.flush()
        return self._reader.chain_at(call)

    @property
    def failed(self) -> bool:
        """Whether something could not be written."""
        return self._failed is not None

    def check(self) -> None:
        """Raise JournalWriteError if something could not be written."""
        if self._failed is not None:
            raise JournalWriteError(
                f"something could not be written to {self._path.parent} ({_said(self._failed)}), and nothing is "
                "written or given out any more: take the run up again from there"
            ) from self._failed

    def writing(self) -> AbstractContextManager[None]:
        """After any error within, an interruption too, nothing is written any more.

        Raises:
            JournalWriteError: if something could not be written, within or before.
        """
        return _Writing(self)

    def fail(self, error: BaseException) -> None:
        """Write nothing any more: an error came while something was written."""
        self._failed = error
        # Closing undoes a transaction that is not over.
        self._connection.close()
        if isinstance(error, Exception):
            raise JournalWriteError(
                f"the call could not be written to {self._path.parent} ({_said(error)}). It may or may not be on the "
                "disk: take the run up again from there"
            ) from error

    def close(self) -> None:
        """Bring everything to the disk, and let go of the file.

        Raises:
            JournalWriteError: if it cannot be written now.
        """
        if self._failed is None:
            self.flush()
        self._connection.close()

    def _write(self) -> None:
        self._make()
        if not self._waiting:
            return
        self.before_writing()
        _disk.execute(self._connection, "BEGIN IMMEDIATE")
        self._move_head()
        _disk.execute_many(self._connection, INSERT, self._waiting)
        if self._kept:
            _disk.execute_many(self._connection, KEEP, self._kept)
        _disk.execute(self._connection, "COMMIT")
        self._waiting, self._kept, self._calls_waiting, self._written = [], [], 0, self._head

    def _move_head(self) -> None:
        now, before = self._head, self._written
        moved = (*astuple(now), before.seq, before.chain, before.observations)
        if _disk.execute(self._connection, _MOVE_HEAD, moved).rowcount != 1:
            raise JournalError("the journal does not end any more where it did: somebody else writes it")


class _Writing(AbstractContextManager[None]):
    """`Store.writing`; a generator would take longer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._store.fail(error)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
