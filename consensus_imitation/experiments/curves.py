"""How the number of answers grows over a run: the points of its curve, and how asking dies out."""

import math
from collections.abc import Sequence

import numpy as np

from consensus_imitation.experiments.results import Row

#: The curve of answers has points at every tenth of the run, and so many for each doubling of the step.
POINTS_PER_DOUBLING = 2

#: The fit of the decay begins at this step: before it, the imitator asks at every step.
FIRST_STEP_OF_FIT = 16


def edges(num_steps: int) -> list[int]:
    """Return the steps at which the curve has a point: ascending, the last is ``num_steps``.

    Example:
        >>> from consensus_imitation.experiments.curves import edges
        >>> edges(40)
        [4, 8, 11, 12, 16, 20, 22, 24, 28, 32, 36, 40]
    """
    doublings = np.log2(max(num_steps, 8)) - 3
    geometric = 8 * 2 ** (np.arange(0, POINTS_PER_DOUBLING * doublings + 1e-9) / POINTS_PER_DOUBLING)
    tenths = num_steps * np.arange(1, 11) / 10
    points = {int(point) for point in (*geometric, *tenths) if 1 <= point <= num_steps}
    return sorted(points | {num_steps})


def even_steps(num_steps: int, most: int) -> np.ndarray:
    """Return the steps at which curves over time are read: evenly spaced, about ``most``, the last is ``num_steps``.

    Example:
        >>> from consensus_imitation.experiments.curves import even_steps
        >>> even_steps(100, most=5).tolist()
        [1, 25, 50, 75, 100]
    """
    return np.unique(np.linspace(1, num_steps, min(most, num_steps)).astype(int))


def decay_exponent(curve: Sequence[Row]) -> float | None:
    """Fit the slope b of ``log(query rate) = a + b log(step)`` over windows of doubling size, while answers were left.

    b is 0 if the rate does not fall, -1 if the number of queries grows like a logarithm. A window without a query
    enters with half of one, since zero has no logarithm.

    Args:
        curve: points ``step`` and ``answers`` of one run, ascending; and ``spent``.

    Returns:
        b; None with fewer than three windows.

    Example:
        >>> from consensus_imitation.experiments.curves import decay_exponent
        >>> points = [16 * 2**i for i in range(8)]
        >>> root = [{"step": step, "answers": round(100 * step**0.5), "spent": False} for step in points]
        >>> round(decay_exponent(root), 2)  # the rate falls like one over the root of the step
        -0.5
    """
    asked = {int(row["step"]): int(row["answers"]) for row in curve if not row["spent"]}
    ends = sorted(step for step in asked if step >= FIRST_STEP_OF_FIT)
    points: list[tuple[float, float]] = []
    start = ends[0] if ends else 0
    for end in ends[1:]:
        # The points are rounded, so that a doubling can be a step short.
        if end + 1 >= 2 * start:
            rate = max(asked[end] - asked[start], 0.5) / (end - start)
            points.append((math.log(math.sqrt(start * end)), math.log(rate)))
            start = end
    if len(points) < 3:
        return None
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])


def late_rate(curve: Sequence[Row]) -> float | None:
    """Return the share of a run's last tenth of steps on which it asked; None if its answers were spent by then."""
    last = curve[-1]
    if last["spent"]:
        return None
    start = last["step"] * 9 // 10
    before = [row for row in curve if row["step"] <= start]
    first = before[-1] if before else {"step": 0, "answers": 0}
    return float((last["answers"] - first["answers"]) / (last["step"] - first["step"]))
