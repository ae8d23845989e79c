"""Distributions over actions whose parameters members predict, while the library samples and evaluates.

Each has ``sample(parameters, key) -> action`` and ``log_prob(parameters, action) -> float32 []`` for one member, both
exact for whatever parameters: a member can choose its distribution, and cannot make its samples differ from its
stated densities. Parameters that are NaN give a NaN density, hence a query.

**Bounds.** Where an action has bounds, what lies beyond them is moved onto them, as ``clip`` does; so the bound itself
has positive probability. The density is taken with respect to length inside the bounds and counting at them, one base
measure for all members, and stays exact: inside it is the unclipped density, at a bound it is the tail's mass. This is
chosen because demonstrators saturate: scripted controllers and people give exactly the largest torque, an action to
which a truncated or tanh-squashed density gives no positive probability.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.special import log_ndtr

from consensus_imitation.sampling.base import Action

#: Integers beyond this are not all float32 numbers.
_LARGEST_EXACT_INTEGER = 2**24


class Distribution(Protocol):
    """A parametric family over one action space; a pytree."""

    def sample(self, parameters: Any, key: jax.Array) -> Action:
        """One action."""
        ...

    def log_prob(self, parameters: Any, action: Action) -> jax.Array:
        """Log-density [] of one action; ``-inf`` for one outside the space, NaN for unusable parameters."""
        ...


class Gaussian(struct.PyTreeNode):
    """Independent Gaussians, clipped to bounds. Parameters: ``(mean, log_std)``, each of the action's shape.

    Attributes:
        low: float32, of the action's shape; ``-inf`` where there is no bound.
        high: float32, of the action's shape, above ``low``; ``inf`` where there is no bound.
    """

    low: jax.Array
    high: jax.Array

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Float32, of the action's shape, within the bounds."""
        mean, log_std = parameters
        _check_shapes("mean and log_std", self.low.shape, mean, log_std)
        draws = mean + jnp.exp(log_std) * jax.random.normal(key, self.low.shape)
        return jnp.clip(draws, self.low, self.high).astype(jnp.float32)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Sum over the coordinates: log-density inside the bounds, log of the tail's mass at a bound."""
        mean, log_std = parameters
        _check_shapes("mean, log_std and action", self.low.shape, mean, log_std, action)
        return jnp.sum(_clipped_normal_log_density(mean, log_std, action, self.low, self.high))


class GaussianMixture(struct.PyTreeNode):
    """A mixture of C clipped diagonal Gaussians. Parameters: ``(logits [C], mean [C, ...], log_std [C, ...])``.

    Attributes:
        low: as for `Gaussian`.
        high: as for `Gaussian`.
    """

    low: jax.Array
    high: jax.Array

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Float32, of the action's shape, within the bounds."""
        logits, mean, log_std = parameters
        _check_shapes("mean and log_std", (*logits.shape, *self.low.shape), mean, log_std)
        choose, draw = jax.random.split(key)
        component = jax.random.categorical(choose, logits)
        action = Gaussian(self.low, self.high).sample((mean[component], log_std[component]), draw)
        return jnp.where(jnp.any(jnp.isnan(logits)), jnp.nan, action)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Log of the weighted sum of the components' densities."""
        logits, mean, log_std = parameters
        _check_shapes("mean and log_std", (*logits.shape, *self.low.shape), mean, log_std)
        parts = jax.vmap(Gaussian(self.low, self.high).log_prob, in_axes=(0, None))((mean, log_std), action)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + parts)


class FactoredCategorical(struct.PyTreeNode):
    """D independent categorical choices. Parameters: logits [sum of sizes], one factor after another.

    The action is int32 [D], each entry in ``0 .. size-1``, as in Gymnasium's MultiDiscrete.

    Attributes:
        sizes: number of choices of each factor.
    """

    sizes: tuple[int, ...] = struct.field(pytree_node=False)

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Int32 [D]."""
        return jax.random.categorical(key, self._log_probs(parameters), axis=-1).astype(jnp.int32)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Sum over the factors."""
        log_probs = self._log_probs(parameters)
        legal = (action >= 0) & (action < jnp.asarray(self.sizes))
        chosen = jnp.take_along_axis(log_probs, jnp.where(legal, action, 0)[:, None], axis=-1)[:, 0]
        # A NaN anywhere in the table makes the whole prediction unusable, whatever the action.
        return jnp.where(jnp.any(jnp.isnan(log_probs)), jnp.nan, jnp.sum(jnp.where(legal, chosen, -jnp.inf)))

    def _log_probs(self, logits: jax.Array) -> jax.Array:
        """[D, largest size], ``-inf`` beyond a factor's size."""
        _check_shapes("logits", (sum(self.sizes),), logits)
        starts = np.cumsum((0, *self.sizes[:-1]))
        rows = [
            jax.nn.log_softmax(logits[start : start + size]) for start, size in zip(starts, self.sizes, strict=True)
        ]
        widest = max(self.sizes)
        return jnp.stack([jnp.pad(row, (0, widest - row.shape[0]), constant_values=-jnp.inf) for row in rows])


