"""What `make lowest` installs, and what it is for: that each extra does its work, also at its lowest versions."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.demonstrators import as_demonstrator
from consensus_imitation.experiments import figures, run_gymnasium, tasks
from consensus_imitation.experiments.demo import figure as demo_figure
from consensus_imitation.experiments.kinds.problems import problem
from consensus_imitation.experiments.pages import environment
from consensus_imitation.journal.directory import Journal
from consensus_imitation.journal.export import export

from . import lowest

CI = lowest.PROJECT.with_name(".ci") / "run"


def test_every_requirement_is_a_lower_bound_and_no_package_has_two() -> None:
    found: dict[str, set[str]] = {}
    for pin in lowest.pins():
        name, _, bound = pin.partition("==")
        found.setdefault(re.sub(r"\[.*", "", name).lower(), set()).add(bound)
    assert {"jax", "gymnasium", "pyarrow", "pytest"} <= set(found)
    assert all(len(bounds) == 1 for bounds in found.values()), found


@pytest.mark.skipif("LOWEST" not in os.environ, reason="only `make lowest` installs the lowest versions")
def test_the_lowest_versions_are_the_ones_installed() -> None:
    for pin in lowest.pins():
        name, _, bound = pin.partition("==")
        have = version(re.sub(r"\[.*", "", name))
        assert (have + ".0.0").startswith(bound + "."), f"{name} {have} is installed, not {bound}"


# --- Every extra does its work. ---


def run_dir(tmp_path: Path) -> Path:
    members = ensembles.tabular(np.array([[[0.9, 0.1]], [[0.2, 0.8]]]))
    journal = Journal(tmp_path / "run", observations=True)
    with ConsensusImitator(members, lambda _: 1, selection=TopK(2), seed=0, journal=journal) as imitator:
        for _ in range(20):
            imitator.act(0)
    return tmp_path / "run"


def plot(tmp_path: Path) -> None:
    weights = np.full((5, 3), 1 / 3)
    figure = demo_figure.posterior(weights, np.array([True, False] * 2 + [True]), ["a", "$b", "_c"], 2, "title")
    figures.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    run = {"observation": np.zeros(2), "queried": np.zeros(2, bool), "harm": np.zeros(2, bool)}
    assert demo_figure.film(lambda _: np.zeros((8, 8, 3), np.uint8), {"one": run}, 0, 2).startswith(b"GIF89a")
    assert environment().from_string("{{ text }}").render(text="<b>\x1b") == "&lt;b&gt;\\x1b"


def gym(tmp_path: Path) -> None:
    import gymnasium

    import consensus_imitation.envs.gymnasium_adapter  # noqa: F401 - registers the worlds

    for env in (
        gymnasium.make("ConsensusImitation/Cliff-v0"),
        gymnasium.make_vec("ConsensusImitation/Cliff-v0", num_envs=2, vectorization_mode="sync"),
    ):
        imitator = ConsensusImitator(
            ensembles.tabular(np.full((2, 200, 5), 0.2)), lambda _: 1, seed=0, num_envs=getattr(env, "num_envs", None)
        )  # fmt: skip
        assert run_gymnasium(env, imitator, num_steps=5, progress=False).steps == 5


def real_tasks(tmp_path: Path) -> None:
    for name in ("lunarlander", "cartpole", "gotoobj"):
        task = tasks.make(name)
        env = task.make_env(seed=0)
        demonstrator = as_demonstrator(task.make_demonstrator(env, seed=0))
        observation, _ = env.reset(seed=0)
        for _ in range(5):
            action = demonstrator(observation)
            demonstrator.observe(action, "demonstrator")
            observation, *_ = env.step(action)
        env.close()


def tensorboard(tmp_path: Path) -> None:
    task = tasks.make("cartpole")
    env = task.make_env(seed=0)
    members = ensembles.mlp(env.observation_space, 2, num_members=2, hidden=(4,))
    imitator = ConsensusImitator(members, task.make_demonstrator(env, seed=0), seed=0)
    run_gymnasium(env, imitator, num_steps=60, out=tmp_path / "run", tensorboard=True, progress=False)
    (events,) = (tmp_path / "run" / "tensorboard").glob("events.*")
    assert events.stat().st_size > 0


def parquet(tmp_path: Path) -> None:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(export(run_dir(tmp_path), tmp_path / "a.parquet", "parquet")).to_pylist()
    assert sum(row["kind"] == "act" for row in rows) > 0
    assert len(rows[1]["log_probs"]) == 2


def minari(tmp_path: Path) -> None:
    import minari as library

    dataset = library.MinariDataset(export(run_dir(tmp_path), tmp_path / "one-v0", "minari") / "data")
    (episode,) = dataset.iterate_episodes()
    assert len(episode.actions) == 20


def games(tmp_path: Path) -> None:
    from consensus_imitation.experiments.noisy import worlds

    assert worlds.make("leduc").laws.shape == (936, 3)


def web(tmp_path: Path) -> None:
    import gymnasium
    from websockets.sync.client import connect

    from consensus_imitation import demonstrators

    page = demonstrators.web(gymnasium.make("CartPole-v1"), announce=len).page
    place = f"127.0.0.1:{page.server.port}"
    cookie = {"Cookie": f"consensus-imitation-{page.server.port}={page.server.token}"}
    with connect(f"ws://{place}/socket", origin=f"http://{place}", additional_headers=cookie, proxy=None) as window:  # type: ignore[arg-type]
        assert '"left"' in str(window.recv(timeout=30))
    page.close()


def digits(tmp_path: Path) -> None:
    given = problem("digits", num_answers=200, seed=0)
    assert given.inputs.shape == (200, 64)
    assert given.inputs.max() == 1.0
    assert set(given.foreign) == {"shuffled", "turned"}
    nearest = ((given.familiar[:100, None] - given.inputs) ** 2).sum(-1).argmin(-1)
    assert np.mean(given.answers[nearest] == given.right[:100]) > 0.8


EXTRAS: dict[str, Callable[[Path], None]] = {
    "plot": plot, "gym": gym, "tasks": real_tasks, "tensorboard": tensorboard, "parquet": parquet, "minari": minari,
    "digits": digits, "games": games, "web": web,
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRAS)
def test_the_extra_does_its_work(name: str, tmp_path: Path) -> None:
    EXTRAS[name](tmp_path)


def test_no_extra_is_left_out() -> None:
    with lowest.PROJECT.open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert set(extras) == {*EXTRAS, "all"}
    (everything,) = extras["all"]
    assert everything == f"consensus_imitation[{','.join(EXTRAS)}]"


# --- The continuous integration takes the newest Python. ---


def newest(*names: str, tmp_path: Path, before: str = "") -> str:
    """What the script finds among interpreters of these names, each of which says its own version."""
    for name in names:
        path = tmp_path / name
        minor = name.removeprefix("python3.")
        working = minor != "14"
        path.write_text(f"#!/bin/sh\n{'exit 0' if working else 'exit 1'}\n")
        path.chmod(0o755)
    text = CI.read_text(encoding="utf-8")
    begin, end = text.index("newest_python() {"), text.index("\n}\n")
    function = text[begin : end + 3]
    environment = {"PATH": f"{tmp_path}:/bin:/usr/bin", "PYENV_ROOT": str(tmp_path / "none"), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["/bin/bash", "-c", f"{function}\nnewest_python {before}"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return Path(done.stdout.strip()).name


@pytest.mark.skipif(sys.platform != "linux", reason="a script of bash")
def test_the_newest_python_that_works_is_taken(tmp_path: Path) -> None:
    assert newest("python3.12", "python3.13", tmp_path=tmp_path) == "python3.13"
    assert newest("python3.14", tmp_path=tmp_path) == "python3.13", "one that does not start is passed over"
    assert newest(tmp_path=tmp_path, before="13") == "python3.12", "the next older one"
    assert newest(tmp_path=tmp_path, before="12") == ""
