"""What a journal says, for people: a summary, and the last calls."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from consensus_imitation.core._packing import unpack
from consensus_imitation.journal.reader import Reader, reading
from consensus_imitation.journal.record import SETTLING, Record

CALL_COLUMNS = ("call", "env", "step", "what", "query", "p(ask)", "draw", "action", "waited")

_WAITING = (
    "SELECT DISTINCT query FROM entries WHERE kind = 'ask' AND query NOT IN "
    f"(SELECT query FROM entries WHERE query IS NOT NULL AND kind IN {SETTLING!r})"
)
#: Members, queries and alarms that are shown by name; of more there is a count.
_SHOWN = 5
#: Characters of an action.
_LEGIBLE = 60


def summary(path: Path) -> list[tuple[str, str]]:
    """What there is to say of a run, as names and values.

    Args:
        path: of the journal, or of the run's directory; somebody may be writing it.

    Raises:
        JournalError: if there is no journal.
        JournalCorruptedError: if it cannot be read. Not everything is: `examine` does that.
    """
    with reading(path) as reader:
        head, meta = reader.head(), reader.meta
        counts: dict[str, int] = dict(reader.select("SELECT kind, count(*) FROM entries GROUP BY kind"))
        times = reader.select("SELECT min(time), max(time) FROM entries")[0]
        waiting = [row[0] for row in reader.select(_WAITING)]
        said = [
            ("run", str(meta.get("run", "?"))),
            ("members, actions", f"{reader.shapes.num_members}, {reader.shapes.num_actions or 'not listed'}"),
            ("environments", str(meta.get("num_envs") or 1)),
            ("from", _moment(times[0])),
            ("to", _moment(times[1])),
            ("calls, entries", f"{head.call}, {head.seq}"),
            ("own steps", str(counts.get("act", 0))),
            ("asked", str(counts.get("ask", 0))),
            ("answered", str(counts.get("answer", 0))),
            ("safe action", str(counts.get("safe", 0))),
            ("taken over", str(counts.get("takeover", 0))),
            ("withdrawn", str(counts.get("withdraw", 0))),
            ("queries that wait", _few(waiting)),
            ("observations kept", str(head.observations)),
            ("posterior weights", _weights(reader)),
        ]
        return [(name, value) for name, value in said if value]


def last_calls(path: Path, count: int = 20) -> tuple[list[tuple[str, ...]], list[str]]:
    """The last entries, each checked.

    Args:
        path: of the journal, or of the run's directory; somebody may be writing it.
        count: how many, at least 1.

    Returns:
        Rows under `CALL_COLUMNS`, oldest first; and the alarms that they raised, each once.

    Raises:
        JournalError: if there is no journal.
        JournalCorruptedError: if one of them is not what was written.
    """
    with reading(path) as reader:
        entries = reader.last(count)
    alarms = dict.fromkeys(alarm for entry in entries for alarm in entry.record.alarms)
    return [(str(entry.call), *_cells(entry.record)) for entry in entries], list(alarms)


def _cells(record: Record) -> tuple[str, ...]:
    of_step = record.kind in ("act", "ask", "answer", "safe", "takeover")
    return (
        _text(record.env),
        _text(record.step) if of_step else "",
        record.kind,
        _text(record.query),
        "" if record.query_prob is None else f"{record.query_prob:.3f}",
        "" if record.draw is None else f"{record.draw:.3f}",
        _action(record.action),
        "" if record.latency is None else f"{record.latency:.3g} s",
    )


def _action(action: int | bytes | None) -> str:
    """Its number; or what there is of one that has none, cut short, with four digits."""
    if not isinstance(action, bytes):
        return _text(action)
    with np.printoptions(precision=4, threshold=8):
        said = str(jax.tree.map(_Shown, unpack(action)))
    return said if len(said) <= _LEGIBLE else f"{said[:_LEGIBLE]}..."


class _Shown:
    """An array as it is printed within others: without its type."""

    def __init__(self, array: Any) -> None:
        self._text = " ".join(str(array).split())

    def __repr__(self) -> str:
        return self._text


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _moment(seconds: float | None) -> str:
    try:
        return "" if not seconds else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"


def _few(numbers: list[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return ", ".join(str(number) for number in numbers[:_SHOWN]) + more if numbers else "none"


def _weights(reader: Reader) -> str:
    """The heaviest members of the last posterior that was recorded."""
    found = reader.select("SELECT after FROM entries WHERE after IS NOT NULL ORDER BY seq DESC LIMIT 1")
    if not found:
        return ""
    log_weights = np.frombuffer(found[0][0], "<f4")[: reader.shapes.num_members].astype(float)
    weights = np.exp(log_weights - np.max(log_weights))
    weights /= weights.sum()
    heaviest = np.argsort(-weights, kind="stable")[:_SHOWN].tolist()
    more = ", ..." if len(weights) > _SHOWN else ""
    return ", ".join(f"{n}: {weights[n]:.3g}" for n in heaviest) + more
