"""What the journal says of steps with numbered actions: records made of what the shell has, and read again."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from consensus_imitation.core._packing import digest
from consensus_imitation.core._sources import Source
from consensus_imitation.core.draw import as_float
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator import _description
from consensus_imitation.imitator._calls import call_of
from consensus_imitation.imitator._queries import RESTORED, OpenStep, Reply
from consensus_imitation.imitator._run import Decided
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator._step import Judged
from consensus_imitation.imitator.decision import Decision, Query, from_packed
from consensus_imitation.imitator.kernels import arrays_of, unpack, without_dissent
from consensus_imitation.journal.record import LEARNED, LOCKSTEP, Entry, Record
from consensus_imitation.journal.store import Store

#: What resumes a run that is written so; and what is said of the run as a whole.
SHELL = "ConsensusImitator"
description = _description.description
#: Begins the word of a note that stands for what is left out; so many of the likeliest actions follow.
_DIGEST, _LIKELIEST = "sha256:", 5


def check_digests(setup: Setup) -> None:
    """Raise ConfigurationError for members on the host: what they said cannot be had again."""
    if not setup.ensemble.pure:
        raise ConfigurationError(
            'Journal(keep="digests") is for members in JAX: Python code may say something else when it is asked again, '
            "so that resuming needs what it said"
        )


def decided(step: Decided, observation: str, posterior: np.ndarray, now: float, digests: bool) -> list[Record]:
    """Records of a decision: one, or one for every active environment of a batch in lockstep; "idle" if there is none.

    Args:
        step: that was decided.
        observation: its digest.
        posterior: `words` of the state.
        now: seconds since the epoch.
        digests: leave out what can be worked out again, if nothing is asked.
    """
    decision, packed, number, active = step.decision, step.judged.on_host, step.number, step.active
    predictions = np.asarray(step.judged.log_probs)
    num_actions, legal = predictions.shape[-1], decision.action_mask
    # Of a batch that waits in lockstep, every row is needed until it is answered.
    digests = digests and not step.asks

    def record(packed: np.ndarray, log_probs: np.ndarray, number: Any, env: int | None, note: str) -> Record:
        action, query_prob = packed[:2].tolist()
        min_probs, selected, _, _ = arrays_of(packed, num_actions)
        asks = action < 0
        if digests:
            note = " ".join([*note.split(), digest_of(log_probs, packed), *_likeliest(min_probs)])
        mask = legal if legal is None or env is None or legal.ndim == 1 else legal[env]
        return Record(
            kind="ask" if asks else "act",
            env=env,
            step=decision.step,
            query=decision.query.id if asks and decision.query is not None else None,
            observation=observation,
            action_mask=mask,
            log_probs=None if digests else log_probs,
            selected=selected > 0,
            min_probs=None if digests else min_probs,
            query_prob=query_prob,
            packed=None if digests else packed,
            draw=float(as_float(number)),
            who=None if asks else "imitator",
            action=None if asks else int(action),
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


def answered(
    step: OpenStep, closed: Decision, reply: Reply, before: np.ndarray, after: np.ndarray, now: float
) -> list[Record]:
    """Records of an answer: one for every environment that was asked about."""

    def record(env: int | None, action: Any, late: Any, source: Source | None, note: str) -> Record:
        return Record(
            kind="safe" if late else "answer",
            env=env,
            step=closed.step,
            query=step.query.id,
            observation=step.query.observation,
            who="safe action" if late else "demonstrator",
            action=int(action),
            source=source,
            latency=now - step.asked,
            before=before,
            after=after,
            note=note,
            time=now,
        )

    if np.ndim(closed.queried) == 0:
        return [record(closed.env, closed.action, closed.unanswered, reply.sources[0], "")]
    late, sources = np.broadcast_to(closed.unanswered, closed.queried.shape), reply.sources
    asked = np.flatnonzero(closed.queried).tolist()
    return [record(b, closed.action[b], late[b], sources[b], LOCKSTEP) for b in asked]


def took_over(
    judged: Judged,
    decision: Decision,
    learn: bool,
    source: Source | None,
    observation: bytes,
    posterior: np.ndarray,
    now: float,
) -> Record:
    """The record of a step on which the demonstrator acted unasked; what the members would have done is in it."""
    fields = unpack(judged.on_host, judged.log_probs.shape[-1])
    return Record(
        kind="takeover",
        env=decision.env,
        step=decision.step,
        observation=digest(observation),
        action_mask=judged.mask,
        log_probs=np.asarray(judged.log_probs),
        selected=fields.selected > 0,
        min_probs=fields.min_probs,
        query_prob=float(fields.query_prob),
        packed=judged.on_host,
        who="demonstrator",
        action=int(decision.action),
        source=source,
        before=posterior,
        after=posterior,
        note=LEARNED if learn else "",
        time=now,
    )


def digest_of(log_probs: np.ndarray, packed: np.ndarray) -> str:
    """What stands for the predictions of a row and the decision on it."""
    decision = without_dissent(packed, log_probs.shape[-1])
    return _DIGEST + digest(b"".join(np.asarray(part, "<f4").tobytes() for part in (log_probs, decision)))


def digest_in(record: Record) -> str | None:
    """What `digest_of` gave when the record was written; None if it holds the numbers themselves."""
    return next((part for part in record.note.split() if part.startswith(_DIGEST)), None)


def _likeliest(probs: np.ndarray) -> list[str]:
    """The likeliest actions and their probabilities."""
    several = min(_LIKELIEST, len(probs))
    first = np.argpartition(-probs, several - 1)[:several]
    return [f"{action}:{probs[action]:.4g}" for action in sorted(first, key=lambda a: -probs[a]) if probs[action] > 0]


# --- what a call says ---


def about(call: list[Entry], num_envs: int | None) -> tuple[int | None, np.ndarray | None]:
    """Which environment a call was about (None for the only one, or all in lockstep), and which rows were active."""
    if not call[0].record.in_lockstep:
        return call[0].record.env, None
    active = np.zeros(num_envs or 0, bool)
    active[rows_of(call)] = True
    return None, None if active.all() else active


def rows_of(call: list[Entry]) -> list[int]:
    """The environments that the entries of a call in lockstep are about."""
    return [int(entry.record.env or 0) for entry in call if entry.record.kind != "idle"]


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
    log_probs, mask = jax.numpy.asarray(shown["log_probs"]), mask_of(setup, call, size)
    return Judged(shown["packed"], shown["packed"], log_probs, seen, core, closed=None, mask=mask)  # type: ignore[arg-type]


def mask_of(setup: Setup, call: list[Entry], size: int | None) -> np.ndarray | None:
    """What was legal: [A], or [B, A] in lockstep, where everything is in rows that were set aside; None if all was."""
    masks = [entry.record.action_mask for entry in call if entry.record.kind != "idle"]
    if not masks or masks[0] is None:
        return None
    legal = masks[0]
    if size is not None:
        legal = np.ones((size, setup.ensemble.num_actions), bool)
        legal[rows_of(call)] = masks
    legal.setflags(write=False)
    return legal


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
    decision = replace(decision, action_mask=judged.mask)
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
