"""Pictures, doctests, and what the package imports."""

from __future__ import annotations

import ast
import doctest
import importlib
import itertools
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import consensus_imitation.envs
from consensus_imitation.envs import Frame
from consensus_imitation.envs.rendering import TILE_COLOURS, TILE_NAMES, render_rgb, render_text

PREFIX = "consensus_imitation.envs."
MODULES = [m.name.removeprefix(PREFIX) for m in pkgutil.walk_packages(consensus_imitation.envs.__path__, PREFIX)]


def test_text_puts_the_agent_over_its_tile() -> None:
    assert render_text(Frame(("..G", "~~~"), (1, 2))) == "..G\n~~A"


def test_rgb_tiles_have_their_colours_and_the_agent_is_a_disc() -> None:
    frame = Frame(("#G", ".v"), (1, 0))
    picture = render_rgb(frame, tile=20)
    assert picture.shape == (40, 40, 3)
    assert tuple(picture[10, 10]) == TILE_COLOURS["#"]
    assert tuple(picture[10, 30]) == TILE_COLOURS["G"]
    assert tuple(picture[30, 30]) == TILE_COLOURS["v"]
    assert tuple(picture[30, 10]) == (0, 114, 178)
    assert (0, 114, 178) not in TILE_COLOURS.values()
    assert tuple(picture[38, 2]) == TILE_COLOURS["."]
    moved = render_rgb(frame._replace(agent=(0, 1)), tile=20)
    assert (moved[20:, :20] != picture[20:, :20]).any()
    assert (moved[:20, 20:] != picture[:20, 20:]).any()
    np.testing.assert_array_equal(moved[:20, :20], picture[:20, :20])


def test_harmful_ground_is_striped() -> None:
    """So that it is told apart without colour."""
    plain, striped = (render_rgb(Frame((".." + tile,), (0, 0)))[2:, 50:] for tile in "G~")
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(striped.reshape(-1, 3), axis=0)) == 2


def test_tiles_that_meet_are_told_apart() -> None:
    shared = {frozenset("1*"), frozenset("ve"), frozenset("0-")}  # never in one picture
    assert set(TILE_NAMES) == set(TILE_COLOURS), "every tile has a colour and a name"
    for a, b in itertools.combinations(TILE_COLOURS, 2):
        gap = np.abs(np.subtract(TILE_COLOURS[a], TILE_COLOURS[b])).sum()
        assert gap > 60 or frozenset((a, b)) in shared, (a, b)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least 6"):
        render_rgb(Frame(("..",), (0, 0)), tile=5)
    with pytest.raises(ValueError, match=r"without a colour: \['\?'\]"):
        render_rgb(Frame((".?",), (0, 0)))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    if name == "gymnasium_adapter":
        pytest.importorskip("gymnasium")
    module = importlib.import_module(f"{PREFIX}{name}")
    assert doctest.testmod(module).failed == 0


def test_the_package_stands_alone() -> None:
    """It imports nothing else of the library, and gymnasium only in its adapter."""
    files = sorted(Path(consensus_imitation.envs.__path__[0]).rglob("*.py"))
    assert len(files) == len(MODULES) + 1
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                imported = [node.module or ""]
            for name in imported:
                assert not name.startswith("consensus_imitation") or name.startswith("consensus_imitation.envs")
                assert name != "matplotlib"
                assert name != "gymnasium" or file.stem == "gymnasium_adapter"


def test_import_does_not_load_gymnasium() -> None:
    code = "import sys, consensus_imitation.envs; sys.exit('gymnasium' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_sorted_and_there() -> None:
    public = consensus_imitation.envs.__all__
    assert list(public) == sorted(public)
    assert all(hasattr(consensus_imitation.envs, name) for name in public)
