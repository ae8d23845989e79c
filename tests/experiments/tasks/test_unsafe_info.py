"""What an environment says of a step besides may make it unsafe, wherever episodes are played."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import ObservationError
from consensus_imitation.experiments import run_gymnasium, tasks
from consensus_imitation.experiments.tasks import EpisodeTracker, Rules, Task
from consensus_imitation.experiments.tasks.lanes import Lanes
from tests.experiments.compare.tiny import LENGTH, ROOMS, Rooms, rooms


class Telling(Rooms):
    """Says who fell, and nothing of those who did not; after a reset it says that somebody did."""

    def reset(self, **more: Any) -> Any:
        return super().reset(**more)[0], {"body": {"fell": 1.0}}

    def step(self, action: int) -> Any:
        *given, _ = super().step(action)
        return (*given, {"body": {"fell": float(given[2])}} if given[2] else {"calm": True})


def solved(episode: Any) -> bool:
    return episode.total >= LENGTH


#: Falling ends an episode, so that both say the same.
BY_STEP = Rules(solved=solved, unsafe_step=lambda reward, terminated: terminated)
BY_INFO = Rules(solved=solved, unsafe_info=lambda info: info.get("body", {}).get("fell", 0.0) > 0)


def careless(observation: Any) -> int:
    return 0


def task(rules: Rules) -> Task:
    return rooms(
        rules=rules, build_env=lambda render_mode: Telling(), build_demonstrator=lambda env, seed, epsilon: careless
    )


def played(env: Any, rules: Rules, num_envs: int | None = None) -> list[tuple[int, bool]]:
    members = ensembles.tabular(np.full((2, ROOMS, 2), 0.5))
    imitator = ConsensusImitator(members, careless, selection=TopK(2), seed=0, num_envs=num_envs)
    done = run_gymnasium(env, imitator, num_steps=90, task=task(rules), progress=False)
    return [(row["length"], row["harm"]) for row in done.episodes]


def test_a_single_environment() -> None:
    told = played(Telling(), BY_INFO)
    assert told == played(Telling(), BY_STEP)
    assert {harm for _, harm in told} == {True, False}


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_vector_environments_however_they_reset(mode: AutoresetMode) -> None:
    """Each lane is told its own, of its last step, and not what the reset said."""
    told, expected = (
        played(SyncVectorEnv([Telling] * 3, autoreset_mode=mode), rules, num_envs=3) for rules in (BY_INFO, BY_STEP)
    )
    assert told == expected
    assert {harm for _, harm in told} == {True, False}


def test_evaluations() -> None:
    def evaluated(rules: Rules) -> Any:
        return tasks.evaluate(task(rules), lambda seen: np.zeros(len(seen), int), episodes=20)

    assert evaluated(BY_INFO) == evaluated(BY_STEP)
    assert {outcome.harm for outcome in evaluated(BY_INFO)} == {True, False}
    measured = [tasks.measure_demonstrator(task(rules), episodes=20).outcomes for rules in (BY_INFO, BY_STEP)]
    assert measured[0] == measured[1]


def test_either_rule_suffices_and_the_whole_episode_counts() -> None:
    both = Rules(
        solved=lambda episode: True,
        unsafe_step=lambda reward, terminated: reward < 0,
        unsafe_info=lambda info: info["cost"] > 0,
    )
    for steps, harm in {
        ((0.0, 0), (0.0, 0)): False,
        ((0.0, 1), (0.0, 0)): True,
        ((-1.0, 0), (0.0, 0)): True,
        ((0.0, 0), (-1.0, 1)): True,
    }.items():
        tracker = EpisodeTracker(both)
        for last, (reward, cost) in enumerate(steps):
            tracker = tracker.after(reward, False, bool(last), {"cost": cost})
        assert tracker.outcome is not None
        assert (tracker.outcome.harm, tracker.outcome.success) == (harm, True)


def test_without_the_info_nothing_is_called_safe() -> None:
    with pytest.raises(ValueError, match=r"read the info of every step \(unsafe_info\)"):
        EpisodeTracker(BY_INFO).after(0.0, False, False)
    with pytest.raises(KeyError):
        EpisodeTracker(Rules(solved=solved, unsafe_info=lambda info: info["cost"])).after(0.0, False, False, {})


class Odd(gymnasium.Wrapper[Any, Any, Any, Any]):
    def step(self, action: Any) -> Any:
        return (*super().step(action)[:4], None)


def test_an_info_that_is_none_is_told() -> None:
    with pytest.raises(ObservationError, match="info must be a dict; got None"):
        played(Odd(Telling()), BY_INFO)
    assert played(Odd(Telling()), BY_STEP)  # who does not read it does not mind


def test_where_the_last_step_is_overwritten_that_is_told() -> None:
    class Forgetting(SyncVectorEnv):
        def step(self, actions: Any) -> Any:
            *given, info = super().step(actions)
            return (*given, {name: part for name, part in info.items() if "final_info" not in name})

    env = Forgetting([Telling] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ObservationError, match=r"did not say in info\['final_info'\]"):
        played(env, BY_INFO, num_envs=2)


def test_a_lane_gets_its_part() -> None:
    members = ensembles.tabular(np.full((2, ROOMS, 2), 0.5))
    lanes = Lanes(SyncVectorEnv([Telling] * 3), ConsensusImitator(members, careless, num_envs=3, seed=0))
    lanes.reset(0)
    step = lanes.step(np.zeros(3, int))._replace(
        info={
            "cost": np.array([1.0, 0.0, 3.0]), "_cost": np.array([True, False, True]),
            "body": {"fell": np.array([0, 1, 0]), "_fell": np.array([False, True, False])},
            "_body": np.array([False, True, False]), "of all": "a text",
        }
    )  # fmt: skip
    expected = [{"cost": 1.0}, {"body": {"fell": 1}}, {"cost": 3.0}]
    assert [lanes.info(step, lane) for lane in range(3)] == [{**one, "of all": "a text"} for one in expected]
