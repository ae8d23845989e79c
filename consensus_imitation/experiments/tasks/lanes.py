"""A single Gymnasium environment and a vector of them, as B lanes in which episodes follow one another.

They differ in what happens when an episode is over. The loop resets a single environment itself. For a vector
environment there are three ways (Gymnasium's ``AutoresetMode``): it resets a part in the next step, whose action is
ignored (``NEXT_STEP``, the default; such a lane is *inactive* for that step); in the same step (``SAME_STEP``); or not
at all (``DISABLED``), so that the loop has to tell it to. The environment has to state which way it uses: after a wrong
guess the imitator would ask the demonstrator about the last observations of episodes, and members would learn from
them.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.ensembles.neural.encoding import check_num_actions
from consensus_imitation.errors import ConfigurationError, ObservationError
from consensus_imitation.imitator import ConsensusImitator


class Mode(Enum):
    """How the next episode begins; the values of all but the first are Gymnasium's."""

    BY_HAND = "ByHand"
    NEXT_STEP = "NextStep"
    SAME_STEP = "SameStep"
    DISABLED = "Disabled"


class Step(NamedTuple):
    """The result of one step of all lanes.

    Attributes:
        reward: float [B].
        terminated: bool [B]; the episode ended by itself.
        truncated: bool [B]; it was cut off.
        begun: lanes whose next observation is the first of an episode.
        info: as the environment gave it; `Lanes.info` gives one lane's.
    """

    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    begun: list[int]
    info: Any


class Lanes:
    """An environment, single or vector, that runs for an imitator.

    Args:
        env: a ``gymnasium.Env`` or ``gymnasium.vector.VectorEnv``.
        imitator: with ``num_envs`` as many environments, None for a single one.
        action_mask: a function of the environment that says what is legal; None to read ``info["action_mask"]``.

    Attributes:
        size: B, 1 for a single environment.
        observation: the present observation, as the environment gave it.
        mask: what is legal now; None if nobody says.
        active: bool [B], lanes in which the next action counts.

    Raises:
        ImportError: without Gymnasium, naming the extra that brings it.
        ConfigurationError: if it is not an environment, environment and imitator disagree on the number of environments
            or of actions, its actions are not numbered from 0, or a vector environment does not state how it resets.
    """

    def __init__(self, env: Any, imitator: ConsensusImitator, action_mask: Any = None) -> None:
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
        check_actions(env, imitator.num_actions)
        self.size = num_envs or 1
        self._mode = Mode.BY_HAND if self.single else autoreset_mode(env)
        # Only now: without Gymnasium, the first line of this method says what to install.
        from consensus_imitation.experiments.tasks.masks import Masks

        self._masks = Masks(action_mask, num_envs)
        self.observation: Any = None
        self.mask: Any = None
        self.active = np.ones(self.size, bool)

    @property
    def all_active(self) -> bool:
        """Whether every lane's next action counts."""
        return bool(self.active.all())

    def reset(self, seed: int | None) -> None:
        """Begin an episode in every lane."""
        self.observation, info = _begun(self._env.reset(seed=seed))
        self.active = np.ones(self.size, bool)
        self.mask = self._masks.after(self._env, info)

    def step(self, actions: Any) -> Step:
        """Take one step; lanes whose episode ends continue with the next one.

        Args:
            actions: an int, or [B] for a vector environment.

        Raises:
            ObservationError: if the environment does not return a step. What it raises itself passes through.
        """
        given = self._env.step(actions)
        if not isinstance(given, tuple) or len(given) != 5:
            raise ObservationError(
                "the environment's step() must return (observation, reward, terminated, truncated, info); got "
                f"{_short(given)}: wrap it for Gymnasium's present interface"
            )
        observation, *told, info = given
        shape = () if self.single else (self.size,)
        reward, terminated, truncated = (
            _checked(name, part, shape) for name, part in zip(("reward", "terminated", "truncated"), told, strict=True)
        )
        over = np.atleast_1d(terminated | truncated)
        begun, infos = over, [info]
        match self._mode:
            case Mode.BY_HAND:
                if over.any():
                    observation, first = _begun(self._env.reset())
                    infos.append(first)
            case Mode.NEXT_STEP:
                # The lanes that were inactive have just been reset; those that are over will be, by the next step.
                begun, self.active = ~self.active, ~over
            case Mode.SAME_STEP:
                pass
            case Mode.DISABLED:
                if over.any():
                    observation, first = _begun(self._env.reset(options={"reset_mask": over}))
                    infos.append(first)
        self.observation = observation
        self.mask = self._masks.after(self._env, *infos, active=self.active)
        reward, terminated, truncated = (np.atleast_1d(part) for part in (reward, terminated, truncated))
        return Step(reward, terminated, truncated, np.flatnonzero(begun).tolist(), info)

    def info(self, step: Step, lane: int) -> Mapping[str, Any]:
        """Return what the environment said of a step besides: one lane's part of it.

        Raises:
            ObservationError: if it is no dict; or if the lane was reset in the same step, and what the environment had
                said before (``final_info``) is missing.
        """
        if not isinstance(step.info, Mapping):
            raise ObservationError(f"the environment's info must be a dict; got {_short(step.info)}")
        if self.single:
            return step.info
        found = _row_of(step.info, lane)
        if self._mode is not Mode.SAME_STEP or not (step.terminated[lane] or step.truncated[lane]):
            return found
        final = found.get("final_info")
        if not isinstance(final, Mapping):
            raise ObservationError(
                f"the environment reset part {lane} in the same step, and did not say in info['final_info'] what the "
                "step before had been like: use another autoreset mode"
            )
        return final


