"""Harm in numbers out of a run's tables: every episode once, and of asked steps those that did the harm."""

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.core.harm import HarmRecord, HarmWatch
from consensus_imitation.experiments import run_gymnasium, tasks
from consensus_imitation.experiments.results import read_csv
from consensus_imitation.experiments.tasks import Rules, harm_record, harm_watch


class Coin(gymnasium.Env):
    """Five steps; the action 1 does harm."""

    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return np.int64(0), {}

    def step(self, action):
        self.left -= 1
        return np.int64(0), -float(action), self.left == 0, False, {}


def run(out, judged=True):
    """Members that disagree about what does harm, and a demonstrator that does it once in ten answers."""
    rng = np.random.default_rng(0)
    members = ensembles.tabular(np.array([[[0.9, 0.1]] * 2, [[0.6, 0.4]] * 2]))
    imitator = ConsensusImitator(members, lambda _: int(rng.random() < 0.1), seed=1)
    task = tasks.Task(
        name="coin", env_id="coin", success_means="", harm_means="", threshold="return", max_episode_steps=5,
        members="mlp", rules=Rules(lambda episode: not episode.unsafe, lambda reward, _: reward < 0),
        build_env=lambda _: Coin(), build_demonstrator=lambda *_: None,
    )  # fmt: skip
    found = run_gymnasium(Coin(), imitator, num_steps=203, task=task if judged else None, out=out, progress=False)
    return found, read_csv(out / "episodes.csv"), read_csv(out / "steps.csv")


def test_every_finished_episode_counts_once_and_asked_steps_by_what_they_did(tmp_path) -> None:
    found, episodes, steps = run(tmp_path)
    assert len(episodes) == 40  # the 41st is not over
    watch = harm_watch(episodes, steps)
    expected = HarmWatch.begin()
    for number in range(40):
        own = [row for row in steps if row["episode"] == number]
        place = next((i for i, row in enumerate(own) if row["reward"] < 0), None)
        # What follows the harm could not have been the first harm of its episode.
        counted = own if place is None else own[: place + 1]
        asked = sum(row["queried"] for row in counted)
        expected = expected.after(place is not None, asked, int(place is not None and own[place]["queried"]))
    assert watch.saved() == expected.saved()
    assert watch.episodes.count == 40
    assert 0 < watch.asked.total < watch.episodes.total
    assert 0 < watch.asked.count < sum(row["queried"] for row in steps if row["episode"] < 40)
    assert harm_watch(found.episodes, steps).saved() == watch.saved()
    assert harm_record(episodes) == HarmRecord(int(watch.episodes.total), 40)


def test_steps_that_are_missing_are_noticed(tmp_path) -> None:
    _, episodes, steps = run(tmp_path)
    harmed = next(row["episode"] for row in episodes if row["harm"])
    clean = next(row["episode"] for row in episodes if not row["harm"] and row["queries"])
    for number in (harmed, clean):
        with pytest.raises(ValueError, match=f"see episode {number}"):
            harm_watch(episodes, [row for row in steps if row["episode"] != number])


def test_steps_that_are_missing_are_noticed_where_nothing_was_asked() -> None:
    with pytest.raises(ValueError, match="see episode 0"):
        harm_watch([{"env": 0, "episode": 0, "queries": 0, "harm": False}], [])


def test_a_run_without_a_task_says_nothing_of_harm(tmp_path) -> None:
    _, episodes, steps = run(tmp_path, judged=False)
    for bad in (lambda: harm_watch(episodes, steps), lambda: harm_record(episodes)):
        with pytest.raises(ValueError, match="nothing counted as harm"):
            bad()
    with pytest.raises(ValueError, match="no such thing as 0 harmed"):
        harm_record([])