class DiscretisedLogistic(struct.PyTreeNode):
    """Independent logistic variables, rounded to integers and clipped. Parameters: ``(mean, log_scale)``.

    Neighbouring integers have similar probabilities, which a categorical over bins does not know.

    Attributes:
        low: int32, of the action's shape: the smallest action.
        high: int32, of the action's shape, above ``low``: the largest.
    """

    low: jax.Array
    high: jax.Array

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Int32, of the action's shape, within the bounds."""
        mean, log_scale = parameters
        _check_shapes("mean and log_scale", self.low.shape, mean, log_scale)
        draws = mean + jnp.exp(log_scale) * jax.random.logistic(key, self.low.shape)
        return jnp.clip(jnp.round(draws), self.low, self.high).astype(jnp.int32)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Sum over the coordinates of the log of the logistic mass within half of the integer; tails at the ends."""
        mean, log_scale = parameters
        _check_shapes("mean, log_scale and action", self.low.shape, mean, log_scale, action)
        scale = jnp.exp(log_scale)
        below_upper_edge = jax.nn.log_sigmoid((action + 0.5 - mean) / scale)
        above_lower_edge = jax.nn.log_sigmoid(-(action - 0.5 - mean) / scale)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): no difference of nearly equal numbers.
        inside = below_upper_edge + above_lower_edge + jnp.log(-jnp.expm1(-1.0 / scale))
        mass = jnp.where(action == self.low, below_upper_edge, jnp.where(action == self.high, above_lower_edge, inside))
        return jnp.sum(jnp.where((action >= self.low) & (action <= self.high), mass, -jnp.inf))


def box(low: Any, high: Any) -> tuple[jax.Array, jax.Array]:
    """Check bounds and make them float32 arrays of one shape; scalars become shape [1].

    Raises:
        ValueError: if some lower bound is not below its upper bound, or is NaN.
    """
    lows, highs = np.broadcast_arrays(np.atleast_1d(np.float32(low)), np.float32(high))
    if not np.all(lows < highs):
        raise ValueError(f"every lower bound must lie below its upper bound; got low={low!r}, high={high!r}")
    return jnp.asarray(lows), jnp.asarray(highs)


def integer_box(low: Any, high: Any) -> tuple[jax.Array, jax.Array]:
    """Check integer bounds and make them int32 arrays of one shape; scalars become shape [1].

    Raises:
        ValueError: if they are not integers, are too large for float32, or some low is not below its high.
    """
    lows, highs = np.broadcast_arrays(np.atleast_1d(low), high)
    if not (np.issubdtype(lows.dtype, np.integer) and np.issubdtype(highs.dtype, np.integer)):
        raise ValueError(f"the bounds must be integers; got low={low!r}, high={high!r}")
    if not np.all(lows < highs):
        raise ValueError(f"every lower bound must lie below its upper bound; got low={low!r}, high={high!r}")
    if max(np.max(np.abs(lows)), np.max(np.abs(highs))) > _LARGEST_EXACT_INTEGER:
        raise ValueError(f"integer actions beyond {_LARGEST_EXACT_INTEGER} cannot be told apart in float32")
    return jnp.asarray(lows, jnp.int32), jnp.asarray(highs, jnp.int32)


def _clipped_normal_log_density(
    mean: jax.Array, log_std: jax.Array, action: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
    std = jnp.exp(log_std)
    inside = -0.5 * ((action - mean) / std) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
    at_low = log_ndtr((low - mean) / std)
    at_high = log_ndtr((mean - high) / std)
    density = jnp.where(action == low, at_low, jnp.where(action == high, at_high, inside))
    legal = (action >= low) & (action <= high) & jnp.isfinite(action)
    return jnp.where(legal, density, -jnp.inf)


def _check_shapes(what: str, expected: tuple[int, ...], *arrays: Any) -> None:
    shapes = [jnp.shape(array) for array in arrays]
    if any(shape != expected for shape in shapes):
        raise ValueError(f"{what} must have shape {expected}; got {shapes}")
