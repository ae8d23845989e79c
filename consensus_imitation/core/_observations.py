"""Who owns an observation? The environment keeps its own; everybody else gets a copy.

An environment may write its next observation into the same array, a member may normalise its input in place, a
demonstrator may divide a picture by 255. If all of them shared one array, members would vote on what the demonstrator
did not see, and a run that is resumed from its journal would differ. So the imitator makes one copy on entry,
`private`, which nobody can write to. Members see that copy (`lent`), and a demonstrator gets a separate copy, which it
may change (`given`).

NumPy's arrays are copied into bytes that nobody can make writeable again. JAX's arrays, numbers and texts cannot be
written to, and are taken as they are. Lists, tuples and dicts are rebuilt. Everything else is copied deeply.
"""

import copy
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from consensus_imitation.errors import ObservationError

_UNCHANGING = (type(None), bool, int, float, complex, str, bytes)


def private(observation: Any) -> Any:
    """Return a copy that nobody else holds, and whose arrays nobody can write to.

    Raises:
        ObservationError: if a part is of a kind that cannot be copied.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core._observations import private
        >>> buffer = np.zeros(2)
        >>> kept = private({"position": buffer})
        >>> buffer[:] = 7
        >>> kept["position"].tolist(), kept["position"].flags.writeable
        ([0.0, 0.0], False)
    """
    try:
        return _copied(observation, fixed)
    except RecursionError:
        raise ObservationError("the observation holds itself: give what can be written down") from None


def owned(tree: Any) -> Any:
    """Return a pytree whose NumPy arrays nobody can write to; JAX's arrays already are so."""
    return jax.tree.map(lambda leaf: fixed(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)


def lent(observation: Any) -> Any:
    """Return what a member sees of a `private` observation: its fixed arrays, in new lists, tuples and dicts."""
    return _copied(observation, fixed)


def given(observation: Any) -> Any:
    """Return a copy for somebody who may write to it.

    Raises:
        ObservationError: if a part is of a kind that cannot be copied.
    """
    return _copied(observation, np.array)


def fixed(array: np.ndarray) -> np.ndarray:
    """Return the same numbers in memory that nobody can write to; no copy if they already are in such memory."""
    memory: Any = array.base
    if type(memory) is bytes:
        return array
    return np.ndarray(array.shape, array.dtype, array.tobytes())


def num_axes(value: Any) -> int | None:
    """Return how many axes an array, or lists that make one, have; None if they make none."""
    try:
        return np.ndim(value)
    except ValueError:
        return None


def _copied(value: Any, array: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Return the same value, with copies of all that could be written to; ``array`` copies NumPy's arrays."""
    kind = type(value)
    if kind is np.ndarray and not value.dtype.hasobject:
        return array(value)
    if kind in _UNCHANGING or isinstance(value, jax.Array):
        return value
    if issubclass(kind, np.generic) and not issubclass(kind, np.void):
        return value
    if kind is dict:
        return {name: _copied(part, array) for name, part in value.items()}
    if kind is list:
        return [_copied(part, array) for part in value]
    if kind is tuple:
        return tuple(_copied(part, array) for part in value)
    try:
        return copy.deepcopy(value)
    except Exception as error:  # It may be anything, and do anything when it is copied.
        raise ObservationError(
            f"the observation holds something of type {kind.__module__}.{kind.__qualname__} that cannot be copied "
            f"({error}), so that nobody knows whether it stays what it is: give arrays, numbers, texts, or lists, "
            "tuples and dicts of them"
        ) from error
