"""One step as the shell takes it: core calls and what surrounds them, as functions of the state.

A step is that of the only environment, of all environments of a batch in lockstep, or of one environment of a batch.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._sources import Source
from consensus_imitation.core._values import changed
from consensus_imitation.core._voids import UNANSWERED, marked
from consensus_imitation.core.state import LearnerState, Stream
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._host_members import advanced_carry, core_observation
from consensus_imitation.imitator._queries import OpenStep, Reply
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator._teaching import Rows, taught
from consensus_imitation.imitator.decision import Decision, from_packed, set_aside, with_actions
from consensus_imitation.imitator.kernels import Closed
from consensus_imitation.imitator.policy import encoded

#: In the place of a step's random number, where nothing is drawn.
UNDRAWN = np.zeros(2, np.uint32)


class Judged(NamedTuple):
    """What the core says of an observation.

    Attributes:
        packed: the decision, for the core: [P] or [B, P].
        on_host: the same as a NumPy array.
        log_probs: the predictions acted on.
        seen: the observation as the members take it.
        core: what the core was fed.
        closed: the stream after the step if it is no query.
        mask: bool [A] or [B, A], the legal actions, on which ``log_probs`` are conditioned; None for all.
    """

    packed: Any
    on_host: np.ndarray
    log_probs: jax.Array
    seen: Any
    core: Any
    closed: Closed
    mask: np.ndarray | None = None

    def decision(self, setup: Setup, step: int, env: int | None) -> Decision:
        """For the user."""
        return from_packed(self.on_host, setup.ensemble.num_actions, step, env, self.log_probs, self.mask)

    def waiting(self, decision: Decision, raw: Any, active: np.ndarray | None, asked: float, asker: object) -> OpenStep:
        """The step that waits for answers; the arguments are `OpenStep`'s."""
        return OpenStep(decision, self.packed, self.log_probs, self.seen, raw, self.core, active, asked, asker)


def judge(
    setup: Setup,
    state: LearnerState,
    observation: Any,
    number: Any,
    env: int | None,
    active: np.ndarray | None,
    mask: np.ndarray | None = None,
) -> Judged:
    """Ask the members, and decide.

    Args:
        setup: of the run.
        state: as the step sees it (`Setup.taken`).
        observation: as the environment gave it.
        number: uint32 [2], or [B, 2]: what the draw uses.
        env: as for `Setup`.
        active: bool [B], or None for all.
        mask: as `legal.check_mask` gives it.

    Raises:
        ObservationError: if the observation does not fit.
    """
    size = setup.rows(env)
    seen = encoded(setup.ensemble, observation, size)
    core = core_observation(setup.ensemble, state, seen, size)
    decide = kernels.decide if size is None else kernels.decide_batch
    packed, log_probs, closed = decide(*setup.apart, state, core, number, mask)
    on_host = np.asarray(packed)
    if active is not None:
        packed = on_host = set_aside(on_host, active)
    return Judged(packed, on_host, log_probs, seen, core, closed, mask)


def posed(
    setup: Setup, state: LearnerState, judged: Judged, env: int | None, active: np.ndarray | None
) -> LearnerState:
    """The whole state while the demonstrator is asked: until it answers, every decision of the step's rows is a query.

    In lockstep also rows that drew an action wait: it is not taken yet, and their random number is spent, too.

    Args:
        setup: of the run.
        state: the whole, before.
        judged: what the core said.
        env: as for `Setup`.
        active: bool [B], or None for all.
    """
    own = setup.taken(state, env)
    rows = np.ones(np.shape(own.stream.step), bool) if active is None else active
    return setup.put(state, own.replace(stream=kernels.pose(own.stream, judged.closed.ledger, rows)), env)


def spent(setup: Setup, state: LearnerState, env: int | None) -> LearnerState:
    """The whole state after a step that drew an action and came to nothing: its random number is not used again.

    Args:
        setup: of the run.
        state: the whole, before.
        env: as for `Setup`; in lockstep all environments ask next.
    """
    stream = state.stream
    rows = np.ones(np.shape(stream.step), bool) if env is None else np.arange(setup.num_envs or 0) == env
    return state.replace(stream=kernels.pose(stream, stream.ledger, rows))


