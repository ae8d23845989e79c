"""Every experiment is a folder of the same shape, and a folder is all that it takes to be a command."""

import dataclasses
import inspect
from importlib import import_module

import pytest

from consensus_imitation.experiments.command import find_commands

COMMANDS = find_commands()

#: Those that the library comes with, and that are called from Python, too.
EXPERIMENTS = {
    "bounds",
    "collapse",
    "compare",
    "demo",
    "kinds",
    "knowledge",
    "pendulum",
    "planted",
    "redteam",
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
    assert all(f"    {field.name}: " in documented for field in dataclasses.fields(settings))
    first, out, progress, overwrite, *_ = inspect.signature(run.run).parameters
    assert (first, out, overwrite) == ("config", "out", "overwrite")
    assert progress in ("progress", "stage")
    assert any(inspect.isfunction(value) and value.__module__ == figure.__name__ for value in vars(figure).values())


def test_all_of_them_are_found_and_can_be_called() -> None:
    surface = import_module("consensus_imitation.experiments")
    for name in EXPERIMENTS:
        assert getattr(surface, f"run_{name}") is import_module(f"consensus_imitation.experiments.{name}.run").run
        assert getattr(surface, COMMANDS[name].settings.__name__) is COMMANDS[name].settings
    assert set(COMMANDS) >= EXPERIMENTS
    assert all(command.results is not None and command.parts for command in COMMANDS.values())
