"""SafeDAgger: a second network learns to foresee the novice's mistakes, and asks where it does."""

from dataclasses import replace
from typing import Any

from consensus_imitation.core.aggregation import RandomQueries
from consensus_imitation.experiments.methods.base import Apprentice, Setup
from consensus_imitation.imitator import ConsensusImitator

_ASK, _ACT = RandomQueries(1.0), RandomQueries(0.0)


class SafeDagger(Apprentice):
    """Ask if and only if the safety classifier predicts that the novice would be wrong here.

    The classifier is made by the same factory as the members, with two outputs: right and wrong. It learns, at every
    answer, whether the novice's guess *before* the answer was the answer. The paper trains it on demonstrations that
    were held out; to score before learning serves the same purpose, and costs no answers. As in the paper, the first
    answers are unconditional.

    It cannot find out about mistakes that it does not predict, since it asks nowhere else. With a stochastic
    demonstrator, some guesses are wrong that no novice could get right.

    Args:
        setup: see `Setup`.
        initial: share of the budget that is asked for unconditionally, in [0, 1].

    Raises:
        ValueError: if ``initial`` is out of range.

    References:
        Zhang and Cho 2017, "Query-Efficient Imitation Learning for End-to-End Simulated Driving" (arXiv:1605.06450).
    """

    def __init__(self, setup: Setup, initial: float = 0.1) -> None:
        super().__init__(setup, _ASK)
        self._initial = setup.initial_answers(initial)
        own = replace(setup, seed=setup.seed + 1)
        self.classifier = ConsensusImitator(own.make_ensemble(2), aggregation=_ASK, seed=own.seed)
        self._safety = self.classifier.policy()

    def begin_episode(self) -> None:
        """Begin an episode."""
        super().begin_episode()
        self.classifier.begin_episode()

    def act(self, observation: Any) -> int:
        """Ask where the classifier predicts a mistake."""
        unsafe = self.demonstrator.answers < self._initial or self._safety.predict(observation)[0] == 1
        self.imitator.aggregation = _ASK if unsafe else _ACT
        decision = self.imitator.decide(observation)
        if not decision.queried:
            self.demonstrator.observe(decision.action, "imitator")
            return decision.action
        answer, guess = self.ask(decision, observation)
        self.classifier.answer(self.classifier.decide(observation), int(guess != answer))
        self.demonstrator.observe(answer, "demonstrator")
        return answer
