"""What the journal says of a step: records, made from what the shell has at hand."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from consensus_imitation.compiled import unpack
from consensus_imitation.decision import Decision
from consensus_imitation.journal.record import Kind, Record
from consensus_imitation.learner import LearnerState
from consensus_imitation.queries import OpenStep

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
        number: in [0, 1), or [B].
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
            draw=float(number),
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
