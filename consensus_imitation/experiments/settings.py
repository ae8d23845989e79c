"""Settings of an experiment's members as names and values, on a command line or in a file."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

#: Names and values: numbers, words, true or false, or lists of numbers.
Settings = dict[str, Any]


#: Take several numbers, of which one alone need not be a list.
_LISTS = ("hidden", "channels")


def parse_setting(text: str) -> tuple[str, Any]:
    """Return a name and its value: a number, several numbers, true, false, or a word.

    Raises:
        ValueError: without a name or a value.

    Example:
        >>> from consensus_imitation.experiments.settings import parse_setting
        >>> parse_setting("hidden=128,128"), parse_setting("bootstrap=none"), parse_setting("weight_decay=.1")
        (('hidden', [128, 128]), ('bootstrap', 'none'), ('weight_decay', 0.1))
    """
    name, _, value = text.partition("=")
    if not name or not value:
        raise ValueError(f"expected NAME=VALUE, such as averaging=40; got {text!r}")
    for read in (json.loads, float, lambda value: json.loads(f"[{value}]")):
        try:
            return name, read(value)
        except ValueError:
            continue
    return name, value


def collect(what: str, pairs: Iterable[tuple[str, Any]]) -> Settings:
    """Return the names and values in one dictionary.

    Raises:
        ValueError: if a name occurs twice.
    """
    found: Settings = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} of the {what} is given twice")
        found[name] = value
    return found


def normalised(what: str, settings: Mapping[str, Any]) -> Settings:
    """Return a copy in which equal settings have the same form.

    Raises:
        ValueError: for a value that could not be written into a file.
    """
    return {name: _normalised(what, name, value) for name, value in settings.items()}


def _normalised(what: str, name: str, value: Any) -> Any:
    if isinstance(value, list | tuple) or (name in _LISTS and isinstance(value, int)):
        return [_normalised(what, name + "[]", one) for one in (value if isinstance(value, list | tuple) else [value])]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"{name} of the {what} must be a number, a word, true or false, or a list of numbers; got {value!r}"
    )
