"""What a learner keeps and says: its state, one stream of it, a decision, and what closing a step says."""

from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.core import posterior as post
from consensus_imitation.core.alarm import AlarmState
from consensus_imitation.core.laws import excesses, without_excess
from consensus_imitation.core.members import Carry, Learned
from consensus_imitation.core.merging import DiversityState

#: Which rule gave what cannot be used: values of `PureDecision.rule_fault` other than 0, none.
SELECTION_FAULT, AGGREGATION_FAULT = 1, 2


class Stream(struct.PyTreeNode):
    """What belongs to one sequence of observations.

    Attributes:
        carry: the members' memory.
        key: PRNG key of the draws; secret from the members.
        step: int32 [], steps closed so far.
        queries: int32 [], of which the demonstrator answered.
        ledger: float32 [], sum of the steps' ``log_inflation``: what the inflation budget counts (T5).
        asking: bool [], the demonstrator was asked and has not answered. Until it does, every decision is a query: the
            step's random number is spent, and another one would be a second try.
        unusable: bool [], some prediction was unusable. A member that gives none asks without losing weight.
    """

    carry: Carry
    key: jax.Array
    step: jax.Array  # []
    queries: jax.Array  # []
    ledger: jax.Array  # []
    asking: jax.Array  # []
    unusable: jax.Array  # []


class LearnerState(struct.PyTreeNode):
    """Everything that changes.

    Attributes:
        posterior: over the N members; shared by all streams of a batch.
        unexplained: bool [], no member explains the answers: either one came that all had called impossible, or the
            learner's misspecification alarm was raised. The truth is not among the members, no guarantee is left, and
            every step is a query until the user clears it.
        stream: one stream, or B of them with a leading axis on every leaf.
        alarm: what the misspecification alarm has seen; None without one.
        diversity: how the members' predictions on answered queries relate; None if the learner merges no duplicates.
        learned: what members that learn have learned from the answers; shared by all streams.
        rules: uint32 [], `fingerprint` of the rules and the prior that the state was made with.
        studied: int32 [], recorded steps that were learned from.
        recordings: uint32 [64, 2], what the shell remembers of them, see `_studied`.
        voids: uint32 [], facts that void every promise, see `_voids`.
    """

    posterior: post.PosteriorState
    unexplained: jax.Array  # []
    stream: Stream
    rules: jax.Array  # []
    studied: jax.Array  # []
    recordings: jax.Array  # [64, 2]
    voids: jax.Array  # []
    alarm: AlarmState | None = None
    diversity: DiversityState | None = None
    learned: Learned = ()


_AXES: dict[str, Any] = {field.name: 0 if field.name == "stream" else None for field in fields(LearnerState)}
#: ``vmap`` axes of a state whose streams form a batch.
BATCH: Any = LearnerState(**_AXES)


class PureDecision(NamedTuple):
    """What the imitator does at one step, and why.

    Attributes:
        action: int32 [], the action to take, or `QUERY` (-1).
        queried: bool [].
        query_prob: float32 [], probability of asking (theta).
        min_probs: float32 [A], probability of each action without asking; sums to **at most one**.
        selected: bool [N], members that had a say.
        invalid: bool [N], members whose prediction was unusable (they count as the zero vector).
        dissent: float32 [N], how much each member alone lowered the minimum (`aggregation.dissent`); 0 for all of them
            unless the step is a query.
        log_probs: float32 [N, A], the predictions as they came; `usable` is what `observe` scores.
        excess: float32 [N], by how many nats each of them sums to more than one, ``inf`` if it is invalid. Of members
            that declare themselves normalised, it is 0 on a step that is no query, where nobody looked at it.
        log_inflation: float32 [], what the step adds to the ledger; 0 on a step that is handed over.
        handed_over: bool [], the inflation budget would be overspent, so the demonstrator takes the step.
        rule_fault: int32 [], 0, or which rule gave what cannot be used, so that the step is a query for certain:
            `SELECTION_FAULT` (nobody was selected) or `AGGREGATION_FAULT` (its law is none; see `_rule_checks`).
    """

    action: jax.Array
    queried: jax.Array
    query_prob: jax.Array
    min_probs: jax.Array
    selected: jax.Array
    invalid: jax.Array
    dissent: jax.Array
    log_probs: jax.Array
    excess: jax.Array
    log_inflation: jax.Array
    handed_over: jax.Array
    rule_fault: jax.Array

    def examined(self) -> "PureDecision":
        """The same with every prediction added up, as it has to be for what is learned from."""
        excess = excesses(self.log_probs)
        return self._replace(excess=excess, invalid=jnp.isposinf(excess))

    @property
    def usable(self) -> jax.Array:
        """The predictions as `aggregation.validate` gives them: float32 [N, A]; with a leading axis B for a batch."""
        return without_excess(self.log_probs, self.excess)


class ObserveInfo(NamedTuple):
    """What closing a step says.

    Attributes:
        action: int32 [], the action taken: the imitator's own or the answer.
        evidence: float32 [], log-probability the posterior had given to the answer; 0 where none was asked for.
        explained: bool [], False if no member gave the answer any probability.
    """

    action: jax.Array
    evidence: jax.Array
    explained: jax.Array
