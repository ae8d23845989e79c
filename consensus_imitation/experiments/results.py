"""Tidy results on disk, and the intervals quoted from them."""

import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.deception import judgement

Row = Mapping[str, Any]


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds and its 95% Student-t interval; (mean, nan, nan) for fewer than two values.

    Example:
        >>> from consensus_imitation.experiments import mean_interval
        >>> [round(x, 2) for x in mean_interval([1.0, 2.0, 3.0])]
        [2.0, -0.48, 4.48]
    """
    array = np.asarray(values, np.float64)
    if array.size < 2:
        return float(array.mean()), float("nan"), float("nan")
    interval = judgement.mean_interval(array)
    return float(array.mean()), interval.low, interval.high


def share_interval(count: int, total: int) -> tuple[float, float, float]:
    """Share and its exact (Clopper-Pearson) 95% interval.

    Example:
        >>> from consensus_imitation.experiments import share_interval
        >>> [round(x, 3) for x in share_interval(0, 100)]
        [0.0, 0.0, 0.036]
    """
    interval = judgement.clopper_pearson(count, total)
    return count / total, interval.low, interval.high


def write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    """Write rows under a header; the file appears whole or not at all."""
    part = path.with_suffix(path.suffix + ".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({column: _cell(row[column]) for column in columns} for row in rows)
    os.replace(part, path)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Read rows back: numbers as int or float, empty cells as None, the rest as str.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return _parsed(file)


class CsvLog:
    """Rows appended to a file as they come, for runs that may end at any moment.

    Args:
        path: of the file.
        columns: of the table.
        keep: go on behind the rows that are there and for which this holds, after dropping the others (and a row that
            was cut off in the middle); None to begin with an empty table.

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
            # What comes behind the last end of a line is a row that was cut off.
            whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
            self.kept = [row for row in _parsed(whole.splitlines()) if keep(row)]
        write_csv(path, self.kept, self._columns)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)

    def append(self, row: Row) -> None:
        """Write one row, at the latest by the next `flush`."""
        self._writer.writerow([_cell(row[column]) for column in self._columns])

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left, and close."""
        self._file.close()

    def __enter__(self) -> "CsvLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def claim_directory(path: Path, config: Mapping[str, Any], overwrite: bool) -> bool:
    """Make the directory that a run writes to, and say whether it holds an unfinished or finished run of the same kind.

    ``config.json`` in it tells. A directory with another run's results is refused, since mixing two runs is worse than
    stopping.

    Raises:
        ValueError: if the directory holds results of another configuration and ``overwrite`` is False.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: results need a directory, choose another --out")
    path.mkdir(parents=True, exist_ok=True)
    file = path / "config.json"
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    same = file.exists() and file.read_text(encoding="utf-8") == text
    if file.exists() and not same and not overwrite:
        raise ValueError(
            f"{path} holds results of another configuration (see {file.name}): choose another --out or add --overwrite"
        )
    if not same or overwrite:
        file.write_text(text, encoding="utf-8")
    return same and not overwrite


def _parsed(lines: Iterable[str]) -> list[dict[str, Any]]:
    return [{key: _value(cell) for key, cell in row.items()} for row in csv.DictReader(lines)]


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return value


def _value(cell: str) -> Any:
    if cell == "":
        return None
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(cell, cell)
