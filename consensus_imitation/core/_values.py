"""Values of the same class with some fields changed, at the price of a dictionary: for what changes at every step."""

from typing import Any, TypeVar

T = TypeVar("T")


def changed(value: T, **changes: Any) -> T:
    """Return a copy of a dataclass with some fields changed; what `dataclasses.replace` does, in a tenth of the time.

    Nothing is checked, and ``__post_init__`` is not called: for classes that have none, without slots.

    Example:
        >>> from dataclasses import dataclass
        >>> from consensus_imitation.core._values import changed
        >>> @dataclass(frozen=True)
        ... class Place:
        ...     x: int
        ...     y: int
        >>> changed(Place(1, 2), y=3)
        Place(x=1, y=3)
    """
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **changes)
    return copy
