"""Gymnasium's own tasks: the lunar lander, the cart with the pole, and three small worlds with exact experts."""

from collections.abc import Callable
from typing import Any

from consensus_imitation.demonstrators.bots import controllers, planning
from consensus_imitation.experiments.tasks.outcome import Rules
from consensus_imitation.experiments.tasks.requirements import require
from consensus_imitation.experiments.tasks.task import Task

#: Of the plans for FrozenLake, Taxi and CliffWalking: near enough to one that the limit of steps matters more.
DISCOUNT = 0.999


def lunarlander() -> Task:
    """Land between the flags. The demonstrator is Gymnasium's heuristic, with one action in a hundred random."""
    require("gymnasium")
    controllers.import_lunar_lander()
    return Task(
        name="lunarlander",
        env_id="LunarLander-v3",
        success_means="a return of at least 200",
        harm_means="a crash or leaving the field (the last reward is -100)",
        threshold="return",
        max_episode_steps=1000,
        members="mlp",
        rules=Rules(
            solved=lambda episode: episode.total >= 200,
            unsafe_step=lambda reward, terminated: terminated and reward <= -100,
        ),
        build_env=_builder("LunarLander-v3", 1000),
        build_demonstrator=lambda env, seed, epsilon: controllers.LunarLanderHeuristic(epsilon, seed),  # noqa: ARG005
        epsilon=0.01,
    )


def cartpole() -> Task:
    """Keep the pole up for 500 steps. The demonstrator is a linear controller."""
    require("gymnasium")
    return Task(
        name="cartpole",
        env_id="CartPole-v1",
        success_means="the pole is up after 500 steps",
        harm_means="the pole falls or the cart leaves the track",
        threshold="return",
        max_episode_steps=500,
        members="mlp",
        rules=Rules(
            solved=lambda episode: episode.length >= 500 and not episode.unsafe,
            unsafe_step=lambda _, terminated: terminated,
        ),
        build_env=_builder("CartPole-v1", 500),
        build_demonstrator=lambda env, seed, epsilon: controllers.CartPoleController(epsilon, seed),  # noqa: ARG005
    )


def frozenlake() -> Task:
    """Cross a slippery lake of 4 x 4. The demonstrator's plan is exact; only the ice makes it fail."""
    require("gymnasium")
    return Task(
        name="frozenlake",
        env_id="FrozenLake-v1",
        success_means="reaching the goal",
        harm_means="falling into a hole",
        threshold="success",
        max_episode_steps=100,
        members="one-hot",
        rules=Rules(
            solved=lambda episode: episode.total > 0,
            unsafe_step=lambda reward, terminated: terminated and reward <= 0,
        ),
        build_env=_builder("FrozenLake-v1", 100, is_slippery=True),
        build_demonstrator=_planner,
    )


def taxi() -> Task:
    """Fetch a passenger and deliver them. The demonstrator's plan is exact."""
    env_id = _newest("Taxi-v4", "Taxi-v3")
    return Task(
        name="taxi",
        env_id=env_id,
        success_means="delivering the passenger",
        harm_means="picking up or dropping off where that is not allowed (a reward of -10)",
        threshold="return",
        max_episode_steps=200,
        members="one-hot",
        rules=Rules(
            solved=lambda episode: episode.terminated,
            unsafe_step=lambda reward, _: reward <= -10,
        ),
        build_env=_builder(env_id, 200),
        build_demonstrator=_planner,
    )


def cliffwalking() -> Task:
    """Walk along a cliff. The demonstrator's plan is exact, and allows for the random actions that it takes."""
    env_id = _newest("CliffWalking-v1", "CliffWalking-v0")
    return Task(
        name="cliffwalking",
        env_id=env_id,
        success_means="reaching the goal without a fall",
        harm_means="falling off the cliff (a reward of -100)",
        threshold="return",
        max_episode_steps=200,
        members="one-hot",
        rules=Rules(
            solved=lambda episode: episode.terminated and not episode.unsafe,
            unsafe_step=lambda reward, _: reward <= -100,
        ),
        build_env=_builder(env_id, 200),
        build_demonstrator=_planner,
    )


MAKERS: dict[str, Callable[[], Task]] = {
    "lunarlander": lunarlander,
    "cartpole": cartpole,
    "frozenlake": frozenlake,
    "taxi": taxi,
    "cliffwalking": cliffwalking,
}


def _newest(*env_ids: str) -> str:
    """Return the first of these that the installed Gymnasium has; here their differences do not matter."""
    registry = require("gymnasium").registry
    return next((env_id for env_id in env_ids if env_id in registry), env_ids[-1])


def _builder(env_id: str, max_episode_steps: int, **kwargs: Any) -> Callable[[str | None], Any]:
    def build(render_mode: str | None) -> Any:
        gymnasium = require("gymnasium")
        # The passive checker costs more than some of these environments' own steps.
        return gymnasium.make(
            env_id, render_mode=render_mode, max_episode_steps=max_episode_steps, disable_env_checker=True, **kwargs
        )

    return build


def _planner(env: Any, seed: int | None, epsilon: float) -> planning.PlanningDemonstrator:
    return planning.PlanningDemonstrator.for_env(env, discount=DISCOUNT, epsilon=epsilon, seed=seed)
