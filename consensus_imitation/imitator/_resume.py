"""A run done again from its journal: the newest whole checkpoint, and the calls after it, one run after another.

They are done by the functions that did them first, from the observations that were kept; what comes out has to be what
was written down.
"""

import warnings
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import jax
import numpy as np

from consensus_imitation.core._packing import unpack
from consensus_imitation.core.draw import from_float
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.rules import Rules
from consensus_imitation.errors import ConsensusWarning, JournalError, ObservationError, ReplayError
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._description import check_description
from consensus_imitation.imitator._host_members import initial_state
from consensus_imitation.imitator._queries import RESTORED, OpenStep, Queries
from consensus_imitation.imitator._records import (
    about,
    call_of,
    compare,
    from_records,
    grouped,
    kept,
    open_step,
    rows_of,
    words,
)
from consensus_imitation.imitator._run import Decided, Run
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator._step import Judged, judge
from consensus_imitation.imitator.kernels import Closed
from consensus_imitation.imitator.policy import encoded
from consensus_imitation.journal.checkpoint import Checkpoint
from consensus_imitation.journal.directory import RunDirectory
from consensus_imitation.journal.record import Entry


def resume(run_dir: str | Path, ensemble: Ensemble, rules: Rules) -> tuple[Run, RunDirectory]:
    """The run that a directory holds, as it ended; and the directory, open for writing.

    Raises:
        ConfigurationError: if members or rules are not those of the run.
        LockedError: if somebody else writes it.
        JournalError: if it holds nothing that could be gone on with.
        ReplayError: if what was written down does not come out again.
    """
    directory = RunDirectory.open(run_dir)
    try:
        meta = directory.store.meta
        setup = Setup.of(ensemble, rules, meta["num_envs"])
        check_description(meta, setup)
        saved = _newest(directory, setup)
        run = Run.begin(setup, saved.state, Queries(directory.run, directory.store.last_query + 1))
        with warnings.catch_warnings():
            # They were given when the steps were taken; and where they are errors, nobody could go on.
            warnings.simplefilter("ignore", ConsensusWarning)
            return _done_again(run, directory, saved.header), directory
    except BaseException:
        directory.close()
        raise


def _newest(directory: RunDirectory, setup: Setup) -> Checkpoint:
    like = initial_state(setup.learner, setup.ensemble, jax.random.key(0), setup.num_envs)
    saved = next(directory.checkpoints(like), None)
    if saved is not None:
        return saved
    if all(entry.record.kind == "open" for entry in directory.store.entries()):
        raise JournalError(
            f"{directory.path} holds no run: its beginning was cut off before anything was given out; begin again"
        )
    raise JournalError(
        f"{directory.path} holds no whole checkpoint to go on from, and does not keep the observations of its "
        f"beginning (Journal(observations=True) does): {'; '.join(directory.report.lines())}"
    )


def _done_again(run: Run, directory: RunDirectory, header: dict[str, Any]) -> Run:
    """What the journal holds after a checkpoint, done to the run that was saved in it."""
    store = directory.store
    alarms = run.alarms.copy()
    alarms.load(header["alarms"])
    run = replace(run, alarms=alarms)
    # Queries that were posed before the checkpoint: what was predicted then is in the journal.
    for query in header["waiting"]:
        call = call_of(store, store.of_query(query)[0].call)
        run = run.waiting(_waiting_still(run, call, unpack(kept(directory, call))))

    def after(run: Run, call: list[Entry]) -> Run:
        try:
            return _call_again(run, directory, call)
        except ObservationError as error:
            raise ReplayError(f"call {call[0].call} of the journal: {error}") from error

    return reduce(after, grouped(store.entries(after_call=header["call"])), run)


def _call_again(run: Run, directory: RunDirectory, call: list[Entry]) -> Run:
    record = call[0].record
    match record.kind:
        case "act" | "ask":
            return _decided_again(run, call, unpack(kept(directory, call)))
        case "answer" | "safe":
            return _settled_again(run, call)
        case "withdraw" if record.query is None:
            return run.spent(record.env)
        case "withdraw":
            return run.withdrawn(_waiting(run, call))
        case "idle":
            stream = run.state.stream
            return run.closed(run.state.replace(stream=stream.replace(step=stream.step + 1)), None, run.alarms)
        case "begin":
            return run.begun(record.env)
        case "clear":
            return run.cleared()
        case "study":
            raise JournalError(
                f"what was studied in call {call[0].call} is in a checkpoint that cannot be read, so that the run "
                f"cannot be taken up: {'; '.join(directory.report.lines())}"
            )
        case "open":
            return run


def _decided_again(run: Run, call: list[Entry], observation: Any) -> Run:
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
        after = observe(setup.learner, own, judged.core, judged.packed, judged.log_probs, drawn)
        stream = after.stream
        return judged._replace(closed=Closed(stream.carry, stream.step, stream.ledger, stream.unusable))
    draws = from_float([entry.record.draw for entry in call])
    number = draws[0]
    if size is not None:
        number = np.zeros((size, 2), np.uint32)
        number[rows_of(call)] = draws
    judged = judge(setup, own, observation, number, env, active)
    for entry in call:
        row = () if size is None else entry.record.env
        compare(call, "predictions", np.asarray(judged.log_probs)[row], entry.record.log_probs)
        packed = [
            kernels.of_queries(one, setup.ensemble.num_actions) for one in (judged.on_host[row], entry.record.packed)
        ]
        compare(call, "decision", *packed)
    return judged


def _waiting_still(run: Run, call: list[Entry], observation: Any) -> OpenStep:
    """A query that waits since before the checkpoint: from the record alone, its state being gone."""
    setup = run.setup
    env, active = about(call, setup.num_envs)
    size = setup.rows(env)
    judged = from_records(setup, call, encoded(setup.ensemble, observation, size), size)
    decision = replace(judged.decision(setup, call[0].record.step, env), alarms=call[0].record.alarms)
    return open_step(call, judged, decision, run.queries.run, observation, active)


def _settled_again(run: Run, call: list[Entry]) -> Run:
    waiting = _waiting(run, call)
    size = run.setup.rows(waiting.decision.env)
    answers = np.array(-1 if size is None else waiting.decision.action)
    late = np.zeros(np.shape(waiting.decision.queried), bool)
    safe_action = 0
    for entry in call:
        record = entry.record
        row = () if size is None else record.env
        answers[row] = record.action
        if record.kind == "safe":
            late[row], safe_action = True, record.action or 0
    after, _ = run.settled(waiting, answers, late, safe_action)
    compare(call, "posterior", words(after.state), call[0].record.after)
    return after


def _waiting(run: Run, call: list[Entry]) -> OpenStep:
    for step in run.queries.waiting():
        if step.query.id == call[0].record.query:
            return step
    raise ReplayError(f"call {call[0].call} of the journal closes query {call[0].record.query}, which does not wait")
