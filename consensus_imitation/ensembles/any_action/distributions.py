"""Distributions over actions whose parameters members predict, while the library samples and evaluates.

Each has ``sample(parameters, key) -> action`` and ``log_prob(parameters, action) -> float32 []`` for one member. Both
are exact for all parameters: a member can choose its distribution, but it cannot make its samples differ from its
stated densities. Parameters that are NaN give a NaN density, hence a query.

**Bounds.** Where an action has bounds, what lies beyond them is moved onto them, as ``clip`` does. So the bound itself
has positive probability. The density is taken with respect to length inside the bounds and counting at them, one base
measure for all members. It stays exact: inside it is the unclipped density, at a bound it is the tail's mass. The
reason is that demonstrators saturate: scripted controllers and people give exactly the largest torque, an action to
which a truncated or tanh-squashed density gives no positive probability.

**Narrowest.** Actions are float32 numbers. So the sum of density times spacing over those counts: it has to be one for
every member. A normal density much narrower than the spacing would sum to any number. So a standard deviation is at
least ``2**-19`` of the largest action (the farther bound; where a side has no bound, the mean if that is farther): 16
spacings or more. The sampler obeys the same limit.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.scipy.special import log_ndtr

from consensus_imitation.core._tree import PyTree
from consensus_imitation.core.any_action import Action

#: Integers beyond this are not all float32 numbers.
_LARGEST_EXACT_INTEGER = 2**24

#: Smallest standard deviation, as a share of the largest action: float32 numbers are at most ``2**-23`` of it apart.
_NARROWEST = 2.0**-19

#: Smallest standard deviation where the largest action is zero: smaller floats are flushed to zero on some machines.
_NARROWEST_AT_ZERO = 2.0**-100

#: Smallest scale of a logistic over integers: one that lies beyond half an integer by a hundredth is impossible.
_NARROWEST_LOGISTIC = 2.0**-10


class Distribution(Protocol):
    """A parametric family over one action space; a pytree."""

    def sample(self, parameters: Any, key: jax.Array) -> Action:
        """Return one action."""
        ...

    def log_prob(self, parameters: Any, action: Action) -> jax.Array:
        """Return the log-density [] of one action; ``-inf`` for one outside the space, NaN for unusable parameters."""
        ...


class Gaussian(PyTree):
    """Independent Gaussians, clipped to bounds. Parameters: ``(mean, log_std)``, each of the action's shape.

    Attributes:
        low: float32, of the action's shape; ``-inf`` where there is no bound.
        high: float32, of the action's shape, above ``low``; ``inf`` where there is no bound.
    """

    low: jax.Array
    high: jax.Array

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Draw float32, of the action's shape, within the bounds."""
        mean, log_std = _numbers("mean and log_std", self.low.shape, *parameters)
        std = jnp.exp(_limited(mean, log_std, self.low, self.high))
        return jnp.clip(mean + std * jax.random.normal(key, self.low.shape), self.low, self.high)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Sum the coordinates: the log-density inside the bounds, the log of the tail's mass at a bound."""
        mean, log_std, action = _numbers("mean, log_std and action", self.low.shape, *parameters, action)
        log_std = _limited(mean, log_std, self.low, self.high)
        return jnp.sum(_clipped_normal_log_density(mean, log_std, action, self.low, self.high))


class GaussianMixture(PyTree):
    """A mixture of C clipped diagonal Gaussians. Parameters: ``(logits [C], mean [C, ...], log_std [C, ...])``.

    Attributes:
        low: as for `Gaussian`.
        high: as for `Gaussian`.
    """

    low: jax.Array
    high: jax.Array

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Draw float32, of the action's shape, within the bounds."""
        logits, mean, log_std = self._parameters(parameters)
        choose, draw = jax.random.split(key)
        component = jax.random.categorical(choose, logits)
        action = Gaussian(self.low, self.high).sample((mean[component], log_std[component]), draw)
        return jnp.where(jnp.any(jnp.isnan(logits)), jnp.nan, action)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Return the log of the weighted sum of the components' densities."""
        logits, mean, log_std = self._parameters(parameters)
        parts = jax.vmap(Gaussian(self.low, self.high).log_prob, in_axes=(0, None))((mean, log_std), action)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + parts)

    def _parameters(self, parameters: Any) -> tuple[jax.Array, ...]:
        logits, *rest = parameters
        own = _numbers("logits", jnp.shape(logits), logits)
        return *own, *_numbers("mean and log_std", (*jnp.shape(logits), *self.low.shape), *rest)


