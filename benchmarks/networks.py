"""An ensemble of small networks in the shell, one environment at a time or several at once."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core.selection import TopK
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.journal import Journal

NUM_MEMBERS, OBSERVATION_SIZE, NUM_ACTIONS = 8, 8, 4
_SIZES = (OBSERVATION_SIZE, 64, 64, NUM_ACTIONS)


def apply(params: Any, observation: jax.Array) -> jax.Array:
    """Return the logits of one member: two hidden layers of 64."""
    hidden = observation
    for weight, bias in params[:-1]:
        hidden = jax.nn.relu(hidden @ weight + bias)
    weight, bias = params[-1]
    return hidden @ weight + bias


def make_params(agreeing: bool) -> Any:
    """Return the parameters of all members, independently drawn or N times the same."""
    rng = np.random.default_rng(0)

    def stacked(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (1 if agreeing else NUM_MEMBERS, size_in, size_out)
        weights = rng.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(size_in))
        biases = np.zeros((NUM_MEMBERS, size_out), np.float32)
        return np.broadcast_to(weights, (NUM_MEMBERS, size_in, size_out)).copy(), biases

    return jax.device_put([stacked(*sizes) for sizes in itertools.pairwise(_SIZES)])


def make_imitator(
    params: Any, num_envs: int | None = None, k: int = 4, journal: Journal | None = None
) -> ConsensusImitator:
    """Return the shell, with a demonstrator that answers at once."""
    members = ensembles.stacked(apply, params, NUM_ACTIONS)
    return ConsensusImitator(members, _answer, selection=TopK(k), seed=0, num_envs=num_envs, journal=journal)


def _answer(observation: np.ndarray) -> int:
    del observation
    return 1


def make_forward(params: Any, batched: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return the bare forward pass of all members, and its result on the host."""
    forward = jax.vmap(apply, in_axes=(0, None))
    compiled = jax.jit(jax.vmap(forward, in_axes=(None, 0)) if batched else forward)
    return lambda observation: np.asarray(compiled(params, observation))


def observations(batch: int | None = None) -> np.ndarray:
    """Return one observation, or a batch of them."""
    shape = (OBSERVATION_SIZE,) if batch is None else (batch, OBSERVATION_SIZE)
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
