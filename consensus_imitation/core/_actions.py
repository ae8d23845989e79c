"""Is it an action? One check for every entrance: answers, recordings, policies, and both kinds of imitator.

An action is what somebody *said*; nothing is made into one. So a masked value has none, a duration is no count, and
True, "1", 1.0 and ``[1]`` are not the integer 1.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import jax.numpy as jnp
import numpy as np

from consensus_imitation.errors import InvalidAnswerError

#: Things that can be gone through and give integers, but are no sequence of actions.
_NO_SEQUENCE = (str, bytes, bytearray, memoryview, Mapping, Set)

_ANSWERED = "the demonstrator answered"


def check_action(action: Any, num_actions: int, said: str = _ANSWERED) -> int:
    """One numbered action, as an int.

    Args:
        action: anything.
        num_actions: A.
        said: how the message begins.

    Raises:
        InvalidAnswerError: if it is not an integer in ``0 .. A-1``.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core._actions import check_action
        >>> check_action(np.array(1), num_actions=3)
        1
        >>> try:
        ...     check_action(True, num_actions=3)
        ... except ValueError as error:
        ...     print(str(error).split(":")[0])
        the demonstrator answered True, which is no action
    """
    if type(action) is int and 0 <= action < num_actions:
        return action  # the usual case, at once
    try:
        value = numbers_of(action)
    except (ValueError, RecursionError):  # The latter of a list that holds itself.
        value = None
    if value is None or value.shape != () or not is_whole(value.dtype) or not 0 <= int(value) < num_actions:
        raise InvalidAnswerError(
            f"{said} {shown(action)}, which is no action: answer with an integer from 0 to {num_actions - 1}"
        )
    return int(value)


def check_row(actions: Any, rows: Iterable[int], size: int, num_actions: int, said: str = _ANSWERED) -> dict[int, int]:
    """The numbered actions of some rows of a batch; what stands in the others does not matter.

    Args:
        actions: [B], anything.
        rows: which of them are read.
        size: B.
        num_actions: A.
        said: how a message begins.

    Returns:
        The action of each row that is read.

    Raises:
        InvalidAnswerError: if there are not B, or one that is read is no action.
    """
    try:
        given = actions if isinstance(actions, list | tuple) else np.asanyarray(actions)
        fits = (len(given),) == (size,) if isinstance(given, list | tuple) else given.shape == (size,)
    except Exception:  # noqa: BLE001 - whatever it is, these are no actions
        given, fits = (), False
    if not fits:
        raise InvalidAnswerError(f"expected {size} answers, one per environment; {said} {shown(actions)}")
    return {row: check_action(given[row], num_actions, said) for row in rows}


def check_recorded(actions: Any, num_actions: int) -> np.ndarray:
    """Recorded numbered actions: int32 [T].

    Raises:
        InvalidAnswerError: if it is no sequence, or one of them is no action.

    Example:
        >>> from consensus_imitation.core._actions import check_recorded
        >>> check_recorded([0, 2], num_actions=3).tolist()
        [0, 2]
    """
    if not isinstance(actions, Iterable) or isinstance(actions, _NO_SEQUENCE):
        raise InvalidAnswerError(f"actions must be a sequence of what the demonstrator did, got {shown(actions)}")
    try:
        # What cannot be gone through after all: an array without an axis.
        each = iter(actions)
    except TypeError:
        raise InvalidAnswerError(
            f"actions must be a sequence of what the demonstrator did, got {shown(actions)}"
        ) from None
    return np.array([check_action(action, num_actions) for action in each], np.int32)


def numbers_of(value: Any) -> np.ndarray:
    """The integers or floats that a value is or holds, as an array of their very type.

    Whether they are finite is not looked at.

    Args:
        value: a number, an array of NumPy, JAX or anything else that NumPy can read, or a (nested) list of such.

    Raises:
        ValueError: saying why it holds none: a part that is masked, a bool, a text, a date or duration, an object, a
            complex number, or lists of different lengths.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core._actions import numbers_of
        >>> numbers_of([1.0, 2]).tolist()
        [1.0, 2.0]
        >>> numbers_of(np.ma.array([1.0, 2.0], mask=[False, True]))
        Traceback (most recent call last):
        ...
        ValueError: part of it is masked, and what is masked has no value
    """
    if isinstance(value, list | tuple):
        # Each by itself: together they would all become numbers of one kind, a bool or a masked value as well.
        parts: Any = [numbers_of(part) for part in value]
    else:
        parts = value
    try:
        # Not asarray, by which a mask would be lost.
        array = np.asanyarray(parts)
        masked = bool(np.ma.is_masked(array))
        array = np.asarray(array)
    except Exception as error:  # What an object does when it is to be an array, nobody knows.
        raise ValueError(f"it is no array: {error}") from error
    if masked:
        raise ValueError("part of it is masked, and what is masked has no value")
    if not is_whole(array.dtype) and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"expected real numbers, got {array.dtype}")
    return array


def is_whole(dtype: Any) -> bool:
    """Whether a type is one of integers; NumPy counts its durations among them, and they are none."""
    return np.dtype(dtype).kind != "m" and bool(jnp.issubdtype(dtype, jnp.integer))


def shown(value: Any) -> str:
    """What a message says of a value that may be anything, one that cannot be printed included."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - its own repr fails
        return f"something that cannot be printed, of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}..."
