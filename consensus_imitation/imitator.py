"""The stateful shell: validate, make one core call, swap the state, record. It contains no arithmetic of its own."""

import secrets
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from consensus_imitation import posterior as post
from consensus_imitation.aggregation import ActionLaw, Aggregation, Minimum
from consensus_imitation.draw import QUERY, draw
from consensus_imitation.ensembles.base import Carry, Context, Ensemble, PureEnsemble
from consensus_imitation.errors import (
    ConsensusWarning,
    InvalidAnswerError,
    NoDemonstratorError,
    PendingQueryError,
)
from consensus_imitation.learner import BATCH, Learner, LearnerState, PureDecision, Stream, check, uniform
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK

#: How many steps' random numbers are computed at a time: one by one they would take longer than the decisions.
_NUMBERS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One step's decision, as NumPy values. For a batch every field has a leading axis B.

    Attributes:
        action: the action to take; None while the answer is due (`QUERY`, -1, for those rows of a batch).
        queried: whether the demonstrator chooses the action.
        query_prob: probability that this step was a query (theta).
        min_probs: [A], probability of each action without asking; sums to **at most one**.
        selected: bool [N], the members that had a say.
        dissenter: the member that lowered the minimum the most, None (-1 in a batch) if all agree.
        dissent: [N], by how much each did (`aggregation.dissent`).
        invalid: bool [N], members whose prediction was unusable: each vetoes everything.
        step: number of the step, from 0.
    """

    action: Any
    queried: Any
    query_prob: Any
    min_probs: np.ndarray
    selected: np.ndarray
    dissenter: Any
    dissent: np.ndarray
    invalid: np.ndarray
    step: int


@dataclass(frozen=True, slots=True)
class _Open:
    """A step that waits for answers."""

    decision: Decision
    packed: jax.Array
    log_probs: jax.Array
    observation: Any
    core: Any


class ConsensusImitator:
    """Acts where the plausible models of the demonstrator agree, and asks the demonstrator where they do not.

    Args:
        ensemble: the members.
        demonstrator: ``observation -> action``, called when a query falls due in `act`; may be None if only `decide`
            and `answer` are used.
        selection: which members have a say. By default ``TopK(2) | AlphaThreshold(0.01)``: a second member always has a
            veto, and a truth of prior weight w is left out with probability at most 0.01 / w.
        aggregation: how they are combined; the default is the mission's, `Minimum`.
        seed: of the draws; None takes it from the operating system. A member that knows it can foresee the draws,
            and then nothing is promised.
        num_envs: B, for a batch of environments that share one posterior; None for a single one.

    Raises:
        ValueError: if a rule does not fit the ensemble.

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
        demonstrator: Callable[[Any], Any] | None = None,
        *,
        selection: SelectionRule | None = None,
        aggregation: Aggregation | None = None,
        seed: int | None = None,
        num_envs: int | None = None,
    ) -> None:
        if num_envs is not None and num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if selection is None:
            selection = TopK(min(2, ensemble.num_members)) | AlphaThreshold(0.01)
        learner = Learner(_core_ensemble(ensemble), selection, Minimum() if aggregation is None else aggregation)
        state = learner.init(jax.random.key(secrets.randbits(63) if seed is None else seed), num_envs)
        self._assemble(ensemble, learner, demonstrator, num_envs, state)

    @classmethod
    def from_state(
        cls,
        state: LearnerState,
        ensemble: Ensemble,
        demonstrator: Callable[[Any], Any] | None = None,
        *,
        selection: SelectionRule,
        aggregation: Aggregation | None = None,
    ) -> "ConsensusImitator":
        """Go on from a `state` taken earlier, with the same ensemble and rules.

        Raises:
            ValueError: if the state is not one of this ensemble.
        """
        weights = state.posterior.log_weights
        if weights.shape != (ensemble.num_members,):
            raise ValueError(
                f"the state holds {weights.shape[0]} weights, but the ensemble has {ensemble.num_members} members"
            )
        imitator = cls.__new__(cls)
        learner = Learner(_core_ensemble(ensemble), selection, Minimum() if aggregation is None else aggregation)
        check(ensemble, selection, learner.aggregation)
        steps = np.shape(state.stream.step)
        imitator._assemble(ensemble, learner, demonstrator, steps[0] if steps else None, state)
        return imitator

    def _assemble(
        self,
        ensemble: Ensemble,
        learner: Learner,
        demonstrator: Callable[[Any], Any] | None,
        num_envs: int | None,
        state: LearnerState,
    ) -> None:
        self.demonstrator = demonstrator
        self.num_envs = num_envs
        self._ensemble = ensemble
        self._learner = learner
        self._state = state
        self._open: _Open | None = None
        self._steps = int(np.max(state.stream.step))
        self._queries = int(np.sum(state.stream.queries))
        self._numbers = np.empty(0)
        self._first_number = self._steps
        self._invalid: Counter[int] = Counter()

    # --- what the imitator knows ---

    @property
    def state(self) -> LearnerState:
        """The learner's state after the last closed step: an immutable pytree, all that is needed to go on."""
        return self._state

    @property
    def weights(self) -> np.ndarray:
        """Posterior weights [N], summing to one."""
        return np.asarray(_weights(self._state.posterior))

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
        lines = [
            f"member {member} gave an unusable prediction {count} times; it counts as the zero vector, so every step "
            "on which it is selected is a query"
            for member, count in sorted(self._invalid.items())
        ]
        if bool(self._state.unexplained):
            lines.append(
                "no member explains an answer of the demonstrator: every step is a query until clear_alarm() is called"
            )
        return tuple(lines)

    def clear_alarm(self) -> None:
        """Act again after an answer that no member explains. No guarantee is left: the truth is not among them."""
        self._state = self._state.replace(unexplained=jnp.zeros((), bool))
        self._invalid.clear()

    # --- one step ---

    def decide(self, observation: Any) -> Decision:
        """Act or ask. If the decision is a query, pass the demonstrator's action to `answer` before the next step.

        Args:
            observation: as the ensemble takes it; with a leading axis B for a batch.

        Raises:
            PendingQueryError: if an earlier query is unanswered.
        """
        if self._open is not None:
            raise PendingQueryError(
                f"step {self._open.decision.step} waits for the demonstrator: call answer(decision, action) first"
            )
        if self.num_envs is not None and (len(observation) != self.num_envs):
            raise ValueError(f"expected {self.num_envs} observations, one per environment; got {len(observation)}")
        core = self._core_observation(observation)
        decide = _decide if self.num_envs is None else _decide_batch
        packed, log_probs, (carry, step) = decide(self._learner, self._state, core, self._number())
        decision = self._to_host(np.asarray(packed))
        if decision.invalid.any():
            self._report_invalid(decision)
        if decision.queried if self.num_envs is None else decision.queried.any():
            self._open = _Open(decision, packed, log_probs, observation, core)
        else:
            before = self._state
            self._state = before.replace(stream=before.stream.replace(carry=carry, step=step))
            self._steps += 1
            self._advance_on_host(before, observation, decision)
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
                f"step {decision.step} is not waiting for an answer; answer the decision that decide() returned last, "
                "once"
            )
        answers = self._check_answer(decision, action)
        waiting = self._open
        observe = _observe if self.num_envs is None else _observe_batch
        before = self._state
        self._state = observe(self._learner, before, waiting.core, waiting.packed, waiting.log_probs, answers)
        self._open = None
        self._steps += 1
        self._queries += int(np.sum(decision.queried))
        if bool(self._state.unexplained):
            warnings.warn(self.alarms[-1], ConsensusWarning, stacklevel=2)
        closed = replace(decision, action=int(answers) if self.num_envs is None else answers)
        self._advance_on_host(before, waiting.observation, closed)
        return closed

    def act(self, observation: Any) -> Decision:
        """Decide, and ask the demonstrator if need be. ``decision.action`` is always an action to take.

        If the demonstrator raises, or gives no valid action, the exception passes through, the step is withdrawn and
        the state is what it was; calling again with the same observation asks again.

        Raises:
            NoDemonstratorError: if a query falls due and there is no demonstrator.
        """
        decision = self.decide(observation)
        if self._open is None:
            return decision
        try:
            return self.answer(decision, self._ask(decision, observation))
        except BaseException:
            self._open = None
            raise

    # --- details ---

    def _ask(self, decision: Decision, observation: Any) -> Any:
        if self.demonstrator is None:
            raise NoDemonstratorError(
                "this step is a query and there is no demonstrator: pass demonstrator=, or use decide() and answer()"
            )
        if self.num_envs is None:
            return self.demonstrator(observation)
        answers = np.array(decision.action)
        for row in np.flatnonzero(decision.queried):
            own = jax.tree.map(lambda leaf, row=row: leaf[row], observation)
            answers[row] = self._check_one(self.demonstrator(own))
        return answers

    def _check_answer(self, decision: Decision, action: Any) -> Any:
        if self.num_envs is None:
            return np.int32(self._check_one(action))
        if np.shape(action) != (self.num_envs,):
            raise InvalidAnswerError(f"expected {self.num_envs} answers, one per environment; got {action!r}")
        checked = np.array(decision.action, np.int32)
        for row in np.flatnonzero(decision.queried):
            checked[row] = self._check_one(action[row])
        return checked

    def _check_one(self, action: Any) -> int:
        last = self._ensemble.num_actions - 1
        try:
            value = np.asarray(action)
        except ValueError:
            value = np.asarray(None)
        if value.shape != () or not np.issubdtype(value.dtype, np.integer) or not 0 <= value <= last:
            raise InvalidAnswerError(
                f"the demonstrator answered {action!r}, which is no action: answer with an integer from 0 to {last}"
            )
        return int(value)

    def _number(self) -> Any:
        """The number in [0, 1) that decides the present step, [B] for a batch: `learner.uniform` of the state."""
        if self._steps - self._first_number >= len(self._numbers):
            self._numbers = np.asarray(_numbers(self._state.stream, batch=self.num_envs is not None))
            self._first_number = self._steps
        return self._numbers[self._steps - self._first_number]

    def _to_host(self, packed: np.ndarray) -> Decision:
        parts = _unpack(packed, self._ensemble.num_actions)
        if self.num_envs is None:
            action, query_prob, dissenter = packed[:3].tolist()
            queried = action == QUERY
            action = None if queried else int(action)
            dissenter = None if dissenter < 0 else int(dissenter)
        else:
            action, query_prob, dissenter = (parts[0].astype(np.int32), parts[1], parts[2].astype(np.int32))
            queried = action == QUERY
        _, _, _, min_probs, selected, invalid, dissent = parts
        return Decision(
            action=action,
            queried=queried,
            query_prob=query_prob,
            min_probs=min_probs,
            selected=selected > 0,
            dissenter=dissenter,
            dissent=dissent,
            invalid=invalid > 0,
            step=self._steps,
        )

    def _report_invalid(self, decision: Decision) -> None:
        members = np.flatnonzero(np.atleast_2d(decision.invalid).any(axis=0))
        for member in members.tolist():
            if member not in self._invalid:
                warnings.warn(
                    f"member {member} gave an unusable prediction at step {decision.step} (NaN, negative, a sum above "
                    "one, a wrong shape or an exception); it counts as the zero vector, hence a query while selected",
                    ConsensusWarning,
                    stacklevel=4,
                )
            self._invalid[member] += 1

    def _core_observation(self, observation: Any) -> Any:
        """What the pure core is fed: the observation itself, or predictions made on the host."""
        if self._ensemble.pure:
            return observation
        stream, log_weights = self._state.stream, self._state.posterior.log_weights
        if self.num_envs is None:
            return self._ensemble.log_probs(stream.carry, observation, Context(stream.step, log_weights))
        rows = [
            self._ensemble.log_probs(_row(stream.carry, b), _row(observation, b), Context(stream.step[b], log_weights))
            for b in range(self.num_envs)
        ]
        return jnp.stack(rows)

    def _advance_on_host(self, before: LearnerState, observation: Any, decision: Decision) -> None:
        """Members that run on the host update their memory there."""
        if self._ensemble.pure or not jax.tree.leaves(before.stream.carry):
            return
        stream, log_weights = before.stream, before.posterior.log_weights
        if self.num_envs is None:
            context = Context(stream.step, log_weights)
            carry = self._ensemble.advance(
                stream.carry, observation, context, jnp.int32(decision.action), jnp.asarray(decision.queried)
            )
        else:
            rows = [
                self._ensemble.advance(
                    _row(stream.carry, b),
                    _row(observation, b),
                    Context(stream.step[b], log_weights),
                    jnp.int32(decision.action[b]),
                    jnp.asarray(decision.queried[b]),
                )
                for b in range(self.num_envs)
            ]
            carry = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
        self._state = self._state.replace(stream=self._state.stream.replace(carry=carry))


