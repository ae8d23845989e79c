"""Members that learn in a way that can be worked out by hand: relative frequencies of the answers, smoothed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from consensus_imitation.ensembles import Carry, Context, PureEnsemble


class Counters(PureEnsemble):
    """Member n estimates the demonstrator's probabilities from counts of real and imaginary answers."""

    prior: jax.Array  # [N]
    imaginary: jax.Array  # [N, A]
    num_rows: int = struct.field(pytree_node=False)
    num_actions: int = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        return self.prior.shape[-1]

    @property
    def learns(self) -> bool:
        return True

    def init_learned(self, key: jax.Array) -> Any:
        del key
        return jnp.zeros((self.num_rows, self.num_actions))

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        counts = context.learned[observation]
        smoothed = counts + self.imaginary
        return jnp.log(smoothed / smoothed.sum(-1, keepdims=True))

    def learn(self, learned: Any, carry: Carry, observation: Any, answer: jax.Array, log_probs: jax.Array) -> Any:
        return learned.at[observation, answer].add(1.0)


def imaginary_answers(smoothing: list[float], num_actions: int) -> np.ndarray:
    """c_n for each action, and as much again for action n: members that have seen nothing disagree."""
    size = len(smoothing)
    favourites = np.arange(size)[:, None] % num_actions == np.arange(num_actions)
    return np.array(smoothing)[:, None] * (1.0 + favourites)


def counters(smoothing: list[float], num_observations: int, num_actions: int) -> Counters:
    size = len(smoothing)
    imaginary = jnp.asarray(imaginary_answers(smoothing, num_actions), jnp.float32)
    return Counters(jnp.full(size, 1 / size), imaginary, num_observations, num_actions)
