"""Small worlds for Monte Carlo: members that do not look at the history, answered by one of them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import Learner, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.ensembles import Carry, Context, PureEnsemble


class TimidBettors(PureEnsemble):
    """Colluders beside the truth (member 0): each bets a little until it is ahead, then copies the truth.

    The truth is uniform over two actions. A bettor that is ahead of the truth never falls behind again, because from
    then on it predicts the very same; so the truth ends below all the bettors that ever get ahead.
    """

    prior: jax.Array
    lean: jax.Array  # [], how far from 1/2 a bettor bets

    @property
    def num_members(self) -> int:
        return self.prior.shape[0]

    @property
    def num_actions(self) -> int:
        return 2

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        behind = context.log_weights <= context.log_weights[0] + 1e-3
        others = jnp.arange(self.num_members) > 0
        # Half of the bettors lean to one side, half to the other: while they bet, they differ, so there are queries.
        side = jnp.where(jnp.arange(self.num_members) % 2 == 0, 1.0, -1.0)
        lean = jnp.where(behind & others, self.lean * side, 0.0)
        return jnp.log(0.5 + jnp.stack([lean, -lean], axis=-1))


@functools.partial(jax.jit, static_argnames=("num_steps",))
def run(learner: Learner, demonstrator: TabularDemonstrator, keys: jax.Array, num_steps: int) -> dict[str, jax.Array]:
    """One run per key on observation 0.

    Returns:
        ``ever_out`` bool [S]: member 0 was ever left out; ``theta3`` [S]: sum of theta cubed; ``queries`` [S];
        ``last_theta`` [S]; ``weight`` [S]: of member 0 in the end.
    """

    def one(key: jax.Array) -> dict[str, jax.Array]:
        own, answers = jax.random.split(key)

        def step(carry: Any, t: jax.Array) -> Any:
            state, out, cubes = carry
            decision = learner.decide(state, jnp.int32(0))
            answer = demonstrator.sample(jax.random.fold_in(answers, t), 0)
            state, _ = learner.observe(state, jnp.int32(0), decision, answer)
            return (state, out | ~decision.selected[0], cubes + decision.query_prob**3), decision.query_prob

        start = (learner.init(own), jnp.zeros((), bool), jnp.zeros(()))
        (state, out, cubes), thetas = jax.lax.scan(step, start, jnp.arange(num_steps))
        return {
            "ever_out": out,
            "theta3": cubes,
            "queries": state.stream.queries,
            "last_theta": thetas[-1],
            "weight": posterior.weights(state.posterior)[0],
        }

    return jax.vmap(one)(keys)


def ensemble(truth: list[float], others: list[list[float]], prior: list[float] | None = None) -> ensembles.Tabular:
    """The truth first, then the others, on one observation."""
    return ensembles.tabular(np.array([truth, *others])[:, None], prior)


def answered_by(truth: list[float]) -> TabularDemonstrator:
    return TabularDemonstrator.create(np.array([truth]))
