"""The conservative imitator over any action space, as pure functions: ``init``, ``decide``, ``observe``.

One step: select by posterior weight, let the heaviest selected member propose an action, accept it with the rejection
draw or ask, and after an answer reweight by the densities that the members had given to it. Selection rules and
posterior are those of `consensus_imitation.Learner`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation import posterior as post
from consensus_imitation.ensembles.base import Carry, Context
from consensus_imitation.sampling.base import Action
from consensus_imitation.sampling.draw import heaviest, is_finite, rejection_draw, void_unless


class SamplingStream(struct.PyTreeNode):
    """What belongs to one sequence of observations.

    Attributes:
        carry: the members' memory.
        key: PRNG key of the draws; secret from the members.
        step: int32 [], steps closed so far.
        queries: int32 [], of which the demonstrator answered.
    """

    carry: Carry
    key: jax.Array
    step: jax.Array  # []
    queries: jax.Array  # []


class SamplingState(struct.PyTreeNode):
    """Everything that changes.

    Attributes:
        posterior: over the N members.
        unexplained: bool [], an answer came that no member explains: no guarantee is left, and every step is a query
            until the user clears it.
        stream: the one stream.
    """

    posterior: post.PosteriorState
    unexplained: jax.Array  # []
    stream: SamplingStream


class PureSamplingDecision(NamedTuple):
    """What the imitator does at one step, and why.

    Attributes:
        action: the action to take; all NaN (floats) or -1 (integers) where the demonstrator is asked.
        queried: bool [].
        query_prob_estimate: float32 [], unbiased one-sample estimate of the probability of asking (theta), in [0, 1].
        selected: bool [N], members that had a say.
        dissenter: int32 [], the selected member with the lowest density of the proposal relative to the proposer's;
            -1 if no member's was lower.
        invalid: bool [N], members that gave an unusable density of the proposal; each vetoes if selected.
    """

    action: Action
    queried: jax.Array
    query_prob_estimate: jax.Array
    selected: jax.Array
    dissenter: jax.Array
    invalid: jax.Array


class SamplingObserveInfo(NamedTuple):
    """What closing a step says.

    Attributes:
        action: the action taken: the imitator's own or the answer.
        evidence: float32 [], log-density the posterior had given to the answer (it may be positive); 0 where none
            was asked for.
        explained: bool [], False if no member gave the answer any density.
        invalid: bool [N], members whose density was usable for the proposal and unusable for the answer.
    """

    action: Action
    evidence: jax.Array
    explained: jax.Array
    invalid: jax.Array


class SamplingLearner(struct.PyTreeNode):
    """Sampling ensemble and selection rule: all that a step depends on besides the state.

    Both are pytrees, so that new parameters or a new k do not recompile. There is no choice of aggregation: the
    rejection draw is the pointwise minimum.

    A member that gives an unusable density (NaN, ``+inf``) of the *proposal* vetoes, and sleeps through the step: its
    share of the weight stays what it was. A member that gives an unusable density only of the *answer* is scored with
    density zero instead: were it allowed to keep its share, it could lose nothing by refusing to be scored on the
    answers it had bet against, gain on all others, and theorem T2 would fail.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consensus_imitation import TopK
        >>> from consensus_imitation.sampling import SamplingLearner, gaussian
        >>> ensemble = gaussian(lambda mean, observation: (mean, jnp.zeros(1)), jnp.array([[0.0], [0.0]]), -5.0, 5.0)
        >>> learner = SamplingLearner(ensemble, TopK(2))
        >>> state = learner.init(jax.random.key(0))
        >>> decision = learner.decide(state, jnp.zeros(3))
        >>> bool(decision.queried), decision.action.shape  # the two members agree
        (False, (1,))
        >>> state, info = learner.observe(state, jnp.zeros(3), decision, answer=decision.action)
        >>> int(state.stream.step), int(state.stream.queries)
        (1, 0)
    """

    ensemble: Any
    selection: Any

    def init(self, key: jax.Array) -> SamplingState:
        """The state before the first step.

        Args:
            key: PRNG key of the draws; keep it from the members.

        Raises:
            ValueError: if the selection rule does not fit the ensemble's size.
        """
        self.selection.check(self.ensemble.num_members)
        zero = jnp.zeros((), jnp.int32)
        stream = SamplingStream(carry=self.ensemble.init_carry(), key=key, step=zero, queries=zero)
        return SamplingState(posterior=post.init(self.ensemble.prior), unexplained=jnp.zeros((), bool), stream=stream)

    def decide(self, state: SamplingState, observation: Any) -> PureSamplingDecision:
        """Act or ask. Changes nothing: the draw depends on the state's key and step only."""
        context = _context(state)
        carry = state.stream.carry
        # The member that proposes sees `propose`, from which neither `accept` nor a later step's key can be told.
        propose, accept = jax.random.split(jax.random.fold_in(state.stream.key, state.stream.step))
        selected = self.selection(state.posterior.log_weights)
        proposer = heaviest(state.posterior.log_weights, selected)
        proposal = self.ensemble.sample(carry, observation, context, propose, proposer)
        log_densities = self.ensemble.log_prob(carry, observation, context, proposal)
        drawn = rejection_draw(jax.random.uniform(accept), proposal, log_densities, proposer, selected)
        acts = ~drawn.queried & ~state.unexplained
        return PureSamplingDecision(
            action=void_unless(acts, drawn.action),
            queried=~acts,
            query_prob_estimate=jnp.where(state.unexplained, 1.0, drawn.query_prob_estimate),
            selected=selected,
            dissenter=drawn.dissenter,
            invalid=drawn.invalid,
        )

    def observe(
        self, state: SamplingState, observation: Any, decision: PureSamplingDecision, answer: Action
    ) -> tuple[SamplingState, SamplingObserveInfo]:
        """Close the step.

        Args:
            state: the state that ``decision`` was made in.
            observation: what it was made on.
            decision: from `decide`.
            answer: the demonstrator's action if ``decision.queried``, shaped like ``decision.action``; ignored
                otherwise. One that is not finite is explained by no member.
        """
        queried = decision.queried
        answer = jax.tree.map(lambda own, given: jnp.asarray(given, own.dtype), decision.action, answer)
        legal = is_finite(answer)
        log_likelihood = self.ensemble.log_prob(state.stream.carry, observation, _context(state), answer)
        unusable = jnp.isnan(log_likelihood) | jnp.isposinf(log_likelihood)
        log_likelihood = jnp.where(unusable | ~legal, -jnp.inf, log_likelihood)
        updated, said = post.update(state.posterior, log_likelihood, asleep=decision.invalid & legal)

        action = jax.tree.map(lambda own, given: jnp.where(queried, given, own), decision.action, answer)
        explained = said.explained | ~queried
        new = state.replace(
            posterior=jax.tree.map(lambda new, old: jnp.where(queried, new, old), updated, state.posterior),
            unexplained=state.unexplained | ~explained,
            stream=self.advance(state, observation, decision, action),
        )
        return new, SamplingObserveInfo(
            action=action,
            evidence=jnp.where(queried, said.evidence, 0.0),
            explained=explained,
            invalid=unusable & legal & ~decision.invalid & queried,
        )

    def advance(
        self, state: SamplingState, observation: Any, decision: PureSamplingDecision, action: Action
    ) -> SamplingStream:
        """The stream one step further: the part of `observe` that does not depend on what the answer teaches."""
        stream = state.stream
        carry = self.ensemble.advance(stream.carry, observation, _context(state), action, decision.queried)
        queries = stream.queries + decision.queried.astype(jnp.int32)
        return stream.replace(carry=carry, step=stream.step + 1, queries=queries)

    def estimate_query_prob(
        self,
        state: SamplingState,
        observation: Any,
        key: jax.Array,
        num_samples: int,
        proposer: int | jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Estimate the query probability theta of a step from many proposals.

        Theta does not depend on the proposer. Estimates from different selected proposers that differ by more than
        their errors mean that some member's ``sample`` does not draw from its ``log_prob``. (Equal estimates prove
        nothing: members that state the same density always agree, whatever they sample.)

        Args:
            state: as for `decide`.
            observation: as for `decide`.
            key: PRNG key of this estimate; not the stream's.
            num_samples: at least 2.
            proposer: index of the member that proposes; the heaviest selected one if None.

        Returns:
            Unbiased estimate float32 [] in [0, 1], and its standard error float32 [].

        Raises:
            ValueError: if ``num_samples`` is below 2.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> from consensus_imitation import TopK
            >>> from consensus_imitation.sampling import SamplingLearner, gaussian
            >>> means = jnp.array([[0.0], [1.0]])  # total variation distance 0.383
            >>> ensemble = gaussian(lambda mean, observation: (mean, jnp.zeros(1)), means, -jnp.inf, jnp.inf)
            >>> learner = SamplingLearner(ensemble, TopK(2))
            >>> state = learner.init(jax.random.key(0))
            >>> theta, error = learner.estimate_query_prob(state, None, jax.random.key(1), num_samples=1000)
            >>> abs(float(theta) - 0.383) < 5 * float(error) < 0.1
            True
        """
        if num_samples < 2:
            raise ValueError(f"num_samples must be at least 2 to tell an error, got {num_samples}")
        context, carry = _context(state), state.stream.carry
        selected = self.selection(state.posterior.log_weights)
        member = heaviest(state.posterior.log_weights, selected) if proposer is None else jnp.int32(proposer)

        def one(key: jax.Array) -> jax.Array:
            proposal = self.ensemble.sample(carry, observation, context, key, member)
            log_densities = self.ensemble.log_prob(carry, observation, context, proposal)
            return rejection_draw(jnp.float32(0), proposal, log_densities, member, selected).query_prob_estimate

        estimates = jax.vmap(one)(jax.random.split(key, num_samples))
        return jnp.mean(estimates), jnp.std(estimates, ddof=1) / jnp.sqrt(num_samples)


def _context(state: SamplingState) -> Context:
    return Context(step=state.stream.step, log_weights=state.posterior.log_weights)
