"""An ensemble of small networks in the shell, one environment at a time or several at once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.selection import TopK

NUM_MEMBERS, OBSERVATION_SIZE, NUM_ACTIONS = 8, 8, 4
_SIZES = (OBSERVATION_SIZE, 64, 64, NUM_ACTIONS)


def apply(params: Any, observation: jax.Array) -> jax.Array:
    """Logits of one member: two hidden layers of 64."""
    hidden = observation
    for weight, bias in params[:-1]:
        hidden = jax.nn.relu(hidden @ weight + bias)
    weight, bias = params[-1]
    return hidden @ weight + bias


def make_params(agreeing: bool) -> Any:
    """Parameters of all members, independently drawn or N times the same."""

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, len(_SIZES) - 1)
        sizes = zip(keys, _SIZES[:-1], _SIZES[1:], strict=True)
        return [(jax.random.normal(k, (i, o)) / np.sqrt(i), jnp.zeros(o)) for k, i, o in sizes]

    keys = jax.random.split(jax.random.key(0), NUM_MEMBERS)
    return jax.vmap(init)(jnp.stack([keys[0]] * NUM_MEMBERS) if agreeing else keys)


def make_imitator(params: Any, num_envs: int | None = None, k: int = 4) -> ConsensusImitator:
    """The shell, with a demonstrator that answers at once."""
    members = ensembles.stacked(apply, params, NUM_ACTIONS)
    return ConsensusImitator(members, _answer, selection=TopK(k), seed=0, num_envs=num_envs)


def _answer(observation: np.ndarray) -> int:
    del observation
    return 1


def make_forward(params: Any, batched: bool) -> Callable[[np.ndarray], np.ndarray]:
    """The bare forward pass of all members, and its result on the host."""
    forward = jax.vmap(apply, in_axes=(0, None))
    compiled = jax.jit(jax.vmap(forward, in_axes=(None, 0)) if batched else forward)
    return lambda observation: np.asarray(compiled(params, observation))


def observations(batch: int | None = None) -> np.ndarray:
    """One observation, or a batch of them."""
    shape = (OBSERVATION_SIZE,) if batch is None else (batch, OBSERVATION_SIZE)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
