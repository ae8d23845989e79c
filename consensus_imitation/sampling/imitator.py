"""The stateful shell over any action space: validate, make one core call, swap the state, record."""

import secrets
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import posterior as post
from consensus_imitation.errors import ConsensusWarning, InvalidAnswerError, NoDemonstratorError, PendingQueryError
from consensus_imitation.sampling.answers import check_answer
from consensus_imitation.sampling.base import Action, SamplingEnsemble
from consensus_imitation.sampling.decision import SamplingDecision
from consensus_imitation.sampling.learner import PureSamplingDecision, SamplingLearner, SamplingState
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK

_UNEXPLAINED = "no member explains an answer of the demonstrator: every step is a query until clear_alarm() is called"


@dataclass(frozen=True, slots=True)
class _Open:
    """A step that waits for its answer."""

    decision: SamplingDecision
    pure: PureSamplingDecision
    observation: Any


class SamplingImitator:
    """`ConsensusImitator` for actions that cannot be listed: vectors, sequences, or any pytree of arrays.

    Args:
        ensemble: the members, for instance from `gaussian`.
        demonstrator: ``observation -> action``, called when a query falls due in `act`; may be None if only `decide`
            and `answer` are used.
        action_space: anything with ``contains(action)``, such as a Gymnasium space; answers outside it are refused.
            None to check shape, type and finiteness only.
        selection: which members have a say. By default ``TopK(2) | AlphaThreshold(0.01)``: a second member always has a
            veto, and a truth of prior weight w is left out with probability at most 0.01 / w.
        seed: of the draws; None takes it from the operating system. A member that knows it can foresee the draws,
            and then nothing is promised.

    Raises:
        ValueError: if the selection rule does not fit the ensemble.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import TopK
        >>> from consensus_imitation.sampling import SamplingImitator, gaussian
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
        demonstrator: Callable[[Any], Action] | None = None,
        *,
        action_space: Any = None,
        selection: SelectionRule | None = None,
        seed: int | None = None,
    ) -> None:
        if selection is None:
            selection = TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)
        learner = SamplingLearner(ensemble, selection)
        state = learner.init(jax.random.key(secrets.randbits(63) if seed is None else seed))
        self._assemble(learner, demonstrator, action_space, state)

    @classmethod
    def from_state(
        cls,
        state: SamplingState,
        ensemble: SamplingEnsemble,
        demonstrator: Callable[[Any], Action] | None = None,
        *,
        selection: SelectionRule,
        action_space: Any = None,
    ) -> "SamplingImitator":
        """Go on from a `state` taken earlier, with the same ensemble and rule.

        Raises:
            ValueError: if the state is not one of this ensemble.
        """
        weights = state.posterior.log_weights
        if weights.shape != (ensemble.num_members,):
            raise ValueError(
                f"the state holds {weights.shape[0]} weights, but the ensemble has {ensemble.num_members} members"
            )
        selection.check(ensemble.num_members)
        imitator = cls.__new__(cls)
        imitator._assemble(SamplingLearner(ensemble, selection), demonstrator, action_space, state)
        return imitator

    def _assemble(
        self,
        learner: SamplingLearner,
        demonstrator: Callable[[Any], Action] | None,
        action_space: Any,
        state: SamplingState,
    ) -> None:
        self.demonstrator = demonstrator
        self.action_space = action_space
        self._learner = learner
        self._state = state
        self._steps = int(state.stream.step)
        self._queries = int(state.stream.queries)
        self._open: _Open | None = None
        self._invalid: Counter[int] = Counter()

    # --- what the imitator knows ---

    @property
    def state(self) -> SamplingState:
        """The learner's state after the last closed step: an immutable pytree, all that is needed to go on."""
        return self._state

    @property
    def weights(self) -> np.ndarray:
        """Posterior weights [N], summing to one."""
        return np.asarray(_weights(self._state.posterior))

    @property
    def num_steps(self) -> int:
        """Steps closed so far."""
        return self._steps

    @property
    def num_queries(self) -> int:
        """Steps that the demonstrator answered."""
        return self._queries

    @property
    def query_rate(self) -> float:
        """Share of closed steps that the demonstrator answered; 0.0 before the first step."""
        return self._queries / max(1, self._steps)

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, one line each, naming the member; empty if nothing is."""
        lines = [
            f"member {member} gave an unusable density {count} times; of a proposed action it counts as a veto, of an "
            "answer as zero"
            for member, count in sorted(self._invalid.items())
        ]
        if bool(self._state.unexplained):
            lines.append(_UNEXPLAINED)
        return tuple(lines)

    def clear_alarm(self) -> None:
        """Act again after an answer that no member explains. No guarantee is left: the truth is not among them."""
        self._state = self._state.replace(unexplained=jnp.zeros((), bool))
        self._invalid.clear()

    # --- one step ---

    def decide(self, observation: Any) -> SamplingDecision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        Args:
            observation: as the ensemble takes it.

        Raises:
            PendingQueryError: if an earlier query is unanswered.
        """
        if self._open is not None:
            raise PendingQueryError(
                f"step {self._open.decision.step} waits for the demonstrator: call answer(decision, action) first"
            )
        pure, after = _decide(self._learner, self._state, observation)
        on_host = jax.device_get(pure)
        queried, dissenter = bool(on_host.queried), int(on_host.dissenter)
        decision = SamplingDecision(
            action=None if queried else on_host.action,
            queried=queried,
            query_prob_estimate=float(on_host.query_prob_estimate),
            selected=on_host.selected,
            dissenter=None if dissenter < 0 else dissenter,
            invalid=on_host.invalid,
            step=self._steps,
        )
        self._report_invalid(decision.invalid, decision.step)
        if queried:
            self._open = _Open(decision, pure, observation)
        else:
            self._state = after
            self._steps += 1
        return decision

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
        """
        waiting = self._open
        if waiting is None or decision is not waiting.decision:
            raise InvalidAnswerError(
                f"step {decision.step} is not waiting for an answer; answer the decision that decide() returned last, "
                "once"
            )
        checked = check_answer(waiting.pure.action, action, self.action_space)
        after, invalid = _observe(self._learner, self._state, waiting.observation, waiting.pure, checked)
        at_answer = np.asarray(invalid)
        # Before anything changes: where warnings are errors, the query stays open.
        self._report_invalid(at_answer, decision.step)
        if bool(after.unexplained) and not bool(self._state.unexplained):
            warnings.warn(_UNEXPLAINED, ConsensusWarning, stacklevel=2)
        self._state = after
        self._open = None
        self._steps += 1
        self._queries += 1
        return replace(decision, action=checked, invalid=decision.invalid | at_answer)

    def act(self, observation: Any) -> SamplingDecision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no valid action, the exception passes through, the step is withdrawn and
        the state is what it was; calling again with the same observation asks again.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
        """
        decision = self.decide(observation)
        if not decision.queried:
            return decision
        try:
            if self.demonstrator is None:
                raise NoDemonstratorError(
                    "this step is a query and there is no demonstrator: pass demonstrator=, or use decide() and "
                    "answer()"
                )
            return self.answer(decision, self.demonstrator(observation))
        except BaseException:
            self._open = None
            raise

    # --- details ---

    def _report_invalid(self, invalid: np.ndarray, step: int) -> None:
        for member in np.flatnonzero(invalid).tolist():
            if member not in self._invalid:
                warnings.warn(
                    f"member {member} gave an unusable density at step {step} (NaN, infinite, or of a sample of its "
                    "own that is not finite or that it calls impossible); it counts as a veto while selected",
                    ConsensusWarning,
                    stacklevel=3,
                )
            self._invalid[member] += 1


_weights = jax.jit(post.weights)


@jax.jit
def _decide(
    learner: SamplingLearner, state: SamplingState, observation: Any
) -> tuple[PureSamplingDecision, SamplingState]:
    """The decision, and the state after it if it is no query."""
    decision = learner.decide(state, observation)
    return decision, state.replace(stream=learner.advance(state, observation, decision, decision.action))


@jax.jit
def _observe(
    learner: SamplingLearner, state: SamplingState, observation: Any, decision: PureSamplingDecision, answer: Action
) -> tuple[SamplingState, jax.Array]:
    new, info = learner.observe(state, observation, decision, answer)
    return new, info.invalid
