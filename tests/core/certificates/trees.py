"""Random trees of histories, and the imitator on them with an inflation budget, through `Learner`'s functions only.

A history is a sequence of (action, who acted). The demonstrator, and the member that equals it, depend on the actions
alone; the other members on everything. Nodes are numbered as in the oracle: ``child = 2 A node + 1 + 2 a + q``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import AlphaThreshold, InflationBudget, Learner, TopK
from tests.core import oracle
from tests.core.histories import HistoryTables, level, start

TREES_PER_SHAPE = 40


class Shape(NamedTuple):
    """Number of actions, of members and of steps, and whether a quorum of two is required as well."""

    A: int
    N: int
    depth: int
    quorum: bool


SHAPES = [
    Shape(2, 2, 5, False),
    Shape(2, 3, 5, True),
    Shape(2, 4, 4, False),
    Shape(3, 2, 4, True),
    Shape(3, 3, 4, False),
    Shape(3, 4, 3, True),
]


class Trees(NamedTuple):
    """T trees of one shape.

    Attributes:
        shape: of all of them.
        members: [T, nodes, N, A], probabilities.
        demonstrator: [T, nodes, A]; one of the members.
        prior: [T, N].
        truth: [T], prior weight of the member that equals the demonstrator.
        alpha: [T].
    """

    shape: Shape
    members: np.ndarray
    demonstrator: np.ndarray
    prior: np.ndarray
    truth: np.ndarray
    alpha: np.ndarray

    @property
    def slack(self) -> np.ndarray:
        """``alpha / w`` [T]: bounds the probability that the truth is ever left out (T2)."""
        return np.minimum(1.0, self.alpha / self.truth)


def random_trees(shape: Shape, count: int = TREES_PER_SHAPE) -> Trees:
    """Half of the trees have arbitrary members; in the others they lean to one action and stay likely for long."""
    A, N, depth, _ = shape
    rng = np.random.default_rng([11, *shape])
    nodes = oracle.num_nodes(A, depth)
    actions_only = _node_without_who(A, depth)
    members = np.empty((count, nodes, N, A))
    demonstrator = np.empty((count, nodes, A))
    prior = np.empty((count, N))
    place = rng.integers(0, N, count)
    for t in range(count):
        if t % 2:
            members[t] = rng.dirichlet(np.full(A, rng.choice([0.3, 1.0, 3.0])), (nodes, N))
            own = rng.dirichlet(np.full(A, rng.choice([0.3, 1.0, 3.0])), actions_only.max() + 1)
        else:
            # The truth gives a rare action some mass and the others bet on it: what inflates the most.
            rare = rng.uniform(0.15, 0.6)
            own = np.full((actions_only.max() + 1, A), (1 - rare) / (A - 1))
            favourite = rng.integers(0, A, actions_only.max() + 1)
            own[np.arange(len(own)), favourite] = rare
            sharp = rng.uniform(0.9, 1.0)
            leaning = np.full((nodes, A), (1 - sharp) / (A - 1))
            leaning[np.arange(nodes), favourite[actions_only]] = sharp
            members[t] = leaning[:, None]
            if N > 2:
                members[t, :, rng.integers(N)] = rng.dirichlet(np.full(A, 3.0), nodes)
        demonstrator[t] = own[actions_only]
        members[t, :, place[t]] = demonstrator[t]
        prior[t] = rng.dirichlet(np.full(N, 3.0)) if rng.random() < 0.5 else np.full(N, 1 / N)
    truth = prior[np.arange(count), place]
    # Half of the slacks are so small that the factor alone has to bear the bound.
    alpha = truth * rng.choice([1e-5, 1e-4, 1e-3, 0.05, 0.2], count, p=[0.2, 0.2, 0.2, 0.2, 0.2])
    return Trees(shape, members, demonstrator, prior, truth, alpha)


class Level(NamedTuple):
    """What holds at all histories [T, H] of one length, in node order.

    Attributes:
        reached: probability of the history.
        ledger: the library's, before the step.
        exact_ledger: sum of ``ln(1 + theta)`` in float64, over the steps not handed over.
        summed: the library's own increments so far, added up in float64.
        theta: [T, H], ``1 - sum of the minimum`` of the selected members, in float64.
        decision: the library's, every field [T, H, ...].
        children: ledgers [T, H, 2A] after the step.
    """

    reached: np.ndarray
    ledger: np.ndarray
    exact_ledger: np.ndarray
    summed: np.ndarray
    theta: np.ndarray
    decision: Any
    children: np.ndarray


class Enumeration(NamedTuple):
    """Every tree's levels, and the probabilities [T, leaves] of all action sequences; ``spent`` is per history."""

    levels: list[Level]
    imitator: np.ndarray
    demonstrator: np.ndarray
    reached: np.ndarray  # [T, histories] of full length
    spent: np.ndarray  # [T, histories], float64 sum of ln(1 + theta)

    def worst_excess(self, factor: float) -> np.ndarray:
        """Largest ``P_imitator(B) - factor * P_demonstrator(B)`` over all events B of action sequences: [T]."""
        return np.maximum(self.imitator - factor * self.demonstrator, 0.0).sum(-1)


