"""The stateful shell over any action space: validate, make one core call, swap everything that changes at once."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from consensus_imitation.core import _voids
from consensus_imitation.core._observations import given, private
from consensus_imitation.core.any_action import Action, SamplingEnsemble
from consensus_imitation.core.sampling_learner import SamplingLearner, SamplingState
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK
from consensus_imitation.demonstrators._base import Panel
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.errors import (
    ConfigurationError,
    ConsensusWarning,
    InvalidAnswerError,
    PendingQueryError,
)
from consensus_imitation.imitator._sampling_answers import check_answer
from consensus_imitation.imitator._sampling_checks import check_fits, check_sampling_ensemble, check_seen
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator._sampling_run import OpenSample, SamplingRun, decide, for_user, observe
from consensus_imitation.imitator._turns import Turn
from consensus_imitation.imitator.kernels import make_keys, weights

_UNEXPLAINED = "no member explains an answer of the demonstrator: every step is a query until clear_alarm() is called"


class SamplingImitator:
    """`ConsensusImitator` for actions that cannot be listed: vectors, sequences, or any pytree of arrays.

    Calls from several threads take turns; the demonstrator is asked outside of them. While a question waits, every
    other step is refused.

    It has neither an inflation budget nor merging. The budget adds up ``ln(1 + theta)``; merging compares members by
    total variation distance. Of actions that cannot be listed, both can only be estimated from samples, and no
    guarantee may rest on an estimate. It keeps no journal.

    Args:
        ensemble: the members, for instance from `gaussian`.
        demonstrator: ``observation -> action``, called when a query falls due in `act`; or anything else that
            `demonstrators.as_demonstrator` takes. One with ``observe(action, who)`` is told of every step. May be None
            if only `decide` and `answer` are used.
        action_space: anything with ``contains(action)``, such as a Gymnasium space; answers outside it are refused.
            None to check shape, type and finiteness only.
        selection: which members have a say. By default ``TopK(2) | AlphaThreshold(0.01)``: a second member always has a
            veto, and a truth of prior weight w is left out with probability at most 0.01 / w.
        seed: of the draws, an integer of at least 0, of which every bit counts; None takes it from the operating
            system. A member that knows it can foresee the draws, and then nothing is promised.
        patience: how long to wait for an answer, how often to ask again, and what to do when nobody answers; by default
            it waits for ever. A `SafeAction` is the number of an action, and is refused here.

    Raises:
        ConfigurationError: if the members are none of this kind, the selection rule does not fit them, the action space
            cannot be asked, the patience names a safe action, or the seed is no integer or negative.
        TypeError: if the demonstrator cannot answer.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import TopK
        >>> from consensus_imitation.ensembles.any_action import gaussian
        >>> from consensus_imitation.imitator import SamplingImitator
        >>> gains = jnp.array([[1.0], [1.0], [9.0]])
        >>> ensemble = gaussian(lambda gain, x: (-gain * x, jnp.array([-2.0])), gains, low=-10.0, high=10.0)
        >>> imitator = SamplingImitator(ensemble, demonstrator=lambda x: -x, selection=TopK(3), seed=0)
        >>> imitator.act(jnp.array([0.0])).queried  # at 0 all three controllers do the same
        False
        >>> imitator.act(jnp.array([1.0])).dissenter
        2
    """

    def __init__(
        self,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | Any = None,
        *,
        action_space: Any = None,
        selection: SelectionRule | None = None,
        seed: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        check_sampling_ensemble(ensemble)
        if selection is None:
            selection = TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)
        learner = SamplingLearner(ensemble, selection)
        keys = make_keys(seed)
        self._assemble(learner, demonstrator, action_space, patience, learner.init(keys.draws, keys.members))

    @classmethod
    def from_state(
        cls,
        state: SamplingState,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | Any = None,
        *,
        selection: SelectionRule,
        action_space: Any = None,
        patience: Patience | None = None,
    ) -> "SamplingImitator":
        """Go on from a `state` taken earlier, with the same ensemble and rule.

        What voids the promises is in the state; that the rule or the prior is another than it was made with, is
        noticed. If it was taken while a question waited, the demonstrator is asked again.

        Raises:
            ConfigurationError: if the state is not one of this ensemble, or as for the constructor.
            TypeError: if the demonstrator cannot answer.
        """
        check_sampling_ensemble(ensemble)
        learner = SamplingLearner(ensemble, selection)
        check_fits(learner, state)
        imitator = cls.__new__(cls)
        imitator._assemble(learner, demonstrator, action_space, patience, learner.adopt(state))
        return imitator

    def _assemble(
        self, learner: SamplingLearner, demonstrator: Any, action_space: Any, patience: Any, state: SamplingState
    ) -> None:
        if action_space is not None and not callable(getattr(action_space, "contains", None)):
            raise ConfigurationError(
                f"action_space must have contains(action), as a Gymnasium space has; got {action_space!r}"
            )
        self._panel = Panel(demonstrator, None, patience)
        if isinstance(self._panel.patience.then, SafeAction):
            raise ConfigurationError(
                f"{self._panel.patience.then} is the number of an action, and these actions have none: choose "
                'then="raise" or then="block"'
            )
        self._action_space = action_space
        self._learner = learner
        self._turn = Turn()
        self._run = SamplingRun(state, int(state.stream.step), int(state.stream.queries))

    # --- what the imitator knows ---

    @property
    def state(self) -> SamplingState:
        """The learner's state: an immutable pytree, all that is needed to go on."""
        return self._run.state

    @property
    def pending(self) -> tuple[SamplingDecision, ...]:
        """The decision that waits for an answer, if one does."""
        waiting = self._run.open
        return () if waiting is None else (waiting.decision,)

    @property
    def weights(self) -> np.ndarray:
        """Posterior weights [N], summing to one."""
        return np.asarray(weights(self._run.state.posterior))

    @property
    def num_steps(self) -> int:
        """Steps closed so far."""
        return self._run.steps

    @property
    def num_queries(self) -> int:
        """Steps that the demonstrator answered."""
        return self._run.queries

    @property
    def query_rate(self) -> float:
        """Share of closed steps that the demonstrator answered; 0.0 before the first step."""
        run = self._run
        return run.queries / max(1, run.steps)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, one line each, naming the member or the rule; empty if nothing is."""
        run = self._run
        lines = [
            f"member {member} gave an unusable density {count} times; of a proposed action it counts as a veto, of an "
            "answer as zero"
            for member, count in sorted(run.invalid.items())
        ]
        if run.failed:
            lines.append(f"{self._rule_fault}: so at {run.failed} decisions, which were therefore queries")
        if bool(run.state.unexplained):
            lines.append(_UNEXPLAINED)
        return tuple(lines)

    @property
    def void(self) -> tuple[str, ...]:
        """Why no theorem speaks of this run any more, one line each; empty while they do. It is part of the `state`."""
        state = self._run.state
        return (*_voids.reasons(state.voids), *([_UNEXPLAINED] if bool(state.unexplained) else []))

    def clear_alarm(self) -> None:
        """Act again after an answer that no member explains. No guarantee is left: the truth is not among them.

        Raises:
            ReentrantCallError: if a member, or a demonstrator that is being told of a step, calls it.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            run = self._run
            self._run = replace(run, state=self._learner.clear_alarm(run.state), invalid={}, failed=0)

    # --- one step ---

    def decide(self, observation: Any) -> SamplingDecision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        Args:
            observation: as the ensemble takes it. It is copied: nobody sees what becomes of it later.

        Raises:
            PendingQueryError: if an earlier query is unanswered (`pending`).
            ObservationError: if it holds what members cannot be shown.
            ReentrantCallError: if a member, or a demonstrator that is being told of a step, calls it.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            return self._decide(observation, None)[0]

    def answer(self, decision: SamplingDecision, action: Action) -> SamplingDecision:
        """Give the demonstrator's answer to a query, learn from it, and close the step.

        Args:
            decision: the one returned by `decide`, with ``queried`` true.
            action: finite, of the members' structure and shape, and inside ``action_space`` if there is one.

        Returns:
            The decision, now with its action: the very numbers that were learned from.

        Raises:
            InvalidAnswerError: if the decision is not the one that waits, or the action is no action. The query
                stays open.
            ReentrantCallError: if a member, or a demonstrator that is being told of a step, calls it.
        """
        self._turn.refuse_reentrance()
        with self._turn:
            waiting = self._run.open
            if waiting is None or decision is not waiting.decision or waiting.asker is not None:
                raise InvalidAnswerError(
                    f"step {getattr(decision, 'step', None)} is not waiting for an answer; answer the decision that "
                    "decide() returned last, once"
                )
            return self._close(waiting, action)

    def act(self, observation: Any) -> SamplingDecision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no valid action, the exception passes through and nothing is learned. The
        next step then asks for certain, whatever is observed, until an answer comes: the random number that said "ask"
        is spent, and another one would be a second try.

        Args:
            observation: as for `decide`. The demonstrator gets a copy of its own.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
            DemonstratorTimeoutError: if nobody answers.
            ConfigurationError: if a query falls due and the demonstrator is ``async def``.
            PendingQueryError: as for `decide`.
            ObservationError: as for `decide`.
            ReentrantCallError: as for `decide`.
        """
        asker = object()
        try:
            self._turn.refuse_reentrance()
            with self._turn:
                decision, waiting = self._decide(observation, asker)
            if waiting is None:
                return decision
            action = self._panel.ask(waiting.observation)
            self._turn.refuse_reentrance()
            with self._turn:
                return self._close(waiting, action)
        except BaseException:
            self._give_up(asker)
            raise

    async def act_async(self, observation: Any) -> SamplingDecision:
        """`act`, letting others work while the demonstrator thinks. The demonstrator may be a coroutine function.

        After cancelling, the next step asks for certain, as after an exception in `act`.

        Args:
            observation: as for `act`.

        Raises:
            NoDemonstratorError: as for `act`.
            DemonstratorTimeoutError: as for `act`.
            PendingQueryError: as for `decide`.
            ObservationError: as for `decide`.
            ReentrantCallError: as for `decide`.
        """
        asker = object()
        try:
            self._turn.refuse_reentrance()
            with self._turn:
                decision, waiting = self._decide(observation, asker)
            if waiting is None:
                return decision
            action = await self._panel.ask_async(waiting.observation)
            self._turn.refuse_reentrance()
            with self._turn:
                return self._close(waiting, action)
        except BaseException:
            self._give_up(asker)
            raise

    # --- details ---

    def _decide(self, observation: Any, asker: object | None) -> tuple[SamplingDecision, OpenSample | None]:
        run = self._run
        if run.open is not None:
            raise PendingQueryError(
                f"step {run.open.decision.step} waits for the demonstrator: call answer(decision, action) first"
            )
        # What remembers a number that is none is useless for ever.
        remembers = bool(jax.tree.leaves(run.state.stream.carry))
        seen = check_seen(private(observation), finite=remembers)
        pure, closed = decide(self._learner, run.state, seen)
        decision = for_user(pure, run.steps)
        after = replace(run.counted(decision.invalid), failed=run.failed + decision.rule_fault)
        if decision.queried:
            waiting = OpenSample(decision, pure, seen, asker)
            # First: what was drawn is spent, even if a warning is an error.
            self._run = replace(after, state=self._learner.pose(run.state), open=waiting)
            if decision.rule_fault and not run.failed:
                text = f"at step {decision.step} {self._rule_fault}; such a step is a query"
                warnings.warn(text, ConsensusWarning, stacklevel=4)
            self._warn_of(decision.invalid, run, decision.step)
            return decision, waiting
        # The last things that can fail: until then nothing has changed, and no action is given out.
        self._warn_of(decision.invalid, run, decision.step)
        self._tell(decision)
        self._run = replace(after, state=closed, steps=run.steps + 1)
        return decision, None

    def _close(self, waiting: OpenSample, action: Any) -> SamplingDecision:
        run = self._run
        checked = check_answer(waiting.pure.action, action, self._action_space)
        state, invalid = observe(self._learner, run.state, waiting.observation, waiting.pure, checked)
        at_answer = np.asarray(invalid)
        # Before anything changes: where warnings are errors, the query stays open.
        self._warn_of(at_answer, run, waiting.decision.step)
        if bool(state.unexplained) and not bool(run.state.unexplained):
            warnings.warn(_UNEXPLAINED, ConsensusWarning, stacklevel=3)
        closed = replace(waiting.decision, action=checked, invalid=waiting.decision.invalid | at_answer)
        self._tell(closed)
        after = run.counted(at_answer)
        self._run = replace(after, state=state, steps=run.steps + 1, queries=run.queries + 1, open=None)
        return closed

    def _give_up(self, asker: object) -> None:
        """A call of `act` ends without an answer: its question waits for nobody any more, and is asked again."""
        with self._turn:
            if self._run.open is not None and self._run.open.asker is asker:
                self._run = replace(self._run, open=None)

    @property
    def _rule_fault(self) -> str:
        return f"the selection rule {self._learner.selection!r:.200} selected nobody"

    def _tell(self, decision: SamplingDecision) -> None:
        """Tell a demonstrator that wants to know what is about to be done."""
        if self._panel.listens:
            self._panel.tell(given(decision.action), "demonstrator" if decision.queried else "imitator")

    def _warn_of(self, invalid: np.ndarray, run: SamplingRun, step: int) -> None:
        for member in np.flatnonzero(invalid).tolist():
            if member not in run.invalid:
                warnings.warn(
                    f"member {member} gave an unusable density at step {step} (NaN, infinite, or of a sample of its "
                    "own that is not finite or that it calls impossible); it counts as a veto while selected",
                    ConsensusWarning,
                    stacklevel=4,
                )
