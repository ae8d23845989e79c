"""Other members than the defaults: from the command line to the networks, and as a part of what a directory is."""

import json
import sys
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
from gymnasium import spaces

from consensus_imitation.cli.arguments import parse
from consensus_imitation.ensembles import Neural, Training
from consensus_imitation.experiments import CompareConfig, run_compare
from consensus_imitation.experiments.compare import one_run
from consensus_imitation.experiments.compare.command import COMMAND
from consensus_imitation.experiments.members import members_for
from consensus_imitation.experiments.settings import collect, parse_setting

from .tiny import Rooms, rooms


class Views:
    """As much of an environment as members are made from."""

    observation_space = spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)})
    action_space = spaces.Discrete(7)


def tiny(**changes: Any) -> CompareConfig:
    sizes = {"queries": 4, "num_seeds": 1, "num_steps": 12, "num_members": 2, "evaluations": 1, "episodes": 2}
    return CompareConfig("rooms", ("minimum",), **cast(Any, {**sizes, "demonstrator_episodes": 2, **changes}))


def test_settings_reach_the_networks(key: jax.Array) -> None:
    members = members_for(rooms(), Rooms(), 2, {"hidden": [5, 6]}, {"averaging": 30, "bootstrap": "none"})(None)
    assert members.training == Training(averaging=30, bootstrap="none")
    layers = members.architecture.make_params(key)["dense"]["layers"]
    assert [layers[i]["bias"].shape for i in range(3)] == [(5,), (6,), (2,)]
    assert cast(Neural, members_for(rooms(), Rooms(), 2)(None)).training == Training()


def test_settings_reach_networks_for_views() -> None:
    make = members_for(rooms(members="grid"), Views(), 2, {"channels": [3], "hidden": [8], "window": 4})
    members = cast(Neural, make(None))
    assert members.architecture.window == 4
    assert members.architecture.zeros().observations["image"].shape[0] == 4
    # What SafeDAgger asks for: a judge with two outputs, who does not see all the steps.
    judge = cast(Neural, make(2))
    assert (judge.num_actions, judge.architecture.window, judge.architecture.zeros()["image"].ndim) == (2, 0, 3)


@pytest.mark.slow
def test_runs_are_made_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def spy(task: Any, env: Any, *settings: Any) -> Any:
        seen.append(settings)
        return members_for(task, env, *settings)

    for module in (one_run, sys.modules[run_compare.__module__]):
        monkeypatch.setattr(module, "members_for", spy)
    run_compare(tiny(network={"hidden": 4}, training={"averaging": 2.0}), task=rooms())
    # Once to see whether they can be made, once in the run.
    assert seen == [(2, {"hidden": [4]}, {"averaging": 2})] * 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"network": {"hiden": [5]}}, "no setting 'hiden' of the network here; it has hidden"),
        ({"network": {"window": 4}}, "no setting 'window' of the network"),
        ({"network": {"hidden": [0]}}, "hidden"),
        ({"training": {"nonsense": 1}}, "no setting 'nonsense' of the training"),
        ({"training": {"plateau": 1}}, "no setting 'plateau' of the training"),
        ({"training": {"averaging": 0.5}}, "averaging must be 0 or at least 1"),
        ({"training": {"learning_rate": "fast"}}, "learning_rate"),
    ],
    ids=str,
)
def test_wrong_settings_are_refused_before_anything_is_written(
    settings: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        run_compare(tiny(**settings), tmp_path / "out", task=rooms())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_settings_are_a_part_of_what_a_directory_holds(tmp_path: Path) -> None:
    first = tiny(network={"hidden": [4]}, training={"averaging": 2.0})
    run_compare(first, tmp_path, task=rooms())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["network"] == {"hidden": [4]}
    assert config["training"] == {"averaging": 2.0}
    again: list[tuple[int, int]] = []
    run_compare(first, tmp_path, task=rooms(), progress=lambda done, total: again.append((done, total)))
    assert again == [(12, 12)]
    with pytest.raises(ValueError, match="another configuration"):
        run_compare(tiny(network={"hidden": [4]}), tmp_path, task=rooms())
    run_compare(tiny(num_members=3), tmp_path / "defaults", task=rooms())
    # Directories from before there were settings can be gone on with.
    assert not {"network", "training"} & set(json.loads((tmp_path / "defaults" / "config.json").read_text()))


def given(*words: str) -> CompareConfig:
    return parse(COMMAND, ["--task", "cartpole", *words], "compare", "").make_settings()


def test_settings_are_given_by_name_and_value() -> None:
    words = "--network hidden=128 window=4 channels=32 --training averaging=40 bootstrap=none temperature=true"
    config = given(*words.split(), "--demonstrator-episodes", "7")
    assert config.network == {"hidden": [128], "window": 4, "channels": [32]}
    assert config.training == {"averaging": 40, "bootstrap": "none", "temperature": True}
    assert config.demonstrator_episodes == 7
    assert given() == CompareConfig("cartpole")


@pytest.mark.parametrize(
    ("text", "value"),
    [("=64,32", [64, 32]), ("=.1", 0.1), ("=1e-3", 1e-3), ("=false", False), ("=none", "none"), ("=a=b", "a=b")],
)
def test_values_on_the_command_line(text: str, value: Any) -> None:
    assert parse_setting("some" + text) == ("some", value)


@pytest.mark.parametrize("text", ["averaging", "=3", "averaging="])
def test_no_values_on_the_command_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given("--training", text)
    assert "expected NAME=VALUE" in capsys.readouterr().err


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="hidden of the network is given twice"):
        collect("network", [("hidden", 3), ("window", 2), ("hidden", 4)])


def test_what_means_the_same_is_the_same_configuration() -> None:
    given: dict[str, Any] = {"hidden": 4}
    config = tiny(network=given, training={"averaging": 2.0, "learning_rate": 0.5})
    assert config == tiny(network={"hidden": (4,)}, training={"averaging": 2, "learning_rate": 0.5})
    given["hidden"] = 7
    assert config.network == {"hidden": [4]}
    with pytest.raises(ValueError, match="learning_rate of the training must be a number"):
        tiny(training={"learning_rate": lambda step: 0.1})
