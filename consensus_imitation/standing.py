"""How an imitator stands: its state, the step that waits for an answer, and all that can be read off them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import compiled
from consensus_imitation.aggregation import Aggregation, Minimum
from consensus_imitation.alarms import UNEXPLAINED, Alarms
from consensus_imitation.decision import Decision
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import PendingQueryError
from consensus_imitation.host import initial_state
from consensus_imitation.learner import Learner, LearnerState, check
from consensus_imitation.statement import Statement, certify

_CLEARED = "an alarm that no member explains the answers was cleared"
_CHANGED = "the aggregation rule was changed, and what is guaranteed is guaranteed of one rule from the first step"


@dataclass(frozen=True, slots=True)
class OpenStep:
    """A step that waits for answers."""

    decision: Decision
    packed: Any
    log_probs: jax.Array
    observation: Any
    core: Any
    active: np.ndarray | None


class Standing:
    """What `ConsensusImitator` is made of and knows; the steps themselves are its own."""

    def _stand(self, ensemble: Ensemble, learner: Learner, num_envs: int | None, state: LearnerState) -> None:
        self.num_envs = num_envs
        self._ensemble = ensemble
        self._learner = learner
        self._open: OpenStep | None = None
        self._alarms = Alarms(members_learn=ensemble.learns and isinstance(learner.aggregation, Minimum))
        self._cleared = False
        self._changed = False
        self._go_on_from(state)

    def _go_on_from(self, state: LearnerState) -> None:
        self._state = state
        self._steps = int(np.max(state.stream.step))
        self._queries = int(np.sum(state.stream.queries))
        # Numbers that were drawn ahead belong to other steps.
        self._numbers = np.empty(0)
        self._first_number = self._steps

    @property
    def state(self) -> LearnerState:
        """The learner's state after the last closed step: an immutable pytree, all that is needed to go on."""
        return self._state

    def restore(self, state: LearnerState) -> None:
        """Go back, or on, to a `state` of this imitator or of one like it. A query that waits is withdrawn.

        Raises:
            ValueError: if the state is not one of this ensemble and these rules.
        """
        check_fits(self._learner, self._ensemble, state, self.num_envs)
        self._open = None
        self._go_on_from(state)

    @property
    def aggregation(self) -> Aggregation:
        """The rule that combines the members.

        Another may be put in its place between two steps; one that differs in traced parameters only, such as the
        threshold of a gate, does not recompile. What is guaranteed is guaranteed of one rule from the first step: a
        `certificate` for the minimum is void if another rule came before it.
        """
        return self._learner.aggregation

    @aggregation.setter
    def aggregation(self, rule: Aggregation) -> None:
        self._refuse_if_open()
        check(self._ensemble, self._learner.selection, rule, self._learner.budget)
        before = self._learner.aggregation
        same = isinstance(before, Minimum) and before == rule
        self._changed = self._changed or (self._steps > 0 and isinstance(rule, Minimum) and not same)
        self._learner = self._learner.replace(aggregation=rule)
        self._alarms.watch(members_learn=self._ensemble.learns and isinstance(rule, Minimum))

    @property
    def predictions(self) -> np.ndarray:
        """What each member gives to each action in the step that waits for an answer: [N, A], or [B, N, A].

        Rows may sum to less than one: what a member withholds is asked about.

        Raises:
            ValueError: if no query waits.
        """
        if self._open is None:
            raise ValueError("no query waits for an answer: predictions are of the step that does")
        return np.exp(np.asarray(self._open.log_probs))

    @property
    def weights(self) -> np.ndarray:
        """Posterior weights [N], summing to one."""
        return np.asarray(compiled.weights(self._state.posterior))

    @property
    def effective_members(self) -> float:
        """How many independent members would err as the members did on the answered queries, in [1, N].

        1 before the second answer: independence has to be shown (`diversity.effective_members`).

        Raises:
            ValueError: if the imitator does not measure it.
        """
        if self._state.diversity is None:
            raise ValueError(
                "effective_members is not measured: construct the imitator with merging=Merging(), or with "
                "merging=Merging(tolerance=None) to measure and merge nothing"
            )
        return float(compiled.effective_members(self._state.diversity))

    @property
    def num_steps(self) -> int:
        """Steps closed so far (of each environment)."""
        return self._steps

    @property
    def num_queries(self) -> int:
        """Steps that the demonstrator answered, over all environments."""
        return self._queries

    @property
    def query_rate(self) -> float:
        """Share of closed steps that the demonstrator answered; 0.0 before the first step."""
        return self._queries / max(1, self._steps * (self.num_envs or 1))

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, one line each, naming the member; empty if nothing is."""
        unexplained = [UNEXPLAINED] if bool(self._state.unexplained) else []
        return (*self._alarms.lines(), *unexplained)

    def clear_alarm(self) -> None:
        """Act again after answers that no member explains. No guarantee is left: the truth is not among them."""
        self._cleared = self._cleared or bool(self._state.unexplained)
        self._state = self._learner.clear_alarm(self._state)
        self._alarms.clear()

    @property
    def ledger(self) -> Any:
        """Log of the inflation spent (in the episode, if the budget is per episode): a float, or [B] for a batch."""
        spent = np.asarray(self._state.stream.ledger)
        return float(spent) if self.num_envs is None else spent

    def certificate(self, truth: int | None = None) -> Statement:
        """What is guaranteed, with the numbers so far; print it.

        Args:
            truth: the member that is assumed to equal the demonstrator; None for the worst case over all of them.

        Raises:
            ValueError: if there is no such member.

        Example:
            >>> import numpy as np
            >>> from consensus_imitation import AlphaThreshold, ConsensusImitator, InflationBudget, ensembles
            >>> imitator = ConsensusImitator(
            ...     ensembles.tabular(np.full((4, 1, 2), 0.5)),
            ...     selection=AlphaThreshold(0.0025),
            ...     inflation_budget=InflationBudget(factor=2.0),
            ... )
            >>> imitator.certificate().exclusion
            0.01
        """
        reasons = {UNEXPLAINED: bool(self._state.unexplained), _CLEARED: self._cleared, _CHANGED: self._changed}
        return certify(
            self._learner,
            np.asarray(self._ensemble.prior, np.float64),
            np.asarray(self._state.posterior.log_weights),
            truth=truth,
            num_steps=self._steps,
            num_streams=self.num_envs or 1,
            num_queries=self._queries,
            ledger=float(np.max(self._state.stream.ledger)),
            void=next((reason for reason, holds in reasons.items() if holds), ""),
            unusable=bool(self._alarms.invalid),
            learns=self._ensemble.learns,
        )

    def _refuse_if_open(self) -> None:
        if self._open is not None:
            raise PendingQueryError(
                f"step {self._open.decision.step} waits for the demonstrator: call answer(decision, action) first"
            )


def check_fits(learner: Learner, ensemble: Ensemble, state: LearnerState, num_envs: int | None) -> None:
    """Raise ValueError unless a state is one of this ensemble and these rules."""
    fits = jax.eval_shape(lambda: initial_state(learner, ensemble, jax.random.key(0), num_envs))
    if jax.tree.map(jnp.shape, state) != jax.tree.map(lambda leaf: leaf.shape, fits):
        raise ValueError(
            f"the state does not fit: it holds {state.posterior.log_weights.shape[0]} weights, the ensemble has "
            f"{ensemble.num_members} members; memory, alarm, merging, what was learned and number of environments have "
            "to agree, too"
        )
