"""Every experiment is a folder of the same shape, and a folder is all that it takes to be a command."""

import dataclasses
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from consensus_imitation import experiments
from consensus_imitation.experiments.command import find_commands

COMMANDS = find_commands()
DOCS = Path(__file__).parents[2] / "docs"

#: Those that the library comes with, and that are called from Python, too.
EXPERIMENTS = {
    "bounds",
    "collapse",
    "compare",
    "demo",
    "frontier",
    "kinds",
    "knowledge",
    "noisy",
    "online",
    "pendulum",
    "planted",
    "poison",
    "redteam",
    "shift",
    "stakes",
    "sweep",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_experiment_has_a_configuration_a_run_and_a_picture(name: str) -> None:
    config, run, figure = (
        import_module(f"consensus_imitation.experiments.{name}.{part}") for part in ("config", "run", "figure")
    )
    settings = COMMANDS[name].settings
    assert settings.__module__ == config.__name__
    assert dataclasses.is_dataclass(settings)
    documented = inspect.getdoc(settings) or ""
    for field in dataclasses.fields(settings):
        assert f"    {field.name}: " in documented, f"{settings.__name__} lacks {field.name} in its Attributes"
    taken = list(inspect.signature(run.run).parameters)[:4]
    asked = [["config", "out", progress, "overwrite"] for progress in ("progress", "stage")]
    assert taken in asked, f"{run.__name__}.run takes (config, out, progress, overwrite), got {taken}"
    drawn = any(inspect.isfunction(value) and value.__module__ == figure.__name__ for value in vars(figure).values())
    assert drawn, f"{figure.__name__} defines the functions that draw"


def test_a_folder_with_a_configuration_has_a_command() -> None:
    """Without one it would be no experiment, and nothing here would look at it."""
    for config in Path(experiments.__path__[0]).glob("*/config.py"):
        name = config.parent.name
        assert name in COMMANDS, f"experiments/{name} lacks command.py, which holds its COMMAND (see a neighbour's)"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_says_what_it_found(name: str) -> None:
    pages = (page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md") if page.name != "api.md")
    command = re.compile(rf"consensus-imitation {name}\b")
    assert any(map(command.search, pages)), f"no page in docs/ has the command `consensus-imitation {name}`: write one"


def test_all_of_them_are_found_and_can_be_called() -> None:
    surface = import_module("consensus_imitation.experiments")
    for name in EXPERIMENTS:
        assert getattr(surface, f"run_{name}") is import_module(f"consensus_imitation.experiments.{name}.run").run
        assert getattr(surface, COMMANDS[name].settings.__name__) is COMMANDS[name].settings
    assert set(COMMANDS) >= EXPERIMENTS
    assert all(command.results is not None and command.parts for command in COMMANDS.values())
