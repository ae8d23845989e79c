"""Checks of the options of rules and members; a bad one is refused on entry, with its name and what is possible."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from consensus_imitation.core._integers import is_integer
from consensus_imitation.errors import ConfigurationError

#: Integers that JAX can hold.
LARGEST_INT = 2**31 - 1


def check_number(
    name: str,
    value: Any,
    wanted: str,
    holds: Callable[[Any], Any],
    *,
    whole: bool = False,
    lenient: bool = False,
) -> None:
    """Refuse an option that is not a number, or is outside its range; in an array, all have to be inside.

    Values that JAX traces are not checked.

    Args:
        name: of the option.
        value: what was given.
        wanted: completes "must ...".
        holds: whether numbers (an array) are in the range. It must be false for NaN.
        whole: integers only; a bool is not one.
        lenient: accept what is neither a number nor a string nor an array: operations on pytrees put other things, None
            for instance, in the place of a rule's parameter.

    Raises:
        ConfigurationError: naming the option, what was given and what is possible.

    Example:
        >>> from consensus_imitation.core._validation import check_number
        >>> check_number("k", 3, "be an integer of at least 1", lambda k: k >= 1, whole=True)
        >>> check_number("k", 2.5, "be an integer of at least 1", lambda k: k >= 1, whole=True)
        Traceback (most recent call last):
        ...
        consensus_imitation.errors.ConfigurationError: k must be an integer of at least 1, got 2.5
    """
    if isinstance(value, Tracer):
        return
    if isinstance(value, bool | int | float | str | bytes | np.generic | np.ndarray | jax.Array):
        if _all_hold(value, holds, jnp.integer if whole else None):
            return
    elif lenient:
        return
    raise ConfigurationError(f"{name} must {wanted}, got {value!r}")


def check_integer(name: str, value: Any, least: int, why: str = "") -> int:
    """Return an option that is one plain integer, as an int.

    Args:
        name: of the option.
        value: what was given.
        least: the smallest that is possible.
        why: a remark for the message.

    Raises:
        ConfigurationError: for anything else, including a bool and an array.

    Example:
        >>> from consensus_imitation.core._validation import check_integer
        >>> check_integer("num_members", np.int64(3), 1)
        3
    """
    remark = f" ({why})" if why else ""
    if not is_integer(value) or not least <= value <= LARGEST_INT:
        raise ConfigurationError(f"{name} must be at least {least} and an integer{remark}, got {value!r}")
    return int(value)


def check_integers(name: str, values: Any, least: int) -> tuple[int, ...]:
    """Return an option that is a sequence of integers, as a tuple.

    Raises:
        ConfigurationError: if it is not a sequence, or one of them is not an integer or is too small.

    Example:
        >>> from consensus_imitation.core._validation import check_integers
        >>> check_integers("hidden", [64, 64], 1)
        (64, 64)
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise ConfigurationError(f"{name} must be a sequence of integers of at least {least}, got {values!r}")
    return tuple(check_integer(f"{name}[{i}]", value, least) for i, value in enumerate(values))


def check_instance(name: str, value: Any, kind: type, remedy: str) -> None:
    """Refuse an option of another type; None means that the option is not given, and passes.

    Raises:
        ConfigurationError: with the remedy.
    """
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be a {kind.__name__}, got {value!r}: {remedy}")


def _all_hold(value: Any, holds: Callable[[Any], Any], kind: Any) -> bool:
    values = np.asarray(value)
    if values.dtype.kind == "m":
        return False
    kinds = (kind,) if kind is not None else (jnp.integer, jnp.floating)
    return bool(values.size and any(jnp.issubdtype(values.dtype, one) for one in kinds) and np.all(holds(values)))
