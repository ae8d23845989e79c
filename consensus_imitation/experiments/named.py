"""Functions of the user's that a command line names: ``package.module:function`` or ``path/to/file.py:function``."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from consensus_imitation.ensembles.isolated import _worker


def is_name(text: str) -> bool:
    """Return whether a text has the form of a function's name, ``module:function``.

    Example:
        >>> from consensus_imitation.experiments.named import is_name
        >>> is_name("mine.worlds:make"), is_name("mine/worlds.py:make"), is_name("CartPole-v1"), is_name("mine:Env-v0")
        (True, True, False, False)
    """
    place, _, name = text.rpartition(":")
    return bool(place) and name.isidentifier()


def load(text: str, what: str) -> Callable[..., Any]:
    """Import a function; modules of the working directory are found, too.

    Args:
        text: ``"package.module:function"`` or ``"path/to/file.py:function"``.
        what: what it is for, for messages: "the demonstrator".

    Raises:
        ValueError: if the text is no such name, or there is no such module, file or function.
    """
    if not is_name(text):
        raise ValueError(f"{what} is a function that you name as module:function or file.py:function; got {text!r}")
    place, _, name = text.rpartition(":")
    try:
        if place.endswith(".py"):
            if not Path(place).is_file():
                raise ValueError(f"{what} {text!r}: there is no file {place}; name it from {Path.cwd()}")
            return _worker.load(None, str(Path(place).resolve()), name)
        if str(Path.cwd()) not in sys.path:
            # A command's own directory is where it lies, not where it is called.
            sys.path.insert(0, str(Path.cwd()))
        import_module(place)
        return _worker.load(place, None, name)
    except ModuleNotFoundError as error:
        if error.name is None or not (place == error.name or place.startswith(f"{error.name}.")):
            raise
        raise ValueError(f"{what} {text!r}: there is no module {error.name!r} here or among the packages") from error
    except AttributeError as error:
        raise ValueError(f"{what} {text!r}: {place} has no function {name!r}") from error
    except TypeError as error:
        raise ValueError(f"{what} {text!r}: {error}") from error