def unasked(
    setup: Setup, state: LearnerState, judged: Judged, decision: Decision, active: np.ndarray | None
) -> LearnerState:
    """The whole state after a step that was no query.

    Args:
        setup: of the run.
        state: the whole, before.
        judged: what the core said.
        decision: the same for the user.
        active: bool [B], or None for all.
    """
    own = setup.taken(state, decision.env)
    closed = judged.closed
    after = changed(own, stream=changed(own.stream, **closed._asdict()))
    after = _surrounded(setup, own, after, judged.seen, decision, decision.queried, active)
    return setup.put(state, after, decision.env)


def settled(
    setup: Setup, state: LearnerState, rows: Rows, step: OpenStep, reply: Reply, safe_action: int
) -> tuple[LearnerState, Rows, Decision]:
    """The whole state after a step that was a query, with its rows, and its decision with the action.

    Args:
        setup: of the run.
        state: the whole, now.
        rows: of that state.
        step: that waited.
        reply: the answers.
        safe_action: what is taken where nobody answered.
    """
    answers, late, sources = reply
    env = step.decision.env
    own = setup.taken(state, env)
    single = setup.rows(env) is None
    packed = step.packed
    if np.any(late):
        packed = with_actions(np.asarray(packed), late, safe_action)
        answers = np.where(late, safe_action, answers)
    answers = np.int32(answers)
    observe = kernels.observe if single else kernels.observe_batch
    after = observe(*setup.apart, own, step.core, packed, step.log_probs, answers)
    after = after.replace(learned=own.learned)
    if np.any(late):
        after = marked(after, UNANSWERED)
    closed = replace(
        step.decision, action=int(answers) if single else answers, unanswered=bool(late) if single else late
    )
    answered = np.asarray(step.decision.queried) & ~np.asarray(late)
    after = _surrounded(setup, own, after, step.observation, closed, answered, step.active)
    learned, rows = taught(setup.ensemble, own, rows, step.observation, step.log_probs, answers, answered, sources)
    return setup.put(state, after.replace(learned=learned), env), rows, closed


def taken_over(
    setup: Setup,
    state: LearnerState,
    rows: Rows,
    judged: Judged,
    action: int,
    learn: bool,
    env: int | None,
    source: Source | None,
) -> tuple[LearnerState, Rows]:
    """The whole state after a step on which the demonstrator acted unasked, with its rows.

    What it did where it chose to act is selected evidence: the posterior stays as it is, and nothing is
    entered into the ledger.

    Args:
        setup: of the run.
        state: the whole, before.
        rows: of that state.
        judged: what members had said.
        action: the demonstrator's.
        learn: whether members that learn do.
        env: as for `Setup`; no batch in lockstep.
        source: who the demonstrator was.
    """
    own = setup.taken(state, env)
    packed = with_actions(judged.on_host, np.asarray(True), action)
    after = kernels.observe(*setup.apart, own, judged.core, packed, judged.log_probs, np.int32(action))
    after = after.replace(learned=own.learned)
    closed = from_packed(packed, setup.ensemble.num_actions, 0, env)
    after = _surrounded(setup, own, after, judged.seen, closed, closed.queried, None)
    if learn:
        told = (judged.seen, judged.log_probs, np.int32(action), np.asarray(True), [source])
        learned, rows = taught(setup.ensemble, own, rows, *told)
        after = after.replace(learned=learned)
    return setup.put(state, after, env), rows


def _surrounded(
    setup: Setup,
    before: LearnerState,
    after: LearnerState,
    seen: Any,
    decision: Decision,
    answered: Any,
    active: np.ndarray | None,
) -> LearnerState:
    """With what members on the host remember, and without what rows that were set aside would have done."""
    if not setup.ensemble.pure and jax.tree.leaves(after.stream.carry):
        told = (seen, decision.action, answered, setup.rows(decision.env))
        carry = advanced_carry(setup.ensemble, before, *told)
        after = after.replace(stream=after.stream.replace(carry=carry))
    if active is not None:
        after = after.replace(stream=_rows_where(active, after.stream, before.stream))
    return after


def _rows_where(active: np.ndarray, after: Stream, before: Stream) -> Stream:
    """In rows that were set aside, only the step counter goes on."""

    def choose(new: Any, old: Any) -> Any:
        return jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    def staying(stream: Stream) -> Stream:
        return stream.replace(key=None, step=None, queries=None)

    kept = jax.tree.map(choose, staying(after), staying(before))
    return kept.replace(key=after.key, step=after.step, queries=after.queries)
