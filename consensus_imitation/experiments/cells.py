"""Numbers with their intervals as cells of tables."""

from collections.abc import Sequence

from consensus_imitation.experiments.statistics import mean_interval


def plus_minus(scale: float, values: Sequence[float]) -> str:
    """Return the mean and half the width of its 95% interval."""
    mean, _, high = mean_interval(values)
    if high != high:  # a single seed has no interval
        return f"{scale * mean:.3g}"
    return f"{scale * mean:.3g} ± {scale * (high - mean):.1g}"


def percent(share: float, low: float, high: float) -> str:
    """Return a share and its interval, in percent."""
    return f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
