"""Semi-informative priors: what to believe of something that has never happened, and of models by their length.

One knows little but the probability ``f`` of a success in the first of a series of trials, and how much that number is
worth: ``v`` virtual successes. The rate of success then has the law ``Beta(v, v / f - v)``, and after ``n`` trials
without success the next one succeeds with the probability ``v / (v / f + n)``: doubt that gives way to evidence, but
never to a single clean run. A *belief* is not a bound (see `core.betting` for one): it is as good as ``f``.

Reference:
    Davidson (2021), "Semi-informative priors over AI timelines", Open Philanthropy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import special

from consensus_imitation.core._validation import check_integer, check_integers
from consensus_imitation.errors import ConfigurationError


@dataclass(frozen=True)
class SemiInformative:
    """A belief about a rate, before or after trials; never changed in place. Begin by `semi_informative`.

    Attributes:
        first_trial_prob: f, probability of success in the very first trial, in (0, 1).
        virtual_successes: v, positive.
        clean: trials without success so far.
        happened: trials with success so far.

    Raises:
        ConfigurationError: for a number out of range.
    """

    first_trial_prob: float
    virtual_successes: float = 1.0
    clean: int = 0
    happened: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.first_trial_prob < 1 and 0 < self.virtual_successes < math.inf):
            raise ConfigurationError(
                "first_trial_prob must lie in (0, 1) and virtual_successes be positive and finite, got "
                f"{self.first_trial_prob!r} and {self.virtual_successes!r}"
            )
        check_integer("clean", self.clean, 0)
        check_integer("happened", self.happened, 0)

    def after(self, clean: int = 0, happened: int = 0) -> Self:
        """Return the belief after more trials.

        Args:
            clean: of them without success.
            happened: of them with it.

        Example:
            >>> from consensus_imitation import priors
            >>> priors.semi_informative(1 / 300).after(clean=64) == priors.SemiInformative(1 / 300, clean=64)
            True
        """
        more = check_integer("clean", clean, 0), check_integer("happened", happened, 0)
        return replace(self, clean=self.clean + more[0], happened=self.happened + more[1])

    def hazard(self, coming: int = 1) -> float:
        """Return the probability of at least one success in the next trials.

        Args:
            coming: m, at least 0.

        Returns:
            ``1 - E[(1 - rate)^m]``; before any success ``1 - prod_{i < m} (1 - v / (v / f + n + i))``, which for v = 1
            is ``m / (1 / f - 1 + n + m)``.

        Example:
            >>> from consensus_imitation import priors
            >>> belief = priors.semi_informative(1 / 300).after(clean=64)
            >>> f"{belief.hazard(16):.1%}"
            '4.2%'
        """
        check_integer("coming", coming, 0)
        successes, failures = self._beta()
        # The logarithm of what it takes for all to be clean; a difference of lbeta would lose it to rounding.
        logs = np.log1p(-successes / (successes + failures + np.arange(coming)))
        return float(-np.expm1(logs.sum()))

    def weights(self, lengths: Sequence[int]) -> np.ndarray:
        """Return prior weights of models by their length: how long the first that is right turns out to be.

        Trial l + 1 is a success if the shortest model that is right has length l. Long models so lose weight as a
        power of their length, and not exponentially as by ``2^-length``: T2's bound ``alpha / weight`` still says
        something of them.

        Args:
            lengths: [N], of each model, at least 0: bits, parameters, lines of a program. Models of one length share
                its probability.

        Returns:
            float64 [N], that sum to one: of the probability of the lengths that are there, each model's share.

        Example:
            >>> from consensus_imitation import priors
            >>> priors.semi_informative(0.5).weights([0, 1, 1, 2]).round(3).tolist()
            [0.667, 0.111, 0.111, 0.111]
        """
        own = np.asarray(check_integers("lengths", lengths, 0))
        if not own.size:
            raise ConfigurationError("lengths must name at least one model")
        successes, failures = self._beta()
        different, which, count = np.unique(own, return_inverse=True, return_counts=True)
        # P(first success at l + 1) = B(a + 1, b + l) / B(a, b).
        logs = special.betaln(successes + 1, failures + different)
        shares = np.exp(logs - logs.max()) / count
        return (shares / (shares * count).sum())[which]

    def __str__(self) -> str:
        harmed = f", {self.happened} with harm" if self.happened else ", all clean"
        seen = f"{self.clean + self.happened} trials{harmed}"
        return (
            f"{self.hazard():.3g} in the next and {self.hazard(100):.3g} in the next 100, of one who gave the first "
            f"{self.first_trial_prob:.3g} (worth {self.virtual_successes:g}), after {seen} (a belief)"
        )

    def _beta(self) -> tuple[float, float]:
        """Return the parameters of the rate's beta law."""
        virtual = self.virtual_successes
        return virtual + self.happened, virtual / self.first_trial_prob - virtual + self.clean


def semi_informative(first_trial_prob: float, virtual_successes: float = 1.0) -> SemiInformative:
    """Return what is believed before the first trial (Davidson 2021).

    Args:
        first_trial_prob: f, probability of success in the very first trial, in (0, 1).
        virtual_successes: v, how many successes that number is worth: with fewer, clean trials count for more.

    Raises:
        ConfigurationError: for a number out of range.

    Example:
        >>> from consensus_imitation import priors
        >>> [f"{priors.semi_informative(1 / f).after(clean=64).hazard(16):.1%}" for f in (50, 100, 300, 1000, 3000)]
        ['12.4%', '8.9%', '4.2%', '1.5%', '0.5%']
    """
    return SemiInformative(first_trial_prob, virtual_successes)
