"""What is tolerated as rounding must not add up to an advantage."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, Learner, MisspecificationAlarm
from consensus_imitation.core.aggregation import MASS_TOLERANCE
from consensus_imitation.ensembles import Carry, Context, PureEnsemble

ANSWERS = 100_000


class Boastful(PureEnsemble):
    """The truth, uniform over two actions, and a member that gives every action a little more than the truth does."""

    excess: jax.Array

    @property
    def num_members(self) -> int:
        return 2

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def prior(self) -> jax.Array:
        return jnp.full(2, 0.5)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        return jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.5]]) * jnp.stack([jnp.ones(()), 1 + self.excess])[:, None])


@jax.jit
def answered(learner: Learner) -> Any:
    """The state, and the last decision, after many answers of the truth."""

    def step(state: Any, t: jax.Array) -> Any:
        decision = learner.decide(state, 0)
        asked = decision._replace(queried=jnp.array(True), action=jnp.int32(-1))
        return learner.observe(state, 0, asked, t % 2)[0], decision.invalid

    state, invalid = jax.lax.scan(step, learner.init(jax.random.key(0)), jnp.arange(ANSWERS))
    return state, learner.decide(state, 0), invalid


@pytest.mark.parametrize("excess", [0.0, 0.9 * MASS_TOLERANCE])
def test_the_truth_is_not_outweighed_by_a_sum_above_one(excess: float) -> None:
    learner = Learner(
        Boastful(excess=jnp.float32(excess)), AlphaThreshold(0.01), alarm=MisspecificationAlarm(delta=0.01)
    )
    state, decision, invalid = answered(learner)
    assert not np.any(invalid)
    assert bool(decision.selected[0])
    assert not bool(state.unexplained)
