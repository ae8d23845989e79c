"""One self-contained page of a run's journal: who acted, when and why it asked, weights, alarms, certificate."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core import calibration
from consensus_imitation.core._packing import unpack
from consensus_imitation.core.independence import said
from consensus_imitation.demonstrators.people.views import view
from consensus_imitation.experiments.pages import environment
from consensus_imitation.journal.calibration import member_calibration
from consensus_imitation.journal.errors import independence
from consensus_imitation.journal.reader import Reader, reading
from consensus_imitation.journal.record import Record

#: Queries that are shown in full; of more, the last ones are.
SHOWN = 500
#: Points of a curve, at most.
_POINTS = 400
#: Steps over which the rate is taken.
_WINDOW = 50
_WIDTH, _HEIGHT = 640, 160
_COLOURS = 6

#: What is beside a journal that `play` wrote: names of actions, pictures of queries, the certificate in words.
ABOUT, PICTURES, CERTIFICATE = "play.json", "pictures", "certificate.txt"


@dataclass
class _Asked:
    """A query and what became of it."""

    ask: Record
    seen: bytes | None
    closed: Record | None = None


class _Run:
    """What the page needs of a journal."""

    def __init__(self, reader: Reader) -> None:
        self.asked: dict[tuple[int | None, int | None], _Asked] = {}
        self.who: list[str] = []  # of each closed step
        self.weights: list[tuple[int, np.ndarray]] = []  # (closed steps, [N])
        self.alarms: dict[str, int] = {}
        self.reopened = 0
        self.withdrawn = 0
        for entry in reader.entries():
            self._take(reader, entry.call, entry.record)

    def _take(self, reader: Reader, call: int, record: Record) -> None:
        for alarm in record.alarms:
            self.alarms[alarm] = self.alarms.get(alarm, 0) + 1
        about = (record.query, record.env)
        match record.kind:
            case "ask":
                self.asked[about] = _Asked(record, reader.observation_of(call))
            case "act" | "takeover":
                self.who.append("imitator" if record.kind == "act" else "taken over")
            case "answer" | "safe":
                self.who.append("demonstrator" if record.kind == "answer" else "safe action")
                if about in self.asked:
                    self.asked[about].closed = record
                if record.after is not None:
                    self.weights.append((len(self.who), weights_of(record.after)))
            case "withdraw":
                self.withdrawn += 1
                for (query, _), asked in self.asked.items():
                    if query == record.query and query is not None:
                        asked.closed = record
            case "open":
                self.reopened += 1
            case _:
                pass


def weights_of(words: np.ndarray) -> np.ndarray:
    """Return posterior weights [N] of the log-weights that a record holds, float32 [2, N]."""
    log_weights = np.asarray(words[0], np.float64)
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def write(run_dir: Path, out: Path) -> Path:
    """Write the page.

    It needs nothing from elsewhere, and runs no script. A query opens at a click: the situation (its picture, if `play`
    kept one, or the observation, if the journal did), what each member gave to each action, the answer, how long it
    took, and the weights before and after.

    Args:
        run_dir: the run's directory, or its journal.sqlite; somebody may be writing it.
        out: the page.

    Raises:
        JournalError: if there is no journal.
        JournalCorruptedError: if an entry is not what was written.
        ImportError: without Jinja2, naming the extra that brings it.
    """
    template = environment().get_template("journal_report.html.jinja")
    with reading(run_dir) as reader:
        run, meta, shapes = _Run(reader), reader.meta, reader.shapes
    place = run_dir if run_dir.is_dir() else run_dir.parent
    about = _about(place)
    names = about.get("names") or [f"action {a}" for a in range(shapes.num_actions or 0)]
    queries = [one for one in run.asked.values() if one.ask.log_probs is not None]
    counts = {who: run.who.count(who) for who in ("imitator", "demonstrator", "taken over", "safe action")}
    certificate, calibrated = place / CERTIFICATE, member_calibration(run_dir)
    page = template.render(
        run=meta.get("run", "?"),
        about=about.get("title", ""),
        kind=meta.get("ensemble", ""),
        num_members=shapes.num_members,
        counts={who: count for who, count in counts.items() if count},
        steps=len(run.who),
        reopened=run.reopened - 1,
        withdrawn=run.withdrawn,
        waiting=sum(one.closed is None for one in queries),
        left_out=max(0, len(queries) - SHOWN),
        window=_WINDOW,
        rate=_line(rates(run.who)),
        last_rate=f"{100 * (rates(run.who)[-1:] or [0.0])[0]:.0f}%",
        strip=_strip(run.who),
        weights=_weight_lines(run, shapes.num_members),
        final=[f"{one:.3f}" for one in (run.weights[-1][1] if run.weights else [])],
        size=(_WIDTH, _HEIGHT),
        alarms=run.alarms,
        effective="" if shapes.num_actions is None else said(independence(run_dir), shapes.num_members, 0.95),
        calibrated="" if calibrated is None else calibration.said(calibrated),
        certificate=certificate.read_text(encoding="utf-8") if certificate.is_file() else "",
        names=names,
        queries=[_query(one, names, place) for one in queries[-SHOWN:]],
    )
    out.write_text(page + "\n", encoding="utf-8")
    return out


def rates(who: Sequence[str]) -> list[float]:
    """Return the share of asked steps among the last 50, after each closed step."""
    asked = np.cumsum([0, *(one in ("demonstrator", "safe action") for one in who)])
    return [float((asked[t] - asked[max(0, t - _WINDOW)]) / min(t, _WINDOW)) for t in range(1, len(asked))]


def _about(place: Path) -> dict[str, Any]:
    file = place / ABOUT
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _line(values: Sequence[float], positions: Sequence[float] | None = None, last: float | None = None) -> str:
    """Points of an SVG polyline, of values from 0 to 1."""
    if not values:
        return ""
    places = range(1, len(values) + 1) if positions is None else positions
    longest = max(1.0, float(places[-1]) if last is None else last)
    chosen = np.unique(np.linspace(0, len(values) - 1, min(_POINTS, len(values))).astype(int))
    points = [(_WIDTH * places[i] / longest, _HEIGHT * (1 - values[i])) for i in chosen.tolist()]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _strip(who: Sequence[str]) -> list[tuple[str, float, float]]:
    """Runs of steps of one kind: its class, where it begins, how wide it is."""
    found: list[tuple[str, float, float]] = []
    scale, start = _WIDTH / max(1, len(who)), 0
    for t in range(1, len(who) + 1):
        if t == len(who) or who[t] != who[start]:
            found.append((who[start].replace(" ", "-"), start * scale, max(0.5, (t - start) * scale)))
            start = t
    return found


def _weight_lines(run: _Run, num_members: int) -> list[tuple[int, str]]:
    """The heaviest members' weights over time: the member, and its line."""
    if not run.weights:
        return []
    final = run.weights[-1][1]
    order = np.argsort(-final, kind="stable")[: min(_COLOURS, num_members)].tolist()
    positions = [float(step) for step, _ in run.weights]
    return [(n, _line([float(one[n]) for _, one in run.weights], positions, float(len(run.who)))) for n in order]


