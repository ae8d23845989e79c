"""Is it an action? One check for every entrance: answers, recordings, policies, and both kinds of imitator.

An action is what somebody *answered*; nothing else is converted into one. So a masked value is not an action, a
duration is not a count, and True, "1", 1.0 and ``[1]`` are not the integer 1.
"""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import jax.numpy as jnp
import numpy as np

from consensus_imitation.errors import InvalidAnswerError

#: Things that can be iterated over and give integers, but are not a sequence of actions.
_NO_SEQUENCE = (str, bytes, bytearray, memoryview, Mapping, Set)

_ANSWERED = "the demonstrator answered"


def check_action(action: Any, num_actions: int, said: str = _ANSWERED) -> int:
    """Return one numbered action as an int.

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
    """Return the numbered actions of some rows of a batch; the contents of the other rows do not matter.

    Args:
        actions: [B], anything.
        rows: which of them are read.
        size: B.
        num_actions: A.
        said: how a message begins.

    Returns:
        The action of each row in ``rows``.

    Raises:
        InvalidAnswerError: if there are not B, or a row in ``rows`` does not hold an action.
    """
    try:
        given = actions if isinstance(actions, list | tuple) else np.asanyarray(actions)
        fits = (len(given),) == (size,) if isinstance(given, list | tuple) else given.shape == (size,)
    except Exception:  # noqa: BLE001 - whatever it is, these are not actions
        given, fits = (), False
    if not fits:
        raise InvalidAnswerError(f"expected {size} answers, one per environment; {said} {shown(actions)}")
    return {row: check_action(given[row], num_actions, said) for row in rows}


def check_recorded(actions: Any, num_actions: int) -> np.ndarray:
    """Return recorded numbered actions: int32 [T].

    Raises:
        InvalidAnswerError: if it is not a sequence, or one of them is not an action.

    Example:
        >>> from consensus_imitation.core._actions import check_recorded
        >>> check_recorded([0, 2], num_actions=3).tolist()
        [0, 2]
    """
    if not isinstance(actions, Iterable) or isinstance(actions, _NO_SEQUENCE):
        raise InvalidAnswerError(f"actions must be a sequence of what the demonstrator did, got {shown(actions)}")
    try:
        # What cannot be iterated over after all: an array without an axis.
        each = iter(actions)
    except TypeError:
        raise InvalidAnswerError(
            f"actions must be a sequence of what the demonstrator did, got {shown(actions)}"
        ) from None
    return np.array([check_action(action, num_actions) for action in each], np.int32)


def numbers_of(value: Any) -> np.ndarray:
    """Return the integers or floats that a value is or holds, as an array of exactly their type.

    The function does not check whether they are finite.

    Args:
        value: a number, an array of NumPy, JAX or anything else that NumPy can read, or a (nested) list of such.

    Raises:
        ValueError: with the reason why it holds none: a part that is masked, a bool, a text, a date or duration, an
            object, a complex number, or lists of different lengths.

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
        # Not asarray, which would lose a mask.
        array = np.asanyarray(parts)
        masked = bool(np.ma.is_masked(array))
        array = np.asarray(array)
    except Exception as error:  # An object may do anything when NumPy makes it an array.
        raise ValueError(f"it is not an array: {error}") from error
    if masked:
        raise ValueError("part of it is masked, and what is masked has no value")
    if not is_whole(array.dtype) and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"expected real numbers, got {array.dtype}")
    return array


def is_whole(dtype: Any) -> bool:
    """Return whether a type is one of integers; NumPy counts its durations among them, but they are not."""
    return np.dtype(dtype).kind != "m" and bool(jnp.issubdtype(dtype, jnp.integer))


def shown(value: Any) -> str:
    """Return the text for a value in a message; the value may be anything, even one that cannot be printed."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - its own repr fails
        return f"something that cannot be printed, of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}..."
