"""One step as the shell takes it: core calls and what surrounds them, as functions of the state.

A step is that of the only environment, of all environments of a batch in lockstep, or of one environment of a batch.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import compiled
from consensus_imitation.compiled import Closed
from consensus_imitation.decision import Decision, from_packed, set_aside, with_actions
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.host import core_observation, with_host_members
from consensus_imitation.learner import Learner, LearnerState, Stream
from consensus_imitation.policy import encoded
from consensus_imitation.queries import OpenStep


@dataclass(frozen=True)
class Setup:
    """What does not change over a run: the members, the rules, and B or None."""

    ensemble: Ensemble
    learner: Learner
    num_envs: int | None

    def rows(self, env: int | None) -> int | None:
        """How many environments a step is about: B in lockstep; None for a single one, or one of a batch."""
        return None if env is not None else self.num_envs

    def taken(self, state: LearnerState, env: int | None) -> LearnerState:
        """The state as the step sees it: with the stream of environment ``env`` only, if one is given."""
        return state if env is None else state.replace(stream=compiled.take_row(state.stream, env))

    def put(self, state: LearnerState, after: LearnerState, env: int | None) -> LearnerState:
        """The whole state again, after the step."""
        if env is None:
            return after
        return after.replace(stream=compiled.put_row(state.stream, after.stream, env))


class Judged(NamedTuple):
    """What the core says of an observation.

    Attributes:
        packed: the decision, for the core: [P] or [B, P].
        on_host: the same as a NumPy array.
        log_probs: the predictions acted on.
        seen: the observation as the members take it.
        core: what the core was fed.
        closed: the stream after the step if it is no query.
    """

    packed: Any
    on_host: np.ndarray
    log_probs: jax.Array
    seen: Any
    core: Any
    closed: Closed

    def decision(self, setup: Setup, step: int, env: int | None) -> Decision:
        """For the user."""
        return from_packed(self.on_host, setup.ensemble.num_actions, step, env)

    def waiting(
        self, decision: Decision, raw: Any, active: np.ndarray | None, asked: float, restored: bool = False
    ) -> OpenStep:
        """The step that waits for answers; the arguments are `OpenStep`'s."""
        return OpenStep(decision, self.packed, self.log_probs, self.seen, raw, self.core, active, asked, restored)


def judge(
    setup: Setup, state: LearnerState, observation: Any, number: Any, env: int | None, active: np.ndarray | None
) -> Judged:
    """Ask the members, and decide.

    Args:
        setup: of the run.
        state: as the step sees it (`Setup.taken`).
        observation: as the environment gave it.
        number: in [0, 1), or [B]: what the draw uses.
        env: as for `Setup`.
        active: bool [B], or None for all.

    Raises:
        ObservationError: if the observation does not fit.
    """
    size = setup.rows(env)
    seen = encoded(setup.ensemble, observation, size)
    core = core_observation(setup.ensemble, state, seen, size)
    decide = compiled.decide if size is None else compiled.decide_batch
    packed, log_probs, closed = decide(setup.learner, state, core, number)
    on_host = np.asarray(packed)
    if active is not None:
        packed = on_host = set_aside(on_host, active)
    return Judged(packed, on_host, log_probs, seen, core, closed)


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
    after = own.replace(stream=own.stream.replace(carry=closed.carry, step=closed.step, ledger=closed.ledger))
    after = _surrounded(setup, own, after, judged.seen, judged.log_probs, decision, decision.queried, active)
    return setup.put(state, after, decision.env)


def settled(
    setup: Setup, state: LearnerState, step: OpenStep, answers: Any, late: Any, safe_action: int
) -> tuple[LearnerState, Decision]:
    """The whole state after a step that was a query, and its decision with the action.

    Args:
        setup: of the run.
        state: the whole, now.
        step: that waited.
        answers: int [], or [B]: the demonstrator's where it answered, the imitator's own where it was not asked.
        late: bool [], or [B]: nobody answered, and the safe action is taken.
        safe_action: which one it is.
    """
    env = step.decision.env
    own = setup.taken(state, env)
    single = setup.rows(env) is None
    packed = step.packed
    if np.any(late):
        packed = with_actions(np.asarray(packed), late, safe_action)
        answers = np.where(late, safe_action, answers)
    answers = np.int32(answers)
    observe = compiled.observe if single else compiled.observe_batch
    after = observe(setup.learner, own, step.core, packed, step.log_probs, answers)
    closed = replace(
        step.decision, action=int(answers) if single else answers, unanswered=bool(late) if single else late
    )
    taught = np.asarray(step.decision.queried) & ~np.asarray(late)
    after = _surrounded(setup, own, after, step.observation, step.log_probs, closed, taught, step.active)
    return setup.put(state, after, env), closed


def _surrounded(
    setup: Setup,
    before: LearnerState,
    after: LearnerState,
    seen: Any,
    log_probs: Any,
    decision: Decision,
    taught: Any,
    active: np.ndarray | None,
) -> LearnerState:
    """With what members on the host remember and learn, and without what rows that were set aside would have done."""
    if not setup.ensemble.pure:
        told = (seen, log_probs, decision.action, taught, setup.rows(decision.env))
        after = with_host_members(setup.ensemble, before, after, *told)
    if active is not None:
        after = after.replace(stream=_rows_where(active, after.stream, before.stream))
    return after


def _rows_where(active: np.ndarray, after: Stream, before: Stream) -> Stream:
    """In rows that were set aside, only the step counter goes on."""

    def choose(new: Any, old: Any) -> Any:
        return jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    carry, ledger = jax.tree.map(choose, (after.carry, after.ledger), (before.carry, before.ledger))
    return after.replace(carry=carry, ledger=ledger)
