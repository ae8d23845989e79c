"""How an imitator stands: its state, the steps that wait for answers, and all that can be read off them."""

import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import compiled
from consensus_imitation.aggregation import Aggregation, Minimum
from consensus_imitation.alarms import UNEXPLAINED, Alarms
from consensus_imitation.decision import Decision
from consensus_imitation.errors import ConfigurationError, PendingQueryError
from consensus_imitation.host import initial_state
from consensus_imitation.learner import LearnerState, check
from consensus_imitation.queries import OpenStep, Queries
from consensus_imitation.statement import Statement, certify
from consensus_imitation.steps import Setup
from consensus_imitation.uniforms import Numbers

_CLEARED = "an alarm that no member explains the answers was cleared"
_CHANGED = "the aggregation rule was changed, and what is guaranteed is guaranteed of one rule from the first step"
_UNANSWERED = "on some steps nobody answered and the safe action was taken, which no bound covers"


class Standing:
    """What `ConsensusImitator` is made of and knows; the steps themselves are its own."""

    def _stand(self, setup: Setup, state: LearnerState) -> None:
        self._setup = setup
        self._queries = Queries(secrets.token_hex(16))
        self._numbers = Numbers()
        self._alarms = Alarms(members_learn=setup.ensemble.learns and isinstance(setup.learner.aggregation, Minimum))
        self._cleared = False
        self._changed = False
        self._seen_flag: tuple[Any, bool] = (None, False)
        self._go_on_from(state)

    def _go_on_from(self, state: LearnerState) -> None:
        self._state = state
        self._steps_of = np.array(state.stream.step, np.int64).reshape(-1)
        self._answers = int(np.sum(state.stream.queries))
        self._numbers.forget()
        self._weigh()

    @property
    def _unexplained(self) -> bool:
        """Whether no member explains the answers; looked up once for each value, since the device is slow to say."""
        flag = self._state.unexplained
        if self._seen_flag[0] is not flag:
            self._seen_flag = (flag, bool(flag))
        return self._seen_flag[1]

    def _weigh(self) -> None:
        """Look who is near exclusion: where the rule promises to keep the truth in, and after an answer at least."""
        rule = self._setup.learner.selection
        margins = np.empty(0)
        if self._answers and rule.exclusion_bound(1 / self._setup.ensemble.num_members) < 1:
            margins = np.asarray(compiled.margins(rule, self._state.posterior.log_weights))
        self._alarms.weigh(margins)

    @property
    def num_envs(self) -> int | None:
        """B, for a batch of environments; None for a single one."""
        return self._setup.num_envs

    @property
    def run(self) -> str:
        """The name that this imitator's queries carry: random, hexadecimal."""
        return self._queries.run

    @property
    def state(self) -> LearnerState:
        """The learner's state after the last closed step: an immutable pytree, all that is needed to go on."""
        return self._state

    def restore(self, state: LearnerState) -> None:
        """Go back, or on, to a `state` of this imitator or of one like it. Queries that wait are withdrawn.

        Raises:
            ConfigurationError: if the state is not one of this ensemble and these rules, or if a journal is kept, which
                only goes on.
        """
        self._refuse_if_recorded("go back to a state")
        check_fits(self._setup, state)
        for step in self._queries.waiting():
            self._queries.close(step, None)
        self._go_on_from(state)

    @property
    def aggregation(self) -> Aggregation:
        """The rule that combines the members.

        Another may be put in its place between two steps; one that differs in traced parameters only, such as the
        threshold of a gate, does not recompile. What is guaranteed is guaranteed of one rule from the first step: a
        `certificate` for the minimum is void if another rule came before it. A run with a journal has one rule.
        """
        return self._setup.learner.aggregation

    @aggregation.setter
    def aggregation(self, rule: Aggregation) -> None:
        self._refuse_if_recorded("change the rule")
        self._refuse_if_open()
        ensemble, learner = self._setup.ensemble, self._setup.learner
        check(ensemble, learner.selection, rule, learner.budget)
        before = learner.aggregation
        same = isinstance(before, Minimum) and before == rule
        self._changed = self._changed or (self.num_steps > 0 and isinstance(rule, Minimum) and not same)
        self._setup = Setup(ensemble, learner.replace(aggregation=rule), self.num_envs)
        self._alarms.watch(members_learn=ensemble.learns and isinstance(rule, Minimum))

    @property
    def pending(self) -> tuple[Decision, ...]:
        """The decisions that wait for an answer, in the order in which they were made."""
        return tuple(step.decision for step in self._queries.waiting())

    @property
    def predictions(self) -> np.ndarray:
        """What each member gives to each action in the only step that waits for an answer: [N, A], or [B, N, A].

        Rows may sum to less than one: what a member withholds is asked about.

        Raises:
            ValueError: if no query waits, or more than one.
        """
        waiting = self._queries.waiting()
        if len(waiting) != 1:
            raise ValueError(f"{len(waiting) or 'no'} query waits for an answer: predictions are of the step that does")
        return np.exp(np.asarray(waiting[0].log_probs))

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
            raise ConfigurationError(
                "effective_members is not measured: construct the imitator with merging=Merging(), or with "
                "merging=Merging(tolerance=None) to measure and merge nothing"
            )
        return float(compiled.effective_members(self._state.diversity))

    @property
    def num_steps(self) -> int:
        """Steps closed so far (of each environment; of the one that is furthest, if they go on by themselves)."""
        return int(self._steps_of.max())

    @property
    def num_queries(self) -> int:
        """Steps that the demonstrator answered, over all environments."""
        return self._answers

    @property
    def query_rate(self) -> float:
        """Share of closed steps that the demonstrator answered; 0.0 before the first step."""
        return self._answers / max(1, int(self._steps_of.sum()))

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, one line each, naming the member; empty if nothing is."""
        unexplained = [UNEXPLAINED] if self._unexplained else []
        return (*self._alarms.lines(), *unexplained)

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
        reasons = {
            UNEXPLAINED: self._unexplained,
            _CLEARED: self._cleared,
            _CHANGED: self._changed,
            _UNANSWERED: bool(self._alarms.unanswered),
        }
        return certify(
            self._setup.learner,
            np.asarray(self._setup.ensemble.prior, np.float64),
            np.asarray(self._state.posterior.log_weights),
            truth=truth,
            num_steps=self.num_steps,
            num_streams=self.num_envs or 1,
            num_queries=self._answers,
            ledger=float(np.max(self._state.stream.ledger)),
            void=next((reason for reason, holds in reasons.items() if holds), ""),
            unusable=bool(self._alarms.invalid),
            learns=self._setup.ensemble.learns,
        )

    def _refuse_if_recorded(self, what: str) -> None:
        """Overridden where there may be a journal."""

    def _refuse_if_open(self, env: int | None = None) -> None:
        step: OpenStep | None = self._queries.blocking(env)
        if step is not None:
            where = "" if step.decision.env is None else f" of environment {step.decision.env}"
            raise PendingQueryError(
                f"step {step.decision.step}{where} waits for the demonstrator: call answer(decision, action) first"
            )


def check_fits(setup: Setup, state: LearnerState) -> None:
    """Raise ConfigurationError unless a state is one of this ensemble and these rules."""
    like = shapes(setup)
    if jax.tree.map(jnp.shape, state) != jax.tree.map(lambda leaf: leaf.shape, like):
        raise ConfigurationError(
            f"the state does not fit: it holds {state.posterior.log_weights.shape[0]} weights, the ensemble has "
            f"{setup.ensemble.num_members} members; memory, alarm, merging, what was learned and number of "
            "environments have to agree, too"
        )


def shapes(setup: Setup) -> LearnerState:
    """Shapes and types of a state of this ensemble and these rules."""
    return jax.eval_shape(lambda: initial_state(setup.learner, setup.ensemble, jax.random.key(0), setup.num_envs))
