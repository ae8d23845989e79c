"""The lowest versions that ``pyproject.toml`` allows, one requirement on a line: ``python lowest.py > pins.txt``.

An exact pin for each lower bound, rather than a resolver's choice: a bound that no release has, or that two packages do
not share, then fails to install instead of being replaced by a higher one.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
FORM = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(?P<extras>\[[a-z0-9,_-]+\])?>=(?P<version>[0-9][0-9.]*)")


def requirements() -> list[str]:
    """Of the library, of every extra, and of the tests."""
    with PROJECT.open("rb") as file:
        project: dict[str, Any] = tomllib.load(file)
    extras = project["project"]["optional-dependencies"]
    own = project["project"]["name"]
    parts = [project["project"]["dependencies"], *extras.values(), project["dependency-groups"]["test"]]
    return [one for part in parts for one in part if not one.startswith(own)]


def pins() -> list[str]:
    """Each requirement at its lower bound.

    Raises:
        ValueError: for a requirement that is no mere lower bound.
    """
    found: list[str] = []
    for one in requirements():
        match = FORM.fullmatch(one)
        if match is None:
            raise ValueError(f"{one!r} in pyproject.toml is no lower bound such as 'numpy>=2.0'")
        found.append(f"{match['name']}{match['extras'] or ''}=={match['version']}")
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    sys.stdout.write("\n".join(pins()) + "\n")
