"""A task: an environment, a demonstrator for it, and what counts as success."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from consensus_imitation.experiments.tasks.outcome import EpisodeTracker, Rules


class DemonstratorMaker(Protocol):
    """Makes the task's demonstrator for one environment."""

    def __call__(self, env: Any, seed: int | None, epsilon: float) -> Any:
        """Return a demonstrator: ``observation -> action``, perhaps with ``reset``, ``observe`` and ``probs``."""
        ...


@dataclass(frozen=True)
class Task:
    """An environment with a demonstrator, and the rules that judge episodes.

    Attributes:
        name: by which `make` finds it.
        env_id: Gymnasium's.
        success_means: when an episode counts as solved, in words.
        harm_means: when an episode counts as unsafe (or, where the task knows no unsafe event, as failed), in words.
        threshold: the measure of "as good as the demonstrator": the mean ``"return"``, or the rate of ``"success"``.
        max_episode_steps: an episode is cut off after so many steps: by the environment, or else, with a warning, by
            the loop that plays it (`track`).
        members: which kind of members fits: ``"mlp"`` (a vector of numbers), ``"grid"`` (a dictionary of a
            7 x 7 grid of tiles, a direction and a mission) or ``"one-hot"`` (the number of a state).
        epsilon: probability of a uniformly random action in the demonstrator's answers, unless another is asked for.
        vocabulary: every word that a mission may contain; empty where there are no missions.
        deterministic: whether the evaluation takes a policy's likeliest actions. Where an observation does not show the
            whole state, these lead members without memory in circles, and the evaluation draws from the policy's law.
        rules: the judgement itself.

    Raises:
        ValueError: if ``threshold`` or ``members`` is not one of these words.
    """

    name: str
    env_id: str
    success_means: str
    harm_means: str
    threshold: Literal["return", "success"]
    max_episode_steps: int
    members: Literal["mlp", "grid", "one-hot"]
    rules: Rules = field(repr=False)
    build_env: Callable[[str | None], Any] = field(repr=False)
    build_demonstrator: DemonstratorMaker = field(repr=False)
    epsilon: float = 0.0
    vocabulary: tuple[str, ...] = ()
    deterministic: bool = True

    def __post_init__(self) -> None:
        words = {"threshold": ("return", "success"), "members": ("mlp", "grid", "one-hot")}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} of a task must be one of {', '.join(known)}; got {getattr(self, name)!r}")

    def make_env(self, seed: int | None = None, render_mode: str | None = None) -> Any:
        """Return a new Gymnasium environment.

        Args:
            seed: of everything that happens in it, episode after episode; None leaves it unseeded (and a later
                ``reset(seed=...)`` seeds it at any time).
            render_mode: as for Gymnasium, such as ``"rgb_array"``; None for no pictures.

        Raises:
            ImportError: without the packages of the task, naming the extra that brings them.
        """
        env = self.build_env(render_mode)
        if seed is not None:
            env.reset(seed=seed)
        return env

    def make_demonstrator(self, env: Any, seed: int | None = None, epsilon: float | None = None) -> Any:
        """Return the demonstrator for one environment of this task.

        Args:
            env: from `make_env`; the demonstrator may look into it.
            seed: of its random actions; None takes it from the operating system.
            epsilon: probability of a uniformly random action, from 0 to 1; None for the task's own.

        Raises:
            ValueError: if ``epsilon`` lies outside [0, 1].
        """
        return self.build_demonstrator(env, seed, self.epsilon if epsilon is None else epsilon)

    def track(self) -> EpisodeTracker:
        """Return a tracker for an episode that is about to begin."""
        return EpisodeTracker(self.rules, limit=self.max_episode_steps)
