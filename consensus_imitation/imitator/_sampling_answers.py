"""Is what the demonstrator answered an action?"""

from typing import Any

import jax
import numpy as np

from consensus_imitation.core._actions import is_whole, numbers_of, shown
from consensus_imitation.core._observations import given
from consensus_imitation.core.any_action import Action
from consensus_imitation.errors import InvalidAnswerError


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
        >>> from consensus_imitation.imitator._sampling_answers import check_answer
        >>> check_answer(np.zeros(2, np.float32), [1, 2]).tolist()
        [1.0, 2.0]
    """
    try:
        checked = jax.tree.map(_check_leaf, like, answer)
    except Exception as error:  # noqa: BLE001 - what an object does when it is looked at, nobody knows
        raise InvalidAnswerError(f"the demonstrator answered {shown(answer)}, which is no action: {error}") from None
    # Of a copy: the space is somebody else's.
    if space is not None and not space.contains(given(checked)):
        raise InvalidAnswerError(f"the demonstrator answered {shown(answer)}, which is not in {space}")
    return checked


def _check_leaf(like: Any, answered: Any) -> np.ndarray:
    value = numbers_of(answered)
    if value.shape != like.shape:
        raise ValueError(f"expected shape {like.shape}, got {value.shape}")
    whole = is_whole(like.dtype)
    if whole and not is_whole(value.dtype):
        raise ValueError(f"expected integers, got {value.dtype}")
    with np.errstate(over="ignore"):
        cast = value.astype(like.dtype)
    if not np.all(np.isfinite(cast)):
        raise ValueError("it is not finite")
    if whole and np.any(cast != value):
        raise ValueError(f"it does not fit into {like.dtype}")
    return cast
