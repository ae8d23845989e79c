"""Integers that index the rows of a table."""

from typing import Any

import jax
import jax.numpy as jnp


def as_index(number: Any) -> jax.Array:
    """Return an integer in a type that can hold the size of a table: int32 at least.

    In a comparison, JAX converts a Python integer to the type of the other side: as an int8, 300 is 44.

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
