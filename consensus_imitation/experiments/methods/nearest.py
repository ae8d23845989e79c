"""The nearest-neighbour gate: ask where the observation is far from all that was answered, whatever members say."""

from typing import Any

import numpy as np

from consensus_imitation.core.aggregation import RandomQueries
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.experiments.methods.base import Apprentice, Setup

_ASK, _ACT = RandomQueries(1.0), RandomQueries(0.0)


class NearestNeighbours(Apprentice):
    """Ask where the k-th nearest answered observation is farther than a limit; else act as the posterior mixture.

    Distances are in standard deviations of the answered observations, over the encoder's features if the members have
    one. Of one-hot features (grids, choices, words) they count the differences and do not say what is alike.

    Args:
        setup: see `Setup`.
        limit: largest distance at which it acts.
        neighbour: k.
        initial: share of the budget that is asked for unconditionally, in [0, 1].

    Raises:
        ValueError: if an argument is out of range.

    References:
        Ramaswamy, Rastogi and Shim 2000, "Efficient Algorithms for Mining Outliers" (the score). Laskey et al. 2016
        ("SHIV") ask where a one-class model finds the state unlike the data.
    """

    def __init__(self, setup: Setup, limit: float = 0.5, neighbour: int = 5, initial: float = 0.1) -> None:
        super().__init__(setup, _ASK)
        check_limit(limit)
        if neighbour < 1:
            raise ValueError(f"neighbour must be at least 1, got {neighbour}")
        self._limit, self._neighbour = limit, neighbour
        self._initial = setup.initial_answers(initial)
        self._encoder = setup.make_ensemble(None).encoder
        self._answered: list[np.ndarray] = []
        self._deviations: np.ndarray = np.ones(())

    def distance(self, observation: Any) -> float:
        """Return how far the k-th nearest answered observation is; infinity while there are fewer."""
        if len(self._answered) < self._neighbour:
            return float("inf")
        apart = (np.stack(self._answered) - self._features(observation)) / self._deviations
        return float(np.sqrt(np.partition((apart**2).sum(-1), self._neighbour - 1)[self._neighbour - 1]))

    def act(self, observation: Any) -> int:
        """Act or ask."""
        before = self.demonstrator.answers
        asks = before < self._initial or self.distance(observation) > self._limit
        self.imitator.aggregation = _ASK if asks else _ACT
        seen = self._features(observation)
        action = super().act(observation)
        if self.demonstrator.answers > before:
            self._answered.append(seen)
            deviations = np.stack(self._answered).std(axis=0)
            self._deviations = np.where(deviations > 0, deviations, 1.0)
        return action

    def _features(self, observation: Any) -> np.ndarray:
        if isinstance(self._encoder, Encoder):
            return np.asarray(self._encoder.features(self._encoder(observation)), np.float64)
        return np.ravel(np.asarray(observation, np.float64))


def check_limit(limit: float) -> None:
    """Raise ValueError unless it is a distance."""
    if not 0 <= limit < float("inf"):
        raise ValueError(f"limit must be a distance of at least 0, got {limit:g}")
