"""Every task keeps what a task promises."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.tasks import Task, requirements

#: Rates that the demonstrators were measured at over 1000 episodes and more; 1.0 where no failure was ever seen.
SUCCESS = {"lunarlander": 0.9, "frozenlake": 0.74}
BABYAI = [name for name in tasks.names() if tasks.make(name).members == "grid"]


def played(task: Task, num_steps: int, seed: int, epsilon: float | None = None) -> list[Any]:
    """A trace of everything that happens: observations, answers, rewards."""
    env = task.make_env(seed=seed)
    demonstrator = task.make_demonstrator(env, seed=seed, epsilon=epsilon)
    trace: list[Any] = []
    observation, _ = env.reset()
    for _ in range(num_steps):
        action = demonstrator(observation)
        if hasattr(demonstrator, "observe"):
            demonstrator.observe(action, "demonstrator")
        after, reward, terminated, truncated, _ = env.step(action)
        trace.append((observation, action, reward))
        observation = env.reset()[0] if terminated or truncated else after
    env.close()
    return trace


@pytest.mark.parametrize("name", tasks.names())
def test_environment_and_demonstrator(name: str) -> None:
    task = tasks.make(name)
    assert task.name == name
    env = task.make_env()
    assert env.spec.id == task.env_id
    num_actions = int(env.action_space.n)
    demonstrator = task.make_demonstrator(env, seed=0, epsilon=0.2)
    observation, _ = env.reset(seed=0)
    probs = np.asarray(demonstrator.probs(observation))
    assert probs.shape == (num_actions,)
    assert probs.min() >= 0
    assert probs.sum() == pytest.approx(1)
    # Asking again and again about one step draws from these probabilities.
    n = 600
    counts = np.bincount([demonstrator(observation) for _ in range(n)], minlength=num_actions)
    assert counts.shape == (num_actions,)
    assert np.all(np.abs(counts - n * probs) <= 4.5 * np.sqrt(n * probs * (1 - probs)) + 1e-9)


@pytest.mark.parametrize("name", tasks.names())
def test_the_demonstrator_succeeds(name: str) -> None:
    task = tasks.make(name)
    expected = SUCCESS.get(name, 1.0)
    episodes = 30 if expected == 1 else 120  # so many that succeeding always would be noticed, too
    measure = tasks.measure_demonstrator(task, episodes, seed=5)
    solved = sum(outcome.success for outcome in measure.outcomes)
    # Two-sided, at one in 10,000: a rate of 1 allows no failure at all.
    low, high = stats.binom.interval(1 - 1e-4, episodes, expected) if expected < 1 else (episodes, episodes)
    assert low <= solved <= high
    assert high < episodes or expected == 1
    assert max(outcome.length for outcome in measure.outcomes) <= task.max_episode_steps
    assert measure.success[1] <= measure.success[0] <= measure.success[2]
    if not task.rules.knows_unsafe_steps:
        assert measure.harm[0] == pytest.approx(1 - measure.success[0])


@pytest.mark.parametrize("name", tasks.names())
def test_random_actions_do_not_succeed(name: str) -> None:
    task = tasks.make(name)
    rng = np.random.default_rng(0)
    num_actions = int(task.make_env().action_space.n)
    outcomes = tasks.evaluate(task, lambda _: rng.integers(num_actions, size=20), episodes=20)
    # The easiest level is solved by chance in 38% of episodes; 17 of 20 would be a chance of one in 200,000.
    assert sum(outcome.success for outcome in outcomes) < 17
    assert sum(outcome.harm for outcome in outcomes) >= 3


@pytest.mark.parametrize("name", tasks.names())
def test_a_seed_says_everything(name: str) -> None:
    task = tasks.make(name)
    first, again, other = (played(task, 60, seed, epsilon=0.3) for seed in (1, 1, 2))
    np.testing.assert_equal(first, again)
    with pytest.raises(AssertionError):
        np.testing.assert_equal(first, other)


@pytest.mark.parametrize("name", tasks.names())
def test_the_limit_of_steps_holds(name: str) -> None:
    task = tasks.make(name)
    env = task.make_env(seed=0)
    env.reset()
    # Actions that end no episode of their own: no thrust ends one early, so the lander and the pole are left out.
    idle = {"frozenlake": None, "lunarlander": None, "cartpole": None, "taxi": 0, "cliffwalking": 3}.get(name, 6)
    if idle is None:
        assert env.spec.max_episode_steps == task.max_episode_steps
        return
    steps, truncated = 0, False
    while not truncated:
        _, _, terminated, truncated, _ = env.step(idle)
        assert not terminated
        steps += 1
    assert steps == task.max_episode_steps


@pytest.mark.parametrize("name", BABYAI)
def test_the_vocabulary_is_that_of_the_missions(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    task = tasks.make(name)
    env = task.make_env(seed=0)
    words: set[str] = set()
    for _ in range(150):
        words |= set(env.reset()[0]["mission"].split())
    assert words == set(task.vocabulary)
    assert capsys.readouterr().out == ""


def test_levels_print_unless_they_are_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    env = tasks.make("pickuploc").make_env().unwrapped
    for seed in range(20):
        env.reset(seed=seed)
    assert "Sampling rejected" in capsys.readouterr().out


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no task 'lunarlandr'; there are lunarlander, cartpole"):
        tasks.make("lunarlandr")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, name in (("minigrid", "gotoobj"), ("gymnasium", "cartpole")):
        with monkeypatch.context() as missing:
            missing.setitem(sys.modules, package, None)
            with pytest.raises(ImportError, match=r'pip install "consensus_imitation\[tasks\]"'):
                tasks.make(name)
    # Another module that is missing is not blamed on the extra.
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        requirements.require("scipy.no_such_part")


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys\nfrom consensus_imitation.experiments import tasks\ntasks.names()\n"
        "heavy = {'gymnasium', 'minigrid', 'pygame', 'Box2D'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "for name in ('cartpole', 'frozenlake', 'taxi', 'cliffwalking'):\n"
        "    tasks.make(name).make_env(seed=0).step(0)\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "['gymnasium']"]
