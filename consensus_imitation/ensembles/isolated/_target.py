"""Which function a member is: a name by which another process finds it. This module does not import it."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from consensus_imitation.errors import ConfigurationError

_REMEDY = (
    'write it with "def" at the top level of a module, or name it: "package.module:function" or '
    '"path/to/file.py:function"'
)


class Target(NamedTuple):
    """A function by its name, in a module or in a file.

    Attributes:
        name: of the function.
        module: as in ``import``; None if ``file`` is given.
        file: absolute path.
    """

    name: str
    module: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.file or self.module}:{self.name}"


def target_of(function: Callable[[Any], Any] | str, member: int) -> Target:
    """Return how another process finds the function.

    Args:
        function: itself, or ``"package.module:function"`` or ``"path/to/file.py:function"``.
        member: its place in the ensemble, for messages.

    Raises:
        ConfigurationError: if another process could not find it: a lambda, a function within a function, a method, a
            partial, another callable object, or a name that belongs to something else.

    Example:
        >>> from consensus_imitation.ensembles.isolated._target import target_of
        >>> str(target_of("scripted.members:careful", 0))
        'scripted.members:careful'
    """
    return _of_name(function, member) if isinstance(function, str) else _of_function(function, member)


def _of_name(text: str, member: int) -> Target:
    place, _, name = text.rpartition(":")
    if not place or not name.isidentifier():
        raise ConfigurationError(
            f'member {member}: {text!r} does not name a function: write "module:function" or "file.py:function"'
        )
    if place.endswith(".py"):
        file = Path(os.path.abspath(place))
        if not file.is_file():
            raise ConfigurationError(f"member {member}: there is no file {file}")
        return Target(name, file=str(file))
    if not all(part.isidentifier() for part in place.split(".")):
        raise ConfigurationError(f"member {member}: {place!r} is neither a module's name nor a path that ends in .py")
    return Target(name, module=place)


def _of_function(function: Any, member: int) -> Target:
    if not isinstance(function, FunctionType):
        what = f"a {type(function).__name__}" if callable(function) else f"{function!r}"
        raise ConfigurationError(
            f"member {member} is {what}, not a plain function that another process can find: {_REMEDY}"
        )
    name, module = function.__qualname__, function.__module__
    if not name.isidentifier():
        raise ConfigurationError(
            f"member {member}, {name}, is a lambda, a method or a function within another, which no other process can "
            f"find: {_REMEDY}"
        )
    loaded = sys.modules.get(module)
    if getattr(loaded, name, None) is not function:
        raise ConfigurationError(
            f"member {member}: {module}.{name} is not the function that was passed (it was wrapped, replaced, or "
            f"made by exec), so another process would find something else: {_REMEDY}"
        )
    if module != "__main__":
        return Target(name, module=module)
    spec, file = getattr(loaded, "__spec__", None), getattr(loaded, "__file__", None)
    if spec is not None:
        return Target(name, module=spec.name)
    if file is None or not Path(file).is_file():
        raise ConfigurationError(f"member {member}: {name} was typed in, so no file holds it: {_REMEDY}")
    return Target(name, file=os.path.abspath(file))
