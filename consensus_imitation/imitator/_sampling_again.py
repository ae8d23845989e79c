"""What was done with actions of any kind, done again: decisions and answers."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._packing import unpack
from consensus_imitation.core.draw import as_float
from consensus_imitation.core.rejection import void_unless
from consensus_imitation.core.sampling_learner import PureSamplingDecision, SamplingState
from consensus_imitation.errors import ReplayError
from consensus_imitation.imitator._calls import compare, words
from consensus_imitation.imitator._queries import RESTORED, Queries
from consensus_imitation.imitator._sampling_acting import packed_action, seen_by
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_records import from_record, packed
from consensus_imitation.imitator._sampling_run import OpenSample, Sampled, SamplingRun, decide, for_user
from consensus_imitation.imitator._sampling_setup import SamplingSetup
from consensus_imitation.journal.record import Entry


def like(setup: SamplingSetup) -> SamplingState:
    """A state of this kind."""
    return setup.like()


def begun(setup: SamplingSetup, state: SamplingState, queries: Queries[OpenSample, SamplingDecision]) -> SamplingRun:
    """A run that is in this state."""
    return SamplingRun.begin(setup, state, queries)


def decided(run: SamplingRun, call: list[Entry], observation: Any) -> SamplingRun:
    """After a call in which something was decided."""
    record = call[0].record
    own = run.setup.taken(run.state, record.env)
    pure, stream = decide(run.setup.learner, own, seen_by(own, observation))
    decision = for_user(pure, record.step, record.env)
    compare(call, "densities", decision.log_densities, record.log_probs)
    compare(call, "decision", packed(decision), record.packed)
    compare(call, "draw", as_float(pure.number), record.draw)
    compare(call, "action", b"" if decision.queried else packed_action(decision.action), record.action or b"")
    alarms = run.alarms.noted(decision.invalid, decision.step, decision.rule_fault)
    decision = replace(decision, query=from_record(record, run.queries.run).query, alarms=record.alarms)
    return Sampled(run, observation, pure, stream, decision, alarms).taken(RESTORED, record.time)


def settled(run: SamplingRun, call: list[Entry], waiting: OpenSample) -> SamplingRun:
    """After a call that brought an answer."""
    record = call[0].record
    after, closed = run.settled(waiting, unpack(record.action if isinstance(record.action, bytes) else b""))
    compare(call, "densities", closed.log_densities, record.log_probs)
    compare(call, "posterior", words(after.state), record.after)
    return after


def still(run: SamplingRun, call: list[Entry], observation: Any) -> OpenSample:
    """A query that waits since before the checkpoint: from the record alone, its posterior being gone."""
    record = call[0].record
    own = run.setup.taken(run.state, record.env)
    decision = from_record(record, run.queries.run)
    shapes = jax.eval_shape(run.setup.learner.decide, own, seen_by(own, observation))
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.action)
    pure = PureSamplingDecision(
        action=void_unless(jnp.zeros((), bool), nothing),
        queried=jnp.ones((), bool),
        query_prob_estimate=jnp.float32(decision.query_prob_estimate),
        selected=jnp.asarray(decision.selected),
        dissenter=jnp.int32(-1 if decision.dissenter is None else decision.dissenter),
        invalid=jnp.asarray(decision.invalid),
        rule_fault=jnp.asarray(decision.rule_fault),
        log_densities=jnp.asarray(decision.log_densities),
        log_weights=jnp.asarray(np.asarray(record.before)[0]),
        # It has decided; nobody reads it again.
        number=jnp.zeros(2, jnp.uint32),
    )
    return OpenSample(decision, pure, observation, record.time, RESTORED)


def took_over(run: SamplingRun, call: list[Entry], observation: Any) -> SamplingRun:
    """There is nothing of that kind in such a run.

    Raises:
        ReplayError: always.
    """
    del observation
    return between(run, call)


def between(run: SamplingRun, call: list[Entry]) -> SamplingRun:
    """There is nothing of that kind in such a run.

    Raises:
        ReplayError: always.
    """
    del run
    raise ReplayError(f"call {call[0].call} of the journal is of a kind that no SamplingImitator writes")
