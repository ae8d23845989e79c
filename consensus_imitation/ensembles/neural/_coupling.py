"""Losses that look at all members at once: that their errors be independent, or that they disagree on foreign inputs.

Each is a pure function of what all members predict for one minibatch, and does not change if members change places.
With N members, the objective is the mean of their own losses plus, for each setting, its weight times its loss. So one
member's gradient depends on what the others predict: members that divide the answers have none of it (`settings`).

Foreign inputs are those of the minibatch with noise: to each number a normal one is added, of `NOISE` times the
deviation that the number has in the minibatch. Nobody says what is right there, and no label is trained on.

The *minimum of k* is that of k members, on average over all choices of k among the N: which of them will be selected is
not known in training. The average has a closed form: sorted, the r-th smallest of N probabilities is the smallest of k
members in ``C(N - r, k - 1)`` of the ``C(N, k)`` choices.

References:
    Liu and Yao (1999), "Ensemble Learning via Negative Correlation" (decorrelated errors).
    Pagliardini et al. (2023), "Agree to Disagree: Diversity through Disagreement for Better Transferability".
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.ensembles.neural import networks
from consensus_imitation.ensembles.neural._encoding_parts import BoxLeaf
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.ensembles.neural.settings import COUPLED, Training
from consensus_imitation.errors import ConfigurationError, ConsensusWarning

#: Deviation of the noise, in deviations of each number in the minibatch.
NOISE = 1.0

#: Legal actions from which pairs of members are driven apart. With fewer, members that disagree in pairs as much as
#: they can are nearly uniform; uniform members agree, and act at random.
FEWEST_ACTIONS = 4

#: What is less than this, of disagreement and of errors' squares, counts as this: a logarithm stays finite, and so does
#: its gradient, where members agree to the last bit or only one action is legal.
_LEAST = 1e-6
_LEAST_SQUARES = 1e-12

#: What was measured (docs/shift.md), said to whoever makes members with such a setting.
_MEASURED = {
    "decorrelate": "it makes members err independently on familiar inputs, and that is not safety: with a reversed "
    "sensor they crashed together all the same, after twice as many questions",
    "disagree": "it makes members ask on foreign inputs, for twice the training and half as many answers again; on the "
    "lunar lander local_caution did more for less",
    "minimum_explains": "it costs training, and was not seen to make anything safer",
    "minimum_withholds": "it makes members ask on foreign inputs, for twice the training and a third more answers; on "
    "the lunar lander local_caution did more for less",
}


def is_coupled(training: Training) -> bool:
    """Return whether a setting lets members' losses depend on each other."""
    return any(getattr(training, name) for name in COUPLED)


def needs_noise(training: Training) -> bool:
    """Return whether members are trained on inputs with noise, too."""
    return bool(training.disagree or training.minimum_withholds)


# --- the losses ---


def correlation(log_probs: jax.Array, answers: jax.Array) -> jax.Array:
    """Compute the mean correlation (Pearson's) of two members' errors ``1 - p(answer)`` over a minibatch, over pairs.

    Args:
        log_probs: [N, M, A].
        answers: int32 [M].

    Returns:
        float32 [], in -1/(N-1) .. 1. Members whose errors do not vary correlate with nobody.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.neural._coupling import correlation
        >>> wrong, right = jnp.log(jnp.array([0.2, 0.8])), jnp.log(jnp.array([0.8, 0.2]))
        >>> float(correlation(jnp.array([[wrong, right], [right, wrong]]), jnp.array([0, 0])).round(3))
        -1.0
    """
    number = len(log_probs)
    errors = -jnp.expm1(jnp.take_along_axis(log_probs, answers[None, :, None], axis=-1)[..., 0])
    centred = errors - jnp.mean(errors, axis=1, keepdims=True)
    units = centred * jax.lax.rsqrt(jnp.sum(centred**2, axis=1, keepdims=True) + _LEAST_SQUARES)
    # Of all pairs, the square of the sum; without everybody's pair with itself.
    both = jnp.sum(jnp.sum(units, axis=0) ** 2) - jnp.sum(units**2)
    return both / (number * (number - 1))