class FactoredCategorical(PyTree):
    """D independent categorical choices. Parameters: logits [sum of sizes], one factor after another.

    The action is int32 [D], each entry in ``0 .. size-1``, as in Gymnasium's MultiDiscrete.

    Attributes:
        sizes: number of choices of each factor.
    """

    sizes: tuple[int, ...] = struct.field(pytree_node=False)

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Draw int32 [D]."""
        return jax.random.categorical(key, self._log_probs(parameters), axis=-1).astype(jnp.int32)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Sum the log-probabilities of the factors."""
        log_probs = self._log_probs(parameters)
        legal = (action >= 0) & (action < jnp.asarray(self.sizes))
        chosen = jnp.take_along_axis(log_probs, jnp.where(legal, action, 0)[:, None], axis=-1)[:, 0]
        # A NaN anywhere in the table makes the whole prediction unusable, whatever the action.
        return jnp.where(jnp.any(jnp.isnan(log_probs)), jnp.nan, jnp.sum(jnp.where(legal, chosen, -jnp.inf)))

    def _log_probs(self, logits: jax.Array) -> jax.Array:
        """Return [D, largest size], ``-inf`` beyond a factor's size."""
        (logits,) = _numbers("logits", (sum(self.sizes),), logits)
        starts = np.cumsum((0, *self.sizes[:-1]))
        rows = [
            jax.nn.log_softmax(logits[start : start + size]) for start, size in zip(starts, self.sizes, strict=True)
        ]
        widest = max(self.sizes)
        return jnp.stack([jnp.pad(row, (0, widest - row.shape[0]), constant_values=-jnp.inf) for row in rows])


class DiscretisedLogistic(PyTree):
    """Independent logistic variables, rounded to integers and clipped. Parameters: ``(mean, log_scale)``.

    Neighbouring integers have similar probabilities; a categorical over bins does not know this.

    Attributes:
        low: int32, of the action's shape: the smallest action.
        high: int32, of the action's shape, above ``low``: the largest.
    """

    low: jax.Array
    high: jax.Array

    def sample(self, parameters: Any, key: jax.Array) -> jax.Array:
        """Draw int32, of the action's shape, within the bounds."""
        mean, log_scale = _numbers("mean and log_scale", self.low.shape, *parameters)
        # The fraction alone: added to a large mean, a small deviation would be rounded away.
        whole = jnp.round(mean)
        deviation = (mean - whole) + _logistic_scale(log_scale) * jax.random.logistic(key, self.low.shape)
        return jnp.clip(whole + jnp.round(deviation), self.low, self.high).astype(jnp.int32)

    def log_prob(self, parameters: Any, action: jax.Array) -> jax.Array:
        """Sum over the coordinates the log of the logistic mass within half of the integer; tails at the ends."""
        mean, log_scale = _numbers("mean and log_scale", self.low.shape, *parameters)
        _check_shapes("action", self.low.shape, action)
        scale = _logistic_scale(log_scale)
        # The difference first: a large integer and a half would be rounded.
        distance = action - mean
        below_upper_edge = jax.nn.log_sigmoid((distance + 0.5) / scale)
        above_lower_edge = jax.nn.log_sigmoid(-(distance - 0.5) / scale)
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
    # What float32 rounds to a bound is at the bound.
    at_low = log_ndtr((low - mean + _half_spacing(low, jnp.inf)) / std)
    at_high = log_ndtr((mean - high + _half_spacing(high, -jnp.inf)) / std)
    density = jnp.where(action == low, at_low, jnp.where(action == high, at_high, inside))
    legal = (action >= low) & (action <= high) & jnp.isfinite(action)
    return jnp.where(legal, density, -jnp.inf)


def _half_spacing(bound: jax.Array, inwards: float) -> jax.Array:
    """Return half of the distance from a bound to the next float32 number inside; 0 where there is no bound."""
    return jnp.where(jnp.isfinite(bound), 0.5 * jnp.abs(jnp.nextafter(bound, inwards) - bound), 0.0)


def _limited(mean: jax.Array, log_std: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Limit ``log_std`` to what float32 actions allow; NaN stays NaN."""
    bounds = jnp.maximum(*(jnp.where(jnp.isfinite(bound), jnp.abs(bound), 0.0) for bound in (low, high)))
    bounded = jnp.isfinite(low) & jnp.isfinite(high)
    largest = jnp.where(bounded, bounds, jnp.maximum(bounds, jnp.abs(mean)))
    return jnp.maximum(log_std, jnp.log(jnp.maximum(_NARROWEST * largest, _NARROWEST_AT_ZERO)))


def _logistic_scale(log_scale: jax.Array) -> jax.Array:
    return jnp.exp(jnp.maximum(log_scale, math.log(_NARROWEST_LOGISTIC)))


def _numbers(what: str, expected: tuple[int, ...], *arrays: Any) -> tuple[jax.Array, ...]:
    """Return what a member predicted, in float32: in fewer bits a density does not integrate to one."""
    _check_shapes(what, expected, *arrays)
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def _check_shapes(what: str, expected: tuple[int, ...], *arrays: Any) -> None:
    shapes = [jnp.shape(array) for array in arrays]
    if any(shape != expected for shape in shapes):
        raise ValueError(f"{what} must have shape {expected}; got {shapes}")
