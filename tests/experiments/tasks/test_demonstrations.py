"""Demonstrations come back from disk as they were written; damaged and foreign files are refused."""

import os
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation.demonstrators import Demonstrator, recordings
from consensus_imitation.demonstrators.recordings import Demonstrations
from consensus_imitation.experiments import tasks


def recorded(name: str, num_steps: int = 60, seed: int = 0) -> Demonstrations:
    task = tasks.make(name)
    env = task.make_env()
    return recordings.record(env, task.make_demonstrator(env, seed=seed), num_steps, seed=seed)


def small(**change: Any) -> Demonstrations:
    parts: dict[str, Any] = {
        "observations": {"pixels": {"near": np.zeros((3, 2), np.uint8)}, "mission": np.array(["go", "stop", "go"])},
        "actions": np.array([0, 1, 0], np.int32),
        "starts": np.array([True, False, True]),
    }
    return Demonstrations(**(parts | change))


def written(path: Path, **arrays: Any) -> Path:
    np.savez(path, names=np.array(sorted(arrays)), **arrays)
    return path


@pytest.mark.parametrize("name", ["lunarlander", "taxi", "pickuploc"])
def test_there_and_back(name: str, tmp_path: Path) -> None:
    there = recorded(name)
    there.save(tmp_path / "demonstrations")  # no suffix is added
    assert os.listdir(tmp_path) == ["demonstrations"]
    back = recordings.load(tmp_path / "demonstrations")
    np.testing.assert_equal(back.observations, there.observations)
    np.testing.assert_array_equal(back.actions, there.actions)
    np.testing.assert_array_equal(back.starts, there.starts)
    assert (back.actions.dtype, back.starts.dtype, len(back)) == (np.int32, np.bool_, 60)
    if name == "pickuploc":
        assert back.observations["mission"].dtype.kind == "U"
        assert back.observations["image"].shape == (60, 7, 7, 3)


def test_nested_observations_come_back_nested(tmp_path: Path) -> None:
    small().save(tmp_path / "small.npz")
    np.testing.assert_equal(recordings.load(tmp_path / "small.npz").observations, small().observations)


def test_what_is_recorded_is_what_happens() -> None:
    there = recorded("frozenlake", num_steps=200, seed=4)
    task = tasks.make("frozenlake")
    env = task.make_env()
    demonstrator = task.make_demonstrator(env, seed=4)
    observation, _ = env.reset(seed=4)
    begins = True
    for step in range(200):
        action = demonstrator(observation)
        assert (observation, action, begins) == (there.observations[step], there.actions[step], there.starts[step])
        observation, _, terminated, truncated, _ = env.step(action)
        begins = terminated or truncated
        if begins:
            observation, _ = env.reset()
    assert there.starts.sum() > 2


def test_the_bot_can_be_recorded_over_episodes() -> None:
    there = recorded("gotolocal", num_steps=100)
    assert there.starts.sum() > 5
    np.testing.assert_equal(recorded("gotolocal", num_steps=100).actions, there.actions)


def test_the_demonstrator_is_told_of_every_episode_and_step() -> None:
    class Clerk(Demonstrator):
        def __init__(self) -> None:
            self.log: list[str] = []

        def __call__(self, observation: Any) -> int:
            self.log.append("asked")
            return 0

        def reset(self) -> None:
            self.log.append("reset")

        def observe(self, action: int, who: str) -> None:
            self.log.append(f"{action} by {who}")

    clerk = Clerk()
    there = recordings.record(tasks.make("cartpole").make_env(), clerk, num_steps=25, seed=0)
    expected: list[str] = []
    for starts in there.starts:
        expected += ["reset"] * int(starts) + ["asked", "0 by demonstrator"]
    assert clerk.log == expected
    assert there.starts.sum() > 1


def test_an_observation_that_the_environment_overwrites_is_copied() -> None:
    class Overwriting:
        action_space = gymnasium.spaces.Discrete(2)
        at = np.zeros(1)

        def reset(self, **_: Any) -> Any:
            self.at[:] = 0
            return self.at, {}

        def step(self, _: int) -> Any:
            self.at += 1
            return self.at, 0.0, False, False, {}

    there = recordings.record(Overwriting(), lambda _: 1, num_steps=3)
    assert there.observations.ravel().tolist() == [0, 1, 2]


def test_a_stable_baselines_style_policy_can_be_recorded() -> None:
    class Policy:
        def predict(self, observation: Any, state: Any = None, **_: Any) -> Any:
            return np.array(1), state

    assert recordings.record(tasks.make("cartpole").make_env(), Policy(), 5, seed=0).actions.tolist() == [1] * 5


