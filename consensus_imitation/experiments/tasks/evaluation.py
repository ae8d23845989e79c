"""The evaluation of a policy on a task, and of the task's demonstrator."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.core._actions import check_action, check_row
from consensus_imitation.core._observations import given, private
from consensus_imitation.core.legal import check_legal
from consensus_imitation.demonstrators._base import takes
from consensus_imitation.ensembles.neural.encoding import num_actions_of
from consensus_imitation.experiments.statistics import mean_interval, share_interval
from consensus_imitation.experiments.tasks.outcome import EpisodeOutcome
from consensus_imitation.experiments.tasks.task import Task


class DemonstratorMeasure(NamedTuple):
    """The performance of a demonstrator that acts alone.

    Attributes:
        outcomes: of each episode.
        success: (share, low, high), the exact 95% interval of the rate of solved episodes.
        harm: likewise of unsafe ones.
        mean_return: (mean, low, high), Student's 95% interval.
        mean_length: of an episode, in steps.
        milliseconds_per_step: of environment and demonstrator together, resets included.
    """

    outcomes: tuple[EpisodeOutcome, ...]
    success: tuple[float, float, float]
    harm: tuple[float, float, float]
    mean_return: tuple[float, float, float]
    mean_length: float
    milliseconds_per_step: float


def evaluate(
    task: Task, predict: Callable[..., Any], episodes: int = 20, seed: int = 0, action_mask: Any = None
) -> tuple[EpisodeOutcome, ...]:
    """Play episodes side by side, one in each copy of the environment, without questions.

    All evaluations with the same seed have the same episodes: the i-th begins in the same way, and the same actions
    lead to the same course.

    Args:
        task: the task.
        predict: from a batch of observations, as Gymnasium's vector environments give it (arrays with a leading axis B;
            dictionaries of them; tuples of missions), to actions [B]. It is called once for every step, always with B =
            ``episodes`` rows in the same order; rows whose episode is over keep their last observation, and their
            action does not matter. A policy with a memory must be fresh: row b is one episode, from its beginning on.
            One that names ``action_masks`` is called with them, [B, A], too, where the environments say what is legal,
            and held to them. For others it is the environment's business what becomes of an action.
        episodes: the number of episodes.
        seed: of the environments.
        action_mask: a function of an environment that says what is legal; None to read ``info["action_mask"]``.

    Returns:
        The outcomes, in the order of the episodes. An episode that lasts longer than ``task.max_episode_steps`` is cut
            off there, with a `ConsensusWarning`.

    Raises:
        ValueError: if ``episodes`` is not positive.
        InvalidAnswerError: if ``predict`` gives another number of actions, or something that is not an action, or not a
            legal one.
        ConfigurationError: if the task's actions are not numbered from 0.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.experiments import tasks
        >>> task = tasks.make("cliffwalking")
        >>> outcomes = tasks.evaluate(task, lambda observations: np.zeros(len(observations), int), episodes=2)
        >>> [(outcome.episode_return, outcome.success) for outcome in outcomes]  # up, and up again
        [(-200.0, False), (-200.0, False)]
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    envs = [task.make_env() for _ in range(episodes)]
    # Only now: an environment is made, so that Gymnasium is there.
    from consensus_imitation.experiments.tasks.masks import Masks

    try:
        num_actions = num_actions_of(envs[0].action_space)
        begun = [env.reset(seed=own) for env, own in zip(envs, episode_seeds(seed, episodes), strict=True)]
        rows = [private(observation) for observation, _ in begun]
        said = [Masks(action_mask) for _ in envs]
        masks = [said[b].after(envs[b], info) for b, (_, info) in enumerate(begun)]
        trackers = [task.track() for _ in envs]
        told = takes(predict, "action_masks")
        running = list(range(episodes))
        while running:
            known = told and all(mask is not None for mask in masks)
            shown = {"action_masks": np.stack(masks)} if known else {}
            given_back = predict(stack_observations(rows), **shown)
            actions = check_row(given_back, running, episodes, num_actions, "predict gave")
            for b, action in actions.items():
                check_legal(action, masks[b] if known else None, "predict gave")
                observation, reward, terminated, truncated, info = envs[b].step(action)
                rows[b] = private(observation)
                trackers[b] = trackers[b].after(float(reward), terminated, truncated, info)
                # Of an episode that is over, the last mask: its row is not looked at.
                masks[b] = masks[b] if trackers[b].outcome is not None else said[b].after(envs[b], info)
            running = [b for b in running if trackers[b].outcome is None]
    finally:
        for env in envs:
            env.close()
    return tuple(tracker.outcome for tracker in trackers if tracker.outcome is not None)


