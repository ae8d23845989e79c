"""What was done with numbered actions, done again: decisions, answers, and what comes between two steps."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np

from consensus_imitation.core._sources import Source
from consensus_imitation.core.draw import from_float
from consensus_imitation.core.state import LearnerState
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._calls import compare, differs, words
from consensus_imitation.imitator._host_members import initial_state
from consensus_imitation.imitator._queries import RESTORED, OpenStep, Queries, Reply
from consensus_imitation.imitator._records import about, digest_in, digest_of, from_records, mask_of, open_step, rows_of
from consensus_imitation.imitator._run import Decided, Run
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator._step import UNDRAWN, Judged, judge
from consensus_imitation.imitator._teaching import from_disk
from consensus_imitation.imitator.decision import Decision
from consensus_imitation.imitator.kernels import Closed
from consensus_imitation.imitator.policy import encoded
from consensus_imitation.journal.record import LEARNED, Entry


def like(setup: Setup) -> LearnerState:
    """A state of this kind, as a checkpoint holds it."""
    return from_disk(initial_state(setup.learner, setup.ensemble, jax.random.key(0), setup.num_envs))


def begun(setup: Setup, state: LearnerState, queries: Queries[OpenStep, Decision]) -> Run:
    """A run that is in this state."""
    return Run.begin(setup, state, queries)


def between(run: Run, call: list[Entry]) -> Run:
    """After a step in which every environment was set aside, or the beginning of an episode."""
    record = call[0].record
    if record.kind == "begin":
        return run.begun(record.env)
    stream = run.state.stream
    return run.closed(run.state.replace(stream=stream.replace(step=stream.step + 1)), None, run.alarms)


def decided(run: Run, call: list[Entry], observation: Any) -> Run:
    """After a call in which something was decided."""
    env, active = about(call, run.setup.num_envs)
    judged = _judged_again(run, call, observation, env, active)
    decision = judged.decision(run.setup, call[0].record.step, env)
    decision = replace(decision, alarms=call[0].record.alarms)
    alarms = run.alarms.copy()
    alarms.report(decision, run.unexplained, active)
    step = Decided(run, observation, judged, decision, alarms, active)
    if not step.asks:
        return step.taken(RESTORED, 0.0)
    waiting = open_step(call, judged, decision, run.queries.run, observation, active)
    return replace(step, decision=waiting.decision).taken(RESTORED, waiting.asked)


def _judged_again(run: Run, call: list[Entry], observation: Any, env: int | None, active: np.ndarray | None) -> Judged:
    """The decision of a call, made again; of members on the host, what they said is taken from the record."""
    setup = run.setup
    own, size = setup.taken(run.state, env), setup.rows(env)
    if not setup.ensemble.pure:
        judged = from_records(setup, call, encoded(setup.ensemble, observation, size), size)
        observe = kernels.observe if size is None else kernels.observe_batch
        drawn = np.int32(judged.on_host[..., 0])
        after = observe(*setup.apart, own, judged.core, judged.packed, judged.log_probs, drawn)
        stream = after.stream
        return judged._replace(closed=Closed(stream.carry, stream.step, stream.ledger, stream.unusable))
    draws = from_float([entry.record.draw for entry in call])
    number = draws[0]
    if size is not None:
        number = np.zeros((size, 2), np.uint32)
        number[rows_of(call)] = draws
    judged = judge(setup, own, observation, number, env, active, mask_of(setup, call, size))
    for entry in call:
        row = () if size is None else entry.record.env
        predictions, then_digest = np.asarray(judged.log_probs)[row], digest_in(entry.record)
        if then_digest is not None and digest_of(predictions, judged.on_host[row]) != then_digest:
            differs(call, "predictions and decision")
        compare(call, "predictions", predictions, entry.record.log_probs)
        now, then = judged.on_host[row], entry.record.packed
        if then is not None:
            now, then = (kernels.without_dissent(one, setup.ensemble.num_actions) for one in (now, then))
        compare(call, "decision", now, then)
    return judged


def took_over(run: Run, call: list[Entry], observation: Any) -> Run:
    """After a call on which the demonstrator acted unasked."""
    record, setup = call[0].record, run.setup
    if setup.ensemble.pure:
        judged = judge(
            setup, setup.taken(run.state, record.env), observation, UNDRAWN, record.env, None, record.action_mask
        )
        compare(call, "predictions", np.asarray(judged.log_probs), record.log_probs)
        packed = (
            kernels.without_dissent(np.asarray(one), setup.ensemble.num_actions)
            for one in (judged.on_host, record.packed)
        )
        compare(call, "decision", *packed)
    else:
        judged = from_records(setup, call, encoded(setup.ensemble, observation, None), None)
    return run.taken_over(judged, int(record.action or 0), record.note == LEARNED, record.env, record.source)


def still(run: Run, call: list[Entry], observation: Any) -> OpenStep:
    """A query that waits since before the checkpoint: from the record alone, its state being gone."""
    setup = run.setup
    env, active = about(call, setup.num_envs)
    size = setup.rows(env)
    judged = from_records(setup, call, encoded(setup.ensemble, observation, size), size)
    decision = replace(judged.decision(setup, call[0].record.step, env), alarms=call[0].record.alarms)
    return open_step(call, judged, decision, run.queries.run, observation, active)


def settled(run: Run, call: list[Entry], waiting: OpenStep) -> Run:
    """After a call that brought answers."""
    size = run.setup.rows(waiting.decision.env)
    answers = np.array(-1 if size is None else waiting.decision.action)
    late = np.zeros(np.shape(waiting.decision.queried), bool)
    sources: list[Source | None] = [None] * answers.size
    safe_action = 0
    for entry in call:
        record = entry.record
        row = () if size is None else record.env
        answers[row] = record.action
        sources[row or 0] = record.source
        if record.kind == "safe":
            late[row], safe_action = True, int(record.action or 0)
    after, _ = run.settled(waiting, Reply(answers, late, sources), safe_action)
    compare(call, "posterior", words(after.state), call[0].record.after)
    return after
