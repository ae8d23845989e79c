"""The statistics of runs: intervals, medians, and a test."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from consensus_imitation.deception import judgement

#: Up to so many differences are tested by all of their sign patterns; for more, so many patterns are drawn.
_SIGN_PATTERNS = 100_000


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and its 95% Student-t interval; (mean, nan, nan) for fewer than two values.

    Example:
        >>> from consensus_imitation.experiments import mean_interval
        >>> [round(x, 2) for x in mean_interval([1.0, 2.0, 3.0])]
        [2.0, -0.48, 4.48]
    """
    array = np.asarray(values, np.float64)
    if array.size < 2:
        return float(array.mean()), float("nan"), float("nan")
    interval = judgement.mean_interval(array)
    return float(array.mean()), interval.low, interval.high


def share_interval(count: int, total: int) -> tuple[float, float, float]:
    """Return the share and its exact (Clopper-Pearson) 95% interval.

    Example:
        >>> from consensus_imitation.experiments import share_interval
        >>> [round(x, 3) for x in share_interval(0, 100)]
        [0.0, 0.0, 0.036]
    """
    interval = judgement.clopper_pearson(count, total)
    return count / total, interval.low, interval.high


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95% interval from order statistics, which assumes nothing about the distribution.

    The interval is the shortest pair of order statistics, symmetric in rank, with a coverage of at least 95%; for
    fewer than 6 values there is none, and it is the smallest and the largest value (coverage ``1 - 2^(1-n)``, 93.75%
    for five). ``inf`` is a value like others.

    Raises:
        ValueError: without values.

    Example:
        >>> from consensus_imitation.experiments.statistics import median_interval
        >>> median_interval([300.0, 100.0, float("inf"), 200.0, 400.0])
        (300.0, 100.0, inf)
    """
    ordered = sorted(float(value) for value in values)
    if not ordered:
        raise ValueError("a median needs at least one value")
    n = len(ordered)
    # x_(l) .. x_(n+1-l) misses the median with probability 2 P(Bin(n, 1/2) < l).
    rank = 1
    while 2 * stats.binom.cdf(rank, n, 0.5) <= 0.05:
        rank += 1
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return middle, ordered[rank - 1], ordered[n - rank]


def sign_flip(differences: Sequence[float]) -> float:
    """Return the probability of a mean at least this large if each difference could as well have had the other sign.

    It is exact for up to 16 differences. For more, 100,000 sign patterns are drawn, and it is never below 1e-5.

    Args:
        differences: one per seed, at least one.

    Raises:
        ValueError: without differences.

    Example:
        >>> from consensus_imitation.experiments.statistics import sign_flip
        >>> sign_flip([0.9, 0.8, 1.0, 0.7, 0.9]) == 1 / 32, sign_flip([0.0, 0.0])
        (True, 1.0)
    """
    values = np.asarray(differences, np.float64)
    if values.size == 0:
        raise ValueError("a test needs at least one difference")
    if values.size == 1:
        # SciPy asks for two.
        return 0.5 if values[0] > 0 else 1.0
    found = stats.permutation_test(
        (values,),
        # Rounding could otherwise tell equal sums apart.
        lambda signed, axis: np.round(np.sum(signed, axis=axis), 9),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=_SIGN_PATTERNS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
