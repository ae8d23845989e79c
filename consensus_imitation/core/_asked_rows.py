"""Compute for the rows of a batch that ask, and for them alone, what is read of queries only.

``vmap`` turns a branch into a selection, so that both sides are computed for every row. Here a batch is compacted
first: blocks of the rows that ask, as many as there are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

#: Blocks of a batch, at most. A branch each: a loop would copy all that it reads.
_BLOCKS = 8

#: Numbers that a block reads, at least: of less, to look for the rows takes longer than to compute them all.
_LEAST = 4096


def where_asked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of one stream run where it is asked for only, under ``vmap`` too; elsewhere it gives zeros.

    Args:
        function: ``(*trees of arrays) -> tree of arrays``, pure.

    Returns:
        ``(asked, *trees) -> tree`` with ``asked`` bool [].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consensus_imitation.core._asked_rows import where_asked
        >>> double = where_asked(lambda x: 2 * x)
        >>> jax.vmap(double)(jnp.array([True, False, True]), jnp.array([1, 2, 3])).tolist()
        [2, 0, 6]
    """

    def run(asked: jax.Array | bool, *trees: Any) -> Any:
        # As arrays: JAX would make trees of what is no array, and some of ours are checked as they are made.
        arrays, structure = jax.tree.flatten(trees)
        return _where_asked(lambda *arrays: function(*jax.tree.unflatten(structure, arrays)))(asked, *arrays)

    return run


def _where_asked(function: Callable[..., Any]) -> Callable[..., Any]:
    @jax.custom_batching.custom_vmap
    def run(asked: jax.Array, *arrays: jax.Array) -> Any:
        return jax.lax.cond(asked, function, lambda *arrays: _zeros(jax.eval_shape(function, *arrays)), *arrays)

    @run.def_vmap
    def run_batch(size: int, batched: Any, asked: jax.Array, *arrays: jax.Array) -> tuple[Any, Any]:
        asked = asked if batched[0] else jnp.full((size,), asked)
        axes = tuple(0 if each else None for each in batched[1:])
        results = _of_rows(function, axes)(asked, *arrays)
        return results, jax.tree.map(lambda _: True, results)

    return run


def _of_rows(function: Callable[..., Any], axes: Any) -> Callable[..., Any]:
    """The same for rows [B]. Rows of rows, from one ``vmap`` within another, are taken for as many rows."""

    @jax.custom_batching.custom_vmap
    def run(asked: jax.Array, *arrays: jax.Array) -> Any:
        return _in_blocks(function, axes, asked, arrays)

    @run.def_vmap
    def run_batch(size: int, batched: Any, asked: jax.Array, *arrays: jax.Array) -> tuple[Any, Any]:
        inner = asked.shape[-1]

        def in_one(array: jax.Array, outer: bool, axis: int | None) -> jax.Array:
            array = array if outer else array[None]
            array = array if axis == 0 else array[:, None]
            return jnp.broadcast_to(array, (size, inner, *array.shape[2:])).reshape(size * inner, *array.shape[2:])

        new_axes = tuple(0 if outer or axis == 0 else None for outer, axis in zip(batched[1:], axes, strict=True))
        parts = zip(arrays, batched[1:], axes, strict=True)
        flat = [in_one(*part) if new == 0 else part[0] for part, new in zip(parts, new_axes, strict=True)]
        results = _of_rows(function, new_axes)(in_one(asked, batched[0], 0), *flat)
        results = jax.tree.map(lambda result: result.reshape(size, inner, *result.shape[1:]), results)
        return results, jax.tree.map(lambda _: True, results)

    return run


def _in_blocks(function: Callable[..., Any], axes: Any, asked: jax.Array, arrays: Any) -> Any:
    size = asked.shape[0]
    results = _zeros(jax.eval_shape(jax.vmap(function, in_axes=axes, axis_size=size), *arrays))
    if size == 0:
        return results
    each_row = sum(array[0].size for array, axis in zip(arrays, axes, strict=True) if axis == 0)
    block = max(-(-size // _BLOCKS), -(-_LEAST // max(1, each_row)))
    if block >= size:

        def everywhere() -> Any:
            found = jax.vmap(function, in_axes=axes, axis_size=size)(*arrays)
            return jax.tree.map(lambda one, zero: jnp.where(_along(asked, one), one, zero), found, results)

        return jax.lax.cond(jnp.any(asked), everywhere, lambda: results)
    # Their numbers first, then numbers of rows that are not there: those are read as the last one, and not written.
    # (As `nonzero` does it, in a third of the time.)
    places = jnp.where(asked, jnp.cumsum(asked, dtype=jnp.int32) - 1, size + block)
    rows = jnp.full(-(-size // block) * block, size, jnp.int32)
    rows = rows.at[places].set(jnp.arange(size, dtype=jnp.int32), mode="drop")
    count = jnp.sum(asked)
    # Its size is said: where nothing but ``asked`` is batched, no array says it.
    each = jax.vmap(function, in_axes=axes, axis_size=block)

    def of(chosen: jax.Array, before: Any) -> Any:
        found = each(
            *(
                jnp.take(array, chosen, axis=0, mode="clip") if axis == 0 else array
                for array, axis in zip(arrays, axes, strict=True)
            )
        )
        return jax.tree.map(lambda all_, some: all_.at[chosen].set(some, mode="drop"), before, found)

    for begin in range(0, len(rows), block):
        chosen = rows[begin : begin + block]
        results = jax.lax.cond(begin < count, of, lambda _, before: before, chosen, results)
    return results


def _along(asked: jax.Array, result: jax.Array) -> jax.Array:
    """The flags [B] for an array [B, ...]."""
    return asked.reshape(-1, *(1,) * (result.ndim - 1))


def _zeros(shapes: Any) -> Any:
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
