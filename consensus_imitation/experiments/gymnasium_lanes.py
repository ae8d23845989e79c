"""A single Gymnasium environment and a vector of them, as B lanes in which episodes follow one another.

What differs is how an episode that is over gives way to the next. A single environment is reset by hand. For a vector
environment there are three ways (Gymnasium's ``AutoresetMode``): it resets a part in the next step, whose action is
ignored (``NEXT_STEP``, the default; such a lane is *inactive* for that step); in the same step (``SAME_STEP``); or not
at all (``DISABLED``), so that it has to be told to.
"""

from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.encoding import num_actions_of
from consensus_imitation.errors import ConfigurationError, ObservationError
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
        ConfigurationError: if it is no environment, or environment and imitator disagree on the number of environments,
            or its actions are not numbered from 0.
    """

    def __init__(self, env: Any, imitator: ConsensusImitator) -> None:
        self.single = not isinstance(env, _vector_env())
        if not callable(getattr(env, "reset", None)) or not callable(getattr(env, "step", None)):
            raise ConfigurationError(f"env must be a Gymnasium environment, with reset() and step(); got {env!r}")
        self._env = env
        num_envs = None if self.single else int(env.num_envs)
        if imitator.num_envs != num_envs:
            raise ConfigurationError(
                f"the environment needs an imitator with num_envs={num_envs}, but this one has "
                f"num_envs={imitator.num_envs}: construct it with ConsensusImitator(..., num_envs={num_envs})"
            )
        space = getattr(env, "single_action_space", getattr(env, "action_space", None))
        self._num_actions = None if space is None else num_actions_of(space)
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
        self.observation = _begun(self._env.reset(seed=seed))
        self.active = np.ones(self.size, bool)

    def step(self, actions: Any) -> Step:
        """Take one step; lanes whose episode ends go on with the next one.

        Args:
            actions: an int, or [B] for a vector environment.

        Raises:
            ConfigurationError: if the environment has no such action.
            ObservationError: if what the environment returns is no step. What it raises itself passes through.
        """
        if self._num_actions is not None and np.max(actions) >= self._num_actions:
            raise ConfigurationError(
                f"the members chose action {np.max(actions)}, but the environment has {self._num_actions} only: "
                "construct the ensemble for its action_space"
            )
        given = self._env.step(actions)
        if not isinstance(given, tuple) or len(given) != 5:
            raise ObservationError(
                "the environment's step() must return (observation, reward, terminated, truncated, info); got "
                f"{_short(given)}: wrap it for Gymnasium's present interface"
            )
        observation, *told, _ = given
        shape = () if self.single else (self.size,)
        reward, terminated, truncated = (
            _checked(name, part, shape) for name, part in zip(("reward", "terminated", "truncated"), told, strict=True)
        )
        if self.single:
            over = bool(terminated or truncated)
            self.observation = _begun(self._env.reset()) if over else observation
            return Step(reward.reshape(1), terminated.reshape(1), truncated.reshape(1), [0] if over else [])
        was_active, over = self.active, terminated | truncated
        begun = over
        if self._mode == "NEXT_STEP":
            # The lanes that were inactive have just been reset; those that are over will be, by the next step.
            begun, self.active = ~was_active, ~over
        elif self._mode == "DISABLED" and over.any():
            observation = _begun(self._env.reset(options={"reset_mask": over}))
        self.observation = observation
        return Step(reward, terminated, truncated, np.flatnonzero(begun).tolist())


def _begun(given: Any) -> Any:
    """The observation that an episode begins with."""
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], dict):
        raise ObservationError(
            f"the environment's reset() must return (observation, info); got {_short(given)}: wrap it for Gymnasium's "
            "present interface"
        )
    return given[0]


def _checked(name: str, part: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Rewards as float64, ends of episodes as bools."""
    try:
        array = np.asarray(part)
    except Exception as error:  # What an object does when it is to be an array, nobody knows.
        raise ObservationError(f"the environment's {name} is no array of shape {shape}: {error}") from error
    kinds, wanted = ("fiub", "finite numbers") if name == "reward" else ("b", "bools")
    if array.shape != shape or array.dtype.kind not in kinds or not np.isfinite(array).all():
        raise ObservationError(
            f"the environment's {name} must be {wanted} of shape {shape}; got {_short(part)}: mend it in a wrapper"
        )
    return array.astype(float) if name == "reward" else array


def _short(given: Any) -> str:
    said = repr(given)
    return said if len(said) <= 200 else f"{said[:200]}..."


def _mode_name(mode: Any) -> str:
    """Gymnasium before 1.1 has no choice of modes, and resets in the next step."""
    return "NEXT_STEP" if mode is None else str(getattr(mode, "name", mode))


def _vector_env() -> type:
    try:
        from gymnasium.vector import VectorEnv
    except ImportError as error:
        raise ImportError('this loop needs Gymnasium: pip install "consensus_imitation[gym]"') from error
    return VectorEnv