def _query(one: _Asked, names: Sequence[str], place: Path) -> dict[str, Any]:
    ask, closed = one.ask, one.closed
    probs = np.exp(np.asarray(ask.log_probs, np.float64))
    numbered = probs.ndim == 2
    before = weights_of(ask.before) if ask.before is not None else None
    after = weights_of(closed.after) if closed is not None and closed.after is not None else None
    outcome = "waits for an answer"
    if closed is not None:
        outcome = {
            "answer": _named(closed.action, names),
            "safe": f"nobody answered: {_named(closed.action, names)}",
        }.get(closed.kind, "withdrawn")
    picture = place / PICTURES / f"{ask.query}.png"
    seen = None if one.seen is None else unpack(one.seen)
    together = ask.in_lockstep
    shown = None if seen is None or together else view(None, seen)
    return {
        "number": ask.query,
        "step": ask.step,
        "env": ask.env,
        "theta": f"{100 * (ask.query_prob or 0):.1f}%",
        "outcome": outcome,
        "latency": "" if closed is None or closed.latency is None else f"{closed.latency:.2f} s",
        "picture": base64.b64encode(picture.read_bytes()).decode("ascii") if picture.is_file() else "",
        "text": "" if shown is None else shown.text,
        "mission": "" if shown is None else shown.mission,
        "minimum": [f"{100 * p:.1f}" for p in ask.min_probs] if ask.min_probs is not None and numbered else [],
        "answered": closed.action if closed is not None and closed.kind in ("answer", "safe") else None,
        "members": [
            {
                "number": n,
                "selected": ask.selected is not None and bool(ask.selected[n]),
                "probs": [f"{100 * p:.1f}" for p in row],
                "before": "" if before is None else f"{before[n]:.3f}",
                "after": "" if after is None else f"{after[n]:.3f}",
            }
            for n, row in enumerate(probs if numbered else ())
        ],
        "alarms": ask.alarms,
    }


def _named(action: Any, names: Sequence[str]) -> str:
    return names[action] if isinstance(action, int) and 0 <= action < len(names) else "an action without a number"
