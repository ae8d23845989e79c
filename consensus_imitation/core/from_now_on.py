"""What may be said of the rest of a run, from its weights and its ledger as they are now.

A run that goes on is a run that begins: its prior is the posterior of now, and each member's law is that of a history
which has begun already. So every bound of a prior (`bounds`, ``rule.exclusion_bound``) holds of what comes, *given what
was*, with the posterior's weights in its place. As evidence comes in, these bounds fall; those of the start do not.
"From now on" in ``docs/theory.md``.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from consensus_imitation.core.selection import SelectionRule


def weights_now(log_weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return a posterior's weights in double precision: float64 [N], summing to one.

    Args:
        log_weights: float [N], unnormalised; ``-inf`` for a member that is ruled out.

    Example:
        >>> from consensus_imitation.core import from_now_on
        >>> from_now_on.weights_now([0.0, float("-inf")]).tolist()
        [1.0, 0.0]
    """
    return special.softmax(np.asarray(log_weights, np.float64))


def exclusion_bound(rule: SelectionRule, weights: Sequence[float] | np.ndarray, truth: int) -> float:
    """Return a bound on P(member ``truth`` is left out now or ever later, given what was so far) (T2).

    Assumes that member ``truth`` equals the demonstrator from now on, and what T2 assumes of the answers to come.

    Args:
        rule: the selection rule; the alpha rule's bound is ``alpha / w_t``.
        weights: [N], the posterior's.
        truth: index of a member.

    Returns:
        A probability; 1.0 where nothing is promised, and for a member of weight zero.

    Raises:
        ValueError: if there is no such member.

    Example:
        >>> from consensus_imitation import AlphaThreshold
        >>> from consensus_imitation.core import from_now_on
        >>> from_now_on.exclusion_bound(AlphaThreshold(0.002), [0.8, 0.2], truth=0)
        0.0025
    """
    given = np.asarray(weights, np.float64)
    if not 0 <= truth < given.size:
        raise ValueError(f"truth must be the index of one of {given.size} members, got {truth}")
    weight = float(given[truth] / given.sum())
    return 1.0 if weight == 0 else rule.exclusion_bound(weight, given.size)


def credence(rule: SelectionRule, weights: Sequence[float] | np.ndarray) -> float:
    """Return a bound on the credence that the truth is out, or will be, of one who believes the posterior (T2).

    ``sum_n w_n min(1, bound_n)``, which is ``sum_n min(w_n, alpha)`` for the alpha rule. This is a belief and not a
    guarantee: it is as good as the prior was, and assumes that some member equals the demonstrator.

    Args:
        rule: the selection rule.
        weights: [N], the posterior's.

    Example:
        >>> from consensus_imitation import AlphaThreshold
        >>> from consensus_imitation.core import from_now_on
        >>> round(from_now_on.credence(AlphaThreshold(0.002), [0.9, 0.0999, 0.0001]), 6)
        0.0041
    """
    given = np.asarray(weights, np.float64) / np.sum(weights)
    return float(sum(w * min(1.0, rule.exclusion_bound(float(w), given.size)) for w in given if w > 0))


def factor_left(factor: float, ledger: float) -> float:
    """Return what remains of an inflation budget: ``factor * exp(-ledger)``, at least 1 (T5).

    For every event B, at every horizon, given what was so far: P(B) under the imitator is at most this factor times
    P(B) under a demonstrator that takes over now, plus P(the truth is out now or ever later).

    Args:
        factor: of the whole budget, at least 1.
        ledger: log of the inflation spent, at least 0.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> from consensus_imitation.core import from_now_on
        >>> round(from_now_on.factor_left(factor=2.0, ledger=0.5), 3)
        1.213
    """
    if not factor >= 1 or math.isinf(factor):
        raise ValueError(f"factor must be finite and at least 1, got {factor}")
    if not ledger >= 0:
        raise ValueError(f"ledger must not be negative, got {ledger}")
    return max(1.0, factor * math.exp(-ledger))


def close_exclusion_bound(exclusion: float, total: float) -> float:
    """Return a bound on P(a member that is only close to the demonstrator is ever left out) (T2 for close members).

    Let ``eps_k`` be known before the k-th answer, with ``pi_d(a) <= exp(eps_k) g(a)`` for every action a. Then member g
    is ever left out *while the sum of eps_k over the answers is at most E* with probability at most ``e^E`` times the
    bound for a member that equals the demonstrator. It is enough that the mean of ``q(a) / g(a)`` over the
    demonstrator's answers is at most ``exp(eps_k)``, q being the posterior mixture: see `closeness`.

    Args:
        exclusion: of a member that equals the demonstrator, from `exclusion_bound` of an alpha rule, in [0, 1].
        total: E, at least 0.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> from consensus_imitation.core import from_now_on
        >>> round(from_now_on.close_exclusion_bound(0.002, total=3.0), 4)
        0.0402
    """
    if not 0 <= exclusion <= 1:
        raise ValueError(f"exclusion must lie in [0, 1], got {exclusion}")
    if not total >= 0:
        raise ValueError(f"total must not be negative, got {total}")
    return min(1.0, exclusion * math.exp(min(total, 700.0)))
