"""Calls of the journal done again: decisions and open steps, from what was written down."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from consensus_imitation import compiled
from consensus_imitation.compiled import Closed
from consensus_imitation.decision import Decision, Query, from_packed
from consensus_imitation.errors import JournalError, ReplayError
from consensus_imitation.journal.directory import RunDirectory
from consensus_imitation.journal.record import Entry
from consensus_imitation.journal.store import Store
from consensus_imitation.learner import LearnerState
from consensus_imitation.policy import encoded
from consensus_imitation.queries import OpenStep
from consensus_imitation.recording import LOCKSTEP, grouped
from consensus_imitation.steps import Judged, Setup, judge


def judged_again(
    setup: Setup, own: LearnerState, call: list[Entry], observation: Any, env: int | None, active: np.ndarray | None
) -> Judged:
    """The decision of a call, made again; of members on the host, what they said is taken from the record."""
    size = setup.rows(env)
    if not setup.ensemble.pure:
        judged = from_records(setup, call, encoded(setup.ensemble, observation, size), size)
        observe = compiled.observe if size is None else compiled.observe_batch
        drawn = np.int32(judged.on_host[..., 0])
        after = observe(setup.learner, own, judged.core, judged.packed, judged.log_probs, drawn)
        return judged._replace(closed=Closed(after.stream.carry, after.stream.step, after.stream.ledger))
    draws = np.array([entry.record.draw for entry in call], np.float32)
    number = draws[0]
    if size is not None:
        number = np.zeros(size, np.float32)
        number[rows_of(call)] = draws
    judged = judge(setup, own, observation, number, env, active)
    for entry in call:
        row = () if size is None else entry.record.env
        compare(call, "predictions", np.asarray(judged.log_probs)[row], entry.record.log_probs)
        compare(call, "decision", judged.on_host[row], entry.record.packed)
    return judged


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
    return judged.waiting(replace(decision, query=query), observation, active, record.time, restored=True)


def about(call: list[Entry], num_envs: int | None) -> tuple[int | None, np.ndarray | None]:
    """Which environment a call was about (None for the only one, or all in lockstep), and which rows were active."""
    if call[0].record.note != LOCKSTEP:
        return call[0].record.env, None
    active = np.zeros(num_envs or 0, bool)
    active[rows_of(call)] = True
    return None, None if active.all() else active


def kept(directory: RunDirectory, call: list[Entry]) -> bytes:
    """The observation of a call, packed.

    Raises:
        JournalError: if it is not kept any more.
    """
    data = directory.store.observation_of(call[0].call)
    if data is None:
        raise JournalError(f"the observation of call {call[0].call} is not kept: the run cannot be taken up from there")
    return data


def rows_of(call: list[Entry]) -> list[int]:
    """The environments that the entries of a call in lockstep are about."""
    return [int(entry.record.env or 0) for entry in call if entry.record.kind != "idle"]


def call_of(store: Store, number: int) -> list[Entry]:
    """The entries of one call."""
    return next(grouped(store.entries(after_call=number - 1)))


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
