"""The stateful shell: validate, make one core call, swap the state, record. It contains no arithmetic of its own."""

import secrets
import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import compiled
from consensus_imitation.aggregation import Aggregation, Minimum
from consensus_imitation.alarms import UNEXPLAINED
from consensus_imitation.budget import InflationBudget
from consensus_imitation.decision import Decision, check_action, from_packed, set_aside
from consensus_imitation.demonstrators.adapters import Panel
from consensus_imitation.diversity import Merging
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import ConsensusWarning, InvalidAnswerError
from consensus_imitation.host import core_ensemble, core_observation, initial_state, raw_row, with_host_members
from consensus_imitation.learner import Learner, LearnerState, Stream
from consensus_imitation.misspecification import MisspecificationAlarm
from consensus_imitation.policy import Policy, begun, encoded
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK
from consensus_imitation.standing import OpenStep, Standing, check_fits
from consensus_imitation.warm_start import warm_start


class ConsensusImitator(Standing):
    """Acts where the plausible models of the demonstrator agree, and asks the demonstrator where they do not.

    Args:
        ensemble: the members.
        demonstrator: ``observation -> action``, called when a query falls due in `act`; or anything else that
            `demonstrators.as_demonstrator` takes, or for a batch a sequence of B such. None if only `decide` and
            `answer` are used.
        selection: which members have a say. By default ``TopK(2) | AlphaThreshold(0.01)``: a second member always has a
            veto, and a truth of prior weight w is left out with probability at most 0.01 / w. Of members that learn
            ``TopK(3)``: their posterior soon rests on one of them, and the alpha rule would let that one act alone. A
            smaller ensemble takes as many as it has.
        aggregation: how they are combined; the default is `Minimum`.
        seed: of the draws; None takes it from the operating system. A member that knows it can foresee the draws,
            and then nothing is promised.
        num_envs: B, for a batch of environments that share one posterior; None for a single one.
        inflation_budget: a limit on how much likelier anything gets than under the demonstrator (T5), for each
            environment; None for no limit.
        alarm: raised when no member explains the demonstrator's answers any more; from then on every step is a query,
            until `clear_alarm`. None for none.
        merging: rank near-duplicates once, and measure `effective_members`; None for neither.
        reweighting: how the weights follow the answers; None for Bayes' rule.

    Raises:
        ValueError: if a rule does not fit the ensemble, the demonstrators not the environments, or the seed is
            negative.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, TopK, ensembles
        >>> probs = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.9, 0.1], [0.0, 1.0]]])  # [N, S, A]
        >>> imitator = ConsensusImitator(
        ...     ensembles.tabular(probs), demonstrator=lambda observation: 1, selection=TopK(2), seed=0
        ... )
        >>> imitator.act(0).queried  # both members agree on observation 0
        False
        >>> decision = imitator.act(1)
        >>> round(decision.query_prob, 2), decision.dissenter
        (0.5, 0)
    """

    def __init__(
        self,
        ensemble: Ensemble,
        demonstrator: Any = None,
        *,
        selection: SelectionRule | None = None,
        aggregation: Aggregation | None = None,
        seed: int | None = None,
        num_envs: int | None = None,
        inflation_budget: InflationBudget | None = None,
        alarm: MisspecificationAlarm | None = None,
        merging: Merging | None = None,
        reweighting: Reweighting | None = None,
    ) -> None:
        if num_envs is not None and num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if selection is None:
            selection = _default_selection(ensemble)
        learner = _make_learner(ensemble, selection, aggregation, alarm, inflation_budget, merging, reweighting)
        key = compiled.make_key(secrets.randbits(64) if seed is None else seed)
        state = initial_state(learner, ensemble, key, num_envs)
        self._assemble(ensemble, learner, demonstrator, num_envs, state)

    @classmethod
    def from_state(
        cls,
        state: LearnerState,
        ensemble: Ensemble,
        demonstrator: Any = None,
        *,
        selection: SelectionRule,
        aggregation: Aggregation | None = None,
        inflation_budget: InflationBudget | None = None,
        alarm: MisspecificationAlarm | None = None,
        merging: Merging | None = None,
        reweighting: Reweighting | None = None,
    ) -> "ConsensusImitator":
        """Go on from a `state` taken earlier, with the same ensemble and rules.

        Raises:
            ValueError: if the state is not one of this ensemble.
        """
        learner = _make_learner(ensemble, selection, aggregation, alarm, inflation_budget, merging, reweighting)
        steps = np.shape(state.stream.step)
        num_envs = steps[0] if steps else None
        check_fits(learner, ensemble, state, num_envs)
        imitator = cls.__new__(cls)
        imitator._assemble(ensemble, learner, demonstrator, num_envs, state)
        return imitator

    def _assemble(
        self,
        ensemble: Ensemble,
        learner: Learner,
        demonstrator: Any,
        num_envs: int | None,
        state: LearnerState,
    ) -> None:
        self._stand(ensemble, learner, num_envs, state)
        self._panel = Panel(demonstrator, num_envs)

    # --- one step and what surrounds it ---

    def begin_episode(self, env: int | None = None) -> None:
        """Say that an episode begins.

        A budget per episode starts afresh, members whose memory is of one episode forget, and the demonstrator is told
        (``reset()``).

        Args:
            env: which environment of a batch; None for all.

        Raises:
            PendingQueryError: if a query is unanswered.
        """
        self._refuse_if_open()
        if env is not None and not 0 <= env < (self.num_envs or 0):
            raise ValueError(f"there is no environment {env}; num_envs is {self.num_envs}")
        begins = np.ones(self.num_envs or (), bool) if env is None else np.arange(self.num_envs or 0) == env
        stream = begun(self._learner, self._ensemble, self._state.stream, np.asarray(begins))
        # First: if it fails, no ledger has started afresh.
        self._panel.reset(env)
        self._state = self._state.replace(stream=stream)

    def study(self, observations: Any, actions: Any, starts: Any = None) -> None:
        """Learn from recorded demonstrations, each as if it had been the answer to a query: a warm start.

        They have to be in the order in which they were made. No step is counted, and no query.

        Args:
            observations: T of them: arrays with a leading axis T, or a list of observations as `act` takes them.
            actions: [T], what the demonstrator did.
            starts: bool [T], an episode begins with this observation; by default only the first does.

        Raises:
            PendingQueryError: if a query is unanswered.
            ValueError: if lengths differ, or an observation does not fit.
            InvalidAnswerError: if an action is none.
        """
        self._refuse_if_open()
        if not self._ensemble.pure:
            raise ValueError("members that run on the host cannot study recordings: let them answer queries instead")
        after = warm_start(self._learner, self._ensemble, self._state, observations, actions, starts)
        self._warn_if_unexplained(after)
        self._state = after

    def policy(self, num_envs: int | None = None, seed: int = 0) -> Policy:
        """What has been learned, acting alone, for evaluation: never asks, changes nothing, and promises nothing.

        Args:
            num_envs: of the evaluation, which has its own memory; None for a single environment.
            seed: of its own draws, if it is to draw.
        """
        return Policy(lambda: self._state, self._ensemble, self._learner, num_envs, seed)

    def decide(self, observation: Any, active: Any = None) -> Decision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        Args:
            observation: as the ensemble takes it; with a leading axis B for a batch.
            active: bool [B], or None for all. In a row that is False nothing is asked or learned, and the action is 0:
                for the step on which a vector environment resets an environment and ignores its action.

        Raises:
            PendingQueryError: if an earlier query is unanswered.
            ValueError: if a batch has another number of rows, or an observation does not fit.
        """
        self._refuse_if_open()
        rows = self._check_active(active)
        seen = encoded(self._ensemble, observation, self.num_envs)
        core = core_observation(self._ensemble, self._state, seen, self.num_envs)
        decide = compiled.decide if self.num_envs is None else compiled.decide_batch
        packed, log_probs, closed = decide(self._learner, self._state, core, self._number())
        on_host = np.asarray(packed)
        if rows is not None:
            packed = on_host = set_aside(on_host, rows)
        decision = from_packed(on_host, self._ensemble.num_actions, self._steps)
        self._alarms.report(decision, rows)
        step = OpenStep(decision, packed, log_probs, seen, core, rows)
        if decision.queried if self.num_envs is None else decision.queried.any():
            self._open = step
        else:
            stream = self._state.stream.replace(carry=closed.carry, step=closed.step, ledger=closed.ledger)
            self._close(self._state.replace(stream=stream), step, decision)
        return decision

    def answer(self, decision: Decision, action: Any) -> Decision:
        """Give the demonstrator's answer to a query, learn from it, and close the step.

        Args:
            decision: the one returned by `decide`, with ``queried`` true.
            action: an integer in ``0 .. A-1``; for a batch [B], of which only the rows that were queried are read.

        Returns:
            The decision, now with its action.

        Raises:
            InvalidAnswerError: if the decision is not the one that waits, or the action is no action. The query
                stays open.
        """
        if self._open is None or decision is not self._open.decision:
            raise InvalidAnswerError(
                "this is not the decision that waits for an answer: answer the one that decide() returned last, once"
            )
        answers = self._check_answer(decision, action)
        waiting = self._open
        observe = compiled.observe if self.num_envs is None else compiled.observe_batch
        after = observe(self._learner, self._state, waiting.core, waiting.packed, waiting.log_probs, answers)
        self._warn_if_unexplained(after)
        closed = replace(decision, action=int(answers) if self.num_envs is None else answers)
        self._close(after, waiting, closed)
        return closed

    def act(self, observation: Any, active: Any = None) -> Decision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no valid action, the exception passes through, the step is withdrawn and
        the state is what it was; calling again with the same observation asks again.

        Args:
            observation: as for `decide`.
            active: as for `decide`.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
        """
        decision = self.decide(observation, active)
        if self._open is None:
            return decision
        try:
            return self.answer(decision, self._ask(decision, observation))
        except BaseException:
            self._open = None
            raise

    # --- details ---

    def _close(self, after: LearnerState, step: OpenStep, decision: Decision) -> None:
        """The step is over: swap the state, and count."""
        if not self._ensemble.pure:
            taken = (decision.action, decision.queried, self.num_envs)
            after = with_host_members(self._ensemble, self._state, after, step.observation, step.log_probs, *taken)
        if step.active is not None:
            after = after.replace(stream=_rows_where(step.active, after.stream, self._state.stream))
        # The last thing that can fail: until then nothing has changed, and no action is given out.
        self._panel.observe(decision.action, decision.queried, step.active)
        self._state = after
        self._open = None
        self._steps += 1
        self._queries += int(np.sum(decision.queried))

    def _warn_if_unexplained(self, after: LearnerState) -> None:
        """Before anything changes: where warnings are errors, a query stays open, and a recording is not learned."""
        if bool(after.unexplained) and not bool(self._state.unexplained):
            warnings.warn(UNEXPLAINED, ConsensusWarning, stacklevel=3)

    def _ask(self, decision: Decision, observation: Any) -> Any:
        if self.num_envs is None:
            return self._panel.ask(observation)
        answers = np.array(decision.action)
        for b in np.flatnonzero(decision.queried).tolist():
            answers[b] = check_action(self._panel.ask(raw_row(observation, b), b), self._ensemble.num_actions)
        return answers

    def _check_active(self, active: Any) -> np.ndarray | None:
        if active is None:
            return None
        rows = np.asarray(active)
        if self.num_envs is None or rows.shape != (self.num_envs,) or rows.dtype != bool:
            raise ValueError(f"active needs one bool per environment of a batch ({self.num_envs}), got {active!r}")
        return None if rows.all() else rows

    def _check_answer(self, decision: Decision, action: Any) -> Any:
        if self.num_envs is None:
            return np.int32(check_action(action, self._ensemble.num_actions))
        try:
            shape = np.shape(action)
        except ValueError:
            shape = None
        if shape != (self.num_envs,):
            raise InvalidAnswerError(f"expected {self.num_envs} answers, one per environment; got {action!r}")
        checked = np.array(decision.action, np.int32)
        for b in np.flatnonzero(decision.queried):
            checked[b] = check_action(action[b], self._ensemble.num_actions)
        return checked

    def _number(self) -> Any:
        """The number in [0, 1) that decides the present step, [B] for a batch: `learner.uniform` of the state."""
        if self._steps - self._first_number >= len(self._numbers):
            self._numbers = np.asarray(compiled.numbers(self._state.stream, batch=self.num_envs is not None))
            self._first_number = self._steps
        return self._numbers[self._steps - self._first_number]


def _rows_where(active: np.ndarray, after: Stream, before: Stream) -> Stream:
    """In rows that were set aside, only the step counter goes on."""

    def choose(new: Any, old: Any) -> Any:
        return jnp.where(active.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    carry, ledger = jax.tree.map(choose, (after.carry, after.ledger), (before.carry, before.ledger))
    return after.replace(carry=carry, ledger=ledger)


def _default_selection(ensemble: Ensemble) -> SelectionRule:
    if ensemble.learns:
        return TopK(min(3, ensemble.num_members))
    return TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)


def _make_learner(
    ensemble: Ensemble,
    selection: SelectionRule,
    aggregation: Aggregation | None,
    alarm: MisspecificationAlarm | None,
    budget: InflationBudget | None,
    merging: Merging | None,
    reweighting: Reweighting | None,
) -> Learner:
    if alarm is not None and alarm.num_contexts > 1 and not ensemble.pure:
        raise ValueError(
            "with members that run on the host the alarm cannot tell observations apart: "
            "use MisspecificationAlarm(num_contexts=1)"
        )
    rule = Minimum() if aggregation is None else aggregation
    return Learner(core_ensemble(ensemble), selection, rule, alarm, budget, merging, reweighting)
