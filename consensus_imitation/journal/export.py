"""A journal as a table or dataset that other programs read; every step says who acted."""

import csv
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from consensus_imitation.core._escaping import csv_cell
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.journal.reader import Reader, reading
from consensus_imitation.journal.record import COLUMNS, MASK, SOURCE, Entry, Shapes

Format = Literal["csv", "parquet", "npz", "minari"]
FORMATS: tuple[str, ...] = get_args(Format)

_ARRAYS = {
    "log_probs": ("member", "action"),
    "selected": ("member",),
    "min_probs": ("action",),
    "before": ("word", "member"),
    "after": ("word", "member"),
}
_WORDS = ("log_weight", "residual")
#: Of steps at which somebody said what is legal; a column for runs that have such steps.
_MASK = {"action_mask": ("action",)}
#: What the arrays say already, in the form in which the core had it, is left out.
_PLAIN = ("seq", "call", *(name for name in COLUMNS if name not in _ARRAYS and name != "packed"))
_BOOLS = frozenset({"selected", "action_mask"})
_INTEGERS = frozenset({"seq", "call", "env", "step", "query", "action"})
_NUMBERS = frozenset({"query_prob", "draw", "latency", "time"})

#: Columns of a CSV file, bytes of the arrays of an ``npz`` file, and numbers that are turned into Parquet at a time.
_MOST_COLUMNS, _MOST_BYTES, _AT_ONCE = 100_000, 1 << 31, 1 << 22


def export(path: Path, out: Path, format: str) -> Path:  # noqa: A002
    """Write a journal in another format.

    Args:
        path: of the journal, or of the run's directory; somebody may be writing it.
        out: of the new file, for Minari of the dataset's directory; it may not be there yet.
        format: ``csv``, ``parquet`` or ``npz``: one row for each entry, with a column ``source`` (as text) in runs in
            which an answer names one. In a CSV file an array has one column for each
            number, 100,000 in all at most, and a cell that begins with an apostrophe is the text that follows it
            (`experiments.read_csv` reads it so; an empty text is an empty cell); in an ``npz`` file there is one array
            for each column, a missing number is NaN or -1, and all of it has to fit into memory, 2 GiB at most.
            ``minari``: episodes of observations and actions (`export_minari.write`).

    Returns:
        Where it was written.

    Raises:
        ConfigurationError: for another format, if ``out`` is there already, for more than the format holds, or for a
            run of `SamplingImitator`, for whose actions there are no columns.
        ImportError: without the packages of the format, naming the extra.
        JournalError: if there is no journal, or the observations that Minari needs were not kept.
        JournalCorruptedError: at the first entry that is missing or not what was written; nothing is left at ``out``.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"there is no format {format!r}: choose one of {', '.join(FORMATS)}")
    if out.exists():
        raise ConfigurationError(f"{out} is there already: choose another path, or delete it")
    if format == "minari":
        from consensus_imitation.journal.export_minari import write

        with reading(path) as reader:
            _check_listed(reader)
            return write(reader, out)
    writers: dict[str, Callable[[Reader, Path], None]] = {"csv": _csv, "parquet": _parquet, "npz": _npz}
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with reading(path) as reader:
            _check_listed(reader)
            writers[format](reader, part)
        part.replace(out)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return out


def _check_listed(reader: Reader) -> None:
    """Raise ConfigurationError if the run's actions are none that can be listed: a table has a column for each."""
    if reader.shapes.num_actions is None:
        raise ConfigurationError(
            f"{reader.path} is of actions that cannot be listed (SamplingImitator), for which no format has columns: "
            "read it by consensus_imitation.journal"
        )


def _csv(reader: Reader, out: Path) -> None:
    arrays = _arrays_of(reader)
    plain = _plain_of(reader)
    columns = len(plain) + sum(math.prod(reader.shapes.of(name)[0]) for name in arrays)
    if columns > _MOST_COLUMNS:
        raise ConfigurationError(f"a CSV file of {columns} columns is of no use: export to parquet or npz")
    indices = {name: list(product(*_labels(axes, reader.shapes))) for name, axes in arrays.items()}
    flat = [_heading(name, index) for name, places in indices.items() for index in places]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*plain, *flat])
        for entry in reader.entries():
            row = [json.dumps(value) if name == "alarms" else value for name, value in _values(entry, plain)]
            for name, places in indices.items():
                array = getattr(entry.record, name)
                row += [None] * len(places) if array is None else array.reshape(-1).tolist()
            # No text of a record is None, so that an empty one needs no mark.
            writer.writerow([csv_cell(None if value == "" else value) for value in row])


