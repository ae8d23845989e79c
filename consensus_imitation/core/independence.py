"""How many members err independently: with a lower limit, and without the demonstrator's own noise where it is known.

`merging.effective_members` is a number without an error. Here it comes from the members' errors one answer at a time,
with a jackknife over answers. And where the demonstrator's law is known, the *excess* error is what remains when its
own is taken off: an answer that it gives rarely is an error of every member at once, and hides how independent they
are.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from consensus_imitation.core.merging import CONSTANT


class EffectiveMembers(NamedTuple):
    """An estimate, and what it is at least.

    Attributes:
        estimate: ``N / (1 + (N - 1) rho)``, in [1, N], rho being the mean correlation of the errors over all pairs.
        lower: its lower confidence limit, in [1, N]; approximate, for many independent answers.
    """

    estimate: float
    lower: float


def effective_members(errors: ArrayLike, own: ArrayLike | None = None, confidence: float = 0.95) -> EffectiveMembers:
    """Return how many independent members would err as these do, with a jackknife lower limit.

    Args:
        errors: [Q, N], ``1 - pi_n(a)`` of each member at each of Q answers.
        own: [Q], the demonstrator's own ``1 - pi_d(a)`` at them, to be taken off; None where its law is not known.
        confidence: one-sided, in (0, 1).

    Returns:
        Both 1 with fewer than three answers: independence has to be shown.

    Raises:
        ValueError: for shapes that do not fit, numbers that are not finite, or a confidence out of range.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.independence import effective_members
        >>> found = effective_members(np.random.default_rng(0).normal(size=(400, 4)))
        >>> found.lower > 3, found.lower <= found.estimate <= 4
        (True, True)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
    seen = np.asarray(errors, np.float64)
    if seen.ndim != 2 or not seen.shape[1]:
        raise ValueError(f"errors must have shape [Q, N], got {seen.shape}")
    if own is not None:
        theirs = np.asarray(own, np.float64)
        if theirs.shape != seen.shape[:1]:
            raise ValueError(f"own must have shape [{len(seen)}], one number per answer; got {theirs.shape}")
        seen = seen - theirs[:, None]
    if not np.all(np.isfinite(seen)):
        raise ValueError("errors must be finite")
    count = len(seen)
    if count < 3:
        return EffectiveMembers(1.0, 1.0)
    seen = seen - seen.mean(axis=0)
    squares = seen.T @ seen
    estimate = _effective(squares / count)
    # The mean of all is 0, so that of all but one is minus that one over the others' number.
    without = np.array(
        [
            _effective((squares - np.outer(one, one)) / (count - 1) - np.outer(one, one) / (count - 1) ** 2)
            for one in seen
        ]
    )
    spread = np.sqrt((count - 1) / count * np.sum((without - without.mean()) ** 2))
    lower = estimate - special.stdtrit(count - 1, confidence) * spread
    return EffectiveMembers(estimate, float(np.clip(lower, 1.0, estimate)))


def _effective(covariance: np.ndarray) -> float:
    """Return what a covariance [N, N] makes of it; members whose errors never vary count as fully correlated."""
    size, variance = len(covariance), np.diagonal(covariance)
    if size == 1:
        return 1.0
    varies = variance > CONSTANT**2
    known = varies[:, None] & varies[None, :]
    scale = np.sqrt(np.where(known, variance[:, None] * variance[None, :], 1.0))
    correlation = np.where(known, np.clip(covariance / scale, -1.0, 1.0), 1.0)
    rho = (correlation.sum() - np.trace(correlation)) / (size * (size - 1))
    return float(size / np.clip(1 + (size - 1) * rho, 1.0, size))
