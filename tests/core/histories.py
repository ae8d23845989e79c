"""The library on a tree of histories: an ensemble over nodes; every history is forced through `decide`, `observe`."""

from typing import Any

import jax
import jax.numpy as jnp

from consensus_imitation import Learner, LearnerState
from consensus_imitation.core import posterior
from consensus_imitation.ensembles import Carry, Context, PureEnsemble


class HistoryTables(PureEnsemble):
    """Members that are arbitrary functions of the whole history, including who acted; the carry is the node number."""

    table: jax.Array  # [nodes, N, A] log-probabilities
    prior: jax.Array  # [N]

    @property
    def num_members(self) -> int:
        return self.prior.shape[0]

    @property
    def num_actions(self) -> int:
        return self.table.shape[-1]

    def init_carry(self) -> Carry:
        return jnp.zeros((), jnp.int32)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        return self.table[carry]

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        child = 2 * self.num_actions * carry + 1 + 2 * action + queried.astype(jnp.int32)
        return jnp.minimum(child, self.table.shape[0] - 1)  # beyond the leaves nothing is asked any more


@jax.jit
def start(learner: Learner) -> LearnerState:
    """The root, with a leading axis of one history."""
    return jax.tree.map(lambda leaf: leaf[None], learner.init(jax.random.key(0)))


@jax.jit
def level(
    learner: Learner, states: LearnerState, masks: jax.Array | None = None
) -> tuple[Any, jax.Array, LearnerState]:
    """For every history [H] of one length: decision, weights, and states [H * 2A] of its children in node order.

    ``masks`` [nodes, A] say what is legal; None for everything.
    """
    A = learner.ensemble.num_actions
    actions = jnp.repeat(jnp.arange(A, dtype=jnp.int32), 2)
    queried = jnp.tile(jnp.array([False, True]), A)

    def expand(state: LearnerState) -> tuple[Any, LearnerState]:
        mask = None if masks is None else masks[state.stream.carry]
        decision = learner.decide(state, jnp.int32(0), action_mask=mask)

        def child(action: jax.Array, asked: jax.Array) -> LearnerState:
            own = jnp.where(asked, -1, action)
            return learner.observe(state, jnp.int32(0), decision._replace(action=own, queried=asked), action)[0]

        return decision, jax.vmap(child)(actions, queried)

    decisions, children = jax.vmap(expand)(states)
    weights = jax.vmap(posterior.weights)(states.posterior)
    return decisions, weights, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), children)
