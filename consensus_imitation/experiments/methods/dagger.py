"""DAgger: the demonstrator labels every state visited, whoever acts in it."""

from typing import Any

import numpy as np

from consensus_imitation.core.aggregation import RandomQueries
from consensus_imitation.experiments.methods.base import Apprentice, Setup

#: Rounds that the budget is divided into; beta falls from one to the next.
ROUNDS = 20


class Dagger(Apprentice):
    """Label every visited state; with probability beta execute the label, else the novice's guess.

    ``beta = decay ** round``, so that the first round is the demonstrator's own. A round is a twentieth of the answers.
    The novice takes the likeliest action of the posterior mixture, as it was before the members learned from the label.
    Unlike in the paper the members learn after each answer (as they do in every method here), not once a round.

    A recurrent member gets the label where the guess was executed: its memory is of the demonstrations.

    Args:
        setup: see `Setup`.
        decay: in [0, 1]; 0 is the demonstrator in the first round and the novice in all others.

    Raises:
        ValueError: if ``decay`` is out of range.

    References:
        Ross, Gordon and Bagnell 2011 (arXiv:1011.0686).
    """

    def __init__(self, setup: Setup, decay: float = 0.5) -> None:
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must lie in [0, 1], got {decay}")
        super().__init__(setup, RandomQueries(1.0))
        self.decay = decay
        self._per_round = max(1, setup.demonstrator.budget // ROUNDS)
        self._rng = np.random.default_rng(setup.seed)

    @property
    def beta(self) -> float:
        """Probability that the demonstrator's label is executed."""
        return self.decay ** (self.demonstrator.answers // self._per_round)

    def act(self, observation: Any) -> int:
        """Label, and execute the label or the guess."""
        by_demonstrator = self._rng.random() < self.beta
        answer, guess = self.ask(self.imitator.decide(observation), observation)
        action = answer if by_demonstrator else guess
        self.demonstrator.observe(action, "demonstrator" if by_demonstrator else "imitator")
        return action
