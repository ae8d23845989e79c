"""What is installed: one top-level name, and the same files in an editable install."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import consensus_imitation
import consensus_imitation.envs

ROOT = Path(__file__).parents[2]
SOURCES = ("consensus_imitation", "envs", "benchmarks", "pyproject.toml", "setup.py", "LICENSE", "README.md")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The built wheel; built from a copy, so that nothing is left in the repository."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        item = ROOT / name
        if item.is_dir():
            shutil.copytree(item, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(item, source / name)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, source]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return zipfile.Path(path)


def test_wheel_has_one_top_level_package(wheel: zipfile.Path) -> None:
    names = {entry.name for entry in wheel.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"consensus_imitation"}


@pytest.mark.parametrize(
    "name",
    [
        "py.typed",
        "envs/worlds/cliff.py",
        "benchmarks/__init__.py",
        "deception/pytest_plugin.py",
        "cli/main.py",
        "experiments/macros.html.jinja",
        "experiments/demo/report.html.jinja",
    ],
)
def test_wheel_holds(wheel: zipfile.Path, name: str) -> None:
    assert (wheel / "consensus_imitation" / name).is_file()


def test_wheel_holds_every_module(wheel: zipfile.Path) -> None:
    for folder, target in (("consensus_imitation", ""), ("envs", "envs/"), ("benchmarks", "benchmarks/")):
        for path in (ROOT / folder).rglob("*.py"):
            inside = f"{target}{path.relative_to(ROOT / folder).as_posix()}"
            assert (wheel / "consensus_imitation" / inside).is_file(), f"{inside} is missing from the wheel"


def test_tests_run_on_the_files_of_this_repository() -> None:
    assert Path(consensus_imitation.__file__).parent == ROOT / "consensus_imitation"
    assert Path(consensus_imitation.envs.__file__).parent == ROOT / "envs"


def test_no_global_module_is_called_envs_or_benchmarks(tmp_path: Path) -> None:
    program = """
import importlib.util, consensus_imitation.envs
for name in ("envs", "benchmarks"):
    spec = importlib.util.find_spec(name)
    assert spec is None, f"{name} is importable from {spec.origin}"
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)
