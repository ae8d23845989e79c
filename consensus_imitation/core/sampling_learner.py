"""The conservative imitator over any action space, as pure functions: ``init``, ``decide``, ``observe``.

One step: select by posterior weight, let the heaviest selected member propose an action, accept it with the rejection
draw or ask, and after an answer reweight by the densities that the members had given to it. Selection rules and
posterior are those of `consensus_imitation.Learner`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.core import posterior as post
from consensus_imitation.core._fingerprint import fingerprint
from consensus_imitation.core._rule_checks import check_selection, mask_of
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._voids import CLEARED, OTHER_RULES
from consensus_imitation.core.any_action import Action
from consensus_imitation.core.learner import learning_key, random_words
from consensus_imitation.core.members import Carry, Context
from consensus_imitation.core.rejection import heaviest, is_finite, rejection_draw, void_unless


class SamplingStream(struct.PyTreeNode):
    """What belongs to one sequence of observations; with a leading axis B, to B of them.

    Attributes:
        carry: the members' memory.
        key: PRNG key of the draws; secret from the members.
        proposals: PRNG key of what the members propose, of which they see what they need: nothing of ``key`` can be
            told from it.
        step: int32 [], steps closed so far.
        queries: int32 [], of which the demonstrator answered.
        asked: int32 [], times that the demonstrator was asked at the present step and has not answered. From the first
            on, every decision is a query until it does: the step's random number is spent, and another one would be a
            second try. Each has its own proposal.
    """

    carry: Carry
    key: jax.Array
    proposals: jax.Array
    step: jax.Array  # []
    queries: jax.Array  # []
    asked: jax.Array  # []


class SamplingState(struct.PyTreeNode):
    """Everything that changes.

    Attributes:
        posterior: over the N members.
        unexplained: bool [], an answer came that no member explains: no guarantee is left, and every step is a query
            until the user clears it.
        stream: the only one, or B streams that share the posterior.
        rules: uint32 [], `fingerprint` of the selection rule and the prior that the state was made with.
        voids: uint32 [], facts that void every promise, see `consensus_imitation.core._voids`.
    """

    posterior: post.PosteriorState
    unexplained: jax.Array  # []
    stream: SamplingStream
    rules: jax.Array  # []
    voids: jax.Array  # []


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
        rule_fault: bool [], the selection rule selected nobody, so that the step is a query for certain.
        log_densities: float32 [N], log-density of the proposal under every member.
        log_weights: float32 [N], the posterior that the members were shown: they are asked about the answer with the
            same, whatever answers come in between from other streams.
        number: uint32 [2], the random bits that decided.
    """

    action: Action
    queried: jax.Array
    query_prob_estimate: jax.Array
    selected: jax.Array
    dissenter: jax.Array
    invalid: jax.Array
    rule_fault: jax.Array
    log_densities: jax.Array
    log_weights: jax.Array
    number: jax.Array


class SamplingObserveInfo(NamedTuple):
    """What closing a step says.

    Attributes:
        action: the action taken: the imitator's own or the answer.
        evidence: float32 [], log-density the posterior had given to the answer (it may be positive); 0 where none
            was asked for.
        explained: bool [], False if no member gave the answer any density.
        invalid: bool [N], members whose density was usable for the proposal and unusable for the answer.
        log_densities: float32 [N], log-density of the answer by which each member is scored.
    """

    action: Action
    evidence: jax.Array
    explained: jax.Array
    invalid: jax.Array
    log_densities: jax.Array


