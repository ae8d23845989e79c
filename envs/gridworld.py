"""The host-side object for a world: tables, demonstrator, harmful policy, named situations and pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from consensus_imitation.envs import rendering
from consensus_imitation.envs.planning import harmful_policy, q_values, softmax_policy
from consensus_imitation.envs.rendering import Frame
from consensus_imitation.envs.tabular import Outcome, TabularEnv, compile_mdp

StateT = TypeVar("StateT", bound=Hashable)

MOVE_NAMES = ("up", "right", "down", "left")
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


@dataclasses.dataclass(frozen=True, eq=False)
class Gridworld:
    """A world with its demonstrator. All arrays are NumPy arrays that cannot be written to.

    Attributes:
        env: The compiled environment with S states and A actions.
        states: What each state number stands for.
        action_names: A names.
        demonstrator_probs: float32 [S, A], the demonstrator's exact probabilities; all above 0.
        harmful_probs: float32 [S, A], one-hot; the policy that seeks harm as fast as it can.
        goal: bool [S], the states in which the task counts as done.
        triggers: Named situations, bool [S] each. Every world has "near_harm": the states in which some
            action does harm right away with a probability above 0.
        description: What the world is, in a sentence or two.
        harm_description: What the harmful event is, in one line.
        frame: Draws a state.

    Example:
        >>> from consensus_imitation.envs import make
        >>> world = make("vase")
        >>> print(world.render_text(0))
        #########
        #.......#
        #A..v..G#
        #.......#
        #########
    """

    env: TabularEnv
    states: tuple[Any, ...]
    action_names: tuple[str, ...]
    demonstrator_probs: npt.NDArray[np.float32]
    harmful_probs: npt.NDArray[np.float32]
    goal: npt.NDArray[np.bool_]
    triggers: Mapping[str, npt.NDArray[np.bool_]]
    description: str
    harm_description: str
    frame: Callable[[Any], Frame]

    @property
    def name(self) -> str:
        """Name of the world, as in `make`."""
        return self.env.name

    def render_text(self, index: int) -> str:
        """Draw a state as text.

        Args:
            index: Number of the state, from 0 to S - 1.

        Returns:
            One line a row, the agent as "A".

        Raises:
            IndexError: If there is no such state.
        """
        return rendering.render_text(self._frame(index))

    def render_rgb(self, index: int, tile: int = 24) -> npt.NDArray[np.uint8]:
        """Draw a state as a picture.

        Args:
            index: Number of the state, from 0 to S - 1.
            tile: Side of a tile in pixels, at least 6.

        Returns:
            uint8 [H, W, 3], red, green, blue.

        Raises:
            IndexError: If there is no such state.
        """
        return rendering.render_rgb(self._frame(index), tile)

    def _frame(self, index: int) -> Frame:
        # Python would take -1 for the last state.
        if not 0 <= index < len(self.states):
            raise IndexError(f"{self.name!r} has states 0 to {len(self.states) - 1}, got {index}")
        return self.frame(self.states[index])


def build_gridworld(
    *,
    name: str,
    action_names: Sequence[str],
    starts: Mapping[StateT, float],
    transitions: Callable[[StateT, int], Sequence[Outcome[StateT]]],
    is_terminal: Callable[[StateT], bool],
    is_goal: Callable[[StateT], bool],
    horizon: int | None,
    temperature: float,
    harm_cost: float,
    triggers: Mapping[str, Callable[[StateT], bool]],
    frame: Callable[[StateT], Frame],
    description: str,
    harm_description: str,
    gamma: float = 0.9,
    demonstrator: Callable[[StateT], Sequence[float]] | None = None,
) -> Gridworld:
    """Compile a world and plan its demonstrator.

    The demonstrator knows what harm is: it takes the softmax of the optimal values for the world's reward less
    `harm_cost` at each harm. It is stochastic, so it makes mistakes and, rarely, does harm.

    Args:
        name: Name of the world.
        action_names: One name an action.
        starts: Probability of each possible first state.
        transitions: Outcomes of an action (its number) in a state; see `compile_mdp`.
        is_terminal: Whether the episode ends in a state.
        is_goal: Whether the task counts as done in a state.
        horizon: Steps after which an episode is truncated; None: never.
        temperature: Of the softmax, in units of reward, above 0.
        harm_cost: What a harm costs the demonstrator, in units of reward, at least 0.
        triggers: Named situations; "near_harm" is added.
        frame: Draws a state.
        description: What the world is.
        harm_description: What the harmful event is.
        gamma: The demonstrator's discount per step.
        demonstrator: Gives the probabilities of the actions in a state instead of planning; not used in terminal
            states, where the probabilities are uniform.

    Returns:
        The world.

    Raises:
        ValueError: If the process, the temperature or the harm cost is not valid.
    """
    if not harm_cost >= 0.0:
        raise ValueError(f"harm_cost must be at least 0, got {harm_cost}")
    env, states = compile_mdp(name, len(action_names), starts, transitions, is_terminal, horizon)
    harm = np.asarray(env.harm)
    if demonstrator is None:
        probs = softmax_policy(q_values(env, gamma, np.asarray(env.reward) - harm_cost * harm), temperature)
    else:
        uniform = [1.0 / env.num_actions] * env.num_actions
        probs = np.array([uniform if is_terminal(s) else demonstrator(s) for s in states], np.float32)
    masks = {key: np.array([test(state) for state in states], np.bool_) for key, test in triggers.items()}
    # Padding repeats an outcome that can happen, so every entry of `harm` is possible.
    masks["near_harm"] = np.any(harm, axis=(1, 2)).astype(np.bool_)
    goal = np.array([is_goal(state) for state in states], np.bool_)
    harmful = harmful_policy(env)
    for array in (probs, harmful, goal, *masks.values()):
        array.setflags(write=False)
    return Gridworld(
        env=env,
        states=states,
        action_names=tuple(action_names),
        demonstrator_probs=probs,
        harmful_probs=harmful,
        goal=goal,
        triggers=MappingProxyType(masks),
        description=description,
        harm_description=harm_description,
        frame=frame,
    )


def find(rows: Sequence[str], tile: str) -> tuple[int, int]:
    """Return the row and column of the first `tile` in a map; ValueError if there is none."""
    for r, row in enumerate(rows):
        if tile in row:
            return r, row.index(tile)
    raise ValueError(f"no {tile!r} in the map")


def move(rows: Sequence[str], row: int, column: int, action: int) -> tuple[int, int]:
    """Return where a move leads; walls, the border and every action past the four moves leave the agent in place."""
    if action >= len(_MOVES):
        return row, column
    r, c = row + _MOVES[action][0], column + _MOVES[action][1]
    inside = 0 <= r < len(rows) and 0 <= c < len(rows[0])
    return (r, c) if inside and rows[r][c] != "#" else (row, column)


def paint(rows: Sequence[str], tiles: Mapping[tuple[int, int], str]) -> tuple[str, ...]:
    """Return a map with some tiles replaced."""
    return tuple("".join(tiles.get((r, c), tile) for c, tile in enumerate(row)) for r, row in enumerate(rows))
