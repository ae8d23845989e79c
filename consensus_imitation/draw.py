"""One draw that yields an action or a query.

JAX's own samplers fail open: ``random.categorical`` returns the index of a NaN logit and returns 0 when every logit is
``-inf``, and ``random.choice`` renormalises, so that the query mass vanishes. Here every comparison is written so that
whatever is undefined becomes a query.
"""

import jax
import jax.numpy as jnp

from consensus_imitation.aggregation import ROUNDING, ActionLaw

#: The value of an action that is not there: ask the demonstrator.
QUERY = -1

_BLOCK = 128


def draw(uniform: jax.Array, law: ActionLaw) -> jax.Array:
    """Take action a with probability ``law.probs[a]`` and ask with probability ``law.query_prob``.

    Asks iff ``uniform < query_prob``; otherwise inverts the cumulative distribution at ``uniform - query_prob``, block
    by block where there are many actions. An action of probability zero is never returned. Where the accumulated mass
    and the query probability fall short of one by rounding, the shortfall is spread over the actions in proportion;
    where they do by more, it is a query.

    Args:
        uniform: float32 [], in [0, 1). It must be unpredictable to the members.
        law: over A actions, ``law.probs`` sums to at most one.

    Returns:
        int32 []: an action in ``0 .. A-1``, or `QUERY`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.aggregation import ActionLaw
        >>> from consensus_imitation.draw import QUERY, draw
        >>> law = ActionLaw(probs=jnp.array([0.4, 0.0, 0.3]), query_prob=jnp.array(0.3))
        >>> [int(draw(jnp.float32(u), law)) for u in (0.1, 0.5, 0.8)]
        [-1, 0, 2]
    """
    acts = uniform >= law.query_prob
    action, found = _invert(law.probs, uniform - law.query_prob, 1.0 - law.query_prob)
    return jnp.where(acts & found, action, QUERY).astype(jnp.int32)


def _invert(probs: jax.Array, point: jax.Array, mass: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First action of positive probability whose cumulative mass exceeds the point, and whether there is one.

    The point lies in ``[0, mass)``, and ``mass`` is what the probabilities sum to but for rounding.
    """
    if probs.shape[-1] <= _BLOCK:
        action, found, _ = _invert_short(probs, point, mass)
        return action, found
    # First the block, then the action within it: no running sum over all actions.
    blocks = jnp.pad(probs, (0, -probs.shape[-1] % _BLOCK)).reshape(-1, _BLOCK)
    block_mass = jnp.sum(blocks, axis=-1)
    block, in_range, before = _invert_short(block_mass, point, mass)
    action, found, _ = _invert_short(blocks[block], jnp.maximum(point - before, 0.0), block_mass[block])
    return block * _BLOCK + action, in_range & found


def _invert_short(probs: jax.Array, point: jax.Array, mass: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As `_invert`, and the mass before the action found."""
    # Sums that are rounded one by one need not be monotone to the last bit, so positive mass is asked for explicitly.
    positive = probs > 0
    cumulative = jnp.where(positive, _running_sum(probs), 0.0)
    total = jnp.max(cumulative)
    # What rounding lost is spread in proportion: given to one action, it could be many times that action's own.
    just_below = jnp.nextafter(total, jnp.zeros_like(total))
    spread = jnp.minimum(point * jnp.minimum(total / mass, 1.0), just_below)
    point = jnp.where(total > mass - ROUNDING, spread, point)
    candidates = positive & (cumulative > point)
    first = jnp.argmax(candidates)
    return first, candidates[first], cumulative[first] - probs[first]


def _running_sum(probs: jax.Array) -> jax.Array:
    if probs.shape[-1] > _BLOCK:
        return jnp.cumsum(probs)
    # For short vectors a product with a triangle of ones is faster than XLA's scan, above all in a batch.
    triangle = jnp.triu(jnp.ones((probs.shape[-1], probs.shape[-1]), probs.dtype))
    return jnp.matmul(probs, triangle, precision=jax.lax.Precision.HIGHEST)
