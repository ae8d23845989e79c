"""The bounds, as functions of what they depend on. Statements and proofs: ``docs/theory.md``.

Every function names its theorem and its assumptions, refuses arguments outside them, and returns ``inf`` or 1 where the
bound is empty. All are plain Python on floats: they are for plans and reports, not for the inner loop.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize

from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.core.selection import TIE_TOLERANCE, SelectionRule

_TINY = float(np.finfo(np.float32).tiny)


def alpha_for(delta: float, prior_weight: float) -> float:
    """Return the alpha with which the truth is ever left out with probability at most delta (T2).

    Args:
        delta: wanted failure probability, in (0, 1].
        prior_weight: of the member that equals the demonstrator, in (0, 1].

    Returns:
        ``delta * prior_weight``.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.alpha_for(delta=0.05, prior_weight=0.125)
        0.00625
    """
    return _probability("delta", delta, positive=True) * _probability("prior_weight", prior_weight, positive=True)


def cubed_query_bound(rule: SelectionRule, prior: Sequence[float], truth: int, ties: bool = True) -> float:
    """Return a bound s on the expected sum of cubed query probabilities, over any number of steps (T3).

    Assumes that member ``truth`` equals the demonstrator, that every selected member's prediction can be used and
    withholds nothing, and that one decision falls between two updates. It holds in any environment, for any other
    members and any number of actions, and for each stream of a batch.

    Members of equal weight are selected together: all members of a uniform prior before the first answer, and exact
    copies at every step. So K, how many members besides the truth can be selected, is N - 1 in general.

    Args:
        rule: the selection rule.
        prior: [N], prior weights; normalised here. With the posterior's, the bound is about what comes from now on.
        truth: index of the member that equals the demonstrator; its weight must be positive.
        ties: whether members may ever have equal weights. False only if no two ever come within 1e-5 nats of one
            another, which counts as a tie: then K is at most ``rule.largest_set``, too.

    Returns:
        The least value over ``beta > 0`` of ``K/2 (1 + beta/alpha)^2 sum_{n != truth} ln(1 + w_n / (beta w))``, with K
        counting members of positive weight; ``inf`` where the rule takes in members however light (`TopK`, and every
        union with it): then no such bound exists.

    Raises:
        ValueError: for a bad prior or index.

    Example:
        >>> from consensus_imitation import AlphaThreshold, TopK
        >>> from consensus_imitation.core import bounds
        >>> round(bounds.cubed_query_bound(AlphaThreshold(0.002), [1.0] * 8, truth=0), 1)
        248.5
        >>> bounds.cubed_query_bound(TopK(2), [0.5, 0.5], truth=0)
        inf
    """
    share, ratios, largest = _against_truth(rule, prior, truth, ties)
    if share == 0:
        return math.inf

    def bound(log_scale: float) -> float:
        # Of the scale beta / alpha; any is a bound.
        scale = math.exp(log_scale)
        return float(largest / 2 * (1 + scale) ** 2 * np.sum(np.log1p(ratios / (scale * share))))

    best = optimize.minimize_scalar(bound, bounds=(-20.0, 1.0), method="bounded", options={"xatol": 1e-6})
    return min(bound(0.0), float(best.fun))


def cubed_query_limit(
    rule: SelectionRule, prior: Sequence[float], truth: int, delta: float, ties: bool = True, num_streams: int = 1
) -> float:
    """Return a limit S that the sum of cubed query probabilities *ever* exceeds with probability at most delta (T3).

    The sum is over any number of steps, so it may be looked at after every one. That of the squares ``theta^2`` over
    the questions that were *answered* has the same limit, whatever decides who is asked, and whichever questions get no
    answer, as long as that has nothing to do with what the answer would be. An observed sum of squares above S refutes,
    at level delta, that member ``truth`` equals the demonstrator, whatever its answers were. Else the assumptions are
    those of `cubed_query_bound`; if members withhold at most v, both sums are of ``theta - v`` in the place of theta
    (the cube's first factor aside).

    Args:
        rule: the selection rule.
        prior: [N], prior weights; or the posterior's, for the sum from now on.
        truth: index of the member that equals the demonstrator; its weight must be positive.
        delta: in (0, 1].
        ties: as for `cubed_query_bound`.
        num_streams: B; of several, S is the limit of the squares over all of them together (not of the cubes).

    Returns:
        ``2 K sum_{n != truth} (B + c_n)`` over members with ``c_n = ln(M / delta) + ln(w_n / (alpha w)) / 2 >= 0``, M
        being the number of members besides the truth; ``inf`` where `cubed_query_bound` is.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> from consensus_imitation import AlphaThreshold
        >>> from consensus_imitation.core import bounds
        >>> round(bounds.cubed_query_limit(AlphaThreshold(0.002), [1.0] * 8, truth=0, delta=0.05))
        887
    """
    _probability("delta", delta, positive=True)
    share, ratios, largest = _against_truth(rule, prior, truth, ties)
    if share == 0:
        return math.inf
    logs = math.log(max(1, ratios.size) / delta) + np.log(ratios / share) / 2
    return float(2 * largest * np.sum(num_streams + logs[logs >= 0]))


def _against_truth(
    rule: SelectionRule, prior: Sequence[float], truth: int, ties: bool
) -> tuple[float, np.ndarray, float]:
    """Return alpha, the other members' weights relative to the truth's, those of zero left out, and K."""
    given = np.asarray(prior, np.float64)
    if not np.all(np.isfinite(given)) or np.any(given < 0):
        normalise_prior(prior)  # This says what is wrong.
    # A posterior's smallest weights are below what a prior may be. To raise them can only raise a bound.
    weights = normalise_prior(np.where(given > 0, np.maximum(given, 2 * _TINY * given.sum()), 0.0))
    if not 0 <= truth < len(weights):
        raise ValueError(f"truth must be the index of one of {len(weights)} members, got {truth}")
    if weights[truth] == 0:
        raise ValueError(f"member {truth} has prior weight 0, so it can never be the truth")
    others = np.delete(weights, truth)
    others = others[others > 0]
    largest = others.size if ties else min(others.size, rule.largest_set)
    # What counts as a tie, or as just above a threshold, is selected, too.
    return rule.smallest_share / (1 + 2 * TIE_TOLERANCE), others * (given.sum() / given[truth]), largest


def expected_queries_bound(cubed: float, num_steps: int) -> float:
    """Return a bound on the expected number of queries in T steps: ``s^(1/3) T^(2/3)``, at most T (T3, by Hölder).

    Args:
        cubed: s, from `cubed_query_bound`; may be ``inf``.
        num_steps: T, at least 0.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> round(bounds.expected_queries_bound(cubed=10.0, num_steps=10_000))
        1000
    """
    _non_negative("cubed", cubed)
    _non_negative("num_steps", num_steps)
    return min(float(num_steps), cubed ** (1 / 3) * num_steps ** (2 / 3)) if num_steps else 0.0


def merging_cost(num_members: int, tolerance: float, num_steps: int, num_streams: int = 1) -> float:
    """Return what merging near-duplicates adds to `expected_queries_bound`: ``(N - 1) (B + tolerance T)``.

    Each of at most N - 1 steps tells members apart that had been merged, and may ask in every stream; after that the
    members of a group differ by at most the tolerance each.

    Args:
        num_members: N, at least 1.
        tolerance: total variation distance up to which members are merged, in [0, 1).
        num_steps: T, of all streams together.
        num_streams: B, that share one posterior.

    Raises:
        ValueError: for arguments out of range.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.merging_cost(num_members=8, tolerance=0.0, num_steps=10_000)
        7.0

    References:
        "Near-duplicates" in ``docs/theory.md``.
    """
    if num_members < 1 or num_streams < 1:
        raise ValueError(f"num_members and num_streams must be at least 1, got {num_members} and {num_streams}")
    _non_negative("num_steps", num_steps)
    return (num_members - 1) * (num_streams + _probability("tolerance", tolerance) * num_steps)


def unlikeliness_bound(
    demonstrator_prob: float, exclusion: float, cubed: float, num_steps: int, c: float | None = None
) -> float:
    """Return a bound on the imitator's probability of any event within T steps, from the demonstrator's own (T4).

    ``exclusion + s T^2 / c^3 + e^c P_demonstrator(B)`` for every event B over actions and observations up to T.

    Args:
        demonstrator_prob: the event's probability under the demonstrator, in [0, 1].
        exclusion: probability that the truth is ever left out, from ``rule.exclusion_bound``, in [0, 1].
        cubed: s, from `cubed_query_bound`; may be ``inf``.
        num_steps: T, at least 1.
        c: how much inflation to allow, positive; None for the best one.

    Returns:
        A probability; 1.0 where the bound is empty.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.unlikeliness_bound(0.5, exclusion=0.01, cubed=100.0, num_steps=1000)
        1.0
        >>> round(bounds.unlikeliness_bound(1e-12, exclusion=0.01, cubed=2.0, num_steps=10), 3)
        0.032
    """
    _probability("demonstrator_prob", demonstrator_prob)
    _probability("exclusion", exclusion)
    _non_negative("cubed", cubed)
    if not num_steps >= 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if math.isinf(cubed):
        return 1.0

    def bound(log_c: float) -> float:
        # In logarithms, since both terms may overflow long after the bound is vacuous.
        spread = -math.inf if cubed == 0 else math.log(cubed) + 2 * math.log(num_steps) - 3 * log_c
        grown = -math.inf if demonstrator_prob == 0 else math.log(demonstrator_prob) + math.exp(min(log_c, 50.0))
        return exclusion + math.exp(min(spread, 700.0)) + math.exp(min(grown, 700.0))

    if c is not None:
        if not 0 < c < math.inf:
            raise ValueError(f"c must be positive and finite, got {c}")
        return min(1.0, bound(math.log(c)))
    if demonstrator_prob == 0:
        return min(1.0, exclusion)
    # In log c a sum of a falling and a rising convex function: one minimum.
    best = optimize.minimize_scalar(bound, bounds=(-20.0, math.log(700.0)), method="bounded")
    return min(1.0, float(best.fun))


def unlikeliness_limit(demonstrator_prob: float, exclusion: float, limit: float, delta: float, num_steps: int) -> float:
    """Return a bound on the imitator's probability of any event within T steps, from T3 with high probability (T4).

    ``exclusion + delta + exp(T^(2/3) S^(1/3)) P_demonstrator(B)`` for every event B over actions and observations up
    to T. Where `unlikeliness_bound` pays for rare events with ``s T^2 / c^3``, this pays with delta.

    Args:
        demonstrator_prob: the event's probability under the demonstrator, in [0, 1].
        exclusion: probability that the truth is ever left out, from ``rule.exclusion_bound``, in [0, 1].
        limit: S, from `cubed_query_limit` at level delta; may be ``inf``.
        delta: in (0, 1].
        num_steps: T, at least 1.

    Returns:
        A probability; 1.0 where the bound is empty.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> round(bounds.unlikeliness_limit(1e-60, exclusion=0.01, limit=100.0, delta=0.01, num_steps=100), 3)
        0.02
    """
    _probability("demonstrator_prob", demonstrator_prob)
    _probability("exclusion", exclusion)
    _non_negative("limit", limit)
    _probability("delta", delta, positive=True)
    if not num_steps >= 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    if demonstrator_prob == 0:
        return min(1.0, exclusion + delta)
    grown = num_steps ** (2 / 3) * limit ** (1 / 3) + math.log(demonstrator_prob)
    return min(1.0, exclusion + delta + math.exp(min(grown, 700.0)))


def budget_bound(demonstrator_prob: float, exclusion: float, factor: float) -> float:
    """Return a bound on the imitator's probability of any event, at any horizon, under an inflation budget (T5).

    ``factor * P_demonstrator(B) + exclusion``, with no term in T.

    Args:
        demonstrator_prob: the event's probability under the demonstrator, in [0, 1].
        exclusion: from ``rule.exclusion_bound``, in [0, 1].
        factor: of the budget, at least 1.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.budget_bound(0.001, exclusion=0.01, factor=2.0)
        0.012
    """
    _probability("demonstrator_prob", demonstrator_prob)
    _probability("exclusion", exclusion)
    if not factor >= 1 or math.isinf(factor):
        raise ValueError(f"factor must be finite and at least 1 (1 asks at every disagreement), got {factor}")
    return min(1.0, factor * demonstrator_prob + exclusion)


def rounds_query_prob(query_prob: float, rounds: int) -> float:
    """Return the query probability with R rounds: ``theta^R`` (T6).

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.rounds_query_prob(0.5, rounds=3)
        0.125
    """
    return _probability("query_prob", query_prob) ** _rounds(rounds)


def rounds_inflation(query_prob: float, rounds: int) -> float:
    """Return how much likelier R rounds can make any action in one step: ``1 + theta + ... + theta^R`` (T6).

    "Likelier" compares with the demonstrator. Assumes that the truth is in the top set.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.rounds_inflation(0.5, rounds=2)
        1.75
    """
    theta = _probability("query_prob", query_prob)
    return float(sum(theta**i for i in range(_rounds(rounds) + 1)))


def threshold_queries_bound(cubed: float, threshold: float) -> float:
    """Return a bound on the expected number of queries, ever, of the threshold rule: ``s / tau^2`` (T6).

    Args:
        cubed: s, from `cubed_query_bound`; may be ``inf``.
        threshold: tau, in (0, 1].

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.threshold_queries_bound(cubed=10.0, threshold=0.5)
        40.0
    """
    return _non_negative("cubed", cubed) / _probability("threshold", threshold, positive=True) ** 2


def threshold_inflation(threshold: float) -> float:
    """Return how much likelier any action can get in one step of the threshold rule: ``1 / (1 - tau)`` (T6).

    Infinite at tau = 1. Assumes that the truth is in the top set.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> bounds.threshold_inflation(0.5)
        2.0
    """
    tau = _probability("threshold", threshold)
    return math.inf if tau == 1 else 1 / (1 - tau)


def consensus_risk_bound(risks: Sequence[float], s: int, rounds: int) -> float:
    """Bound the risk of consensus sampling: R times the mean risk of the s safest members (T6; Kalai et al. 2025).

    Args:
        risks: [k], each selected member's own probability of the unwanted set of actions.
        s: how many members are averaged, in ``1 .. k``.
        rounds: R, at least 1.

    Example:
        >>> from consensus_imitation.core import bounds
        >>> round(bounds.consensus_risk_bound([0.01, 0.03, 1.0], s=2, rounds=2), 3)
        0.04
    """
    values = sorted(_probability("risk", risk) for risk in risks)
    if not 1 <= s <= len(values):
        raise ValueError(f"s must lie in 1 .. {len(values)}, the number of members, got {s}")
    return min(1.0, _rounds(rounds) * sum(values[:s]) / s)


def _probability(name: str, value: float, positive: bool = False) -> float:
    if not (0 < value <= 1 if positive else 0 <= value <= 1):
        raise ValueError(f"{name} must lie in {'(0, 1]' if positive else '[0, 1]'}, got {value}")
    return float(value)


def _non_negative(name: str, value: float) -> float:
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return float(value)


def _rounds(rounds: int) -> int:
    if rounds != rounds or rounds < 1 or rounds != int(rounds):
        raise ValueError(f"rounds must be at least 1 and an integer, got {rounds}")
    return int(rounds)