class _Predicted(PureEnsemble):
    """Stands in the core for an ensemble that runs on the host: its "observation" is the predictions [N, A]."""

    prior: jax.Array
    first_carry: Any
    num_members: int = struct.field(pytree_node=False)
    num_actions: int = struct.field(pytree_node=False)

    def init_carry(self) -> Carry:
        return self.first_carry

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        del carry, context
        return observation


def _core_ensemble(ensemble: Ensemble) -> Any:
    if ensemble.pure:
        return ensemble
    return _Predicted(ensemble.prior, ensemble.init_carry(), ensemble.num_members, ensemble.num_actions)


def _row(tree: Any, b: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[b], tree)


_weights = jax.jit(post.weights)


@partial(jax.jit, static_argnames="batch")
def _numbers(stream: Stream, batch: bool) -> jax.Array:
    """`uniform` of this step and the following ones: [T], or [T, B] for a batch."""
    one = jax.vmap(uniform) if batch else uniform
    # One after another, not vmapped: not every PRNG yields the same numbers under vmap.
    return jax.lax.map(lambda t: one(stream.replace(step=stream.step + t)), jnp.arange(_NUMBERS_AT_ONCE))


def _decide_one(
    learner: Learner, state: LearnerState, observation: Any, number: jax.Array
) -> tuple[jax.Array, jax.Array, tuple[Carry, jax.Array]]:
    """The decision, packed for the way to the host; the predictions; memory and step after it if it is no query."""
    decision = learner.decide(state, observation)
    # The same draw as in `decide`, from the same number, computed beforehand.
    action = draw(number, ActionLaw(probs=decision.min_probs, query_prob=decision.query_prob))
    decision = decision._replace(action=action, queried=action == QUERY)
    after = learner.advance(state, observation, decision, action)
    return _pack(decision), decision.log_probs, (after.carry, after.step)


