"""A single Gymnasium environment and a vector of them, as B lanes in which episodes follow one another.

What differs is how an episode that is over gives way to the next. A single environment is reset by hand. For a vector
environment there are three ways (Gymnasium's ``AutoresetMode``): it resets a part in the next step, whose action is
ignored (``NEXT_STEP``, the default; such a lane is *inactive* for that step); in the same step (``SAME_STEP``); or not
at all (``DISABLED``), so that it has to be told to.
"""

from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.imitator import ConsensusImitator


class Step(NamedTuple):
    """What one step of all lanes gave.

    Attributes:
        reward: float [B].
        terminated: bool [B]; the episode came to an end of its own.
        truncated: bool [B]; it was cut off.
        begun: lanes whose next observation is the first of an episode.
    """

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    begun: list[int]


class Lanes:
    """Runs an environment, single or vector, for an imitator.

    Args:
        env: a ``gymnasium.Env`` or ``gymnasium.vector.VectorEnv``.
        imitator: with ``num_envs`` as many environments, None for a single one.

    Attributes:
        size: B, 1 for a single environment.
        observation: the present one, as the environment gave it.
        active: bool [B], lanes in which the next action counts.

    Raises:
        ImportError: without Gymnasium, naming the extra that brings it.
        ValueError: if environment and imitator disagree on the number of environments.
    """

    def __init__(self, env: Any, imitator: ConsensusImitator) -> None:
        self._env = env
        self.single = not isinstance(env, _vector_env())
        num_envs = None if self.single else int(env.num_envs)
        if imitator.num_envs != num_envs:
            raise ValueError(
                f"the environment needs an imitator with num_envs={num_envs}, but this one has "
                f"num_envs={imitator.num_envs}: construct it with ConsensusImitator(..., num_envs={num_envs})"
            )
        self.size = num_envs or 1
        self._mode = "BY_HAND" if self.single else _mode_name(env.metadata.get("autoreset_mode"))
        self.observation: Any = None
        self.active = np.ones(self.size, bool)

    @property
    def all_active(self) -> bool:
        """Whether every lane's next action counts."""
        return bool(self.active.all())

    def reset(self, seed: int | None) -> None:
        """Begin an episode in every lane."""
        self.observation, _ = self._env.reset(seed=seed)
        self.active = np.ones(self.size, bool)

    def step(self, actions: Any) -> Step:
        """Take one step; lanes whose episode ends go on with the next one.

        Args:
            actions: an int, or [B] for a vector environment.
        """
        observation, reward, terminated, truncated, _ = self._env.step(actions)
        if self.single:
            over = bool(terminated or truncated)
            self.observation = self._env.reset()[0] if over else observation
            return Step(np.array([float(reward)]), np.array([terminated]), np.array([truncated]), [0] if over else [])
        reward, terminated, truncated = (np.asarray(part) for part in (reward, terminated, truncated))
        was_active, over = self.active, terminated | truncated
        begun = over
        if self._mode == "NEXT_STEP":
            # The lanes that were inactive have just been reset; those that are over will be, by the next step.
            begun, self.active = ~was_active, ~over
        elif self._mode == "DISABLED" and over.any():
            observation, _ = self._env.reset(options={"reset_mask": over})
        self.observation = observation
        return Step(reward, terminated, truncated, np.flatnonzero(begun).tolist())


def _mode_name(mode: Any) -> str:
    """Gymnasium before 1.1 has no choice of modes, and resets in the next step."""
    return "NEXT_STEP" if mode is None else str(getattr(mode, "name", mode))


def _vector_env() -> type:
    try:
        from gymnasium.vector import VectorEnv
    except ImportError as error:
        raise ImportError('this loop needs Gymnasium: pip install "consensus_imitation[gym]"') from error
    return VectorEnv
