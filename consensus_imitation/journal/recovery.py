"""What is left of a journal: all of it, a clean prefix after a torn tail, or one that a person has to look at."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from consensus_imitation.errors import JournalCorruptedError, JournalWriteError
from consensus_imitation.journal import _disk
from consensus_imitation.journal._files import sync_directory
from consensus_imitation.journal._new_file import beside, write_new
from consensus_imitation.journal.reader import Head, Reader, check, fits, reading
from consensus_imitation.journal.record import ROW, Row, meta_text

_QUERY = ROW.index("query")
#: Entries that are looked for after a damaged one.
_PROBED = 100_000


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in a journal.

    Attributes:
        path: of the file.
        entries: how many are whole, in whole calls, from the first on.
        calls: that they are of.
        cut: how many entries are known to have followed them, and are missing or damaged.
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


def examine(path: Path, lose: int | None = None) -> Report:
    """Read all of a journal, and check it.

    Args:
        path: of the file.
        lose: how many calls may be missing at the end for that to be a torn tail; None for those of one transaction,
            which is all that a crash, even of the machine, can tear.

    Returns:
        A report: sound, or a clean prefix of whole calls and what is wrong after it.

    Raises:
        JournalError: if there is no journal, or one in another format.
        JournalCorruptedError: if more is missing, or an entry after the damage can still be read; the place is named.

    Example:
        >>> import tempfile
        >>> from consensus_imitation.journal import Record, Store
        >>> path = Path(tempfile.mkdtemp()) / "journal.sqlite"
        >>> store = Store.create(path, {"num_members": 2, "num_actions": 3})
        >>> store.append([Record(kind="begin")])
        1
        >>> store.close()
        >>> report = examine(path)
        >>> report.sound, report.entries
        (True, 1)
    """
    with reading(path) as reader:
        return _examine(reader, lose)[0]


def mend(path: Path, lose: int | None = None) -> Report:
    """Cut a torn tail back to the last whole call; nobody may be writing the journal.

    The clean prefix is written into a new file, which then takes the place of the damaged one; that is kept
    beside it. A sound journal stays as it is.

    Args:
        path: of the file.
        lose: as for `examine`.

    Raises:
        JournalError: if there is no journal, or one in another format.
        JournalCorruptedError: as `examine`; nothing has changed.
        JournalWriteError: if it cannot be written; nothing is lost.
    """
    try:
        with reading(path) as reader:
            report, head = _examine(reader, lose)
            if report.sound:
                return report
            new = path.with_name(path.name + ".new")
            write_new(new, meta_text(reader.meta), head, reader.rows(0, head.seq), _observations(reader, head))
        damaged = _set_aside(path)
        _disk.replace(new, path)
        sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise JournalWriteError(f"{path} could not be mended: {error}") from error
    again = examine(path)
    if not again.sound or again.entries != report.entries:
        raise JournalCorruptedError(
            f"{path} was mended, and is damaged again ({again.reason}): the disk cannot be relied on"
        )
    return replace(report, damaged=damaged)


def _examine(reader: Reader, lose: int | None) -> tuple[Report, Head]:
    """The report, and where the clean prefix ends."""
    prefix, wrong = _prefix(reader)
    try:
        head = reader.head()
    except JournalCorruptedError as error:
        head = None
        reason = f"{error}, so that entries may be missing after these"
    else:
        missing = f"entry {prefix.seq + 1} of {head.seq} is missing" if head.seq > prefix.seq else ""
        ends = "" if head == prefix else f"it is said to end with entry {head.seq}, and does not"
        reason = missing or ends
        lost = head.observations - prefix.observations
        if lost > max(0, head.call - prefix.call):
            raise JournalCorruptedError(
                f"{reader.path}: of {head.observations} observations that are kept, {lost} are missing. Nothing is cut "
                "back: restore the file from a copy"
            )
    reason = wrong or reason
    if prefix.seq == 0 and reason:
        # The run's description is protected by the first entry: without one, nobody can say which of them is damaged.
        raise JournalCorruptedError(f"{reader.path}: {reason}. Nothing can be relied on: restore the file from a copy")
    if wrong or (head is not None and head.seq > prefix.seq):
        _refuse_unless_torn(reader, prefix, head, reason, lose)
    reason = reason or _structure(reader)
    cut = 0 if head is None else max(0, head.seq - prefix.seq)
    report = Report(
        path=reader.path, entries=prefix.seq, calls=prefix.call, cut=cut, reason=reason, sound=not reason
    )  # fmt: skip
    return report, prefix


def _prefix(reader: Reader) -> tuple[Head, str]:
    """Where the whole calls end that can be read from the first entry on, and why they do ("" at the end)."""
    end = Head(0, 0, -1, reader.first_chain, 0)
    last, chain, query, left = 0, end.chain, -1, 0
    try:
        kept = {row[0] for row in reader.select("SELECT call FROM observations")}
        for row in reader.rows(0, 2**62):
            seq, call, size = row[:3]
            last, chain = check(row, last, chain, reader.path), row[-1]
            if left == 0 and call in kept:
                reader.observation_of(call)
            left = (size if left == 0 else left) - 1
            query = max(query, -1 if row[_QUERY] is None else row[_QUERY])
            if left == 0:
                end = Head(seq, call, query, chain, end.observations + (call in kept))
    except JournalCorruptedError as error:
        return end, str(error)
    return end, f"call {end.call + 1} is not whole" if left else ""


def _refuse_unless_torn(reader: Reader, prefix: Head, head: Head | None, reason: str, lose: int | None) -> None:
    """Raise JournalCorruptedError if what is missing is more than a tail: that is for a person to decide."""
    remedy = "Nothing is cut back: restore the file from a copy"
    if head is None:
        raise JournalCorruptedError(
            f"{reader.path}: {reason}. Where it ends cannot be read either, so that nobody can say what is missing "
            f"after call {prefix.call}. {remedy}"
        )
    for seq in range(prefix.seq + 1, min(head.seq, prefix.seq + _PROBED) + 1):
        row = _readable(reader, seq)
        # The rest of a call that is torn is of no use.
        if row is not None and row[1] > prefix.call + 1:
            raise JournalCorruptedError(
                f"{reader.path}: {reason}, but entry {seq} after it is whole. This is no torn tail. {remedy}"
            )
    allowed = reader.meta.get("settings", {}).get("group", 1) if lose is None else lose
    missing = max(1, head.call - prefix.call)
    if missing > allowed:
        raise JournalCorruptedError(
            f"{reader.path}: {reason}. The {missing} calls after call {prefix.call} are missing, more than a crash can "
            f"tear off. {remedy}, or give them up by: consensus-imitation journal mend --lose {missing}"
        )


def _readable(reader: Reader, seq: int) -> Row | None:
    """An entry whose content gives its checksum, whatever is wrong before it; None if it is none."""
    try:
        before, row = reader.row(seq - 1), reader.row(seq)
    except JournalCorruptedError:
        return None
    return row if before is not None and row is not None and fits(row, before[-1]) else None


def _structure(reader: Reader) -> str:
    """What SQLite finds wrong with the file's own structure."""
    try:
        said = str(reader.select("PRAGMA integrity_check(1)")[0][0])
    except JournalCorruptedError as error:
        said = str(error)
    return "" if said == "ok" else f"no entry is missing, but the file's own structure is damaged: {said}"


def _observations(reader: Reader, head: Head) -> Iterator[Row]:
    """The observations that are kept with the calls of the clean prefix."""
    found = reader.select("SELECT call, seq FROM observations WHERE call <= ? ORDER BY call", (head.call,))
    for call, seq in found:
        yield call, seq, reader.observation_of(call)


def _set_aside(path: Path) -> Path:
    """Keep a damaged file under a new name, beside the one that is still in its place."""
    number = 1
    while (damaged := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        os.link(path, damaged)
    except OSError:
        shutil.copyfile(path, damaged)
    # A rollback journal that stayed would be applied to the new file.
    if beside(path).exists():
        _disk.replace(beside(path), beside(damaged))
    return damaged