_decide = jax.jit(_decide_one)
_decide_batch = jax.jit(jax.vmap(_decide_one, in_axes=(None, BATCH, 0, 0)))


@jax.jit
def _observe(
    learner: Learner, state: LearnerState, observation: Any, packed: jax.Array, log_probs: jax.Array, answer: Any
) -> LearnerState:
    return learner.observe(state, observation, _unpack_decision(packed, log_probs), answer)[0]


@jax.jit
def _observe_batch(
    learner: Learner, state: LearnerState, observation: Any, packed: jax.Array, log_probs: jax.Array, answer: Any
) -> LearnerState:
    return learner.observe_batch(state, observation, _unpack_decision(packed, log_probs), answer)[0]


def _pack(decision: PureDecision) -> jax.Array:
    """One array, since every array that goes to the host takes as long as a small network."""
    most = jnp.where(jnp.max(decision.dissent) > 0, jnp.argmax(decision.dissent), -1)
    head = jnp.stack([decision.action.astype(jnp.float32), decision.query_prob, most.astype(jnp.float32)])
    return jnp.concatenate([head, decision.min_probs, decision.selected, decision.invalid, decision.dissent])


def _unpack(packed: Any, num_actions: int) -> tuple[Any, ...]:
    """Undo `_pack`: action, query_prob, dissenter, min_probs, selected, invalid and dissent, all as floats."""
    A, N = num_actions, (packed.shape[-1] - 3 - num_actions) // 3
    rest = packed[..., 3:]
    members = (rest[..., A : A + N], rest[..., A + N : A + 2 * N], rest[..., A + 2 * N :])
    return (packed[..., 0], packed[..., 1], packed[..., 2], rest[..., :A], *members)


def _unpack_decision(packed: jax.Array, log_probs: jax.Array) -> PureDecision:
    action, query_prob, _, min_probs, selected, invalid, dissent = _unpack(packed, log_probs.shape[-1])
    return PureDecision(
        action=action.astype(jnp.int32),
        queried=action == QUERY,
        query_prob=query_prob,
        min_probs=min_probs,
        selected=selected > 0,
        invalid=invalid > 0,
        dissent=dissent,
        log_probs=log_probs,
    )
