"""What does not change over a run with actions of any kind: members, rule, and how many environments."""

from dataclasses import dataclass
from typing import Any

import jax

from consensus_imitation.core.sampling_learner import SamplingLearner, SamplingState
from consensus_imitation.imitator._setup import put, taken


@dataclass(frozen=True)
class SamplingSetup:
    """What does not change over a run.

    Attributes:
        learner: members and rule.
        num_envs: B, or None for a single environment.
        action_space: anything with ``contains(action)``, or None.
    """

    learner: SamplingLearner
    num_envs: int | None = None
    action_space: Any = None

    def taken(self, state: SamplingState, env: int | None) -> SamplingState:
        """`_setup.taken`."""
        return taken(state, env)

    def put(self, state: SamplingState, after: SamplingState, env: int | None) -> SamplingState:
        """`_setup.put`."""
        return put(state, after, env)

    def like(self) -> SamplingState:
        """A state of this kind."""
        return self.learner.init(jax.random.key(0), num_streams=self.num_envs)

    def shapes(self) -> SamplingState:
        """Shapes and types of a state."""
        return jax.eval_shape(self.like)
