"""How many members err independently: with a lower limit, and without the demonstrator's own noise where it is known.

`merging.effective_members` is a number without an error. Here it comes with a limit, by a jackknife over the answers.
And where the demonstrator's law is known, the *excess* error is what remains when its own is taken off: an answer that
it gives rarely is an error of every member at once, and hides how independent they are.

**The jackknife.** The answers are dealt out to `GROUPS` groups, one after another; the estimate is made again without
each group, and the spread of these estimates gives its standard error (the delete-a-group jackknife of Kott 2001, "The
Delete-a-Group Jackknife", J. Official Statistics 17). It is done of the mean correlation rho, since N_eff is cut off at
N, where it would seem to have no error. With no more answers than groups each is left out by itself. Groups need only
sums, so that a run which goes on keeps them whatever its length. The limit is approximate: it takes answers that are
independent of one another, and many.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from consensus_imitation.core.merging import CONSTANT

#: Groups of the jackknife.
GROUPS = 20


class EffectiveMembers(NamedTuple):
    """An estimate, and what it is at least; `said` puts it in words.

    Attributes:
        estimate: ``N / (1 + (N - 1) rho)``, in [1, N], rho being the mean correlation of the errors over all pairs.
        lower: its lower confidence limit, in [1, N]; approximate, for many independent answers.
        answers: Q, how many answers it rests on.
    """

    estimate: float
    lower: float
    answers: int


@dataclass(frozen=True, eq=False)
class ErrorGroups:
    """Sums of N members' errors over the answers so far, in groups; a value that is never changed in place.

    Attributes:
        count: int64 [G], answers.
        total: float64 [G, N], sum of the errors.
        products: float64 [G, N, N], sum of the products of two members' errors.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.independence import ErrorGroups
        >>> seen = ErrorGroups.nothing(2)
        >>> for errors in np.random.default_rng(0).random((300, 2)):
        ...     seen = seen.after(errors)
        >>> seen.effective().lower > 1.7
        True
    """

    count: np.ndarray
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def nothing(cls, num_members: int) -> Self:
        """Before the first answer."""
        N = num_members
        return cls(np.zeros(GROUPS, np.int64), np.zeros((GROUPS, N)), np.zeros((GROUPS, N, N)))

    @classmethod
    def of(cls, errors: np.ndarray) -> Self:
        """Deal out the errors of Q answers, float [Q, N]."""
        parts = [errors[group::GROUPS] for group in range(GROUPS)]
        return cls(
            np.array([len(part) for part in parts]),
            np.stack([part.sum(axis=0) for part in parts]),
            np.stack([part.T @ part for part in parts]),
        )

    def after(self, errors: np.ndarray) -> Self:
        """Count one answer.

        Args:
            errors: float [N], ``1 - pi_n(a)`` of each member.
        """
        group = int(self.count.sum()) % GROUPS
        count, total, products = self.count.copy(), self.total.copy(), self.products.copy()
        count[group] += 1
        total[group] += errors
        products[group] += np.outer(errors, errors)
        return type(self)(count, total, products)

    def effective(self, confidence: float = 0.95) -> EffectiveMembers:
        """Return how many independent members would err as these do.

        Args:
            confidence: of the lower limit, one-sided, in (0, 1).

        Returns:
            Both 1 with fewer than three answers: independence has to be shown.

        Raises:
            ValueError: for a confidence out of range.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie in (0, 1), got {confidence}")
        answers = int(self.count.sum())
        if answers < 3:
            return EffectiveMembers(1.0, 1.0, answers)
        used = np.flatnonzero(self.count).tolist()
        rho, size = self._without(()), self.total.shape[1]
        apart = np.array([self._without((group,)) for group in used])
        spread = np.sqrt((len(used) - 1) / len(used) * np.sum((apart - apart.mean()) ** 2))
        largest = rho + special.stdtrit(len(used) - 1, confidence) * spread
        return EffectiveMembers(_effective(rho, size), _effective(largest, size), answers)

    def _without(self, groups: Sequence[int]) -> float:
        """Return the mean correlation in the other groups."""
        count, total, products = (
            np.delete(sums, groups, axis=0).sum(axis=0) for sums in (self.count, self.total, self.products)
        )
        mean = total / count
        return _mean_correlation(products / count - np.outer(mean, mean))

    def saved(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {"count": self.count.tolist(), "total": self.total.tolist(), "products": self.products.tolist()}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """What was `saved`."""
        return cls(np.array(saved["count"], np.int64), np.array(saved["total"]), np.array(saved["products"]))


def effective_members(errors: ArrayLike, own: ArrayLike | None = None, confidence: float = 0.95) -> EffectiveMembers:
    """Return how many independent members would err as these do, with a jackknife lower limit.

    `journal.errors.member_errors` reads the arguments out of a run's journal.

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
    return ErrorGroups.of(seen - seen.mean(axis=0) if len(seen) else seen).effective(confidence)


def errors_of(log_probs: ArrayLike, answer: int) -> np.ndarray | None:
    """Return the members' errors at an answer: ``1 - pi_n(a)``, of what they said without what they withheld.

    Args:
        log_probs: [N, A]; a prediction that cannot be used all ``-inf``: its error is 1.
        answer: in ``0 .. A-1``.

    Returns:
        float64 [N]; None if members said something, and none of them thought the answer possible: it counts as little
        as it does for the posterior.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.independence import errors_of
        >>> errors_of(np.log([[0.25, 0.75], [0.25, 0.25]]), answer=0).tolist()
        [0.75, 0.5]
    """
    probs = np.exp(np.asarray(log_probs, np.float64))
    mass = probs.sum(axis=-1)
    if np.any(mass > 0) and not np.any(probs[:, answer] > 0):
        return None
    return 1 - probs[:, answer] / np.where(mass > 0, mass, 1.0)


def said(found: EffectiveMembers, num_members: int, confidence: float) -> str:
    """Return the number in words.

    Args:
        found: of the answers.
        num_members: N.
        confidence: of the limit.

    Example:
        >>> from consensus_imitation.core.independence import EffectiveMembers, said
        >>> said(EffectiveMembers(3.1234, 2.5, 400), 5, 0.95)
        'the 5 members err at 400 answers like 3.12 independent ones (at least 2.5 at 0.95, if answers are independent)'
    """
    return (
        f"the {num_members} members err at {found.answers} answers like {found.estimate:.3g} independent ones (at "
        f"least {found.lower:.3g} at {confidence:g}, if answers are independent)"
    )


def _mean_correlation(covariance: np.ndarray) -> float:
    """Return rho of a covariance [N, N]; members whose errors never vary count as fully correlated."""
    size, variance = len(covariance), np.diagonal(covariance)
    if size == 1:
        return 1.0
    varies = variance > CONSTANT**2
    known = varies[:, None] & varies[None, :]
    scale = np.sqrt(np.where(known, variance[:, None] * variance[None, :], 1.0))
    correlation = np.where(known, np.clip(covariance / scale, -1.0, 1.0), 1.0)
    return float((correlation.sum() - np.trace(correlation)) / (size * (size - 1)))


def _effective(rho: float, size: int) -> float:
    return float(size / np.clip(1 + (size - 1) * rho, 1.0, size))
