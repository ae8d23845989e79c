"""Rules as users may write them: sound ones, and one of every kind of mistake."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from consensus_imitation import ensembles
from consensus_imitation.core.aggregation import ActionLaw

NAN = float("nan")

#: [N, S, A]: all members agree, so that only a rule can be why something is asked.
PROBS = np.tile(np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]]), (3, 1, 1))
TABLES = ensembles.tabular(PROBS)

#: What a rule may give for three actions that is no law: probs, query_prob and log_inflation.
NO_LAWS: dict[str, tuple[list[float], float, float]] = {
    "more than one": ([0.9, 0.9, 0.9], 0.0, 0.0),
    "more than one with the query": ([0.5, 0.3, 0.2], 0.3, 0.0),
    "less than it says": ([0.1, 0.1, 0.1], 0.0, 0.0),
    "query_prob too small": ([0.1, 0.1, 0.1], 0.5, 0.0),
    "an action NaN": ([NAN, 0.1, 0.1], 0.8, 0.0),
    "query_prob NaN": ([0.5, 0.3, 0.2], NAN, 0.0),
    "all NaN": ([NAN, NAN, NAN], NAN, NAN),
    "an action infinite": ([float("inf"), 0.0, 0.0], 0.0, 0.0),
    "an action negative": ([-0.2, 0.7, 0.5], 0.0, 0.0),
    "query_prob negative": ([0.5, 0.5, 0.5], -0.5, 0.0),
    "an action above one": ([1.5, 0.0, 0.0], -0.5, 0.0),
    "inflation NaN": ([0.5, 0.3, 0.2], 0.0, NAN),
    "inflation negative": ([0.5, 0.3, 0.2], 0.0, -1.0),
}


class Mine(struct.PyTreeNode):
    """Averages; on observation 1 (where all members find action 2 the likeliest) it gives `bad`."""

    bad: Any
    name: str = struct.field(pytree_node=False, default="mine")

    def check(self, num_members: int) -> None:
        """Fits all."""

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        mean = jnp.exp(log_probs).mean(0)
        good = ActionLaw(mean, jnp.maximum(1.0 - jnp.sum(mean), 0.0), jnp.float32(jnp.inf))
        return jax.tree.map(lambda one, other: jnp.where(log_probs[0, 2] > jnp.log(0.4), one, other), self.bad, good)


def mine(kind: str = "more than one") -> Mine:
    """One that makes such a mistake; all of them share a program."""
    probs, query_prob, log_inflation = NO_LAWS[kind]
    return Mine(ActionLaw(jnp.array(probs), jnp.float32(query_prob), jnp.float32(log_inflation)))


class Own(struct.PyTreeNode):
    """A selection rule of one's own: the members that have at least some share of the weight."""

    share: Any = 0.1

    @property
    def tolerated_members(self) -> int:
        return 0

    @property
    def largest_set(self) -> float:
        return float("inf")

    @property
    def smallest_share(self) -> float:
        return 0.0

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        return jax.nn.softmax(log_weights) >= self.share

    def margins(self, log_weights: jax.Array) -> jax.Array:
        return jnp.log(jax.nn.softmax(log_weights)) - jnp.log(self.share)

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        return 1.0

    def check(self, num_members: int) -> None:
        """Fits all."""


#: Nobody has so much of the weight.
NOBODY = Own(1.5)