def _parquet(reader: Reader, out: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError('Parquet needs pyarrow: pip install "consensus_imitation[parquet]"') from error

    def kind(name: str) -> Any:
        if name == "alarms":
            return pa.list_(pa.string())
        return pa.int64() if name in _INTEGERS else pa.float64() if name in _NUMBERS else pa.string()

    plain = _plain_of(reader)
    fields = [(name, kind(name)) for name in plain]
    arrays = _arrays_of(reader)
    for name, labels in arrays.items():
        inner = pa.list_(pa.bool_() if name in _BOOLS else pa.float32())
        fields.append((name, pa.list_(inner) if len(labels) == 2 else inner))
    schema = pa.schema(fields)
    with pq.ParquetWriter(out, schema) as writer:
        entries = reader.entries()
        at_once = max(1, min(4096, _AT_ONCE // math.prod(reader.shapes.of("log_probs")[0])))
        while some := list(islice(entries, at_once)):
            rows = [dict(_values(entry, plain)) | {name: _listed(entry, name) for name in arrays} for entry in some]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _npz(reader: Reader, out: Path) -> None:
    arrays = _arrays_of(reader)
    needed = reader.head().seq * sum(
        math.prod(shape) * dtype.itemsize for shape, dtype in map(reader.shapes.of, arrays)
    )
    if needed > _MOST_BYTES:
        raise ConfigurationError(f"the arrays would take {needed} bytes of memory: export to parquet, or to csv")
    entries = list(reader.entries())
    columns: dict[str, np.ndarray] = {}
    plain = _plain_of(reader)
    for name in plain:
        values = [dict(_values(entry, plain))[name] for entry in entries]
        if name in _INTEGERS:
            columns[name] = np.array([-1 if value is None else value for value in values], np.int64)
        elif name in _NUMBERS:
            columns[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        elif name in ("alarms", "note"):
            # Many entries have none, and an array of text is as wide as its longest one.
            said = [(i, text) for i, text in enumerate(values) if text]
            columns[f"{name}_row"] = np.array([i for i, _ in said], np.int64)
            columns[name] = np.array([json.dumps(text) for _, text in said], np.str_)
        else:
            columns[name] = np.array([value or "" for value in values], np.bytes_ if name == "observation" else np.str_)
    for name in arrays:
        shape, dtype = reader.shapes.of(name)
        # Where nobody said what is legal, everything is.
        nothing = name == "action_mask" if name in _BOOLS else np.nan
        missing = np.broadcast_to(np.array(nothing, dtype), shape)
        found = [getattr(entry.record, name) for entry in entries]
        columns[name] = np.array([missing if array is None else array for array in found], dtype).reshape(-1, *shape)
    with out.open("wb") as file:
        np.savez_compressed(file, **columns)  # type: ignore[arg-type]


def _values(entry: Entry, plain: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name in plain:
        if name in ("seq", "call"):
            yield name, getattr(entry, name)
        else:
            value = getattr(entry.record, name)
            if name == "alarms":
                value = list(value)
            elif name == "source" and value is not None:
                value = str(value)
            yield name, value


def _plain_of(reader: Reader) -> tuple[str, ...]:
    """The columns of one value each that a run has: that of sources where an answer names one."""
    return (*_PLAIN, "source") if _notes(reader, SOURCE) else _PLAIN


def _notes(reader: Reader, word: str) -> bool:
    return bool(reader.select("SELECT 1 FROM entries WHERE instr(note, ?) LIMIT 1", (word,)))


def _listed(entry: Entry, name: str) -> Any:
    array = getattr(entry.record, name)
    return None if array is None else array.tolist()


def _arrays_of(reader: Reader) -> dict[str, tuple[str, ...]]:
    """The arrays that a run has, with their axes."""
    return _ARRAYS | (_MASK if _notes(reader, MASK) else {})


def _labels(axes: tuple[str, ...], shapes: Shapes) -> list[list[str]]:
    sizes = {"member": shapes.num_members, "action": shapes.of("min_probs")[0][0]}
    return [list(_WORDS) if axis == "word" else [str(i) for i in range(sizes[axis])] for axis in axes]


def _heading(name: str, index: tuple[str, ...]) -> str:
    """``log_probs_2_0`` of member 2 and action 0; ``log_weight_before_2`` of member 2."""
    if name in ("before", "after"):
        return f"{index[0]}_{name}_{index[1]}"
    return "_".join((name, *index))
