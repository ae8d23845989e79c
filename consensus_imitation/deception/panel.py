"""The contestants' rules as arrays, so that one compiled program runs all of them; and learners that are broken."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.core.aggregation import ActionLaw, Aggregation
from consensus_imitation.core.learner import Learner, judge
from consensus_imitation.core.legal import conditioned
from consensus_imitation.core.members import Context
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.selection import Union
from consensus_imitation.core.state import LearnerState, ObserveInfo, PureDecision

#: What a learner can do wrong (`Faulty`); each is a way in which imitators have been written.
FAULTS = (
    "learns-from-own-actions",
    "counts-twice",
    "never-learns",
    "learns-backwards",
    "drops-broken-members",
    "stops-asking",
)
OWN, TWICE, NEVER, BACKWARDS, DROPS, STOPS = range(1, 1 + len(FAULTS))
#: After so many questions one that stops asking stops.
ENOUGH = 20


class Seat(Union):
    """One contestant's rules as arrays: a selection (a union of one), which aggregation rule of the panel, its alarm.

    The alarm is its false-alarm probability; NaN, which no evidence ever reaches, for none. The fault is 0, or 1 and
    its place in `FAULTS`.
    """

    choice: jax.Array  # []
    delta: jax.Array  # []
    fault: jax.Array  # []

    def check(self, num_members: int) -> None:
        """Check nothing: the suite has checked each contestant before it stacked the rules."""


class Panel(Learner):
    """A `Learner` whose aggregation rule is one of several, chosen by its `Seat`."""

    aggregations: tuple[Aggregation, ...] = struct.field(pytree_node=False, default=())

    def decide(
        self, state: LearnerState, observation: Any, number: jax.Array | None = None, action_mask: Any = None
    ) -> PureDecision:
        """Act or ask, by the rule that the seat names."""
        context = Context(step=state.stream.step, log_weights=state.posterior.log_weights)
        log_probs = self.ensemble.log_probs(state.stream.carry, observation, context)
        if action_mask is not None:
            log_probs = conditioned(log_probs, action_mask)

        def chosen(log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
            laws = [rule(log_probs, log_weights, selected) for rule in self.aggregations]
            probs = jnp.stack([law.probs for law in laws])[self.selection.choice]
            query_prob = jnp.stack([law.query_prob for law in laws])[self.selection.choice]
            return ActionLaw(probs=probs, query_prob=query_prob)

        rules = Rules(self.selection, self._combining(chosen, state))
        return judge(rules, state, log_probs, number, action_mask=action_mask)

    def _combining(self, rule: Any, state: LearnerState) -> Any:
        del state
        return rule


class Faulty(Panel):
    """A panel with learners that are broken as their seats say: what the suite has to notice."""

    def _combining(self, rule: Any, state: LearnerState) -> Any:
        fault = self.selection.fault

        def combined(log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
            sound = selected & jnp.any(log_probs > -jnp.inf, axis=-1)
            law = rule(log_probs, log_weights, jnp.where((fault == DROPS) & jnp.any(sound), sound, selected))
            stops = (fault == STOPS) & (state.stream.queries >= ENOUGH) & (law.query_prob < 1)
            left = jnp.where(stops, jnp.maximum(jnp.sum(law.probs), 1e-30), 1.0)
            return ActionLaw(probs=law.probs / left, query_prob=jnp.where(stops, 0.0, law.query_prob))

        return combined

    def _learn(
        self, state: LearnerState, observation: Any, decision: PureDecision, answer: Any, teaches: bool, owner: Any
    ) -> tuple[LearnerState, ObserveInfo]:
        fault = self.selection.fault
        action = jnp.where(decision.queried, answer, decision.action)
        own = decision._replace(queried=decision.queried | (fault == OWN))
        after, info = super()._learn(state, observation, own, action, teaches, owner)
        again, _ = super()._learn(after, observation, own, action, teaches, owner)
        before, once, twice = (one.posterior.log_weights for one in (state, after, again))
        backwards = jnp.where(jnp.isfinite(once), 2 * before - once, before)
        changed = jnp.select([fault == TWICE, fault == NEVER, fault == BACKWARDS], [twice, before, backwards], once)
        changed = changed - jnp.max(changed)
        wrong = (fault == TWICE) | (fault == NEVER) | (fault == BACKWARDS)
        posterior = after.posterior.replace(
            log_weights=jnp.where(wrong, changed, once), residual=jnp.where(wrong, 0.0, after.posterior.residual)
        )
        return after.replace(posterior=posterior), info
