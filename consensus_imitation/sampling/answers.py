"""Is what the demonstrator answered an action?"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.errors import InvalidAnswerError
from consensus_imitation.sampling.base import Action


def check_answer(like: Action, answer: Any, space: Any = None) -> Action:
    """The answer as NumPy values of the members' structure, shapes and types.

    Args:
        like: an action of the members.
        answer: anything; a list of numbers stands for a vector.
        space: anything with ``contains(action)``, or None.

    Raises:
        InvalidAnswerError: if its structure, shape or type is another one, a number in it is not finite or does not fit
            its type, or it is not in the space.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.sampling.answers import check_answer
        >>> check_answer(np.zeros(2, np.float32), [1, 2]).tolist()
        [1.0, 2.0]
    """
    try:
        if isinstance(like, jax.Array | np.ndarray):
            answer = np.asarray(answer)
        checked = jax.tree.map(_check_leaf, like, answer)
    except (TypeError, ValueError) as error:
        raise InvalidAnswerError(f"the demonstrator answered {answer!r}, which is no action: {error}") from None
    if space is not None and not space.contains(checked):
        raise InvalidAnswerError(f"the demonstrator answered {answer!r}, which is not in {space}")
    return checked


def _check_leaf(like: Any, given: Any) -> np.ndarray:
    value = np.asarray(given)
    if value.shape != like.shape:
        raise ValueError(f"expected shape {like.shape}, got {value.shape}")
    if not (np.issubdtype(value.dtype, np.integer) or np.issubdtype(value.dtype, np.floating)):
        raise ValueError(f"expected real numbers, got {value.dtype}")
    whole = jnp.issubdtype(like.dtype, jnp.integer)
    if whole and not np.issubdtype(value.dtype, np.integer):
        raise ValueError(f"expected integers, got {value.dtype}")
    with np.errstate(over="ignore"):
        cast = value.astype(like.dtype)
    if not np.all(np.isfinite(cast)):
        raise ValueError("it is not finite")
    if whole and np.any(cast != value):
        raise ValueError(f"it does not fit into {like.dtype}")
    return cast