def measure_demonstrator(
    task: Task, episodes: int = 50, seed: int = 0, epsilon: float | None = None
) -> DemonstratorMeasure:
    """Let the task's demonstrator act alone.

    Args:
        task: the task.
        episodes: at least 1; the first 20 are those of ``evaluate(task, ..., episodes=20, seed=seed)``.
        seed: of the environments and of the demonstrator.
        epsilon: probability of a uniformly random action; None for the task's own.

    Raises:
        ValueError: if ``episodes`` is not positive.
        InvalidAnswerError: if the demonstrator's answer is not an action.
        ConfigurationError: if the task's actions are not numbered from 0.

    Example:
        >>> from consensus_imitation.experiments import tasks
        >>> measure = tasks.measure_demonstrator(tasks.make("cliffwalking"), episodes=5)
        >>> measure.success[0], measure.mean_return[0], measure.mean_length
        (1.0, -13.0, 13.0)
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    env = task.make_env()
    try:
        demonstrator = task.make_demonstrator(env, seed, epsilon)
        start = time.perf_counter()
        outcomes = [_episode(task, env, demonstrator, own) for own in episode_seeds(seed, episodes)]
        seconds = time.perf_counter() - start
    finally:
        env.close()
    steps = sum(outcome.length for outcome in outcomes)
    return DemonstratorMeasure(
        outcomes=tuple(outcomes),
        success=share_interval(sum(outcome.success for outcome in outcomes), episodes),
        harm=share_interval(sum(outcome.harm for outcome in outcomes), episodes),
        mean_return=mean_interval([outcome.episode_return for outcome in outcomes]),
        mean_length=steps / episodes,
        milliseconds_per_step=1000 * seconds / steps,
    )


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """Return the seed of each episode; more episodes leave the seeds of the first ones as they are."""
    return [int(np.random.SeedSequence((seed, i)).generate_state(1)[0]) for i in range(episodes)]


def stack_observations(rows: Sequence[Any]) -> Any:
    """Stack observations of single environments as a vector environment does: arrays [B, ...], missions in a tuple.

    Example:
        >>> from consensus_imitation.experiments.tasks import stack_observations
        >>> stack_observations([{"direction": 1, "mission": "go"}, {"direction": 3, "mission": "stop"}])
        {'direction': array([1, 3]), 'mission': ('go', 'stop')}
    """
    first = rows[0]
    if isinstance(first, dict):
        return {key: stack_observations([row[key] for row in rows]) for key in first}
    return tuple(rows) if isinstance(first, str) else np.asarray(rows)


def _episode(task: Task, env: Any, demonstrator: Any, seed: int) -> EpisodeOutcome:
    num_actions = num_actions_of(env.action_space)
    observation, _ = env.reset(seed=seed)
    if hasattr(demonstrator, "reset"):
        demonstrator.reset()
    tracker = task.track()
    while tracker.outcome is None:
        action = check_action(demonstrator(given(observation)), num_actions)
        if hasattr(demonstrator, "observe"):
            demonstrator.observe(action, "demonstrator")
        observation, reward, terminated, truncated, info = env.step(action)
        tracker = tracker.after(float(reward), terminated, truncated, info)
    return tracker.outcome
