"""Evaluation side by side equals evaluation one by one, on the same episodes for everybody."""

import time
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation.demonstrators.bots.controllers import CartPoleController, LunarLanderHeuristic
from consensus_imitation.demonstrators.bots.scripted import ScriptedDemonstrator
from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.tasks import EpisodeOutcome


def each(demonstrator: Any) -> Any:
    return lambda observations: np.array([demonstrator(row) for row in observations])


@pytest.mark.parametrize("name", ["lunarlander", "frozenlake", "taxi"])
def test_side_by_side_is_as_one_by_one(name: str) -> None:
    task = tasks.make(name)
    demonstrator = task.make_demonstrator(task.make_env(), seed=0, epsilon=0)
    outcomes = tasks.evaluate(task, each(demonstrator), episodes=6, seed=3)
    alone = tasks.measure_demonstrator(task, episodes=9, seed=3, epsilon=0).outcomes
    assert outcomes == alone[:6]
    assert outcomes != tasks.evaluate(task, each(demonstrator), episodes=6, seed=4)


def test_outcomes_are_what_gymnasium_counts() -> None:
    task = tasks.make("lunarlander")
    demonstrator = LunarLanderHeuristic()
    expected = []
    env = gymnasium.make("LunarLander-v3")
    for seed in tasks.episode_seeds(0, 4):
        observation, _ = env.reset(seed=seed)
        total, length, over, reward = 0.0, 0, False, 0.0
        while not over:
            observation, reward, terminated, truncated, _ = env.step(demonstrator(observation))
            total, length, over = total + float(reward), length + 1, terminated or truncated
        expected.append(EpisodeOutcome(total, length, total >= 200, reward == -100))
    assert list(tasks.evaluate(task, each(demonstrator), episodes=4)) == expected


@pytest.mark.parametrize("name", ["lunarlander", "taxi", "gotoobj"])
def test_observations_come_as_from_a_vector_environment(name: str) -> None:
    task = tasks.make(name)
    seeds = tasks.episode_seeds(0, 3)
    vector = gymnasium.vector.SyncVectorEnv([task.make_env] * 3)
    expected, _ = vector.reset(seed=seeds)
    seen: list[Any] = []

    def predict(observations: Any) -> np.ndarray:
        seen.append(observations)
        return np.zeros(3, int)

    tasks.evaluate(task, predict, episodes=3)
    if isinstance(expected, dict):
        assert set(seen[0]) == set(expected)
        for key, part in expected.items():
            assert type(seen[0][key]) is type(part)
            np.testing.assert_array_equal(seen[0][key], part)
        assert seen[0]["image"].dtype == expected["image"].dtype
    else:
        np.testing.assert_array_equal(seen[0], expected)
        assert seen[0].dtype == expected.dtype


def test_twenty_landings_are_quick() -> None:
    task = tasks.make("lunarlander")
    demonstrator = LunarLanderHeuristic()
    start = time.process_time()
    tasks.evaluate(task, each(demonstrator), episodes=20)
    # Measured at 0.2 s.
    assert time.process_time() - start < 1.5


def test_bad_arguments_are_refused() -> None:
    task = tasks.make("cartpole")
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        tasks.evaluate(task, each(CartPoleController()), episodes=0)
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        tasks.measure_demonstrator(task, episodes=0)
    with pytest.raises(ValueError, match=r"expected 4 answers.*predict gave"):
        tasks.evaluate(task, lambda _: np.zeros(3, int), episodes=4)
    for epsilon in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="epsilon must lie in"):
            task.make_demonstrator(task.make_env(), epsilon=epsilon)
    with pytest.raises(ValueError, match="at least one action"):
        ScriptedDemonstrator(0)


def test_noise_replaces_a_share_of_the_actions() -> None:
    observation = np.array([0.0, 0.0, 0.05, 0.0])
    answers = np.array([CartPoleController(epsilon=0.2, seed=seed)(observation) for seed in range(2000)])
    # 1 with probability 0.9: half of the random actions are the intended one.
    assert abs(answers.mean() - 0.9) <= 4.5 * np.sqrt(0.9 * 0.1 / 2000)
    sequence = CartPoleController(epsilon=0.2, seed=0)
    assert {sequence(observation) for _ in range(200)} == {0, 1}
