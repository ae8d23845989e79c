"""How close a member is to the demonstrator, as far as the answers show: for members that are not equal to it.

T2 says of a member that equals the demonstrator how likely it is to be left out. For a network, which equals nobody,
the proof needs at each answer the mean of ``R = q(a) / g(a)``, where q is the posterior's mixture and g the member: for
the demonstrator itself that mean is at most 1. R is seen at every answer, so its mean can be bounded. The largest value
that R could have had, ``max_a q(a) / g(a)``, is known before the answer; it is finite if g calls nothing impossible.

**The limit.** Let ``mu_k`` be the mean of ``R_k`` given everything before the k-th answer, and ``M`` the largest of the
``max_a q(a) / g(a)`` so far. With probability at least 1 - delta, after every answer and for each of J rates lambda
that were fixed before the first answer,

    sum_k mu_k <= (lambda sum_k R_k + ln(J / delta)) / ((1 - exp(-lambda M)) / M).

*Proof.* ``exp(-lambda r) <= 1 - r (1 - exp(-lambda m)) / m`` for r in [0, m], by convexity. So with ``v_k = (1 -
exp(-lambda m_k)) / m_k``, ``exp(sum_k (v_k mu_k - lambda R_k))`` is a non-negative supermartingale that starts at 1.
Ville's inequality, and a union bound over the rates; and ``v_k`` falls in ``m_k``, so every ``v_k`` is at least that of
M. The ``mu_k`` may differ from answer to answer. (Our proof; the argument is Chernoff's.) That the rates are fixed
matters: with rates of ``1 / M`` the limit was too low in 39% of simulated runs with M growing, of 5% promised. And the
member has to be named beforehand, too: of N members, the heaviest is the one whose answers went best. For whichever of
them it turns out to be, take delta / N.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

#: Rates: the best is about one over the largest ratio, which is at least 1, and may be as large as 2^50.
_RATES = tuple(2.0 ** (2 - i) for i in range(64))


@dataclass(frozen=True)
class Closeness:
    """What the answers so far say of how close each of N members is; a value that is never changed in place.

    Attributes:
        total: float64 [N], sum of the ratios ``q(a) / g(a)`` at the answers.
        largest: float64 [N], the largest that a ratio could have been.
        count: answers.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.closeness import Closeness
        >>> seen = Closeness.nothing(2)
        >>> log_probs = np.log([[0.5, 0.5], [0.4, 0.6]])
        >>> for k in range(400):
        ...     seen = seen.after(np.zeros(2), log_probs, answer=k % 2)
        >>> 0 < seen.mean_excess(0, delta=0.05) < 0.3
        True
    """

    total: np.ndarray
    largest: np.ndarray
    count: int

    @classmethod
    def nothing(cls, num_members: int) -> Self:
        """Before the first answer."""
        return cls(np.zeros(num_members), np.zeros(num_members), 0)

    def after(self, log_weights: np.ndarray, log_probs: np.ndarray, answer: int) -> Self:
        """Count one answer.

        Args:
            log_weights: [N], the posterior's before the answer.
            log_probs: [N, A], what each member had said, normalised; a member that said nothing all ``-inf``.
            answer: in ``0 .. A-1``.
        """
        said = np.exp(np.asarray(log_probs, np.float64))
        awake = np.any(said > 0, axis=-1)
        weights = np.where(awake, np.exp(np.asarray(log_weights, np.float64) - np.max(log_weights)), 0.0)
        if weights.sum() == 0:
            return self
        mixture = weights @ said / weights.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(mixture > 0, mixture / said, 0.0)
        # A member that sleeps keeps its share of the weight: its ratio is 1, whatever the answer.
        seen = np.where(awake, ratios[:, answer], 1.0)
        most = np.where(awake, ratios.max(axis=-1), 1.0)
        return type(self)(self.total + seen, np.maximum(self.largest, most), self.count + 1)

    @staticmethod
    def reweighed(log_weights: np.ndarray, log_probs: np.ndarray, answer: int) -> np.ndarray:
        """Return the posterior's log-weights [N] after an answer, for the next of several that came at once.

        Args:
            log_weights: [N], before it.
            log_probs: [N, A], as for `after`. A member that sleeps keeps its share of the weight.
            answer: in ``0 .. A-1``; one that nobody thought possible changes nothing.
        """
        awake = np.any(np.isfinite(log_probs), axis=-1)
        at = np.where(awake, log_probs[:, answer], -np.inf)
        before, after = (np.logaddexp.reduce(np.where(awake, log_weights + more, -np.inf)) for more in (0.0, at))
        # Where nobody is awake, or nobody thought it possible, nothing is learned.
        if not np.isfinite(before) or not np.isfinite(after):
            return log_weights
        return log_weights + np.where(awake, at, after - before)

    def mean_excess(self, member: int, delta: float) -> float:
        """Return an upper limit on the mean of ``mu_k - 1`` over the answers so far, valid after every answer.

        Args:
            member: which one; named before the first answer.
            delta: probability that the limit is ever too low, in (0, 1).

        Returns:
            At least 0; ``inf`` without answers, and where the member called possible answers impossible.

        Raises:
            ValueError: if delta is out of range.
        """
        if not 0 < delta < 1:
            raise ValueError(f"delta must lie in (0, 1), got {delta}")
        most, total = float(self.largest[member]), float(self.total[member])
        if not self.count or not math.isfinite(most) or not math.isfinite(total) or most == 0:
            return math.inf
        cost = math.log(len(_RATES) / delta)
        limits = [most * (rate * total + cost) / -math.expm1(-rate * most) for rate in _RATES]
        return max(0.0, min(limits) / self.count - 1)

    def saved(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {"total": self.total.tolist(), "largest": self.largest.tolist(), "count": self.count}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """What was `saved`."""
        return cls(np.array(saved["total"], float), np.array(saved["largest"], float), int(saved["count"]))
