"""The base of the compared methods: one interface, the same members, and a demonstrator that counts its answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from consensus_imitation.core._actions import check_action
from consensus_imitation.core._observations import given
from consensus_imitation.core.aggregation import Aggregation
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.selection import SelectionRule
from consensus_imitation.demonstrators import Demonstrator, as_demonstrator
from consensus_imitation.demonstrators._base import Who, source_of
from consensus_imitation.errors import ConsensusImitationError
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.imitator.decision import Decision
from consensus_imitation.imitator.policy import Policy

#: Makes the members over the task's observations: for the task's own actions (None), or for another number of outputs.
MakeEnsemble = Callable[[int | None], Ensemble]


class Method(Protocol):
    """A way to imitate that asks the demonstrator when it sees fit."""

    def begin_episode(self) -> None:
        """Begin an episode with the next observation."""
        ...

    def act(self, observation: Any) -> int:
        """Return the action to execute; this may ask the demonstrator, and tell it what is done."""
        ...

    def policy(self, num_envs: int | None = None) -> Policy:
        """Return the learned policy, which acts by itself: for evaluation and deployment."""
        ...


class BudgetSpentError(ConsensusImitationError):
    """The demonstrator was asked more often than agreed."""


class CountedDemonstrator(Demonstrator):
    """A demonstrator that answers a given number of times.

    Args:
        demonstrator: as for `as_demonstrator`.
        budget: largest number of answers, at least 1.

    Attributes:
        answers: given so far.

    Raises:
        ValueError: if ``budget`` is below 1.

    Example:
        >>> from consensus_imitation.experiments.methods import CountedDemonstrator
        >>> expert = CountedDemonstrator(lambda observation: 1, budget=2)
        >>> expert("here"), expert("there"), expert.answers, expert.spent
        (1, 1, 2, True)
    """

    def __init__(self, demonstrator: Any, budget: int) -> None:
        if budget < 1:
            raise ValueError(f"budget must be at least 1 answer, got {budget}")
        self._own = as_demonstrator(demonstrator)
        self.budget = budget
        self.answers = 0

    @property
    def spent(self) -> bool:
        """Whether no answer is left."""
        return self.answers >= self.budget

    def __call__(self, observation: Any) -> Any:
        """Answer, and count. The caller has to check whether the answer is an action.

        Raises:
            BudgetSpentError: if no answer is left.
        """
        if self.spent:
            raise BudgetSpentError(f"all {self.budget} answers are spent: go on by policy()")
        answer = self._own(given(observation))
        self.answers += 1
        self.source = source_of(self._own)
        return answer

    def reset(self) -> None:
        """Begin an episode."""
        self._own.reset()

    def observe(self, action: int, who: Who) -> None:
        """Tell the demonstrator what will be done next."""
        self._own.observe(action, who)


@dataclass(frozen=True)
class Setup:
    """The input of every method.

    Attributes:
        make_ensemble: the same for all of them.
        demonstrator: it counts and limits the answers.
        horizon: T, steps of environment the budget of answers is meant for.
        seed: of the method's own draws.
    """

    make_ensemble: MakeEnsemble
    demonstrator: CountedDemonstrator
    horizon: int
    seed: int

    def initial_answers(self, share: float) -> int:
        """Return how many answers a method that begins with a set of demonstrations asks for unconditionally.

        Raises:
            ValueError: if the share is outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise ValueError(f"initial must be a share of the budget, in [0, 1]; got {share}")
        return round(share * self.demonstrator.budget)


class Apprentice:
    """An imitator that decides, the demonstrator that it may ask, and a record of how well it predicted the answers.

    Args:
        setup: see `Setup`.
        rule: when to ask, and how to act.
        selection: of the members; None for the imitator's default.

    Attributes:
        imitator: the library's own.
        log_losses: in nats, -log of the probability that the posterior mixture had given to each answer beforehand.
    """

    def __init__(self, setup: Setup, rule: Aggregation, selection: SelectionRule | None = None) -> None:
        self.demonstrator = setup.demonstrator
        self.imitator = ConsensusImitator(
            setup.make_ensemble(None), aggregation=rule, selection=selection, seed=setup.seed
        )
        self.log_losses: list[float] = []

    def begin_episode(self) -> None:
        """Begin an episode, for the members and for the demonstrator."""
        self.imitator.begin_episode()
        self.demonstrator.reset()

    def policy(self, num_envs: int | None = None) -> Policy:
        """Return the learned policy, which acts by itself."""
        return self.imitator.policy(num_envs)

    def act(self, observation: Any) -> int:
        """Act or ask by the rule."""
        decision = self.imitator.decide(observation)
        if decision.queried:
            answer, _ = self.ask(decision, observation)
            self.demonstrator.observe(answer, "demonstrator")
            return answer
        self.demonstrator.observe(decision.action, "imitator")
        return decision.action

    def ask(self, decision: Decision, observation: Any) -> tuple[int, int]:
        """Ask about an open query, record how well the answer was predicted, and learn from it.

        Returns:
            The answer, and the action that had been predicted as the likeliest.
        """
        expected = foreseen(self.imitator)
        answer = check_action(self.demonstrator(observation), len(expected))
        # A probability of zero, or none at all: as bad as float32 can say.
        probability = max(float(expected[answer]), float(np.finfo(np.float32).tiny))
        self.imitator.answer(decision, answer, self.demonstrator.source)
        self.log_losses.append(-float(np.log(probability)))
        return answer, int(np.argmax(expected))


def foreseen(imitator: ConsensusImitator) -> np.ndarray:
    """Return what the posterior mixture gives to each answer of the open query: [A], summing to one.

    Members may withhold mass; the prediction is judged by what they did give. If they gave nothing at all: zeros.
    """
    probs = imitator.weights @ imitator.predictions
    return probs / (probs.sum() or 1.0)
