"""Integers that say which row of a table is meant."""

from typing import Any

import jax
import jax.numpy as jnp


def as_index(number: Any) -> jax.Array:
    """An integer in a type that the size of a table fits into: int32 at least.

    JAX takes a Python integer that it compares with into the type of the other side: to an int8, 300 is 44.

    Args:
        number: an integer of any type, traced or not.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core._indexing import as_index
        >>> bool(as_index(np.int8(44)) == 300)
        False
    """
    number = jnp.asarray(number)
    return number.astype(jnp.promote_types(number.dtype, jnp.int32))
