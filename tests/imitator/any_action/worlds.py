"""What the tests of this folder share: many independent decisions, tolerances from n, and small ensembles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from consensus_imitation.core.sampling_learner import PureSamplingDecision, SamplingLearner, SamplingState
from consensus_imitation.ensembles.any_action import (
    Autoregressive,
    Parametric,
    autoregressive,
    factored_categorical,
    gaussian,
)

decide = jax.jit(lambda learner, state, observation: learner.decide(state, observation))
observe = jax.jit(
    lambda learner, state, observation, decision, answer: learner.observe(state, observation, decision, answer)
)


def decide_many(
    learner: SamplingLearner, state: SamplingState, observation: Any, key: jax.Array, n: int
) -> PureSamplingDecision:
    """n decisions in one state, each with keys of its own; NumPy, with a leading axis n."""

    def one(own: jax.Array) -> PureSamplingDecision:
        draws, proposals = jax.random.split(own)
        stream = state.stream.replace(key=draws, proposals=proposals)
        return learner.decide(state.replace(stream=stream), observation)

    return jax.device_get(jax.jit(jax.vmap(one))(jax.random.split(key, n)))


def assert_frequencies(counts: np.ndarray, probs: np.ndarray, n: int) -> None:
    """Each count lies within five standard deviations of its expectation (and one for the rounding of n p)."""
    probs = np.asarray(probs, np.float64)
    assert np.all(np.abs(counts - n * probs) <= 5 * np.sqrt(n * probs * (1 - probs)) + 1), (counts / n, probs)


def factored(key: jax.Array, members: int, sizes: tuple[int, ...], prior: Any = None) -> tuple[Parametric, np.ndarray]:
    """Random factored members, and their distributions [N, product of sizes], the last factor changing fastest."""
    logits = 1.5 * np.asarray(jax.random.normal(key, (members, sum(sizes))), np.float64)
    tables = np.ones((members, 1))
    for start, size in zip(np.cumsum((0, *sizes[:-1])), sizes, strict=True):
        own = np.exp(logits[:, start : start + size])
        own /= own.sum(-1, keepdims=True)
        tables = (tables[:, :, None] * own[:, None, :]).reshape(members, -1)
    ensemble = factored_categorical(lambda own, observation: own, jnp.asarray(logits, jnp.float32), sizes, prior)
    return ensemble, tables


def markov(
    key: jax.Array, members: int, tokens: int, length: int, prior: Any = None
) -> tuple[Autoregressive, np.ndarray]:
    """Random Markov chains that start from token 0, and their distributions [N, tokens ** length]."""
    logits = 1.5 * np.asarray(jax.random.normal(key, (members, tokens, tokens)), np.float64)
    table = np.exp(logits)
    table /= table.sum(-1, keepdims=True)
    sequences = np.array(np.unravel_index(np.arange(tokens**length), (tokens,) * length)).T
    before = np.concatenate([np.zeros((len(sequences), 1), int), sequences[:, :-1]], axis=1)
    probs = np.prod(table[:, before, sequences], axis=-1)
    ensemble = autoregressive(
        start=lambda own, observation: ((), own[0]),
        step=lambda own, memory, token: (memory, own[token]),
        params=jnp.asarray(logits, jnp.float32),
        length=length,
        prior=prior,
    )
    return ensemble, probs


def fixed_gaussian(mean: Any, log_std: Any, low: Any, high: Any, prior: Any = None) -> Parametric:
    """Gaussian members that ignore the observation; mean and log_std [N, D]."""
    params = (jnp.asarray(mean, jnp.float32), jnp.asarray(log_std, jnp.float32))
    return gaussian(lambda own, observation: own, params, low, high, prior)


def normal_pdf(x: Any, mean: float, std: float) -> Any:
    """Density inside the bounds: that of the unclipped normal."""
    return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def atoms(mean: float, std: float, low: float, high: float) -> tuple[float, float]:
    """Masses at the two bounds."""
    return float(stats.norm.cdf(low, mean, std)), float(stats.norm.sf(high, mean, std))