def _row_of(info: Mapping[str, Any], lane: int) -> dict[str, Any]:
    """Return one environment's part of a vector environment's info: what its masks ``_name`` say is its own."""
    found: dict[str, Any] = {}
    for name, value in info.items():
        mask = info.get(f"_{name}")
        if mask is None:
            if not (name.startswith("_") and name[1:] in info):
                # Said of all of them together.
                found[name] = value
        elif mask[lane]:
            found[name] = _row_of(value, lane) if isinstance(value, Mapping) else value[lane]
    return found


def check_actions(env: Any, num_actions: int) -> None:
    """Refuse an environment, single or vector, that has other actions than the members.

    Raises:
        ConfigurationError: with the number of each.
    """
    name = "single_action_space" if isinstance(env, _vector_env()) else "action_space"
    space = getattr(env, name, None)
    if space is None:
        raise ConfigurationError(f"the environment does not say what actions it has: give it an attribute {name}")
    check_num_actions(space, num_actions)


def autoreset_mode(env: Any) -> Mode:
    """Return how a vector environment resets the parts whose episode is over, as it states itself.

    Raises:
        ConfigurationError: if it states something unknown, or two different things; or nothing, where the installed
            Gymnasium knows several modes (1.1 or later; before, there is one).
    """
    mode = _said(env.metadata, env)
    # Some versions of Gymnasium note the mode where all environments of a class share it, and each also by itself.
    inner = env.unwrapped
    own = getattr(inner, _KEY, None)
    if own is not None and _known(own, env) is not _said(inner.metadata, env):
        raise ConfigurationError(
            f"{env} has {_KEY} {own!r}, but its metadata says {inner.metadata[_KEY]!r}: give it metadata of its own, "
            f"env.metadata = {{**env.metadata, {_KEY!r}: ...}}"
        )
    return mode


_KEY = "autoreset_mode"


def _said(metadata: Any, env: Any) -> Mode:
    said = metadata.get(_KEY) if isinstance(metadata, Mapping) else None
    if said is None and not _has_modes():
        return Mode.NEXT_STEP
    return _known(said, env)


def _known(said: Any, env: Any) -> Mode:
    known = [mode for mode in Mode if mode is not Mode.BY_HAND]
    for mode in known:
        if mode.value == getattr(said, "value", said):
            return mode
    raise ConfigurationError(
        f"{env} says {said!r} of how it resets parts whose episode is over, instead of one of "
        f"{', '.join(mode.value for mode in known)}: set env.metadata[{_KEY!r}] to the gymnasium.vector.AutoresetMode "
        "that it keeps to"
    )


def _begun(given: Any) -> tuple[Any, dict[str, Any]]:
    """Return the observation that an episode begins with, and what the environment says besides."""
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], dict):
        raise ObservationError(
            f"the environment's reset() must return (observation, info); got {_short(given)}: wrap it for Gymnasium's "
            "present interface"
        )
    return given


def _checked(name: str, part: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return the rewards as float64 and the ends of episodes as bools."""
    try:
        array = np.asarray(part)
    except Exception as error:  # An object may do anything when NumPy makes it an array.
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


def _has_modes() -> bool:
    """Return whether the installed Gymnasium lets an environment choose: since 1.1."""
    import gymnasium.vector

    return hasattr(gymnasium.vector, "AutoresetMode")


def _vector_env() -> type:
    try:
        from gymnasium.vector import VectorEnv
    except ImportError as error:
        raise ImportError('this loop needs Gymnasium: pip install "consensus_imitation[gym]"') from error
    return VectorEnv