class SamplingLearner(PyTree, guests=True):
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
        >>> from consensus_imitation.core.sampling_learner import SamplingLearner
        >>> from consensus_imitation.ensembles.any_action import gaussian
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

    def init(self, key: jax.Array, proposals: jax.Array | None = None, num_streams: int | None = None) -> SamplingState:
        """The state before the first step.

        Args:
            key: PRNG key of the draws; keep it from the members.
            proposals: PRNG key of what the members propose; by default one that ``key`` gives, and does not give away.
            num_streams: B, for streams that share one posterior, each with keys of its own; None for one stream.

        Raises:
            ValueError: if the selection rule is none, or does not fit the ensemble's size.
        """
        check_selection(self.selection, self.ensemble.num_members)
        zero = jnp.zeros((), jnp.int32)

        def stream_of(key: jax.Array, proposals: jax.Array) -> SamplingStream:
            carry = self.ensemble.init_carry()
            return SamplingStream(carry=carry, key=key, proposals=proposals, step=zero, queries=zero, asked=zero)

        proposals = learning_key(key) if proposals is None else proposals
        if num_streams is None:
            stream = stream_of(key, proposals)
        else:
            stream = jax.vmap(stream_of)(*(jax.random.split(one, num_streams) for one in (key, proposals)))
        return SamplingState(
            posterior=post.init(self.ensemble.prior),
            unexplained=jnp.zeros((), bool),
            stream=stream,
            rules=self.fingerprint(),
            voids=jnp.zeros((), jnp.uint32),
        )

    def fingerprint(self) -> jax.Array:
        """What tells this selection rule and this prior from others: uint32 []."""
        return jnp.asarray(fingerprint((self.selection, self.ensemble.prior)))

    def adopt(self, state: SamplingState) -> SamplingState:
        """A state that may have been made under another rule, to go on under this one: if so, its promises are void.

        Args:
            state: of this ensemble. One in which nothing has happened yet may be of any rule with this prior.
        """
        rules = self.fingerprint()
        begun = jnp.any(state.stream.step > 0) | jnp.any(state.stream.asked > 0)
        begun |= ~post.is_prior(state.posterior, self.ensemble.prior)
        other = begun & (state.rules != rules)
        return state.replace(rules=rules, voids=state.voids | jnp.where(other, jnp.uint32(OTHER_RULES), jnp.uint32(0)))

    def decide(self, state: SamplingState, observation: Any) -> PureSamplingDecision:
        """Act or ask. Changes nothing: the draw depends on the state's keys and counters only."""
        context = _context(state)
        carry, stream = state.stream.carry, state.stream
        propose = jax.random.fold_in(jax.random.fold_in(stream.proposals, stream.step), stream.asked)
        selected = mask_of(self.selection, state.posterior.log_weights)
        nobody = ~jnp.any(selected)
        proposer = heaviest(state.posterior.log_weights, selected)
        proposal = self.ensemble.sample(carry, observation, context, propose, proposer)
        log_densities = self.ensemble.log_prob(carry, observation, context, proposal)
        number = random_words(stream.key, stream.step)
        drawn = rejection_draw(number, proposal, log_densities, proposer, selected)
        asks = state.unexplained | (stream.asked > 0) | nobody
        acts = ~drawn.queried & ~asks
        return PureSamplingDecision(
            action=void_unless(acts, drawn.action),
            queried=~acts,
            query_prob_estimate=jnp.where(asks, 1.0, drawn.query_prob_estimate),
            selected=selected,
            dissenter=drawn.dissenter,
            invalid=drawn.invalid,
            rule_fault=nobody,
            log_densities=log_densities.astype(jnp.float32),
            log_weights=state.posterior.log_weights,
            number=number,
        )

    def pose(self, state: SamplingState) -> SamplingState:
        """The state while the demonstrator is asked: if no answer comes, the next decision is a query, too."""
        return state.replace(stream=state.stream.replace(asked=state.stream.asked + 1))

    def clear_alarm(self, state: SamplingState) -> SamplingState:
        """Act again after no member explained an answer: every promise is void."""
        cleared = jnp.where(state.unexplained, jnp.uint32(CLEARED), jnp.uint32(0))
        return state.replace(unexplained=jnp.zeros((), bool), voids=state.voids | cleared)

    def observe(
        self, state: SamplingState, observation: Any, decision: PureSamplingDecision, answer: Action
    ) -> tuple[SamplingState, SamplingObserveInfo]:
        """Close the step.

        Args:
            state: the state that ``decision`` was made in; with or without what `pose` notes.
            observation: what it was made on.
            decision: from `decide`.
            answer: the demonstrator's action if ``decision.queried``, shaped like ``decision.action``; ignored
                otherwise. One that is not finite is explained by no member.
        """
        queried = decision.queried
        answer = jax.tree.map(lambda own, given: jnp.asarray(given, own.dtype), decision.action, answer)
        legal = is_finite(answer)
        context = Context(step=state.stream.step, log_weights=decision.log_weights)
        log_likelihood = self.ensemble.log_prob(state.stream.carry, observation, context, answer)
        unusable = jnp.isnan(log_likelihood) | jnp.isposinf(log_likelihood)
        log_likelihood = jnp.where(unusable | ~legal, -jnp.inf, log_likelihood).astype(jnp.float32)
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
            log_densities=log_likelihood,
        )

    def advance(
        self, state: SamplingState, observation: Any, decision: PureSamplingDecision, action: Action
    ) -> SamplingStream:
        """The stream one step further: the part of `observe` that does not depend on what the answer teaches."""
        stream = state.stream
        context = Context(step=stream.step, log_weights=decision.log_weights)
        carry = self.ensemble.advance(stream.carry, observation, context, action, decision.queried)
        queries = stream.queries + decision.queried.astype(jnp.int32)
        return stream.replace(carry=carry, step=stream.step + 1, queries=queries, asked=jnp.zeros_like(stream.asked))

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
            >>> from consensus_imitation.core.sampling_learner import SamplingLearner
            >>> from consensus_imitation.ensembles.any_action import gaussian
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
        selected = mask_of(self.selection, state.posterior.log_weights)
        member = heaviest(state.posterior.log_weights, selected) if proposer is None else jnp.int32(proposer)

        def one(key: jax.Array) -> jax.Array:
            proposal = self.ensemble.sample(carry, observation, context, key, member)
            log_densities = self.ensemble.log_prob(carry, observation, context, proposal)
            number = jnp.zeros(2, jnp.uint32)
            return rejection_draw(number, proposal, log_densities, member, selected).query_prob_estimate

        estimates = jax.vmap(one)(jax.random.split(key, num_samples))
        return jnp.mean(estimates), jnp.std(estimates, ddof=1) / jnp.sqrt(num_samples)


def _context(state: SamplingState) -> Context:
    return Context(step=state.stream.step, log_weights=state.posterior.log_weights)
