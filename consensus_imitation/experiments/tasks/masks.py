"""What an environment says is legal: in ``info["action_mask"]``, by a function of it, or in its observation.

Gymnasium's own environments with masks, such as Taxi, say it in the info of ``reset`` and ``step``; those of
sb3-contrib by ``env.action_masks()``; those of PettingZoo in the observation, ``{"observation": ..., "action_mask":
...}``. The loops of this library read the first, take a function for the second, and `MaskInInfo` makes the first out
of the third.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from consensus_imitation.errors import ConfigurationError, ObservationError

try:
    import gymnasium
except ModuleNotFoundError as error:
    if error.name != "gymnasium":
        raise
    raise ImportError('masks of environments need gymnasium: pip install "consensus_imitation[gym]"') from error

#: ``env -> mask``: bool [A] (or integers 0 and 1); [B, A] of a vector environment.
MaskFunction = Callable[[Any], Any]

_KEY, _SEEN = "action_mask", "observation"


class Masks:
    """What is legal now, in one environment or in each of B.

    An environment that said it once has to say it at every step: a mask that is missing would be taken for "everything
    is legal".

    Args:
        function: of the environment, see `MaskFunction`; None to read ``info["action_mask"]``.
        size: B; None for a single environment.
    """

    def __init__(self, function: MaskFunction | None, size: int | None = None) -> None:
        self._function, self._size = function, size
        self._said = False

    def after(self, env: Any, *infos: Any, active: np.ndarray | None = None) -> Any:
        """Return what is legal: [A] or [B, A]; None if nothing says so.

        Args:
            env: the environment.
            infos: what ``reset`` or ``step`` said last; of a vector environment in which a reset followed a step, both.
            active: bool [B], where an action comes next; None for everywhere.

        Raises:
            ObservationError: if it was said before, or elsewhere in the batch, and is not said where an action comes.
        """
        if self._function is not None:
            return self._function(env)
        found, known = self._single(infos[-1]) if self._size is None else self._batch(infos)
        wanted = np.ones_like(known) if active is None else active
        if found is None and not self._said:
            return None
        if not known[wanted].all():
            raise ObservationError(
                "the environment said in info['action_mask'] what is legal, and does not say it now: let it say so at "
                "every step and after every reset, or pass action_mask=, a function of the environment"
            )
        self._said = True
        if found is not None and self._size is not None:
            # Where nothing comes next, anything goes.
            found[~known] = 1
        return found

    def _single(self, info: Any) -> tuple[Any, np.ndarray]:
        found = info.get(_KEY) if isinstance(info, Mapping) else None
        return found, np.array([found is not None])

    def _batch(self, infos: tuple[Any, ...]) -> tuple[np.ndarray | None, np.ndarray]:
        found: np.ndarray | None = None
        known = np.zeros(self._size or 0, bool)
        for info in infos:
            said = info.get(_KEY) if isinstance(info, Mapping) else None
            if said is None:
                continue
            rows, said = np.asarray(info.get(f"_{_KEY}", np.ones_like(known)), bool), np.asarray(said)
            if rows.shape != known.shape or said.shape[:1] != known.shape:
                raise ObservationError(
                    f"info['action_mask'] of {self._size} environments needs one mask for each; got {said.shape}"
                )
            if found is None:
                found = np.array(said)
            found[rows], known[rows] = said[rows], True
        return found, known


def split_mask(observation: Any) -> tuple[Any, Any]:
    """Return what is seen and what is legal, of an observation as PettingZoo's environments with masks give it.

    Args:
        observation: a dictionary of ``observation`` and ``action_mask``, and nothing else.

    Raises:
        ObservationError: if it is none.

    Example:
        >>> from consensus_imitation.experiments.tasks.masks import split_mask
        >>> split_mask({"observation": [0.5, 0.0], "action_mask": [1, 0, 1]})
        ([0.5, 0.0], [1, 0, 1])
    """
    if not isinstance(observation, Mapping) or set(observation) != {_SEEN, _KEY}:
        raise ObservationError(
            "expected an observation {'observation': ..., 'action_mask': ...}, as PettingZoo's environments with masks "
            f"give it; got {str(observation)[:200]}"
        )
    return observation[_SEEN], observation[_KEY]


class MaskInInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment that says in ``info["action_mask"]`` what its observation says, so that members see the rest only.

    Members then learn from what they see, and the mask does what it is for. (Left in the observation it would be one
    more feature, and nothing would be forbidden.)

    Args:
        env: whose observations are dictionaries of ``observation`` and ``action_mask``.

    Raises:
        ConfigurationError: if they are others.

    Example:
        >>> import gymnasium
        >>> import numpy as np
        >>> from consensus_imitation.experiments.tasks.masks import MaskInInfo
        >>> class Door(gymnasium.Env):
        ...     observation_space = gymnasium.spaces.Dict(
        ...         observation=gymnasium.spaces.Discrete(2), action_mask=gymnasium.spaces.MultiBinary(2)
        ...     )
        ...     action_space = gymnasium.spaces.Discrete(2)
        ...     def reset(self, *, seed=None, options=None):
        ...         return {"observation": 0, "action_mask": np.array([1, 0], np.int8)}, {}
        >>> env = MaskInInfo(Door())
        >>> seen, info = env.reset()
        >>> seen, info["action_mask"].tolist(), env.observation_space
        (0, [1, 0], Discrete(2))
    """

    def __init__(self, env: Any) -> None:
        space = env.observation_space
        if not isinstance(space, gymnasium.spaces.Dict) or set(space.spaces) != {_SEEN, _KEY}:
            raise ConfigurationError(
                f"MaskInInfo is for observations that are a Dict of 'observation' and 'action_mask'; got {space}"
            )
        super().__init__(env)
        self.observation_space = space[_SEEN]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: as the environment takes it.
            options: as the environment takes them.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        seen, mask = split_mask(observation)
        return seen, {**info, _KEY: mask}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step.

        Args:
            action: as the environment takes it.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen, mask = split_mask(observation)
        return seen, reward, bool(terminated), bool(truncated), {**info, _KEY: mask}
