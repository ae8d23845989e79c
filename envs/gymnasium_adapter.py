"""The worlds as Gymnasium environments.

The import of this module registers every world, for example as "ConsensusImitation/Cliff-v0". Gymnasium imports it by
itself if you put the module in front of the id:

    gymnasium.make("consensus_imitation.envs.gymnasium_adapter:ConsensusImitation/Cliff-v0")
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from consensus_imitation.envs.gridworld import Gridworld
from consensus_imitation.envs.registry import make, names

try:
    import gymnasium
except ModuleNotFoundError as error:
    if error.name != "gymnasium":
        raise
    raise ImportError('the Gymnasium interface needs gymnasium: pip install "consensus_imitation[gym]"') from error


class GridworldEnv(gymnasium.Env[np.int64, np.int64]):
    """A world behind Gymnasium's interface, on NumPy tables.

    Observations and actions are `Discrete`; the observation is the number of the state. `info["harm"]` (bool) tells
    whether the harmful event happened on a step; it is False after a reset. A step from a terminal state stays there
    with reward 0.

    Attributes:
        world: The world, with the demonstrator's probabilities and the named situations.

    Example:
        >>> env = GridworldEnv("cliff")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(1)
        >>> info["harm"]
        True
    """

    # Annotated as in gymnasium.Env, without ClassVar.
    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, world: str | Gridworld, render_mode: str | None = None, **options: Any) -> None:
        """Set up the tables.

        Args:
            world: A world, or the name of one.
            render_mode: "ansi" for text, "rgb_array" for uint8 [H, W, 3], or None.
            **options: Options of the named world; see `make`.

        Raises:
            ValueError: For an unknown name or render mode, or an option out of range.
            TypeError: For an option that the world does not have, or options next to a `Gridworld`.
        """
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be 'ansi', 'rgb_array' or None, got {render_mode!r}")
        if isinstance(world, Gridworld) and options:
            raise TypeError(f"options go with a name, not with a world that is built: {sorted(options)}")
        self.world = world if isinstance(world, Gridworld) else make(world, **options)
        self.render_mode = render_mode
        env = self.world.env
        self.observation_space = gymnasium.spaces.Discrete(env.num_states)
        self.action_space = gymnasium.spaces.Discrete(env.num_actions)
        self._next_state = np.asarray(env.next_state)
        self._reward = np.asarray(env.reward)
        self._harm = np.asarray(env.harm)
        self._terminal = np.asarray(env.terminal)
        # Cumulative and without the last column, so that a uniform number finds its index by comparison.
        self._outcome_bounds = np.cumsum(np.asarray(env.outcome_probs, np.float64), axis=-1)[..., :-1]
        self._start_states = np.asarray(env.start_states)
        self._start_bounds = np.cumsum(np.asarray(env.start_state_probs, np.float64))[:-1]
        self._index: int | None = None
        self._time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Starts the random numbers again; None: continue with them.
            options: Not used.

        Returns:
            First observation and info.
        """
        super().reset(seed=seed, options=options)
        self._index = int(self._start_states[self._draw(self._start_bounds)])
        self._time = 0
        return np.int64(self._index), {"harm": False}

    def step(self, action: np.int64 | int) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Args:
            action: From 0 to A - 1.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ValueError: For an action out of range.
            TypeError: For an action that is not an integer.
            gymnasium.error.ResetNeeded: Before the first `reset`.
        """
        if self._index is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        number = operator.index(action)
        num_actions = len(self.world.action_names)
        if not 0 <= number < num_actions:
            raise ValueError(f"action must be from 0 to {num_actions - 1} in {self.world.name!r}, got {number}")
        cell = (self._index, number, self._draw(self._outcome_bounds[self._index, number]))
        self._index = int(self._next_state[cell])
        self._time += 1
        horizon = self.world.env.horizon
        terminated = bool(self._terminal[self._index])
        truncated = horizon is not None and self._time >= horizon and not terminated
        info = {"harm": bool(self._harm[cell])}
        return np.int64(self._index), float(self._reward[cell]), terminated, truncated, info

    def render(self) -> Any:
        """Draw the current state.

        Returns:
            A string for "ansi", uint8 [H, W, 3] for "rgb_array", None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: Before the first `reset`.
        """
        if self.render_mode is None:
            return None
        if self._index is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        if self.render_mode == "ansi":
            return self.world.render_text(self._index)
        return self.world.render_rgb(self._index)

    def _draw(self, bounds: npt.NDArray[np.float64]) -> int:
        return int((self.np_random.random() >= bounds).sum()) if len(bounds) else 0


def gymnasium_id(name: str) -> str:
    """Return the id under which a world is registered.

    Args:
        name: Name of the world.

    Returns:
        Such as "ConsensusImitation/ShiftingLava-v0".

    Example:
        >>> gymnasium_id("shifting_lava")
        'ConsensusImitation/ShiftingLava-v0'
    """
    return f"ConsensusImitation/{name.title().replace('_', '')}-v0"


for _name in names():
    if gymnasium_id(_name) not in gymnasium.registry:
        gymnasium.register(
            id=gymnasium_id(_name),
            entry_point="consensus_imitation.envs.gymnasium_adapter:GridworldEnv",
            kwargs={"world": _name},
        )