_levels = jax.jit(jax.vmap(level))
_starts = jax.jit(jax.vmap(start))


def enumerate_trees(trees: Trees, factor: float | None) -> Enumeration:
    """All histories of all trees under a budget of that factor; None for no budget."""
    A, _, depth, quorum = trees.shape
    count = len(trees.alpha)
    with np.errstate(divide="ignore"):
        table = np.log(trees.members).astype(np.float32)
    rule: Any = AlphaThreshold(jnp.asarray(trees.alpha, jnp.float32))
    if quorum:
        rule = TopK(jnp.full(count, 2)) | rule
    budget = None if factor is None else InflationBudget(factor=jnp.full(count, factor))
    ensemble = HistoryTables(table=jnp.asarray(table), prior=jnp.asarray(trees.prior, jnp.float32))
    learner = Learner(ensemble, rule, budget=budget)
    # Beyond the last step of a tree no member is defined; every level is padded, so that one program serves all.
    width = (2 * A) ** (depth - 1)
    states = _starts(learner)
    reached = np.ones((count, 1))
    exact, summed = np.zeros((count, 1)), np.zeros((count, 1))
    sequence = np.zeros(1, int)
    by_demonstrator = np.ones((count, 1))
    levels: list[Level] = []
    first = 0
    for _ in range(depth):
        H = reached.shape[1]
        padded = jax.tree.map(lambda leaf: leaf[:, np.minimum(np.arange(width), leaf.shape[1] - 1)], states)
        decisions, _, children = _levels(learner, padded)
        decision = jax.tree.map(lambda leaf, H=H: np.asarray(leaf)[:, :H], decisions)
        states = jax.tree.map(lambda leaf, H=H: leaf[:, : H * 2 * A], children)
        truth = trees.demonstrator[:, first : first + H]
        rows = trees.members[:, first : first + H]
        lowest = np.where(decision.selected[..., None], rows, np.inf).min(axis=2)
        theta = 1 - lowest.sum(-1)
        levels.append(
            Level(
                reached=reached,
                ledger=np.asarray(padded.stream.ledger)[:, :H],
                exact_ledger=exact,
                summed=summed,
                theta=theta,
                decision=decision,
                children=np.asarray(states.stream.ledger).reshape(count, H, 2 * A),
            )
        )
        step = np.where(decision.handed_over | (lowest.max(-1) == 0), 0.0, np.log1p(theta))
        exact = np.repeat(exact + step, 2 * A, axis=1)
        summed = np.repeat(summed + decision.log_inflation.astype(np.float64), 2 * A, axis=1)
        own = decision.min_probs.astype(np.float64)
        asked = decision.query_prob.astype(np.float64)[..., None] * truth
        reached = (reached[..., None] * np.stack([own, asked], axis=-1).reshape(count, H, 2 * A)).reshape(count, -1)
        # The demonstrator's own law of action sequences, read off where it has acted all the time.
        one_each = np.unique(sequence, return_index=True)[1]
        by_demonstrator = (by_demonstrator[..., None] * truth[:, one_each]).reshape(count, -1)
        sequence = (sequence[:, None] * A + np.repeat(np.arange(A), 2)).reshape(-1)
        first += H
    imitator = np.stack([np.bincount(sequence, weights=row, minlength=A**depth) for row in reached])
    return Enumeration(levels, imitator, by_demonstrator, reached, exact)


def _node_without_who(A: int, depth: int) -> np.ndarray:
    """For every node the number of its action sequence, breadth first."""
    number = np.zeros(1, int)
    found = [number]
    for _ in range(depth - 1):
        number = (number[:, None] * A + 1 + np.repeat(np.arange(A), 2)).reshape(-1)
        found.append(number)
    return np.concatenate(found)
