"""A confidence sequence for how often something happens, by betting: valid after every observation, not at one only.

For each candidate rate m two gamblers bet on the observations x_1, x_2, ... in [0, 1]: one that their mean is above m,
one that it is below. A gambler's capital is the product of ``1 + lambda (x - m)``. If the mean is m, no gambler can
expect to win, so by Ville's inequality either capital *ever* reaches 2/delta with probability at most delta/2. Out are
the rates from which on every capital against a lower mean has reached it, and likewise at the other end (Waudby-Smith
and Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS B 86). Each gambler spreads its capital
over stakes that are best after 100, 1,000 and 10,000 observations, most of it for 1,000.

It is about a rate that does not change: each observation has the mean m, given those before. If rates change, the upper
end still says that not *every* one of them was above it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np

_GRID = 1000
#: After how many observations each stake is best, and which share of the capital is on it.
_HORIZONS, _SHARES = (100.0, 1000.0, 10_000.0), (0.05, 0.85, 0.1)


@dataclass(frozen=True, eq=False)
class BettingSequence:
    """What the observations so far say; a value that is never changed in place. Begin by `BettingSequence.begin`.

    Attributes:
        delta: probability that the true rate is ever excluded.
        count: observations.
        total: their sum.
        low: lower end of the interval.
        high: upper end.
        log_capital: float64 [2, J, G], of those who bet above and below, for each stake and candidate rate.
        broke: bool [2, G], where a capital has ever reached ``2 / delta``.

    Example:
        >>> from consensus_imitation.core.betting import BettingSequence
        >>> seen = BettingSequence.begin(delta=0.05).after([0] * 300 + [1])
        >>> seen.low < 1 / 301 < seen.high < 0.05
        True
    """

    delta: float
    count: int
    total: float
    low: float
    high: float
    log_capital: np.ndarray
    broke: np.ndarray

    @classmethod
    def begin(cls, delta: float = 0.05) -> Self:
        """Before the first observation: every rate is possible.

        Raises:
            ValueError: if delta is not in (0, 1).
        """
        if not 0 < delta < 1:
            raise ValueError(f"delta must lie in (0, 1), got {delta}")
        size = _GRID + 1
        return cls(delta, 0, 0.0, 0.0, 1.0, np.zeros((2, len(_HORIZONS), size)), np.zeros((2, size), bool))

    def after(self, observations: Iterable[float], *, at_once: bool = False) -> Self:
        """Return the sequence after more observations.

        Args:
            observations: each in [0, 1], in the order in which they came: a capital may be looked at after each of them
                only because nobody chose the order by what they are.
            at_once: look after the last of them only, where their order is not known: it does not matter then.

        Raises:
            ValueError: for one outside of it.
        """
        values = np.array(list(observations), float)
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError("observations must lie in [0, 1]")
        capital, broke = self.log_capital.copy(), self.broke.copy()
        rates, stakes = _rates(), _stakes(self.delta)
        shares = np.log(_SHARES)[None, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            # A stake of everything is lost where the rate is certain: log 0, and nothing comes back.
            gains = {x: np.log(np.maximum(1 + stakes * (x - rates), 0.0)) for x in np.unique(values).tolist()}
            for k, x in enumerate(values.tolist(), start=1):
                capital += gains[x]
                if at_once and k < len(values):
                    continue
                broke |= np.logaddexp.reduce(shares + capital, axis=1) >= math.log(2 / self.delta)
        below = np.flatnonzero(~broke[0])
        above = np.flatnonzero(~broke[1])
        low = 1.0 if not below.size else float(rates[below[0] - 1]) if below[0] else 0.0
        high = 0.0 if not above.size else float(rates[above[-1] + 1]) if above[-1] < _GRID else 1.0
        count, total = self.count + len(values), self.total + float(values.sum())
        return type(self)(self.delta, count, total, low, high, capital, broke)

    def saved(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {
            "delta": self.delta,
            "count": self.count,
            "total": self.total,
            "log_capital": self.log_capital.tolist(),
            "broke": self.broke.astype(int).tolist(),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """What was `saved`."""
        capital, broke = np.array(saved["log_capital"], float), np.array(saved["broke"], bool)
        bare = cls(saved["delta"], int(saved["count"]), float(saved["total"]), 0.0, 1.0, capital, broke)
        return bare.after([])


@lru_cache(maxsize=1)
def _rates() -> np.ndarray:
    """Candidate rates [G]: closer to one another at the ends, where harm is."""
    return (1 - np.cos(np.pi * np.linspace(0, 1, _GRID + 1))) / 2


@lru_cache(maxsize=8)
def _stakes(delta: float) -> np.ndarray:
    """Stakes [2, J, G]: those of a likelihood ratio against the mean by which a rate is just refuted at a horizon."""
    rates, stakes = _rates(), np.zeros((2, len(_HORIZONS), _GRID + 1))
    for j, (horizon, share) in enumerate(zip(_HORIZONS, _SHARES, strict=True)):
        wanted = (math.log(2 / delta) - math.log(share)) / horizon
        for side in (0, 1):
            near, far = rates.copy(), np.full_like(rates, 1.0 - side)
            for _ in range(60):
                middle = (near + far) / 2
                enough = _divergence(middle, rates) >= wanted
                near, far = np.where(enough, near, middle), np.where(enough, middle, far)
            with np.errstate(divide="ignore", invalid="ignore"):
                stake = (far - rates) / (rates * (1 - rates))
            # At the ends of the range a gambler can only lose, or cannot lose.
            stakes[side, j] = np.where(np.isfinite(stake), stake, 1.0 if side == 0 else -1.0)
    return stakes


def _divergence(p: np.ndarray, m: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        one = np.where(p > 0, p * np.log(p / m), 0.0)
        other = np.where(p < 1, (1 - p) * np.log((1 - p) / (1 - m)), 0.0)
    return np.nan_to_num(one, nan=0.0, posinf=np.inf) + np.nan_to_num(other, nan=0.0, posinf=np.inf)
