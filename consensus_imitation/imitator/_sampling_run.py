"""What changes while a `SamplingImitator` works, as one value, and the compiled calls behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from consensus_imitation.core.any_action import Action
from consensus_imitation.core.sampling_learner import PureSamplingDecision, SamplingLearner, SamplingState
from consensus_imitation.imitator._sampling_decision import SamplingDecision


@dataclass(frozen=True, slots=True)
class OpenSample:
    """A step that waits for its answer.

    Attributes:
        decision: as it was given out.
        pure: the same for the core.
        observation: a private copy.
        asker: which call of `act` waits for it; None if `decide` gave it out.
    """

    decision: SamplingDecision
    pure: PureSamplingDecision
    observation: Any
    asker: object | None


@dataclass(frozen=True, slots=True)
class SamplingRun:
    """All that changes while an imitator works: it is swapped at once, so that no interrupt leaves half a step.

    Attributes:
        state: the learner's.
        steps: steps closed.
        queries: of which the demonstrator answered.
        open: the step that waits for an answer.
        invalid: how many unusable densities each member gave; never changed in place.
        failed: how often the selection rule selected nobody.
    """

    state: SamplingState
    steps: int
    queries: int
    open: OpenSample | None = None
    invalid: Mapping[int, int] = field(default_factory=dict[int, int])
    failed: int = 0

    def counted(self, invalid: np.ndarray) -> "SamplingRun":
        """With the members counted that gave an unusable density."""
        members = np.flatnonzero(invalid).tolist()
        return replace(self, invalid={**self.invalid, **{one: self.invalid.get(one, 0) + 1 for one in members}})


def for_user(pure: PureSamplingDecision, step: int) -> SamplingDecision:
    """For the user."""
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
    )


@jax.jit
def decide(
    learner: SamplingLearner, state: SamplingState, observation: Any
) -> tuple[PureSamplingDecision, SamplingState]:
    """The decision, and the state after it if it is no query."""
    decision = learner.decide(state, observation)
    return decision, state.replace(stream=learner.advance(state, observation, decision, decision.action))


@jax.jit
def observe(
    learner: SamplingLearner, state: SamplingState, observation: Any, decision: PureSamplingDecision, answer: Action
) -> tuple[SamplingState, jax.Array]:
    """The state after the answer, and who gave an unusable density of it: bool [N]."""
    new, info = learner.observe(state, observation, decision, answer)
    return new, info.invalid
