"""What the journal says of a call: records made from what the shell has at hand, and read again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from consensus_imitation.core.draw import as_float
from consensus_imitation.core.learner import LearnerState
from consensus_imitation.errors import JournalError, ReplayError
from consensus_imitation.imitator._queries import RESTORED, OpenStep
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator._step import Judged
from consensus_imitation.imitator.decision import Decision, Query, from_packed
from consensus_imitation.imitator.kernels import unpack
from consensus_imitation.journal.directory import RunDirectory
from consensus_imitation.journal.record import Entry, Kind, Record
from consensus_imitation.journal.store import Store

#: Note of the records of a step that a whole batch took in lockstep.
LOCKSTEP = "lockstep"


def words(state: LearnerState) -> np.ndarray:
    """The posterior, float32 [2, N]: log-weights, and what their rounding left."""
    return np.stack([np.asarray(state.posterior.log_weights), np.asarray(state.posterior.residual)])


def decided(
    decision: Decision, packed: np.ndarray, log_probs: Any, number: Any, observation: str, posterior: np.ndarray,
    active: np.ndarray | None, now: float,
) -> list[Record]:  # fmt: skip
    """Records of a decision: one, or one for every active environment of a batch in lockstep; "idle" if there is none.

    Args:
        decision: as it is handed out.
        packed: the same as the core gave it, [P] or [B, P].
        log_probs: [N, A] or [B, N, A].
        number: uint32 [2], or [B, 2]: what the draw used.
        observation: its SHA-256.
        posterior: `words` of the state.
        active: bool [B], or None for all.
        now: seconds since the epoch.
    """
    predictions = np.asarray(log_probs)
    num_actions = predictions.shape[-1]

    def record(packed: np.ndarray, log_probs: np.ndarray, number: Any, env: int | None, note: str) -> Record:
        fields = unpack(packed, num_actions)
        asks = fields.action < 0
        return Record(
            kind="ask" if asks else "act",
            env=env,
            step=decision.step,
            query=decision.query.id if asks and decision.query is not None else None,
            observation=observation,
            log_probs=log_probs,
            selected=fields.selected > 0,
            min_probs=fields.min_probs,
            query_prob=float(fields.query_prob),
            packed=packed,
            draw=float(as_float(number)),
            who=None if asks else "imitator",
            action=None if asks else int(fields.action),
            before=posterior,
            after=posterior,
            alarms=decision.alarms,
            note=note,
            time=now,
        )

    if packed.ndim == 1:
        return [record(packed, predictions, number, decision.env, "")]
    rows = range(len(packed)) if active is None else np.flatnonzero(active).tolist()
    if not rows:
        return [Record(kind="idle", step=decision.step, observation=observation, note=LOCKSTEP, time=now)]
    return [record(packed[b], predictions[b], number[b], b, LOCKSTEP) for b in rows]


def answered(step: OpenStep, closed: Decision, before: np.ndarray, after: np.ndarray, now: float) -> list[Record]:
    """Records of an answer: one for every environment that was asked about."""

    def record(env: int | None, action: Any, late: Any, note: str) -> Record:
        return Record(
            kind="safe" if late else "answer",
            env=env,
            step=closed.step,
            query=step.query.id,
            observation=step.query.observation,
            who="safe action" if late else "demonstrator",
            action=int(action),
            latency=now - step.asked,
            before=before,
            after=after,
            note=note,
            time=now,
        )

    if np.ndim(closed.queried) == 0:
        return [record(closed.env, closed.action, closed.unanswered, "")]
    late = np.broadcast_to(closed.unanswered, closed.queried.shape)
    return [record(b, closed.action[b], late[b], LOCKSTEP) for b in np.flatnonzero(closed.queried).tolist()]


def event(kind: Kind, env: int | None, now: float, *, query: int | None = None, note: str = "") -> Record:
    """A record of something that is no step."""
    return Record(kind=kind, env=env, query=query, note=note, time=now)


# --- what a call says ---


def grouped(entries: Any) -> Iterator[list[Any]]:
    """Entries of the journal, call by call."""
    call: list[Any] = []
    for entry in entries:
        if call and entry.call != call[0].call:
            yield call
            call = []
        call.append(entry)
    if call:
        yield call


def call_of(store: Store, number: int) -> list[Entry]:
    """The entries of one call."""
    return next(grouped(store.entries(after_call=number - 1)))


def about(call: list[Entry], num_envs: int | None) -> tuple[int | None, np.ndarray | None]:
    """Which environment a call was about (None for the only one, or all in lockstep), and which rows were active."""
    if call[0].record.note != LOCKSTEP:
        return call[0].record.env, None
    active = np.zeros(num_envs or 0, bool)
    active[rows_of(call)] = True
    return None, None if active.all() else active


def rows_of(call: list[Entry]) -> list[int]:
    """The environments that the entries of a call in lockstep are about."""
    return [int(entry.record.env or 0) for entry in call if entry.record.kind != "idle"]


def kept(directory: RunDirectory, call: list[Entry]) -> bytes:
    """The observation of a call, packed.

    Raises:
        JournalError: if it is not kept any more.
    """
    data = directory.store.observation_of(call[0].call)
    if data is None:
        raise JournalError(f"the observation of call {call[0].call} is not kept: the run cannot be taken up from there")
    return data


def from_records(setup: Setup, call: list[Entry], seen: Any, size: int | None) -> Judged:
    """What was decided, as it was written down; rows of a batch that were set aside are zero."""
    shown: dict[str, np.ndarray] = {}
    for name in ("packed", "log_probs"):
        rows = [np.asarray(getattr(entry.record, name)) for entry in call]
        shown[name] = rows[0]
        if size is not None:
            shown[name] = np.zeros((size, *rows[0].shape), np.float32)
            shown[name][rows_of(call)] = rows
    core = shown["log_probs"] if not setup.ensemble.pure else seen
    return Judged(shown["packed"], shown["packed"], jax.numpy.asarray(shown["log_probs"]), seen, core, closed=None)  # type: ignore[arg-type]


def open_step(
    call: list[Entry], judged: Judged, decision: Decision, run: str, observation: Any, active: np.ndarray | None
) -> OpenStep:
    """The step that a call left open, waiting again."""
    record = next(entry.record for entry in call if entry.record.kind == "ask")
    query = Query(run, int(record.query or 0), record.observation, decision.env, decision.step)
    return judged.waiting(replace(decision, query=query), observation, active, record.time, asker=RESTORED)


def recalled(store: Store, number: int, setup: Setup, run: str) -> Decision | None:
    """How a query was closed, from the journal: None if it was withdrawn.

    Raises:
        KeyError: if it was not.
    """
    entries = store.of_query(number)
    asked = call_of(store, entries[0].call) if entries else []
    closing = {entry.record.env: entry.record for entry in entries if entry.record.kind in ("answer", "safe")}
    if any(entry.record.kind == "withdraw" for entry in entries):
        return None
    if not asked or not closing:
        raise KeyError("not closed")
    env, _ = about(asked, setup.num_envs)
    size = setup.rows(env)
    judged = from_records(setup, asked, None, size)
    decision = from_packed(judged.on_host, setup.ensemble.num_actions, asked[0].record.step, env)
    query = Query(run, number, asked[0].record.observation, env, decision.step)
    action, late = np.array(-1 if size is None else decision.action), np.zeros(size or (), bool)
    for where, record in closing.items():
        row = () if size is None else where
        action[row], late[row] = record.action, record.kind == "safe"
    taken = int(action) if size is None else action
    return replace(
        decision, query=query, action=taken, unanswered=bool(late) if size is None else late,
        alarms=asked[0].record.alarms,
    )  # fmt: skip


def compare(call: list[Entry], what: str, now: Any, then: Any) -> None:
    """Raise ReplayError unless the bits are those that were written down."""
    if then is not None and np.asarray(now).tobytes() != np.asarray(then).tobytes():
        raise ReplayError(
            f"call {call[0].call} of the journal (entry {call[0].seq}, step {call[0].record.step}) comes out otherwise "
            f"now ({what}): members, rules, versions of the libraries and kind of device have to be those of the run"
        )
