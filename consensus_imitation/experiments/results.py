"""Tidy results on disk."""

import csv
import io
import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from consensus_imitation.core._escaping import csv_cell, csv_value

Row = Mapping[str, Any]


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write rows under a header; the file appears whole or not at all.

    A cell that begins with an apostrophe is a text, which follows it. So a spreadsheet takes no name for a formula, and
    `read_csv` gives back what was written. Other programs have to remove the apostrophe.

    Args:
        path: of the file; an existing one is replaced.
        rows: None, truth values, numbers and texts, by column.
        columns: of the table.

    Raises:
        ValueError: for anything else in a row.
    """
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(_cells(row, columns) for row in rows)


@contextmanager
def whole(path: Path) -> Generator[Path, None, None]:
    """Yield another path to write to, which replaces ``path`` at the end: nobody ever sees half a file."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Read rows back: numbers as int or float, empty cells as None, the rest as str.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return _parsed(file.read(), path)


class CsvLog:
    """A log that appends rows to a file as they come, for runs that may end at any moment.

    Args:
        path: of the file.
        columns: of the table.
        keep: continue after the existing rows for which this holds, and drop the others (and a row that was cut off in
            the middle); None to begin with an empty table.

    Attributes:
        kept: the rows that were kept.

    Example:
        >>> import tempfile
        >>> from consensus_imitation.experiments import read_csv
        >>> from consensus_imitation.experiments.results import CsvLog
        >>> path = Path(tempfile.mkdtemp()) / "rows.csv"
        >>> with CsvLog(path, ("step", "reward")) as log:
        ...     log.append({"step": 0, "reward": 1.5})
        >>> read_csv(path)
        [{'step': 0, 'reward': 1.5}]
    """

    def __init__(self, path: Path, columns: Sequence[str], keep: Callable[[Row], bool] | None = None) -> None:
        self._columns = tuple(columns)
        self.kept: list[Row] = []
        if keep is not None and path.exists():
            # After the last end of a line there is a row that was cut off, perhaps in the middle of a character.
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1].decode()
            self.kept = [row for row in _parsed(whole, path, torn=True) if keep(row)]
        write_csv(path, self.kept, self._columns)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)

    def append(self, row: Row) -> None:
        """Write one row, at the latest by the next `flush`."""
        self._writer.writerow(_cells(row, self._columns))

    def flush(self) -> None:
        """Give everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left, and close."""
        self._file.close()

    def __enter__(self) -> "CsvLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cells(row: Row, columns: Sequence[str]) -> list[str]:
    cells = [csv_cell(row[column]) for column in columns]
    longest = max(map(len, cells), default=0)
    if longest >= csv.field_size_limit():
        raise ValueError(f"a text of {longest} characters is too long for a table")
    return cells


def _parsed(text: str, path: Path, torn: bool = False) -> list[dict[str, Any]]:
    """Return the rows; with ``torn`` without a last one that was cut off in the middle of a quoted text."""
    lines = io.StringIO(text, newline="")
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, strict=True):
            rows.append(row)  # noqa: PERF402 - those before the damage are kept
    except csv.Error as error:
        if not torn or lines.read(1):
            raise ValueError(f"{path} is damaged after row {len(rows)}: {error}") from error
    header, *body = rows or [[]]
    for number, row in enumerate(body, 1):
        if len(row) != len(header):
            raise ValueError(f"{path} is damaged: row {number} has {len(row)} cells, not {len(header)}")
    return [dict(zip(header, map(csv_value, row), strict=True)) for row in body]
