"""What the journal says of steps with actions of any kind: records made of what the shell has, and read again.

An action is kept as bytes (`pack`), every bit of it, with types, shapes and the names in dicts. In place of predictions
stand log-densities [N]: those of the proposal with a decision, those of the answer with an answer.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from consensus_imitation.core._packing import unpack
from consensus_imitation.core.draw import as_float
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator._calls import call_of
from consensus_imitation.imitator._description import sampling_description
from consensus_imitation.imitator._sampling_acting import packed_action
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_run import OpenSample, Sampled
from consensus_imitation.imitator._sampling_setup import SamplingSetup
from consensus_imitation.imitator.decision import Query
from consensus_imitation.journal.record import Record
from consensus_imitation.journal.store import Store

#: What resumes a run that is written so; and what is said of the run as a whole.
SHELL = "SamplingImitator"
description = sampling_description
#: Numbers of a packed decision before the flags of the members.
_HEAD = 3


def packed(decision: SamplingDecision) -> np.ndarray:
    """A decision without its action and densities: float32 [3 + 2N]; `from_record` reads it."""
    dissenter = -1 if decision.dissenter is None else decision.dissenter
    head = [decision.query_prob_estimate, dissenter, decision.rule_fault]
    return np.concatenate([np.array(head, np.float32), decision.selected, decision.invalid], dtype=np.float32)


def check_digests(setup: SamplingSetup) -> None:
    """Raise ConfigurationError: there is nothing to leave out."""
    del setup
    raise ConfigurationError(
        'Journal(keep="digests") is for numbered actions: SamplingImitator keeps a few numbers for each member and the '
        "action itself, and resuming needs them"
    )


def decided(step: Sampled, observation: str, posterior: np.ndarray, now: float, digests: bool) -> list[Record]:
    """The record of a decision; everything of it, see `check_digests`.

    Args:
        step: that was decided.
        observation: its digest.
        posterior: `words` of the state.
        now: seconds since the epoch.
        digests: never.
    """
    del digests
    decision = step.decision
    asks = decision.queried
    record = Record(
        kind="ask" if asks else "act",
        env=decision.env,
        step=decision.step,
        query=None if decision.query is None else decision.query.id,
        observation=observation,
        log_probs=decision.log_densities,
        selected=decision.selected,
        query_prob=decision.query_prob_estimate,
        packed=packed(decision),
        draw=float(as_float(step.pure.number)),
        who=None if asks else "imitator",
        action=None if asks else step.action,
        before=posterior,
        after=posterior,
        alarms=decision.alarms,
        time=now,
    )
    return [record]


def answered(
    step: OpenSample, closed: SamplingDecision, reply: Any, before: np.ndarray, after: np.ndarray, now: float
) -> list[Record]:
    """The record of an answer."""
    del reply
    record = Record(
        kind="answer",
        env=closed.env,
        step=closed.step,
        query=step.query.id,
        observation=step.query.observation,
        log_probs=closed.log_densities,
        packed=packed(closed),
        who="demonstrator",
        action=packed_action(closed.action),
        latency=now - step.asked,
        before=before,
        after=after,
        time=now,
    )
    return [record]


def from_record(record: Record, run: str) -> SamplingDecision:
    """A decision as it was written down, without its action; with its query if it was one."""
    said, log_densities = np.asarray(record.packed), np.asarray(record.log_probs)
    N = len(log_densities)
    query = None
    if record.query is not None:
        query = Query(run, record.query, record.observation, record.env, record.step)
    return SamplingDecision(
        action=None,
        queried=query is not None,
        query_prob_estimate=float(said[0]),
        selected=said[_HEAD : _HEAD + N] > 0,
        dissenter=None if said[1] < 0 else int(said[1]),
        invalid=said[_HEAD + N :] > 0,
        step=record.step,
        rule_fault=bool(said[2]),
        log_densities=log_densities,
        env=record.env,
        query=query,
        alarms=record.alarms,
    )


def recalled(store: Store, number: int, setup: SamplingSetup, run: str) -> SamplingDecision | None:
    """How a query was closed, from the journal: None if it was withdrawn.

    Raises:
        KeyError: if it was not.
    """
    del setup
    entries = store.of_query(number)
    kinds: dict[str, Any] = {entry.record.kind: entry.record for entry in entries}
    if "withdraw" in kinds:
        return None
    if "answer" not in kinds:
        raise KeyError("not closed")
    asked = call_of(store, entries[0].call)[0].record
    return replace(from_record(kinds["answer"], run), action=unpack(kinds["answer"].action), alarms=asked.alarms)
