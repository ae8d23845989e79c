"""What is left of a journal: all of it, a clean prefix after a torn tail, or one that a person has to look at."""

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from consensus_imitation.errors import DamagedError, FailedError
from consensus_imitation.journal import disk
from consensus_imitation.journal.files import sync_directory
from consensus_imitation.journal.reader import Head, Reader, connect, fits
from consensus_imitation.journal.record import Row, meta_text
from consensus_imitation.journal.store import beside, write_new


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in a journal.

    Attributes:
        path: of the file.
        entries: how many are whole, in whole calls, from the first on.
        calls: that they are of.
        cut: how many entries are known to be missing after them, or cannot be read.
        reason: what is wrong, "" if nothing is.
        sound: whether it can be gone on with as it is.
        damaged: where the damaged file was kept, after it was mended.
        skipped: checkpoints that are not used, and why.
    """

    path: Path
    entries: int
    calls: int
    cut: int = 0
    reason: str = ""
    sound: bool = True
    damaged: Path | None = None
    skipped: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people."""
        whole = f"{self.path}: {self.entries} entries of {self.calls} calls are whole"
        lines = [f"{whole}, and that is all of it" if self.sound else whole]
        if self.reason:
            lines.append(f"after them: {self.reason}")
        if self.cut:
            lines.append(f"{self.cut} entries after them are lost")
        if self.damaged is not None:
            lines.append(f"it was cut back to them; the damaged file is kept as {self.damaged}")
        return [*lines, *self.skipped]


def examine(path: Path) -> Report:
    """Read all of a journal.

    Args:
        path: of the file.

    Returns:
        A report: sound, or a clean prefix of whole calls and what is wrong after it.

    Raises:
        JournalError: if there is no journal, or one in another format.
        DamagedError: if entries after the damage can still be read, or nothing can; the place is named.
    """
    connection = connect(path)
    try:
        return _examine(connection, path)[0]
    finally:
        connection.close()


def mend(path: Path) -> Report:
    """Cut a torn tail back to the last whole call; nobody may be writing the journal.

    The clean prefix is written into a file of its own, which then takes the place of the damaged one; that is kept
    beside it. A sound journal stays as it is.

    Raises:
        JournalError: if there is no journal, or one in another format.
        DamagedError: as `examine`; nothing has changed.
        FailedError: if it cannot be written; nothing is lost.
    """
    connection = connect(path)
    try:
        report, head = _examine(connection, path)
        if report.sound:
            return report
        reader = Reader(connection, path)
        new = path.with_name(path.name + ".new")
        kept = _observations(reader, head)
        write_new(new, meta_text(reader.meta), head, reader.rows(0, head.seq), kept)
    except (OSError, sqlite3.Error) as error:
        raise FailedError(f"{path} could not be mended: {error}") from error
    finally:
        connection.close()
    try:
        damaged = _set_aside(path)
        disk.replace(new, path)
        sync_directory(path.parent)
    except OSError as error:
        raise FailedError(f"{path} could not be mended: {error}") from error
    again = examine(path)
    if not again.sound or again.entries != report.entries:
        raise DamagedError(f"{path} was mended, and is damaged again ({again.reason}): the disk cannot be relied on")
    return Report(
        path=path, entries=report.entries, calls=report.calls, cut=report.cut, reason=report.reason, sound=False,
        damaged=damaged,
    )  # fmt: skip


def _examine(connection: sqlite3.Connection, path: Path) -> tuple[Report, Head]:
    """The report, and where the clean prefix ends."""
    reader = Reader(connection, path)
    prefix, wrong = _prefix(reader)
    try:
        head, said = reader.head(), ""
    except DamagedError as error:
        head, said = None, f"{error}, so that entries may be missing after these"
    if not wrong and head is not None and (head.seq, head.chain) != (prefix.seq, prefix.chain):
        if head.seq > prefix.seq:
            wrong = f"entry {prefix.seq + 1} of {head.seq} is missing"
        else:
            wrong = f"the file says that it ends with entry {head.seq}"
    if wrong:
        _refuse_if_readable(reader, prefix, head, wrong)
    reason = wrong or said or _structure(connection)
    cut = max(0, head.seq - prefix.seq) if head is not None else 0
    return Report(
        path=path, entries=prefix.seq, calls=prefix.call, cut=cut, reason=reason, sound=not reason
    ), prefix  # fmt: skip


def _prefix(reader: Reader) -> tuple[Head, str]:
    """Where the whole calls end that can be read from the first entry on, and why they do ("" at the end)."""
    end = Head(0, 0, -1, reader.first_chain)
    last, chain, query, left = 0, end.chain, -1, 0
    try:
        for row in reader.rows(0, 2**62):
            seq, call, size = row[:3]
            if seq != last + 1 or not fits(row, chain):
                return end, f"entry {last + 1} is {'missing' if seq != last + 1 else 'damaged'}"
            last, chain = seq, row[-1]
            left = (size if left == 0 else left) - 1
            query = max(query, -1 if row[6] is None else row[6])
            if left == 0:
                end = Head(seq, call, query, chain)
    except DamagedError as error:
        return end, f"entry {last + 1} cannot be read: {error}"
    return end, f"call {end.call + 1} is not whole" if left else ""


def _refuse_if_readable(reader: Reader, prefix: Head, head: Head | None, wrong: str) -> None:
    """Raise DamagedError if an entry after the damage is whole: that is no torn tail."""
    if head is None:
        return
    for seq in range(prefix.seq + 2, head.seq + 1):
        try:
            before, row = reader.row(seq - 1), reader.row(seq)
        except DamagedError:
            continue
        if before is not None and row is not None and fits(row, before[-1]):
            raise DamagedError(
                f"{reader.path}: {wrong}, but entry {seq} after it is whole. This is no torn tail, and nothing is cut "
                "back: restore the file from a copy"
            )


def _structure(connection: sqlite3.Connection) -> str:
    """What SQLite finds wrong with the file's own structure."""
    try:
        ((said,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    except (sqlite3.Error, ValueError) as error:
        said = str(error)
    return "" if said == "ok" else f"nothing is missing, but the file's own structure is damaged: {said}"


def _observations(reader: Reader, head: Head) -> list[Row]:
    """The observations of the clean prefix that can be read."""
    kept: list[Row] = []
    calls = [
        row[0] for row in reader.select("SELECT call FROM observations WHERE call <= ? ORDER BY call", (head.call,))
    ]
    for call in calls:
        data = reader.observation_of(call)
        ((seq,),) = reader.select("SELECT seq FROM observations WHERE call = ?", (call,))
        kept.append((call, seq, data))
    return kept


def _set_aside(path: Path) -> Path:
    """Keep a damaged file under a name of its own, beside the one that is still in its place."""
    number = 1
    while (damaged := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        os.link(path, damaged)
    except OSError:
        shutil.copyfile(path, damaged)
    # A rollback journal that stayed would be applied to the new file.
    if beside(path).exists():
        disk.replace(beside(path), beside(damaged))
    return damaged
