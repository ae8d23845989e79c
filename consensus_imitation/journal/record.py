"""What the journal says of one step, answer or other event, as a value and as a row of its table."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, Self, cast, get_args

import msgpack
import numpy as np

from consensus_imitation.core._sources import Source, as_word, check_source, from_word
from consensus_imitation.core.legal import as_text, from_text
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError

Kind = Literal["act", "ask", "answer", "safe", "takeover", "withdraw", "begin", "idle", "study", "clear", "open"]
KINDS: tuple[str, ...] = get_args(Kind)

#: SQLite's limit for a value, in bytes: no array of a record can be larger.
LARGEST_VALUE = 10**9

#: Who may have chosen an action.
WHO = ("imitator", "demonstrator", "safe action")

#: The note of a step of the demonstrator's, unasked, that members learned from.
LEARNED = "learned"

#: Begins the note of the records of a step that a whole batch took in lockstep.
LOCKSTEP = "lockstep"

#: Begins the word of a note in the table that holds an action mask; and the one that holds a source.
MASK, SOURCE = "mask:", "source:"

#: Kinds of record that end the wait for an answer.
SETTLING = ("answer", "safe", "withdraw")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Record:
    """One event of one environment. N members, A actions; or actions that cannot be listed, of which there is no A.

    Attributes:
        kind: ``act`` (the imitator's own step), ``ask`` (a step that waits for the demonstrator), ``answer``, ``safe``
            (nobody answered, and the safe action was taken), ``takeover`` (the demonstrator acted unasked),
            ``withdraw``, ``begin`` (of an episode), ``idle`` (a step of a batch in which every environment was set
            aside), ``study``, ``clear`` (of the alarm) or ``open`` (of the run, for the first time or again).
        env: environment of a batch, None for the only one or for all.
        step: of that environment, from 0.
        query: number of the query; consecutive over the run.
        observation: SHA-256 of the packed observation, "" where there is none.
        log_probs: float32 [N, A], the members' predictions. Of actions that cannot be listed float32 [N]: the members'
            log-densities of what was proposed, or, with an answer, of the answer. None of own steps under
            ``Journal(keep="digests")``, as are ``min_probs`` and ``packed``.
        selected: bool [N], the members that had a say.
        min_probs: float32 [A], probability of each action without asking.
        query_prob: probability of asking.
        packed: float32 [7 + A + 3N], the decision as the core gave it (`kernels.unpack` reads it). Of actions that
            cannot be listed float32 [3 + 2N].
        draw: the number in [0, 1) that decided.
        who: ``imitator``, ``demonstrator`` or ``safe action``.
        action: the one taken: its number; of actions that cannot be listed its bytes, as `pack` gives them, which keep
            every bit of it.
        latency: seconds from the question to the answer.
        before: float32 [2, N], log-weights and their residuals before.
        after: float32 [2, N], and after.
        alarms: one line each.
        action_mask: bool [A], what was legal at a step; None where nobody said. In the table it is a word of the note,
            ``mask:`` and its bits in hexadecimal.
        source: who gave the demonstrator's answer, a name or a number; None where nobody is named. In the table it is a
            word of the note, ``source:`` and the name in quotes, with what is no word's of it as in an address.
        note: free text; under ``Journal(keep="digests")`` it has ``sha256:`` of what is left out, and the likeliest
            actions as ``number:probability``.
        time: seconds since the epoch.
    """

    kind: Kind
    env: int | None = None
    step: int = 0
    query: int | None = None
    observation: str = ""
    log_probs: np.ndarray | None = None  # [N, A]
    selected: np.ndarray | None = None  # [N]
    min_probs: np.ndarray | None = None  # [A]
    query_prob: float | None = None
    packed: np.ndarray | None = None  # [7 + A + 3N]
    draw: float | None = None
    who: str | None = None
    action: int | bytes | None = None
    latency: float | None = None
    before: np.ndarray | None = None  # [2, N]
    after: np.ndarray | None = None  # [2, N]
    alarms: tuple[str, ...] = ()
    note: str = ""
    time: float = 0.0
    action_mask: np.ndarray | None = None  # [A]
    source: Source | None = None

    @property
    def in_lockstep(self) -> bool:
        """Whether it is one row of a step that a whole batch took."""
        return self.note.startswith(LOCKSTEP)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Entry:
    """A record in its place in the journal.

    Attributes:
        seq: number of the entry: 1, 2, ... without gaps.
        call: number of the call that it belongs to; the entries of one call are one transaction.
        size: how many entries that call has.
        kept: SHA-256 of the bytes that were kept with the call, on its first entry; "" where none were.
        record: what it says.
        chain: SHA-256 over the previous entry's ``chain`` and all of the above.
    """

    seq: int
    call: int
    size: int
    kept: str
    record: Record
    chain: bytes


#: The columns of a record, in the order of its fields, with their types in SQLite.
COLUMNS = {
    "kind": "TEXT NOT NULL",
    "env": "INTEGER",
    "step": "INTEGER NOT NULL",
    "query": "INTEGER",
    "observation": "TEXT NOT NULL",
    "log_probs": "BLOB",
    "selected": "BLOB",
    "min_probs": "BLOB",
    "query_prob": "REAL",
    "packed": "BLOB",
    "draw": "REAL",
    "who": "TEXT",
    "action": "INTEGER",
    "latency": "REAL",
    "before": "BLOB",
    "after": "BLOB",
    "alarms": "TEXT NOT NULL",
    "note": "TEXT NOT NULL",
    "time": "REAL NOT NULL",
}
#: The columns of a row: those of its place, those of the record, and the chain, which is over all before it.
ROW = ("seq", "call", "size", "kept", *COLUMNS, "chain")

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Shapes:
    """How many members and actions the arrays of a journal are of; no number of actions that cannot be listed."""

    num_members: int
    num_actions: int | None

    @classmethod
    def described(cls, meta: dict[str, Any]) -> Self:
        """Those of a run that is described so.

        Raises:
            ValueError: if the description does not say, or no journal can hold so much.
        """
        listed = meta.get("actions", "numbered") == "numbered"
        for name in ("num_members", "num_actions") if listed else ("num_members",):
            if not isinstance(meta.get(name), int):
                raise ValueError(f"a journal's {name} must be an integer of at least 1, got {meta.get(name)!r}")
        N, A = int(meta["num_members"]), int(meta["num_actions"]) if listed else 1
        if min(N, A) < 1 or 4 * (6 + N * A + A + 3 * N) > LARGEST_VALUE:
            raise ValueError(
                f"a journal cannot hold the predictions of {N} members for {A} actions: their numbers must be integers "
                "of at least 1"
            )
        return cls(N, A if listed else None)

    def of(self, column: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of a column that holds an array, little-endian."""
        return self._arrays[column]

    @cached_property
    def _arrays(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        N, A = self.num_members, self.num_actions
        shapes: dict[str, tuple[int, ...]] = {
            "log_probs": (N,) if A is None else (N, A),
            "selected": (N,),
            "min_probs": (A or 0,),
            "action_mask": (A or 0,),
            "packed": (3 + 2 * N,) if A is None else (7 + A + 3 * N,),
            "before": (2, N),
            "after": (2, N),
        }
        return {column: (shape, np.dtype("?" if column in _BOOLS else "<f4")) for column, shape in shapes.items()}


_BOOLS = frozenset({"selected", "action_mask"})
_ARRAYS = frozenset({"log_probs", "selected", "min_probs", "packed", "before", "after"})
_NUMBERS = frozenset({"query_prob", "draw", "latency", "time"})


def to_values(record: Record, shapes: Shapes) -> Row:
    """The values of a record's columns.

    Raises:
        ConfigurationError: if a field is not what it has to be, naming it.
    """
    if record.kind not in KINDS:
        raise ConfigurationError(f"record.kind must be one of {', '.join(KINDS)}; got {record.kind!r}")
    if record.who not in (None, *WHO):
        raise ConfigurationError(f"record.who must be None or one of {', '.join(WHO)}; got {record.who!r}")
    values: list[Any] = []
    for (column, convert), value in zip(_CONVERT, _columns_of(record), strict=True):
        values.append(None if value is None else convert(column, value, shapes))
    values[_NOTE] = _text(_note(record, shapes))
    return tuple(values)


def _bytes_of(column: str, value: Any, shapes: Shapes) -> bytes:
    shape, dtype = shapes.of(column)
    array = np.asarray(value)
    if array.shape != shape:
        raise ConfigurationError(f"record.{column} must have the shape {shape}, got {array.shape}")
    return (array if array.dtype == dtype else array.astype(dtype)).tobytes()


def _number(column: str, value: Any, shapes: Shapes) -> float:
    del shapes
    # SQLite has no -0.0 in such a column: what is chained has to be what will be read.
    value = float(value) + 0.0
    if not math.isfinite(value):
        raise ConfigurationError(f"record.{column} must be a finite number, got {value}")
    return value


def _lines(column: str, value: Any, shapes: Shapes) -> str:
    del column, shapes
    return _text(json.dumps(list(value), ensure_ascii=False)) if value else "[]"


def _action(column: str, value: Any, shapes: Shapes) -> int | bytes:
    if shapes.num_actions is None and not isinstance(value, bytes):
        raise ConfigurationError(f"record.action must be the bytes of an action without a number, got {value!r}")
    if shapes.num_actions is not None and isinstance(value, str | bytes):
        raise ConfigurationError(f"record.action must be the number of an action, got {value!r}")
    return value if isinstance(value, bytes) else _integer(column, value, shapes)


def _note(record: Record, shapes: Shapes) -> str:
    """The note as the table has it: with the source as its last word but the mask."""
    for begins in (MASK, SOURCE):
        if _ends_with(begins, record.note):
            raise ConfigurationError(f"the last word of record.note cannot begin with {begins!r}: got {record.note!r}")
    source = check_source(record.source)
    note = record.note if source is None else f"{record.note} {SOURCE}{as_word(source)}".lstrip()
    if record.action_mask is None:
        return note
    mask = np.asarray(record.action_mask)
    if mask.shape != (shapes.num_actions,) or mask.dtype != bool:
        raise ConfigurationError(
            f"record.action_mask must be bool [{shapes.num_actions}], got {mask.dtype} of shape {mask.shape}"
        )
    return f"{note} {MASK}{as_text(mask)}" if note else MASK + as_text(mask)


def _integer(column: str, value: Any, shapes: Shapes) -> int:
    del shapes
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ConfigurationError(f"record.{column} must be an integer of 64 bits, got {number}")
    return number


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _text(value: str) -> str:
    """Half characters, which UTF-8 cannot hold, written out: an alarm may quote what a member said."""
    return value if value.isascii() else value.encode(errors="backslashreplace").decode()


def _words(column: str, value: Any, shapes: Shapes) -> Any:
    return _text(value) if isinstance(value, str) else _integer(column, value, shapes)


def _converter(column: str) -> Callable[[str, Any, Shapes], Any]:
    """What makes a field of a record the value of its column."""
    if column in _ARRAYS:
        return _bytes_of
    if column in _NUMBERS:
        return _number
    return {"alarms": _lines, "action": _action}.get(column, _words)


_CONVERT = tuple((column, _converter(column)) for column in COLUMNS)
_NOTE, _columns_of = list(COLUMNS).index("note"), attrgetter(*COLUMNS)


def from_row(row: Row, shapes: Shapes) -> Entry:
    """The entry of a row whose chain has been checked.

    Raises:
        JournalCorruptedError: if it is none all the same.
    """
    seq, call, size, kept, *values, chain = row
    said: dict[str, Any] = dict(zip(COLUMNS, values, strict=True))
    try:
        for column in _ARRAYS:
            if said[column] is not None:
                shape, dtype = shapes.of(column)
                said[column] = np.frombuffer(said[column], dtype).reshape(shape)
        if said["action"] is not None and isinstance(said["action"], bytes) != (shapes.num_actions is None):
            raise ValueError("its action is of another kind than the run's")
        said["alarms"] = tuple(json.loads(said["alarms"]))
        said["note"], said["source"], said["action_mask"] = _parted(said["note"], shapes)
        if said["kind"] not in KINDS or said["who"] not in (None, *WHO) or not all(map(_is_text, said["alarms"])):
            raise ValueError("it is of no kind that there is")
    except (ValueError, TypeError) as error:
        raise JournalCorruptedError(f"entry {seq} cannot be read: {error}") from error
    return Entry(seq=seq, call=call, size=size, kept=kept, record=Record(**said), chain=chain)


def _parted(note: Any, shapes: Shapes) -> tuple[str, Source | None, np.ndarray | None]:
    """A note of the table without its source and its mask, and those."""
    source, mask = None, None
    if not isinstance(note, str) or shapes.num_actions is None:
        return note, source, mask
    if _ends_with(MASK, note):
        note, _, word = note.rpartition(" ")
        mask = from_text(word.removeprefix(MASK), shapes.num_actions)
    if _ends_with(SOURCE, note):
        note, _, word = note.rpartition(" ")
        source = from_word(word.removeprefix(SOURCE))
    return note, source, mask


def _ends_with(begins: str, note: str) -> bool:
    return note.rpartition(" ")[2].startswith(begins)


def link(previous: bytes, values: Sequence[Any]) -> bytes:
    """The chain of an entry: SHA-256 over that of the previous one and its own values, in canonical bytes."""
    return hashlib.sha256(previous + cast(bytes, msgpack.packb(list(values), strict_types=True))).digest()


def meta_text(meta: dict[str, Any]) -> str:
    """A run's description as canonical JSON.

    Raises:
        ConfigurationError: if JSON cannot hold it.
    """
    try:
        return json.dumps(meta, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"what describes the run has to be JSON: {error}") from error


def first_chain(text: str) -> bytes:
    """What the first entry is chained to: SHA-256 of the run's description."""
    return hashlib.sha256(text.encode()).digest()
