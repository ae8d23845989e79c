"""The page on architecture says what is so: its floors are those of the import contract, its rooms those that exist."""

import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
PACKAGE = ROOT / "consensus_imitation"

#: Not rooms: the worlds lie beside the package and import nothing of it.
BESIDE = {"envs"}


def drawn_floors() -> list[set[str]]:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [{name for name, _ in rooms} - BESIDE for rooms in module.FLOORS]


def test_the_picture_shows_the_import_contract() -> None:
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract["type"] == "layers"]
    assert drawn_floors() == [set(re.split(r" [|:] ", floor)) for floor in layers]
    assert len(layers) <= 8


def test_every_room_is_on_the_page_and_there_are_few() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    rooms -= {"__init__", "__main__", "__pycache__", "_surface"}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.M)) == rooms
    assert len(rooms) <= 10


def test_the_ways_pass_modules_that_exist() -> None:
    section = PAGE.split("## Two ways through the code")[1]
    named = set(re.findall(r"`(_\w+)\.py`", section)) | set(re.findall(r"`(_\w+)`", section))
    modules = {path.stem for path in (PACKAGE / "imitator").glob("*.py")}
    assert named
    assert named <= modules
