"""Compute for the rows of a batch that ask, and for them alone, what is read of queries only.

``vmap`` turns a branch into a selection, so that both sides are computed for every row. Here a batch is compacted
first: blocks of the rows that ask, as many as there are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

#: Blocks of a batch. A branch each: a loop would copy all that it reads.
_BLOCKS = 8


def where_asked(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Let a function of one stream run where it is asked for only, under ``vmap`` too; elsewhere it gives zeros.

    Args:
        function: ``(*arrays) -> array``, pure.

    Returns:
        ``(asked, *arrays) -> array`` with ``asked`` bool [].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consensus_imitation.core._asked_rows import where_asked
        >>> double = where_asked(lambda x: 2 * x)
        >>> jax.vmap(double)(jnp.array([True, False, True]), jnp.array([1, 2, 3])).tolist()
        [2, 0, 6]
    """

    @jax.custom_batching.custom_vmap
    def run(asked: jax.Array, *arrays: jax.Array) -> jax.Array:
        shape = jax.eval_shape(function, *arrays)
        return jax.lax.cond(asked, function, lambda *_: jnp.zeros(shape.shape, shape.dtype), *arrays)

    @run.def_vmap
    def run_batch(size: int, batched: Any, asked: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, bool]:
        asked = asked if batched[0] else jnp.full((size,), asked)
        axes = tuple(0 if each else None for each in batched[1:])
        return _in_blocks(function, axes, asked, arrays), True

    return run


def _in_blocks(function: Callable[..., jax.Array], axes: Any, asked: jax.Array, arrays: Any) -> jax.Array:
    size = asked.shape[0]
    whole = jax.eval_shape(jax.vmap(function, in_axes=axes, axis_size=size), *arrays)
    results = jnp.zeros(whole.shape, whole.dtype)
    if size == 0:
        return results
    block = -(-size // _BLOCKS)
    # Their numbers first, then numbers of rows that are not there: those are read as the last one, and not written.
    rows = jnp.nonzero(asked, size=-(-size // block) * block, fill_value=size)[0]
    count = jnp.sum(asked)
    nothing = jnp.zeros((block, *whole.shape[1:]), whole.dtype)
    # Its size is said: where nothing but ``asked`` is batched, no array says it.
    each = jax.vmap(function, in_axes=axes, axis_size=block)

    def of(chosen: jax.Array) -> jax.Array:
        return each(
            *(
                jnp.take(array, chosen, axis=0, mode="clip") if axis == 0 else array
                for array, axis in zip(arrays, axes, strict=True)
            )
        )

    for begin in range(0, len(rows), block):
        chosen = rows[begin : begin + block]
        found = jax.lax.cond(begin < count, lambda chosen, _: of(chosen), lambda _, zeros: zeros, chosen, nothing)
        results = results.at[chosen].set(found, mode="drop")
    return results
