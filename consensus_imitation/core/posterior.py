"""Bayesian posterior over ensemble members, from answered queries only.

The weight of member ``n`` after a history ``h`` is ``w_n(h) = w_n * prod_k pi_n(a_k | h_<k)`` over the steps ``k`` at
which the demonstrator answered (Cohen, Hutter and Nanda 2022). Steps at which the imitator acted by itself never count:
an imitator that learned from its own actions would confirm whatever it already believes.

A member may withhold a part of its probability: then ``pi_n`` is what it said, scaled up to sum to one (`normalised`).
The imitator asks about what it did not say, which is not evidence for or against it (``docs/theory.md``, "Members that
withhold").

Weights are kept as logarithms, re-centred so that the heaviest is 0, in two float32 words each (a "double-float"
sum), because a plain float32 sum is off by several nats after a million updates.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer
from numpy.typing import ArrayLike

from consensus_imitation.core.laws import masses
from consensus_imitation.errors import ConfigurationError

#: Log-weights of one prior, computed in two ways, differ by less, in nats: float32 has steps of 8e-6 near the least.
_SAME = 5e-5


class PosteriorState(struct.PyTreeNode):
    """Unnormalised log-weights of N members.

    Attributes:
        log_weights: float32 [N], the largest is 0; ``-inf`` for a member that is ruled out.
        residual: float32 [N], the low-order part of each sum; finite.
    """

    log_weights: jax.Array  # [N]
    residual: jax.Array  # [N]


class PosteriorInfo(NamedTuple):
    """The result of one update.

    Attributes:
        evidence: float32 [], log-probability that the posterior mixture gave to the answer (at most 0 for
            discrete actions); ``-inf`` if no member gave it any.
        explained: bool [], False when every member of positive weight gave the answer probability zero.
    """

    evidence: jax.Array  # []
    explained: jax.Array  # []


def normalise_prior(prior: ArrayLike | None, num_members: int | None = None) -> np.ndarray:
    """Check a prior and make it sum to one.

    Args:
        prior: [N], non-negative and finite with a positive sum; None for the uniform prior.
        num_members: N, where it is known; needed for None.

    Returns:
        float64 [N].

    Raises:
        ConfigurationError: with the reason, if this is not possible.
    """
    if prior is None:
        if num_members is None:
            raise ConfigurationError("a uniform prior needs num_members")
        return np.full(num_members, 1.0 / num_members)
    try:
        given = np.asarray(prior)
        # NumPy would parse texts, and drop the imaginary parts of complex numbers.
        values = given.astype(np.float64) if given.dtype.kind not in "USc" else None
    except (ValueError, TypeError):
        values = None
    if values is None:
        raise ConfigurationError(f"prior must hold numbers, one per member; got {prior!r}")
    if values.ndim != 1 or values.size == 0:
        raise ConfigurationError(f"prior must be a non-empty vector, one number per member; got shape {values.shape}")
    if num_members is not None and values.size != num_members:
        raise ConfigurationError(
            f"prior has {values.size} entries for {num_members} members: give one number per member"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum()
    if not np.all(np.isfinite(values)) or np.any(values < 0) or not 0 < total < np.inf:
        raise ConfigurationError(f"prior must be finite, non-negative and not all zero; got {values.tolist()}")
    normalised = values / total
    too_small = (values > 0) & (normalised < np.finfo(np.float32).tiny)
    if np.any(too_small):
        raise ConfigurationError(
            f"the prior weight of member {int(np.argmax(too_small))} is positive but below what float32 can hold "
            f"({np.finfo(np.float32).tiny:.2g} of the sum): give it more, or exactly 0 to rule it out"
        )
    return normalised


def init(prior: ArrayLike) -> PosteriorState:
    """Start from a prior.

    Args:
        prior: [N], as for `normalise_prior` (not checked under tracing). A member with prior 0 can never gain weight.

    Returns:
        The state before any answer.

    Raises:
        ConfigurationError: if the prior is not a non-empty vector of finite non-negative numbers with a positive sum.

    Example:
        >>> from consensus_imitation import posterior
        >>> state = posterior.init([1.0, 1.0, 2.0])
        >>> posterior.weights(state).round(2).tolist()
        [0.25, 0.25, 0.5]
    """
    if not isinstance(prior, Tracer):
        prior = normalise_prior(prior)
    log_prior = jnp.log(jnp.asarray(prior, jnp.float32))
    return PosteriorState(log_weights=log_prior - jnp.max(log_prior), residual=jnp.zeros_like(log_prior))


def is_prior(state: PosteriorState, prior: ArrayLike) -> jax.Array:
    """Return whether weights are those of a prior, to within rounding: bool [].

    Args:
        state: of N members.
        prior: [N], positive sum.

    Example:
        >>> from consensus_imitation import posterior
        >>> state = posterior.init([1.0, 3.0])
        >>> bool(posterior.is_prior(state, [0.25, 0.75])), bool(posterior.is_prior(state, [0.5, 0.5]))
        (True, False)
    """
    log_prior = jnp.log(jnp.asarray(prior, jnp.float32))
    start = log_prior - jnp.max(log_prior)
    same = (state.log_weights == start) | (jnp.abs(state.log_weights - start) <= _SAME)
    return jnp.all(same)


def weights(state: PosteriorState) -> jax.Array:
    """Return the posterior weights: float32 [N], non-negative, sum to one."""
    return jax.nn.softmax(state.log_weights)


def normalised(log_probs: jax.Array) -> jax.Array:
    """Return what each member said, without what it withheld: the law that it is scored by.

    Weights, alarm and merging all use this function, so that they use the same laws.

    Args:
        log_probs: float [..., A], as `aggregation.validate` leaves them: each row sums to at most one, or is all
            ``-inf``.

    Returns:
        float [..., A], each row summing to one; a row that is all ``-inf`` says nothing, and stays as it is.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import posterior
        >>> said = posterior.normalised(jnp.log(jnp.array([[0.75, 0.25], [0.03, 0.01]])))
        >>> [[round(p, 3) for p in row] for row in jnp.exp(said).tolist()]
        [[0.75, 0.25], [0.75, 0.25]]
    """
    mass = masses(log_probs)[..., None]
    return log_probs - jnp.log(jnp.where(mass > 0, mass, 1.0))


def mixture(log_weights: jax.Array, log_probs: jax.Array) -> jax.Array:
    """Return what the posterior expects of the demonstrator: the weighted mean of what the members said.

    Args:
        log_weights: float [N], unnormalised.
        log_probs: float [N, A], as `aggregation.validate` leaves them. A member that said nothing is left out.

    Returns:
        float [A], summing to one; all 0 if nobody of positive weight said anything.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import posterior
        >>> said = jnp.log(jnp.array([[0.75, 0.25], [0.25, 0.25], [0.0, 0.0]]))
        >>> [round(p, 3) for p in posterior.mixture(jnp.zeros(3), said).tolist()]
        [0.625, 0.375]
    """
    said = jnp.exp(normalised(log_probs))
    awake = jnp.where(jnp.any(log_probs > -jnp.inf, axis=-1), log_weights, -jnp.inf)
    top = jnp.max(awake)
    weights = jnp.where(jnp.isneginf(top), 0.0, jnp.exp(awake - jnp.where(jnp.isneginf(top), 0.0, top)))
    total = jnp.sum(weights)
    return weights @ said / jnp.where(total > 0, total, 1.0)


def update(
    state: PosteriorState, log_likelihood: jax.Array, asleep: jax.Array | None = None
) -> tuple[PosteriorState, PosteriorInfo]:
    """Multiply each weight by the probability its member had given to the demonstrator's answer.

    A member whose prediction was unusable, or that withheld everything, is *asleep* for the step. It is scored with the
    prediction of the mixture of the members that are awake, so its share of the weight neither grows nor shrinks
    (Freund, Schapire, Singer and Warmuth 1997, "Using and combining predictors that specialize"). It is not dropped,
    since it may be the honest one; theorem T2 still holds.

    If no member of positive weight that is awake explains the answer, the posterior is undefined. The function then
    returns the state unchanged, with ``explained`` False, and the learner asks from then on.

    Args:
        state: the posterior before the answer.
        log_likelihood: float [N], log-probability (`normalised`) or log-density that each member gave to the answer
            *before* it was seen; ``-inf`` is allowed. NaN and ``+inf`` put the member to sleep.
        asleep: bool [N], or None for no member.

    Returns:
        The new state and a `PosteriorInfo`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import posterior
        >>> state, info = posterior.update(posterior.init([0.5, 0.5]), jnp.log(jnp.array([0.9, 0.1])))
        >>> [round(w, 2) for w in posterior.weights(state).tolist()], round(float(jnp.exp(info.evidence)), 2)
        ([0.9, 0.1], 0.5)
    """
    chex.assert_equal_shape([state.log_weights, log_likelihood])
    unusable = jnp.isnan(log_likelihood) | jnp.isposinf(log_likelihood)
    asleep = unusable if asleep is None else asleep | unusable
    log_likelihood = jnp.where(asleep, 0.0, log_likelihood).astype(jnp.float32)

    awake_weight = jnp.where(asleep, -jnp.inf, state.log_weights)
    before = _logsumexp(awake_weight)
    after = _logsumexp(awake_weight + log_likelihood)
    anyone_awake = ~jnp.isneginf(before)
    explained = ~jnp.isneginf(after) | ~anyone_awake
    evidence = jnp.where(anyone_awake, after - jnp.where(anyone_awake, before, 0.0), 0.0)

    gain = jnp.where(asleep, evidence, log_likelihood)
    high, error = _two_sum(state.log_weights, gain)
    low = state.residual + error
    top = jnp.max(high)
    leads = high == top
    high, error = _two_sum(high, -top)
    low = low + error
    low = low - jnp.max(jnp.where(leads, low, -jnp.inf))
    total = high + low
    alive = ~jnp.isneginf(total)
    residual = jnp.where(alive, low - (total - high), 0.0)
    new = PosteriorState(
        log_weights=jnp.where(explained, total, state.log_weights),
        residual=jnp.where(explained, residual, state.residual),
    )
    return new, PosteriorInfo(evidence=evidence, explained=explained)


def _logsumexp(values: jax.Array) -> jax.Array:
    top = jnp.max(values)
    safe_top = jnp.where(jnp.isneginf(top), 0.0, top)
    return jnp.log(jnp.sum(jnp.exp(values - safe_top))) + safe_top


def _two_sum(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return Knuth's exact sum: ``a + b == total + error``; the error is 0 where the total is not finite."""
    total = a + b
    shadow = total - a
    error = (a - (total - shadow)) + (b - shadow)
    return total, jnp.where(jnp.isfinite(total), error, 0.0)
