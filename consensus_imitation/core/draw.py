"""One draw that yields an action or a query, exact down to probabilities of 2**-48.

JAX's own samplers fail open: ``random.categorical`` returns the index of a NaN logit and returns 0 when every logit is
``-inf``, and ``random.choice`` renormalises, so that the query mass vanishes. Here every comparison is written so that
whatever is undefined becomes a query.

They also fail to resolve what is rare. A float32 number in [0, 1) has steps of 1.2e-7, and so have sums of
probabilities: an action of probability 1e-9 would happen with 1.2e-7, or never, depending on where it stands. A promise
"for every event" needs rare actions to stay as rare as they are. So the random number has two words, and numbers are
added and compared in three *limbs* of 16 bits each, held in float32, where sums of up to 128 of them are exact.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.laws import BLOCK, MASS_TOLERANCE, ROUNDING, ActionLaw, in_blocks

#: The value of an action that is not there: ask the demonstrator.
QUERY = -1

#: The step of the random number. An action less likely than this never happens; the probability of any other is
#: exact to within this and a share of 1e-5. (Of 128 actions and more, to within 128 times this.)
RESOLUTION = 2.0**-48

#: Fewer entries than this are added up in turns, which XLA makes one program of; more in a product of matrices.
_FEW = 32

_BASE = 2.0**16
_LIMBS = 3


def draw(number: jax.Array, law: ActionLaw) -> jax.Array:
    """Take action a with probability ``law.probs[a]`` and ask with probability ``law.query_prob``.

    Asks iff ``u < query_prob``, u being the number; otherwise inverts the cumulative distribution at u, block by block
    where there are many actions. An action of probability zero is never returned.

    The query and the actions sum to one but for rounding. The difference, up to `aggregation.ROUNDING`, is first spread
    in proportion; what is left of it, and what lies below `RESOLUTION`, goes to the likeliest of them, or of its block.
    Where they sum to less, what is missing is a query. A law that sums to more is a query, and so is one with a NaN or
    a negative number among the 127 that are looked at.

    Args:
        number: uint32 [2], 48 random bits: the first word, then the upper half of the second. u is that number over
            2**48. It must be unpredictable to the members.
        law: over A actions, ``law.probs`` sums to at most one.

    Returns:
        int32 []: an action in ``0 .. A-1``, or `QUERY`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.aggregation import ActionLaw
        >>> from consensus_imitation.core.draw import QUERY, draw, from_float
        >>> law = ActionLaw(probs=jnp.array([0.5, 2**-20, 0.125 - 2**-20]), query_prob=jnp.array(0.375))
        >>> [int(draw(from_float(u), law)) for u in (0.1, 0.5, 0.875 + 2**-21, 0.9)]
        [-1, 0, 1, 2]
    """
    # The actions, then the masses of blocks of them, of blocks of blocks, until there are few.
    levels = [law.probs.astype(jnp.float32)]
    while levels[-1].size >= BLOCK:
        levels.append(jnp.sum(in_blocks(levels[-1]), axis=-1))
    top = jnp.concatenate([jnp.reshape(law.query_prob, (1,)).astype(jnp.float32), levels.pop()])
    total = jnp.sum(top)
    # Every comparison with a NaN is false.
    complete = total >= 1 - ROUNDING
    scale = jnp.where(complete, 1 / total, 1.0)
    found = _invert(top * scale, jnp.array([_BASE, 0.0, 0.0]), complete, _limbs_of(number))
    place = found.place - 1
    sound = (total <= 1 + MASS_TOLERANCE) & found.exists
    for level in reversed(levels):
        block = in_blocks(level)[jnp.maximum(place, 0)]
        found = _invert(block * scale, found.held, True, found.left)
        place = jnp.where(place < 0, place, place * block.size + found.place)
        sound = sound & (found.exists | (place < 0))
    return jnp.where(sound, place, QUERY).astype(jnp.int32)


def as_float(number: Any) -> np.ndarray:
    """The number in [0, 1) that two words stand for: uint32 [..., 2] to float64 [...], exactly.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.draw import as_float
        >>> float(as_float(np.array([2**31, 2**31], np.uint32)))
        0.5000000001164153
    """
    words = np.asarray(number, np.uint32).astype(np.float64)
    return words[..., 0] * 2.0**-32 + np.floor(words[..., 1] / _BASE) * RESOLUTION


def from_float(value: Any) -> np.ndarray:
    """The two words that stand for a number in [0, 1), rounded down to a multiple of 2**-48: float64 [...] to [..., 2].

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.draw import as_float, from_float
        >>> float(as_float(from_float(0.75)))
        0.75
    """
    whole = np.floor(np.asarray(value, np.float64) * 2.0**48).astype(np.uint64)
    words = np.stack([whole >> np.uint64(16), (whole & np.uint64(0xFFFF)) << np.uint64(16)], axis=-1)
    return words.astype(np.uint32)


def _limbs_of(number: jax.Array) -> jax.Array:
    """[3]: the number in limbs."""
    first, second = number[0], number[1]
    return jnp.stack([first >> 16, first & 0xFFFF, second >> 16]).astype(jnp.float32)


class _Found(NamedTuple):
    """The entry in which a point lies.

    Attributes:
        place: which one it is.
        exists: whether there is one.
        held: [3], what it holds.
        left: [3], the point less all that stands before it.
    """

    place: jax.Array
    exists: jax.Array
    held: jax.Array
    left: jax.Array


def _invert(entries: jax.Array, whole: jax.Array, complete: jax.Array | bool, point: jax.Array) -> _Found:
    """The first of a few entries [A] at which the running sum exceeds the point.

    Since nothing is rounded, the running sum rises at an entry only by what the entry holds: zero is never found.

    Args:
        entries: float32 [A].
        whole: [3], what they sum to but for rounding.
        complete: whether they do, so that the likeliest takes the difference.
        point: [3].
    """
    limbs = _split(entries)
    # argmax would do, but is slow in a batch.
    places = jnp.arange(entries.size)
    likeliest = jnp.min(jnp.where(entries == jnp.max(entries), places, entries.size))
    running = _running(limbs)
    rest = jnp.where(complete, whole - running[:, -1], 0.0)[:, None]
    first, second, third = _carried(running + jnp.where(places >= likeliest, rest, 0.0))
    limbs = limbs + jnp.where(places == likeliest, rest, 0.0)
    low = (second > point[1]) | ((second == point[1]) & (third > point[2]))
    beyond = (first > point[0]) | ((first == point[0]) & low)
    place = jnp.min(jnp.where(beyond, places, entries.size))
    held = jnp.sum(jnp.where(places == place, limbs, 0.0), axis=-1)
    before = jnp.sum(jnp.where(places < place, limbs, 0.0), axis=-1)
    exists = (place < entries.size) & jnp.all(entries >= 0)
    return _Found(place, exists, held, _carried(point - before))


def _running(limbs: jax.Array) -> jax.Array:
    """The running sums of whole numbers: [3, A] to [3, A]. They are exact, in whatever order."""
    size = limbs.shape[-1]
    if size >= _FEW:
        # Faster than XLA's scan, above all in a batch.
        triangle = jnp.triu(jnp.ones((size, size), limbs.dtype))
        return jnp.matmul(limbs, triangle, precision=jax.lax.Precision.HIGHEST)
    step = 1
    while step < size:
        limbs = limbs + jnp.pad(limbs[:, :-step], ((0, 0), (step, 0)))
        step *= 2
    return limbs


def _split(probs: jax.Array) -> jax.Array:
    """Probabilities [A] as limbs [3, A]: whole numbers up to 2**16, the first counting 2**-16, then 2**-32, 2**-48.

    Exact but for what is below 2**-48, which is cut off.
    """
    limbs = []
    for _ in range(_LIMBS):
        probs = probs * _BASE
        limbs.append(jnp.floor(probs))
        probs = probs - limbs[-1]
    return jnp.stack(limbs)


def _carried(limbs: jax.Array) -> jax.Array:
    """The same numbers with the second and third limbs in ``0 .. 2**16 - 1``; the first may be anything."""
    first, second, third = limbs
    over = jnp.floor(third / _BASE)
    second, third = second + over, third - over * _BASE
    over = jnp.floor(second / _BASE)
    return jnp.stack([first + over, second - over * _BASE, third])
