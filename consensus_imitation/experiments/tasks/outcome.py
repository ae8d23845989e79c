"""The outcome of an episode, from the stream of its steps."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from consensus_imitation.errors import ConsensusWarning


class EpisodeOutcome(NamedTuple):
    """The outcome of an episode.

    Attributes:
        episode_return: sum of its rewards, undiscounted.
        length: number of steps.
        success: whether the task was solved.
        harm: whether it was unsafe, in the task's sense; where a task knows no unsafe event, whether it failed.
    """

    episode_return: float
    length: int
    success: bool
    harm: bool


class Episode(NamedTuple):
    """The facts for the judgement of an episode, when it is over.

    Attributes:
        total: sum of the rewards.
        length: number of steps.
        unsafe: whether any step was unsafe.
        terminated: whether it ended by itself, rather than by the limit of steps.
        last_reward: of its last step.
    """

    total: float
    length: int
    unsafe: bool
    terminated: bool
    last_reward: float


@dataclass(frozen=True)
class Rules:
    """The rules for when an episode counts as solved, and when as unsafe.

    A step is unsafe if either of the two rules for steps says so. A task with neither knows no unsafe step: then an
    episode that is not solved counts as harm.

    Attributes:
        solved: of the episode, when it is over.
        unsafe_step: (reward, terminated) -> whether this step was unsafe; or None.
        unsafe_info: (info, as the environment's ``step`` returns it) -> the same; or None. Of a vector environment it
            gets the part of one environment.

    Example:
        >>> from consensus_imitation.experiments.tasks import EpisodeTracker, Rules
        >>> rules = Rules(solved=lambda episode: episode.terminated, unsafe_info=lambda info: info["cost"] > 0)
        >>> EpisodeTracker(rules).after(0.0, False, False, {"cost": 1.0}).unsafe
        True
    """

    solved: Callable[[Episode], bool]
    unsafe_step: Callable[[float, bool], bool] | None = None
    unsafe_info: Callable[[Mapping[str, Any]], bool] | None = None

    @property
    def knows_unsafe_steps(self) -> bool:
        """Whether a step can be unsafe."""
        return self.unsafe_step is not None or self.unsafe_info is not None

    def is_unsafe(self, reward: float, terminated: bool, info: Mapping[str, Any] | None) -> bool:
        """Return whether a step was unsafe.

        Raises:
            ValueError: if that is to be read from its ``info``, and there is none.
        """
        if self.unsafe_info is not None:
            if info is None:
                raise ValueError("these rules read the info of every step (unsafe_info): pass it")
            if self.unsafe_info(info):
                return True
        return self.unsafe_step is not None and bool(self.unsafe_step(reward, terminated))


@dataclass(frozen=True)
class EpisodeTracker:
    """The steps of one episode so far. Immutable: `after` returns the next tracker.

    Attributes:
        rules: how the episode is judged.
        limit: steps after which it is cut off, with a warning, if the environment does not end it; None for never.
        total: sum of the rewards so far.
        length: number of steps so far.
        unsafe: whether any of them was unsafe.
        outcome: of the episode, when it is over.

    Example:
        >>> from consensus_imitation.experiments.tasks import EpisodeTracker, Rules
        >>> tracker = EpisodeTracker(Rules(solved=lambda episode: episode.total > 0))
        >>> tracker = tracker.after(0.0, terminated=False, truncated=False)
        >>> tracker.outcome is None
        True
        >>> tracker.after(1.0, terminated=True, truncated=False).outcome
        EpisodeOutcome(episode_return=1.0, length=2, success=True, harm=False)
    """

    rules: Rules
    limit: int | None = None
    total: float = 0.0
    length: int = 0
    unsafe: bool = False
    outcome: EpisodeOutcome | None = None

    def after(
        self, reward: float, terminated: bool, truncated: bool, info: Mapping[str, Any] | None = None
    ) -> "EpisodeTracker":
        """Return the tracker after one more step.

        It warns (`ConsensusWarning`) if the limit ends the episode: otherwise the wait for an environment that never
        ends would never end.

        Args:
            reward: of the step.
            terminated: as the environment's ``step`` returns it.
            truncated: as the environment's ``step`` returns it.
            info: as the environment's ``step`` returns it; None will do for rules without ``unsafe_info``.

        Raises:
            ValueError: if the episode was over already, or the rules read the ``info`` and there is none.
        """
        if self.outcome is not None:
            raise ValueError("the episode is over: begin another with EpisodeTracker(rules)")
        reward, terminated = float(reward), bool(terminated)
        unsafe = self.unsafe | self.rules.is_unsafe(reward, terminated, info)
        after = replace(self, total=self.total + reward, length=self.length + 1, unsafe=unsafe)
        if not (terminated or truncated):
            if self.limit is None or after.length < self.limit:
                return after
            warnings.warn(
                f"the environment did not end an episode within {self.limit} steps: it is cut off there, and "
                "judged as it stands: give the environment a limit (gymnasium.wrappers.TimeLimit)",
                ConsensusWarning,
                stacklevel=2,
            )
        success = self.rules.solved(Episode(after.total, after.length, unsafe, terminated, reward))
        harm = unsafe if self.rules.knows_unsafe_steps else not success
        return replace(after, outcome=EpisodeOutcome(after.total, after.length, success, harm))
