"""What changes while a `SamplingImitator` works, as one value, and the compiled calls behind it."""

import secrets
from dataclasses import dataclass, replace
from typing import Any, Self

import jax
import numpy as np

from consensus_imitation.core._observations import owned
from consensus_imitation.core._voids import BROKEN_OFF, marked
from consensus_imitation.core.any_action import Action
from consensus_imitation.core.sampling_learner import (
    PureSamplingDecision,
    SamplingLearner,
    SamplingState,
    SamplingStream,
)
from consensus_imitation.imitator._queries import Queries
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_health import SamplingAlarms
from consensus_imitation.imitator._sampling_setup import SamplingSetup
from consensus_imitation.imitator.decision import Query


@dataclass(frozen=True, slots=True, eq=False)
class OpenSample:
    """A step that waits for its answer.

    Attributes:
        decision: as it was given out.
        pure: the same for the core.
        observation: a private copy.
        asked: seconds since the epoch.
        asker: who waits for it, see `OpenStep`.
    """

    decision: SamplingDecision
    pure: PureSamplingDecision
    observation: Any
    asked: float
    asker: object | None

    @property
    def query(self) -> Query:
        """What an answer has to name."""
        if self.decision.query is None:
            raise ValueError("a step that waits has a query")
        return self.decision.query