def test_recording_refuses_what_is_no_action() -> None:
    env = tasks.make("cartpole").make_env()
    with pytest.raises(ValueError, match="answered 2, which is no action: answer with an integer from 0 to 1"):
        recordings.record(env, lambda _: 2, 5)
    with pytest.raises(ValueError, match="num_steps must be at least 1"):
        recordings.record(env, lambda _: 0, 0)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    small().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"damaged or holds no (arrays|demonstrations)"):
            recordings.load(path)


def test_a_changed_byte_is_refused_or_makes_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "changed.npz"
    small().save(path)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            back = recordings.load(path)
        except ValueError:
            refused += 1
        else:  # a date, say
            np.testing.assert_equal(back.observations, small().observations)
            np.testing.assert_equal(back.actions, small().actions)
    assert refused > 50


class Bomb:
    """Pickled, it runs a command when it is read."""

    def __reduce__(self) -> Any:
        return os.system, ("touch exploded",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = {"format": np.array(recordings._FORMAT), "actions": small().actions, "starts": small().starts}
    bomb = np.empty(3, object)
    bomb[:] = [Bomb()] * 3
    for path in (written(tmp_path / "a.npz", **good, observations=bomb), tmp_path / "b.npz"):
        if not path.exists():
            path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match=r"damaged or holds no (arrays|demonstrations)"):
            recordings.load(path)
    assert not (tmp_path / "exploded").exists()
    np.load(tmp_path / "a.npz", allow_pickle=True)["observations"]
    assert (tmp_path / "exploded").exists()  # the bomb is live


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"actions": np.array([0.0, 1.0, 0.0])}, "actions must be int32"),
        ({"actions": np.array([0, -1, 0], np.int32)}, "actions must be int32"),
        ({"actions": np.zeros((3, 1), np.int32)}, "actions must be int32"),
        ({"actions": np.zeros(0, np.int32), "starts": np.zeros(0, bool)}, "T at least 1"),
        ({"starts": np.array([1, 0, 1])}, "starts must be bool"),
        ({"starts": np.array([False, False, True])}, "the first step starts an episode"),
        ({"starts": np.array([True])}, "starts must be bool"),
        ({"observations": np.zeros((2, 4))}, "an array of 3 rows"),
        ({"observations": np.array([None] * 3)}, "numbers or strings"),
        ({"observations": {}}, "observations missing"),
        ({"observations": {"a/b": np.zeros(3)}}, "without slashes"),
        ({"observations": {"a": {"b\x00c": np.zeros(3)}}}, "without slashes"),
        ({"observations": {"a": {"\ud800": np.zeros(3)}}}, "without slashes"),
        ({"observations": {"": np.zeros(3)}}, "without slashes"),
        ({"observations": {1: np.zeros(3)}}, "named by texts"),
        ({"observations": {"a": np.zeros(3), "b": {}}}, "an empty dictionary"),
    ],
)
def test_what_are_no_demonstrations_is_not_written(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        small(**change).save(tmp_path / "no.npz")
    assert os.listdir(tmp_path) == []


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    good = {"format": np.array(recordings._FORMAT), "actions": small().actions, "starts": small().starts}
    three = np.zeros(3)
    foreign = {
        "which are marked": {"weights": three},
        "observations missing": good,
        "actions missing": {"format": good["format"], "starts": good["starts"], "observations": three},
        "either an array or a dictionary": good | {"observations/a": three, "observations/a/b": three},
        "actions must be int32": good | {"actions": np.array([0, 1, 0]), "observations": three},
    }
    for said, arrays in foreign.items():
        with pytest.raises(ValueError, match=said):
            recordings.load(written(tmp_path / "foreign.npz", **arrays))
    np.savez(tmp_path / "nameless.npz", observations=three, **good)
    with pytest.raises(ValueError, match="list of names"):
        recordings.load(tmp_path / "nameless.npz")
    np.save(tmp_path / "one.npy", three)
    with pytest.raises(ValueError, match="holds no arrays"):
        recordings.load(tmp_path / "one.npy")
    with pytest.raises(FileNotFoundError):
        recordings.load(tmp_path / "nothing.npz")


@pytest.mark.parametrize(("module", "function"), [(np, "savez_compressed"), (os, "replace")])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    path = tmp_path / "kept.npz"
    small().save(path)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(module, function, full)
        with pytest.raises(OSError, match="no space left"):
            small(actions=np.array([1, 1, 1], np.int32)).save(path)
    assert os.listdir(tmp_path) == ["kept.npz"]
    assert recordings.load(path).actions.tolist() == [0, 1, 0]
