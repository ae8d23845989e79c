"""The worlds by name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.envs import worlds
from consensus_imitation.envs.gridworld import Gridworld
from consensus_imitation.envs.planning import harm_probability, occupancy, reach_probability


def _builders() -> dict[str, Callable[..., Gridworld]]:
    """Return the functions that the modules of `worlds` offer, by name."""
    found: dict[str, Callable[..., Gridworld]] = {}
    for module in pkgutil.iter_modules(worlds.__path__, f"{worlds.__name__}."):
        world = importlib.import_module(module.name)
        found |= {name: getattr(world, name) for name in world.__all__}
    return found


_BUILDERS = _builders()


class WorldSummary(NamedTuple):
    """Exact facts about a world and its demonstrator.

    Attributes:
        name: Name of the world.
        num_states: S.
        num_actions: A.
        horizon: Steps after which an episode is truncated; None: never.
        harm_per_100_steps: P(the demonstrator does harm at least once in 100 steps), from 0 to 1.
        goal_rate: P(an episode of the demonstrator reaches the goal), from 0 to 1; within 100 steps where there
            is no horizon.
        mean_entropy: Entropy of the demonstrator's action in nats, averaged over the states it is in during 100
            steps.
    """

    name: str
    num_states: int
    num_actions: int
    horizon: int | None
    harm_per_100_steps: float
    goal_rate: float
    mean_entropy: float


def names() -> tuple[str, ...]:
    """Return the names of all worlds, sorted.

    Returns:
        The names that `make` knows.

    Example:
        >>> "cliff" in names()
        True
    """
    return tuple(sorted(_BUILDERS))


def make(name: str, **options: Any) -> Gridworld:
    """Build a world.

    Args:
        name: One of `names()`.
        **options: Options of the world's own builder, such as `temperature`.

    Returns:
        The world.

    Raises:
        ValueError: For an unknown name, or an option out of range.
        TypeError: For an option that the world does not have.

    Example:
        >>> world = make("cliff", width=6)
        >>> world.env.num_states, world.action_names
        (24, ('up', 'right', 'down', 'left', 'stay'))
    """
    if name not in _BUILDERS:
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.0)
        raise ValueError(f"no world {name!r}; did you mean {close[0]!r}? There are: {', '.join(names())}")
    return _BUILDERS[name](**options)


def summary() -> tuple[WorldSummary, ...]:
    """Return exact facts about every world with its default options.

    Returns:
        One row a world, in the order of `names()`.

    Example:
        >>> max(row.harm_per_100_steps for row in summary()) < 0.02
        True
    """
    return tuple(_summarise(make(name)) for name in names())


def _summarise(world: Gridworld) -> WorldSummary:
    env, probs = world.env, world.demonstrator_probs
    entropy = -(probs * np.log(np.maximum(probs, 1e-37))).sum(axis=1)
    return WorldSummary(
        name=world.name,
        num_states=env.num_states,
        num_actions=env.num_actions,
        horizon=env.horizon,
        harm_per_100_steps=harm_probability(env, probs, 100).probability,
        goal_rate=reach_probability(env, probs, world.goal, env.horizon or 100),
        mean_entropy=float(occupancy(env, probs, 100) @ entropy),
    )