def agreement(log_probs: jax.Array) -> jax.Array:
    """Compute ``-log(1 - sum_a p_i(a) p_j(a))``, on average over pairs of members: float32 [M].

    Args:
        log_probs: [N, M, A].
    """
    number = len(log_probs)
    # 1 - sum_a p q = sum_a p (1 - q), without cancellation.
    apart = jnp.einsum("ima,jma->ijm", jnp.exp(log_probs), -jnp.expm1(log_probs))
    others = ~np.eye(number, dtype=bool)[:, :, None]
    losses = jnp.where(others, -jnp.log(jnp.maximum(apart, _LEAST)), 0.0)
    return jnp.sum(losses, axis=(0, 1)) / (number * (number - 1))


def acting(log_probs: jax.Array, k: int) -> jax.Array:
    """Compute ``-log(1 - sum_a m(a))``, m the minimum of k members: float32 [M]; little where it would ask.

    Args:
        log_probs: [N, M, A].
        k: in 2 .. N.
    """
    number = len(log_probs)
    shares = _shares(number, k)
    # sum_r (1/N - share_r) p_r by parts: all terms are at least 0, and all are 0 where members agree.
    steps = np.cumsum(shares - 1 / number)[:-1].astype(np.float32)
    gaps = jnp.diff(jnp.sort(jnp.exp(log_probs), axis=0), axis=0)
    return -jnp.log(jnp.maximum(jnp.einsum("r,rma->m", steps, gaps), _LEAST))


