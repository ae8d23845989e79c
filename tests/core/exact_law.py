"""The law of the draw, exactly: how many of the 2**48 numbers lead to each outcome, found by bisection."""

from typing import Any

import jax
import numpy as np

from consensus_imitation.core.aggregation import ActionLaw
from consensus_imitation.core.draw import draw

BITS = 48
draws = jax.jit(jax.vmap(draw, in_axes=(0, None)))


def words(numbers: Any) -> np.ndarray:
    """The two words of whole numbers below 2**48: uint32 [..., 2]."""
    whole = np.asarray(numbers, np.uint64)
    return np.stack([whole >> np.uint64(16), (whole & np.uint64(0xFFFF)) << np.uint64(16)], -1).astype(np.uint32)


def counts(law: ActionLaw) -> np.ndarray:
    """Of the 2**48 numbers, how many ask, and how many yield each action: int [1 + A].

    It relies on the order of the draw only: the query, the actions one after another, and again the query where mass is
    missing. That outcomes come in this order is checked at every number that is looked at.
    """
    A = law.probs.shape[0]
    theta = float(law.query_prob)

    def rank(numbers: np.ndarray) -> np.ndarray:
        actions = np.asarray(draws(words(numbers), law))
        before = numbers.astype(np.float64) * 2.0**-BITS < theta * (1 + 1e-4) + 2.0**-BITS
        return np.where(actions >= 0, actions + 1, np.where(before, 0, A + 1))

    # The smallest number with a rank of at least r, for r = 1 .. A + 1.
    wanted = np.arange(1, A + 2)
    low, high = np.zeros(A + 1, np.uint64), np.full(A + 1, 2**BITS, np.uint64)
    looked_at: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(BITS + 1):
        middle = (low + high) // np.uint64(2)
        inside = np.minimum(middle, np.uint64(2**BITS - 1))
        found = rank(inside)
        looked_at.append((inside, found))
        enough = (found >= wanted) | (middle == 2**BITS)
        low, high = np.where(enough, low, middle + np.uint64(1)), np.where(enough, middle, high)
        low = np.minimum(low, high)
    numbers, ranks = (np.concatenate(part) for part in zip(*looked_at, strict=True))
    assert np.all(np.diff(ranks[np.argsort(numbers, kind="stable")]) >= 0), "outcomes out of order"
    edges = np.concatenate([[0], high.astype(np.int64), [2**BITS]])
    sizes = np.diff(edges)
    return np.concatenate([[sizes[0] + sizes[-1]], sizes[1:-1]])


def probabilities(law: ActionLaw) -> np.ndarray:
    """The same as probabilities: float64 [1 + A]."""
    return counts(law) / 2.0**BITS