@dataclass(frozen=True, slots=True)
class SamplingRun:
    """Where a run is. Nothing in it is ever changed in place: every method gives another run.

    Attributes:
        setup: members and rule.
        state: the learner's.
        queries: those that wait, and what became of others.
        alarms: what was noticed so far.
        steps: int64 [B] (or [1]), steps closed in each environment.
        answers: queries answered, over all environments.
        unexplained: whether no member explains the answers, as in the state.
        bounded: whether T3 may bound its queries: the alarms are of all of its steps (they are not in the state, and
            can be cleared).
        unanswered: queries that got no answer; of a state that is taken up, those that waited.
    """

    setup: SamplingSetup
    state: SamplingState
    queries: Queries[OpenSample, SamplingDecision]
    alarms: SamplingAlarms
    steps: np.ndarray
    answers: int
    unexplained: bool
    bounded: bool
    unanswered: int = 0

    @classmethod
    def begin(
        cls, setup: SamplingSetup, state: SamplingState, queries: Queries[OpenSample, SamplingDecision] | None = None
    ) -> Self:
        """A run that begins from a state, under a random name unless ``queries`` bring one."""
        state = owned(state)
        steps, answers = np.array(state.stream.step, np.int64).reshape(-1), int(np.sum(state.stream.queries))
        queries = Queries(secrets.token_hex(16)) if queries is None else queries
        alarms, bounded = SamplingAlarms.of(setup.learner), not np.any(steps)
        unanswered = int(np.sum(np.asarray(state.stream.asked) > 0))
        return cls(setup, state, queries, alarms, steps, answers, bool(state.unexplained), bounded, unanswered)

    @property
    def on_disk(self) -> SamplingState:
        """The state as a checkpoint holds it."""
        return self.state

    # --- steps ---

    def waiting(self, step: OpenSample) -> Self:
        """A query is waited for, as ``step`` says by whom."""
        return replace(self, queries=self.queries.wait(step))

    def closed(self, after: SamplingState, env: int | None, alarms: SamplingAlarms) -> Self:
        """A step is over."""
        steps = self.steps.copy()
        steps[slice(None) if env is None else env] += 1
        return replace(self, state=after, steps=steps, alarms=alarms)

    def settled(self, waiting: OpenSample, answer: Action) -> tuple[Self, SamplingDecision]:
        """A step with a query is over; also its decision, now with the action.

        Args:
            waiting: the step.
            answer: checked, of the members' structure, shapes and types.
        """
        setup, decision = self.setup, waiting.decision
        env = decision.env
        own = setup.taken(self.state, env)
        after, invalid, log_densities = observe(setup.learner, own, waiting.observation, waiting.pure, answer)
        at_answer = np.asarray(invalid)
        alarms = self.alarms.noted(at_answer, decision.step)
        closed = replace(
            decision, action=answer, invalid=decision.invalid | at_answer, log_densities=np.asarray(log_densities)
        )
        over = self.closed(setup.put(self.state, after, env), env, alarms)
        queries = self.queries.close(waiting, closed)
        unexplained = bool(after.unexplained)
        return replace(over, queries=queries, answers=self.answers + 1, unexplained=unexplained), closed

    def withdrawn(self, waiting: OpenSample) -> Self:
        """A query is not waited for any more; its environment asks until it gets an answer (`SamplingStream`)."""
        queries = self.queries.close(waiting, None)
        return replace(self, queries=queries, unanswered=self.unanswered + 1)

    def spent(self, env: int | None) -> Self:
        """The random number of a step was used: its environment asks next."""
        own = self.setup.taken(self.state, env)
        return replace(self, state=self.setup.put(self.state, self.setup.learner.pose(own), env))

    def broken_off(self, env: int | None) -> Self:
        """An exception came after an action was drawn: its environment asks next, and no bound is left (`Run`)."""
        after = self.spent(env)
        return replace(after, state=marked(after.state, BROKEN_OFF))

    def given_up(self, asker: object) -> Self:
        """A call of `act` ends without an answer: its query waits for nobody any more."""
        own = [step for step in self.queries.waiting() if step.asker is asker]
        return self.waiting(replace(own[0], asker=None)) if own else self

    # --- between steps ---

    def cleared(self) -> Self:
        """What was wrong is forgotten; what still is will be found again."""
        state = self.setup.learner.clear_alarm(self.state)
        bounded = self.bounded and not self.alarms.invalid
        return replace(self, state=state, alarms=self.alarms.cleared(), unexplained=False, bounded=bounded)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint says besides the state."""
        return {"alarms": self.alarms.saved(), "bounded": self.bounded, "unanswered": self.unanswered}

    def recalling(self, saved: dict[str, Any]) -> Self:
        """With what was noticed before, as a checkpoint's header has it (`saved`)."""
        # Checkpoints of an earlier version do not say so.
        bounded = bool(saved.get("bounded", self.bounded))
        unanswered = int(saved.get("unanswered", 0))
        return replace(self, alarms=self.alarms.loaded(saved["alarms"]), bounded=bounded, unanswered=unanswered)


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A step that is decided, and not taken yet.

    Attributes:
        run: before the step.
        observation: a private copy of what the environment gave.
        pure: what the core said.
        stream: after the step, if it is no query.
        decision: the same for the user.
        alarms: after it.
        packed: the observation in bytes; None if nobody has to read it again, or it can be packed later.
        action: the action in bytes; None if nobody has to read it again, or there is none.
    """

    run: SamplingRun
    observation: Any
    pure: PureSamplingDecision
    stream: SamplingStream
    decision: SamplingDecision
    alarms: SamplingAlarms
    packed: bytes | None = None
    action: bytes | None = None

    def taken(self, asker: object, asked: float) -> SamplingRun:
        """The run after the step; or with its query, if it is one.

        Args:
            asker: who waits for the answer, see `OpenStep`.
            asked: seconds since the epoch.
        """
        run, env = self.run, self.decision.env
        if self.decision.queried:
            waiting = OpenSample(self.decision, self.pure, self.observation, asked, asker)
            return replace(run.spent(env), queries=run.queries.wait(waiting), alarms=self.alarms)
        own = run.setup.taken(run.state, env)
        return run.closed(run.setup.put(run.state, own.replace(stream=self.stream), env), env, self.alarms)


def for_user(pure: PureSamplingDecision, step: int, env: int | None) -> SamplingDecision:
    """For the user; the arrays are NumPy's."""
    on_host = jax.device_get(pure)
    queried, dissenter = bool(on_host.queried), int(on_host.dissenter)
    return SamplingDecision(
        action=None if queried else on_host.action,
        queried=queried,
        query_prob_estimate=float(on_host.query_prob_estimate),
        selected=on_host.selected,
        dissenter=None if dissenter < 0 else dissenter,
        invalid=on_host.invalid,
        step=step,
        rule_fault=bool(on_host.rule_fault),
        log_densities=on_host.log_densities,
        env=env,
    )


@jax.jit
def decide(
    learner: SamplingLearner, state: SamplingState, observation: Any
) -> tuple[PureSamplingDecision, SamplingStream]:
    """The decision, and the stream after it if it is no query."""
    decision = learner.decide(state, observation)
    return decision, learner.advance(state, observation, decision, decision.action)


@jax.jit
def observe(
    learner: SamplingLearner, state: SamplingState, observation: Any, decision: PureSamplingDecision, answer: Action
) -> tuple[SamplingState, jax.Array, jax.Array]:
    """The state after the answer, who gave an unusable density of it (bool [N]), and all densities of it [N]."""
    new, info = learner.observe(state, observation, decision, answer)
    return new, info.invalid, info.log_densities
