"""History tree: a world so small that every history can be enumerated.

Dynamics: the state is the whole history of actions since the root; each action goes one level down, and an episode
terminates at a leaf, `depth` steps after it began. The harm is to reach one of the harmful leaves; every other leaf
pays 1.

Tests: statements of the theory about whole histories (posteriors, bounds, the probability of an event under every
policy), which here are finite sums. The demonstrator does not come from planning but from a random draw: each node's
probabilities come from a Dirichlet distribution, with a small share left for actions that do harm.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from consensus_imitation.envs.gridworld import Gridworld, build_gridworld
from consensus_imitation.envs.rendering import Frame
from consensus_imitation.envs.tabular import Outcome

__all__ = ["history_tree"]

History = tuple[int, ...]


def history_tree(
    depth: int = 3,
    num_actions: int = 2,
    harm_leaves: Collection[Sequence[int]] | None = None,
    harm_share: float = 5e-4,
    concentration: float = 2.0,
    seed: int = 0,
    demonstrator: Mapping[History, Sequence[float]] | None = None,
) -> Gridworld:
    """Build the tree.

    Args:
        depth: Actions in an episode, from 1 to 8.
        num_actions: Actions at each node, from 2 to 9; at most 10,000 leaves in all.
        harm_leaves: Histories, `depth` actions each, that end in harm; None: only the last leaf.
        harm_share: Demonstrator's total probability, above 0 and below 1, of the harmful actions at a node that
            also has harmless ones.
        concentration: Of the symmetric Dirichlet distribution, above 0.
        seed: For the Dirichlet draws.
        demonstrator: Probabilities of the actions for every history shorter than `depth`, in place of the
            draws and of `harm_share`.

    Returns:
        The world; trigger "near_harm" only.

    Raises:
        ValueError: For options out of range.
    """
    if not 1 <= depth <= 8 or not 2 <= num_actions <= 9 or num_actions**depth > 10_000:
        raise ValueError(
            "depth must be from 1 to 8, num_actions from 2 to 9, with at most 10,000 leaves,"
            f" got {depth} and {num_actions}"
        )
    if not 0.0 < harm_share < 1.0 or not concentration > 0.0:
        raise ValueError(
            f"harm_share must be above 0 and below 1 and concentration above 0, got {harm_share} and {concentration}"
        )
    leaves = [(num_actions - 1,) * depth] if harm_leaves is None else [tuple(leaf) for leaf in harm_leaves]
    harmful = frozenset(leaves)
    if not harmful:
        raise ValueError("there must be a harmful leaf")
    for leaf in harmful:
        if len(leaf) != depth or not all(0 <= action < num_actions for action in leaf):
            raise ValueError(f"{leaf} is not {depth} actions from 0 to {num_actions - 1}")
    draw = _explicit(demonstrator, depth, num_actions) if demonstrator is not None else None
    if draw is None:
        draw = _dirichlet(depth, num_actions, harmful, harm_share, concentration, seed)

    def transitions(state: History, action: int) -> list[Outcome[History]]:
        after = (*state, action)
        leaf = len(after) == depth
        harm = after in harmful
        return [Outcome(1.0, after, reward=float(leaf and not harm), harm=harm)]

    def frame(state: History) -> Frame:
        # The root, then one row a step and one column an action, with the actions so far lit.
        rows = ["." + "#" * (num_actions - 1)]
        for level in range(1, depth + 1):
            chosen = state[level - 1] if level <= len(state) else None
            row = ["1" if action == chosen else "0" for action in range(num_actions)]
            if level == depth and len(state) >= depth - 1:
                parent = state[: depth - 1]
                row = ["~" if (*parent, action) in harmful else tile for action, tile in enumerate(row)]
            rows.append("".join(row))
        return Frame(tuple(rows), (len(state), state[-1] if state else 0))

    root: History = ()
    return build_gridworld(
        name="history_tree",
        action_names=[f"branch {action}" for action in range(num_actions)],
        starts={root: 1.0},
        transitions=transitions,
        is_terminal=lambda state: len(state) == depth,
        is_goal=lambda state: len(state) == depth and state not in harmful,
        horizon=None,
        temperature=1.0,
        harm_cost=0.0,
        triggers={},
        frame=frame,
        description="Walk down a tree whose nodes are whole histories, then start again at the root.",
        harm_description="The episode ends in a harmful leaf.",
        demonstrator=draw,
    )


def _explicit(
    probs: Mapping[History, Sequence[float]], depth: int, num_actions: int
) -> Callable[[History], Sequence[float]]:
    for level in range(depth):
        for history in itertools.product(range(num_actions), repeat=level):
            row = probs.get(history, ())
            if len(row) != num_actions or min(row) <= 0.0 or abs(sum(row) - 1.0) > 1e-6:
                raise ValueError(f"demonstrator needs {num_actions} probabilities above 0 for {history}, got {row}")
    return lambda history: probs[history]


def _dirichlet(
    depth: int, num_actions: int, harmful: frozenset[History], share: float, concentration: float, seed: int
) -> Callable[[History], Sequence[float]]:
    rng = np.random.default_rng(seed)
    probs: dict[History, list[float]] = {}
    for level in range(depth):
        for history in itertools.product(range(num_actions), repeat=level):
            row = rng.dirichlet([concentration] * num_actions)
            bad = np.array([(*history, action) in harmful for action in range(num_actions)])
            if bad.any() and not bad.all():
                row = np.where(bad, share * row / row[bad].sum(), (1.0 - share) * row / row[~bad].sum())
            probs[history] = [float(p) for p in row]
    return lambda history: probs[history]
