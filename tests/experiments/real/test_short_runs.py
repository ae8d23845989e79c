"""A short version of real tasks from end to end: learn while acting, ask less and less, end as good as the expert.

The numbers are far from what is usually seen (in brackets), so that another machine's rounding does not matter.
"""

from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.ensembles import Training
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.experiments import run_gymnasium, tasks


def learn(name: str, num_steps: int, selection: Any = None, training: Training | None = None) -> Any:
    """A run, what its decisions were, and how its policy does afterwards."""
    task = tasks.make(name)
    env = task.make_env()
    members = ensembles.mlp(env.observation_space, env.action_space, num_members=5, training=training)
    imitator = ConsensusImitator(members, task.make_demonstrator(env, seed=0), selection=selection, seed=0)
    queried = []
    act = imitator.act

    def noted(observation: Any, *arguments: Any, **named: Any) -> Any:
        decision = act(observation, *arguments, **named)
        queried.append(decision.queried)
        return decision

    imitator.act = noted  # type: ignore[method-assign]
    run = run_gymnasium(env, imitator, num_steps=num_steps, task=task, seed=0, progress=False)
    env.close()
    policy = imitator.policy(num_envs=10)
    outcomes = tasks.evaluate(task, lambda seen: policy.predict(seen)[0], episodes=10, seed=1)
    return imitator, np.array(queried), run, outcomes


@pytest.mark.slow
def test_cart_and_pole() -> None:
    imitator, queried, run, outcomes = learn("cartpole", 4000)
    assert queried[:100].mean() > 0.5  # whoever knows nothing asks
    assert queried[-1000:].mean() < 0.25  # (0.08)
    assert np.mean([outcome.success for outcome in outcomes]) >= 0.8  # (1.0)
    falls = sum(episode["harm"] for episode in run.episodes)
    assert falls <= 3  # (0); the control below: dozens
    assert imitator.alarms == ()


@pytest.mark.slow
def test_control_members_that_agree_in_ignorance_neither_ask_nor_learn() -> None:
    """Without caution, and alone: an untrained network acts, and the pole falls."""
    with pytest.warns(ConsensusWarning, match="selected alone"):
        _, queried, run, outcomes = learn("cartpole", 1000, selection=TopK(1), training=Training(caution=0.0))
    assert not queried.any()
    assert sum(episode["harm"] for episode in run.episodes) >= 10
    assert not any(outcome.success for outcome in outcomes)


@pytest.mark.slow
def test_lunar_lander() -> None:
    imitator, queried, _, outcomes = learn("lunarlander", 3000)
    assert 300 < imitator.num_queries < 1500  # (800)
    assert queried[-500:].mean() < 0.5  # (0.2)
    assert np.mean([outcome.episode_return for outcome in outcomes]) > 100  # (240; untrained: -500)
