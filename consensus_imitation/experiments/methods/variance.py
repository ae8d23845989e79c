"""EnsembleDAgger and ThriftyDAgger: ask where the members disagree, by a fixed limit or at a wanted rate."""

import math
from typing import Any

from consensus_imitation.core.aggregation import RandomQueries, VarianceGate
from consensus_imitation.experiments.methods.base import Apprentice, Setup

_ASK = RandomQueries(1.0)

#: Where ThriftyDAgger's threshold begins, and how far one step moves its logarithm.
FIRST_THRESHOLD, STEP_SIZE = 0.01, 0.05


class EnsembleDagger(Apprentice):
    """Ask where the variance of the members, or their discrepancy, exceeds a limit (`VarianceGate`).

    The first answers are unconditional: untrained members agree because they know nothing, and their variance is small.

    Args:
        setup: see `Setup`.
        doubt: largest variance with which it acts.
        discrepancy: largest share of members with another favourite with which it acts.
        initial: share of the budget that is asked for unconditionally, in [0, 1].

    Raises:
        ValueError: if an argument is out of range.

    References:
        Menda, Driggs-Campbell and Kochenderfer 2019 (arXiv:1807.08364).
    """

    def __init__(self, setup: Setup, doubt: float = 0.005, discrepancy: float = 0.2, initial: float = 0.1) -> None:
        super().__init__(setup, _ASK)
        self._gate = VarianceGate(doubt, discrepancy)
        self._initial = setup.initial_answers(initial)

    def act(self, observation: Any) -> int:
        """Act or ask."""
        self.imitator.aggregation = _ASK if self.demonstrator.answers < self._initial else self._gate
        return super().act(observation)


class ThriftyDagger(Apprentice):
    """Ask on the most novel states, as many as the wanted rate allows.

    Novelty is the members' variance, as in the paper. The threshold follows the ``1 - rate`` quantile of the recent
    states' novelty by stochastic approximation: up a step for each state that was above it, down ``rate / (1 - rate)``
    of one for each that was not, on a logarithmic scale. (The paper recomputes the quantile over the supervisor's
    data at every switch.)

    **The paper's second half, a risk critic that asks where success is unlikely, is left out**: it learns from rewards
    or goals, and nothing here does. The hysteresis by which the supervisor keeps control for a while is left out, too.

    Args:
        setup: see `Setup`.
        rate: wanted share of steps to ask on, in (0, 1); None for the budget that is left after the initial answers
            over the horizon.
        initial: share of the budget that is asked for unconditionally, in [0, 1].

    Raises:
        ValueError: if an argument is out of range.

    References:
        Hoque et al. 2021, "ThriftyDAgger" (arXiv:2109.08273).
    """

    def __init__(self, setup: Setup, rate: float | None = None, initial: float = 0.1) -> None:
        super().__init__(setup, _ASK)
        self._initial = setup.initial_answers(initial)
        if rate is None:
            left = setup.demonstrator.budget - self._initial
            rate = min(0.99, max(1e-4, left / max(1, setup.horizon - self._initial)))
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie in (0, 1), got {rate}")
        self.rate = rate
        self._log_threshold = math.log(FIRST_THRESHOLD)

    @property
    def threshold(self) -> float:
        """Novelty above which it asks."""
        return math.exp(self._log_threshold)

    def act(self, observation: Any) -> int:
        """Act or ask, and move the threshold."""
        before = self.demonstrator.answers
        if before < self._initial:
            return super().act(observation)
        self.imitator.aggregation = VarianceGate(self.threshold)
        action = super().act(observation)
        asked = self.demonstrator.answers > before
        # Zero on average where the method asks at the wanted rate.
        self._log_threshold += STEP_SIZE * (1.0 if asked else -self.rate / (1.0 - self.rate))
        # A variance is at most 1/4; without a floor, the recovery from a long agreement would take as long as that.
        self._log_threshold = min(max(self._log_threshold, math.log(1e-12)), math.log(0.25))
        return action