def unexplained(log_probs: jax.Array, answers: jax.Array, k: int) -> jax.Array:
    """Compute ``-log(m(answer) / sum_a m(a))``, m the minimum of k members: float32 [M].

    Args:
        log_probs: [N, M, A].
        answers: int32 [M].
        k: in 2 .. N.
    """
    shares = _shares(len(log_probs), k)[: len(log_probs) - k + 1]
    ordered = jnp.sort(log_probs, axis=0)[: len(shares)]
    minimum = jax.nn.logsumexp(ordered + np.log(shares).astype(np.float32)[:, None, None], axis=0)
    own = jnp.take_along_axis(minimum, answers[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(minimum, axis=-1) - own


def _shares(number: int, k: int) -> np.ndarray:
    """Return in which share of all choices of k members each of the sorted N is the smallest: float64 [N]."""
    return np.array([math.comb(number - r, k - 1) for r in range(1, number + 1)]) / math.comb(number, k)


def noised(key: jax.Array, inputs: Any) -> Any:
    """Return inputs (leaves [M, ...]) with noise on all that are floats."""
    leaves, structure = jax.tree.flatten(inputs)

    def one(key: jax.Array, leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf + NOISE * jnp.std(leaf, axis=0) * jax.random.normal(key, leaf.shape, leaf.dtype)

    keys = jax.random.split(key, len(leaves))
    return structure.unflatten([one(own, leaf) for own, leaf in zip(keys, leaves, strict=True)])


def penalty(
    training: Training, logits: jax.Array, answers: jax.Array, foreign: jax.Array | None, legal: jax.Array | None
) -> jax.Array:
    """Compute the sum of the losses, each times its weight: float32 [].

    Args:
        training: settings.
        logits: [N, M, A], of the minibatch.
        answers: int32 [M].
        foreign: [N, M, A], of the same with noise; None where `needs_noise` says no.
        legal: bool [M, A]; None where everything is.
    """
    total, familiar = jnp.zeros(()), _usable(logits)
    if training.decorrelate:
        total += training.decorrelate * correlation(familiar, answers)
    if training.minimum_explains:
        total += training.minimum_explains * jnp.mean(unexplained(familiar, answers, training.minimum_of))
    if foreign is None:
        return total
    away = _usable(foreign)
    if training.minimum_withholds:
        total += training.minimum_withholds * jnp.mean(acting(away, training.minimum_of))
    if training.disagree:
        losses = agreement(away)
        if legal is not None:
            losses *= jnp.sum(legal, axis=-1) >= FEWEST_ACTIONS
        total += training.disagree * jnp.mean(losses)
    return total


def _usable(logits: jax.Array) -> jax.Array:
    """Return log-probabilities; uniform ones of a member that predicts no numbers, which must not spoil the others."""
    usable = jnp.all(jnp.isfinite(logits), axis=(1, 2), keepdims=True)
    return jax.nn.log_softmax(jnp.where(usable, logits, 0.0))


def slopes(
    training: Training,
    predict: Callable[[Any, Any], jax.Array],
    own_loss: Callable[[jax.Array, jax.Array], jax.Array],
    members: tuple[Any, Any],
    minibatch: tuple[Any, jax.Array, jax.Array, jax.Array | None],
    key: jax.Array,
) -> tuple[jax.Array, Any]:
    """Compute every member's own loss, float32 [N], and N times the gradient of the objective, leaves [N, ...].

    Times N, so that without a weight a member's gradient is that of its own loss.

    Args:
        training: settings.
        predict: ``((params, prior_params), inputs) -> logits [M, A]`` of one member.
        own_loss: ``(logits [M, A], counts [M]) -> []`` of one member.
        members: parameters and those of prior networks, leaves [N, ...].
        minibatch: inputs (leaves [M, ...]), answers [M], counts [M, N], and what is legal [M, A] or None.
        key: of the noise.
    """
    params, prior_params = members
    inputs, answers, counts, legal = minibatch
    foreign = noised(key, inputs) if needs_noise(training) else None
    number = counts.shape[1]

    def objective(params: Any) -> tuple[jax.Array, jax.Array]:
        everybody = jax.vmap(lambda params, prior, inputs: predict((params, prior), inputs), in_axes=(0, 0, None))
        logits = everybody(params, prior_params, inputs)
        own = jax.vmap(own_loss, in_axes=(0, 1))(logits, counts)
        away = None if foreign is None else everybody(params, prior_params, foreign)
        return jnp.sum(own) + number * penalty(training, logits, answers, away, legal), own

    (_, own), gradients = jax.value_and_grad(objective, has_aux=True)(params)
    return own, gradients


# --- where it can be had ---


def check(training: Training, encoder: Encoder, num_members: int, num_actions: int, largest: int) -> None:
    """Refuse settings that couple members where they cannot do what they say, and warn where they can.

    Args:
        training: settings.
        encoder: of what members see.
        num_members: N.
        num_actions: A.
        largest: size of the largest minibatch that is worked on at once.

    Raises:
        ConfigurationError: naming the remedy.
    """
    wanted = [name for name in COUPLED if getattr(training, name)]
    if not wanted:
        return
    names = " and ".join(wanted)
    if num_members < 2:
        raise ConfigurationError(f"{names} compares members with each other: make at least 2, got {num_members}")
    if training.batch_size < 2:
        raise ConfigurationError(f"{names} compares the answers of a minibatch: batch_size must be at least 2")
    if training.batch_size > largest:
        raise ConfigurationError(
            f"{names} compares all members on a whole minibatch, and {training.batch_size} inputs of this size are too "
            f"large to be worked on at once: lower batch_size to at most {largest}"
        )
    by_minimum = training.minimum_explains or training.minimum_withholds
    if by_minimum and training.minimum_of > num_members:
        raise ConfigurationError(
            f"minimum_of must be at most the number of members, {num_members}; got {training.minimum_of}"
        )
    if training.disagree and num_actions < FEWEST_ACTIONS:
        raise ConfigurationError(
            f"disagree needs at least {FEWEST_ACTIONS} actions: with {num_actions} it drives members towards uniform "
            "predictions, on which they agree, and act at random. minimum_withholds has no such optimum"
        )
    if needs_noise(training):
        _check_floats(encoder)
    found = "; ".join(f"{name}= was measured: {_MEASURED[name]}" for name in wanted)
    warnings.warn(f"Training: {found} (docs/shift.md)", ConsensusWarning, stacklevel=5)


def _check_floats(encoder: Encoder) -> None:
    """Refuse noise on what is no float.

    Raises:
        ConfigurationError: naming the part of the observation.
    """
    for path, leaf in networks.leaves(encoder.root):
        if not isinstance(leaf, BoxLeaf) or leaf.as_bytes:
            where = "".join(f"[{key!r}]" for key in path)
            raise ConfigurationError(
                f"disagree and minimum_withholds put noise on what members see, and the observation{where} is not of "
                "floats: with noise, choices, words, views and bytes are none any more. Leave them at 0, or give "
                "members floats"
            )
