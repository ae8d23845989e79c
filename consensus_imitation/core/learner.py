"""The conservative imitator as pure functions: ``init``, ``decide``, ``observe``.

One step of Cohen, Hutter and Nanda's imitator: predict with every member, select by posterior weight, combine,
draw an action or a query; if it was a query, reweight by what each member had predicted of the answer.

``decide`` changes nothing and can be repeated: the draw comes from a key and a step counter in the state. ``observe``
closes the step. Everything runs under ``jit``, ``vmap`` and ``scan``, and knows nothing of files, clocks or callbacks.
"""

from dataclasses import fields
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp

from consensus_imitation.core import _studied as studied
from consensus_imitation.core import aggregation as agg
from consensus_imitation.core import merging as div
from consensus_imitation.core import posterior as post
from consensus_imitation.core._asked_rows import where_asked
from consensus_imitation.core._fingerprint import fingerprint
from consensus_imitation.core._rule_checks import examined_law_of, mask_of
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._voids import CLEARED, OTHER_RULES
from consensus_imitation.core.alarm import AlarmState, MisspecificationAlarm
from consensus_imitation.core.budget import InflationBudget, enter
from consensus_imitation.core.draw import QUERY, draw
from consensus_imitation.core.laws import examined, excesses, masses
from consensus_imitation.core.legal import conditioned
from consensus_imitation.core.members import Context, are_normalised
from consensus_imitation.core.merging import Merging
from consensus_imitation.core.reweighting import Reweighting
from consensus_imitation.core.rules import Rules
from consensus_imitation.core.selection import merged
from consensus_imitation.core.state import (
    AGGREGATION_FAULT,
    BATCH,
    SELECTION_FAULT,
    LearnerState,
    ObserveInfo,
    PureDecision,
    Stream,
)


class Learner(PyTree, guests=True):
    """Ensemble and rules: all that a step depends on besides the state.

    The ensemble's arrays and the rules' parameters are pytree leaves, so a new k or new tables do not recompile, and
    both can be ``vmap``ped over. ``reweighting`` None is Bayes' rule.

    Example:
        >>> import jax, numpy as np
        >>> from consensus_imitation import Learner, Minimum, TopK, ensembles
        >>> probs = np.array([[[0.9, 0.1]], [[0.6, 0.4]]])  # members, observations, actions
        >>> learner = Learner(ensembles.tabular(probs), TopK(2), Minimum())
        >>> state = learner.init(jax.random.key(0))
        >>> decision = learner.decide(state, 0)
        >>> round(float(decision.query_prob), 2)
        0.3
        >>> state, info = learner.observe(state, 0, decision, answer=1)
    """

    ensemble: Any
    selection: Any
    aggregation: Any = agg.Minimum()
    alarm: MisspecificationAlarm | None = None
    budget: InflationBudget | None = None
    merging: Merging | None = None
    reweighting: Reweighting | None = None

    @classmethod
    def of(cls, ensemble: Any, rules: Rules) -> Self:
        """The learner of these members and rules."""
        return cls(ensemble, *(getattr(rules, one.name) for one in fields(rules)))

    @property
    def rules(self) -> Rules:
        """The rules alone."""
        return Rules(*(getattr(self, one.name) for one in fields(Rules)))

    def init(self, key: jax.Array, num_streams: int | None = None, members: jax.Array | None = None) -> LearnerState:
        """The state before the first step.

        Args:
            key: PRNG key of the draws; keep it from the members.
            num_streams: B, for a batch of streams that share one posterior; None for one stream.
            members: PRNG key of the members' own randomness; by default one that ``key`` gives, and does not give away.

        Raises:
            ConfigurationError: if an option is of the wrong kind, or a rule does not fit the ensemble.
        """
        self.rules.check(self.ensemble)
        own = learning_key(key) if members is None else members
        learned = self.ensemble.init_learned(own) if self.ensemble.learns else ()

        return LearnerState(
            posterior=post.init(self.ensemble.prior),
            unexplained=jnp.zeros((), bool),
            stream=self.init_streams(key, num_streams),
            rules=self.fingerprint(),
            studied=jnp.zeros((), jnp.int32),
            recordings=studied.nothing(),
            voids=jnp.zeros((), jnp.uint32),
            alarm=None if self.alarm is None else self.alarm.init(self.ensemble.num_members, self.ensemble.num_actions),
            diversity=None if self.merging is None else div.init(self.ensemble.num_members),
            learned=learned,
        )

    def init_streams(self, key: jax.Array, num_streams: int | None = None) -> Stream:
        """One fresh stream, or B of them."""

        def stream(own_key: jax.Array) -> Stream:
            zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
            return Stream(
                self.ensemble.init_carry(),
                own_key,
                step=zero,
                queries=zero,
                ledger=jnp.zeros(()),
                asking=no,
                unusable=no,
            )

        return stream(key) if num_streams is None else jax.vmap(stream)(jax.random.split(key, num_streams))

    def fingerprint(self) -> jax.Array:
        """What tells these rules and this prior from others: uint32 []."""
        return jnp.asarray(fingerprint((self.replace(ensemble=None), self.ensemble.prior)))

    def adopt(self, state: LearnerState) -> LearnerState:
        """A state that may have been made under other rules, to go on under these: if so, its promises are void.

        Args:
            state: of this ensemble. One in which nothing has happened yet may be of any rules with this prior.
        """
        rules = self.fingerprint()
        begun = jnp.any(state.stream.step > 0) | jnp.any(state.stream.asking) | (state.studied > 0)
        begun |= ~post.is_prior(state.posterior, self.ensemble.prior)
        other = begun & (state.rules != rules)
        voids = state.voids | jnp.where(other, jnp.uint32(OTHER_RULES), jnp.uint32(0))
        return state.replace(rules=rules, voids=voids)

    def decide(
        self, state: LearnerState, observation: Any, number: jax.Array | None = None, action_mask: Any = None
    ) -> PureDecision:
        """Act or ask, for one stream. Changes nothing.

        The decision holds the predictions as they were acted on, conditioned on the mask if there is one, so that
        `observe` needs none. (To it, an answer that the mask forbids is one that no member explains.)

        Args:
            state: its stream has no leading axis.
            observation: as the ensemble takes it.
            number: uint32 [2], `random_words` of the step, for a caller that has computed them.
            action_mask: bool [A], the legal actions (`legal.conditioned`); None for all.
        """
        log_probs = self.ensemble.log_probs(state.stream.carry, observation, _context(state))
        if action_mask is not None:
            log_probs = conditioned(log_probs, action_mask)
        return judge(self.rules, state, log_probs, number, are_normalised(self.ensemble), action_mask)

    def observe(
        self,
        state: LearnerState,
        observation: Any,
        decision: PureDecision,
        answer: Any,
        *,
        teaches: bool = True,
        owner: Any = None,
    ) -> tuple[LearnerState, ObserveInfo]:
        """Close the step of one stream.

        Args:
            state: the state that ``decision`` was made in.
            observation: what it was made on.
            decision: from `decide`.
            answer: int [], the demonstrator's action if ``decision.queried``; ignored otherwise.
            teaches: whether members that learn do; False for a caller that sees to it, as the shell does.
            owner: whose answer it is, one entry of `members.Divides.owners`; None where nobody said.
        """
        decision = self._examined(decision)
        after, info = self._learn(state, observation, decision, answer, teaches, owner)
        return after.replace(stream=self.advance(state, observation, decision, info.action)), info

    def advance(self, state: LearnerState, observation: Any, decision: PureDecision, action: Any) -> Stream:
        """The stream one step further: the part of `observe` that does not depend on what the answer teaches."""
        stream = state.stream
        carry = self.ensemble.advance(stream.carry, observation, _context(state), action, decision.queried)
        return stream.replace(
            carry=carry,
            step=stream.step + 1,
            queries=stream.queries + decision.queried.astype(jnp.int32),
            ledger=_entered(stream, decision.log_inflation),
            asking=jnp.zeros_like(stream.asking),
            unusable=stream.unusable | jnp.any(decision.invalid),
        )

    def pose(self, stream: Stream, decision: PureDecision) -> Stream:
        """The stream while the demonstrator is asked: if no answer comes, the next decision is a query, too.

        The step's inflation is entered now, since the step may end otherwise than by `observe`, which does not enter it
        again.
        """
        return stream.replace(
            ledger=jnp.where(decision.queried, _entered(stream, decision.log_inflation), stream.ledger),
            asking=stream.asking | decision.queried,
        )

    def pretrain(
        self,
        state: LearnerState,
        stream: Stream,
        observations: Any,
        actions: Any,
        starts: Any,
        real: Any,
        action_masks: Any = None,
        owners: Any = None,
    ) -> tuple[LearnerState, Stream]:
        """Learn from recorded demonstrations, each as if it had been the answer to a query.

        T2 holds if each of them is used once and none was dropped for how it ended. Nothing is checked here;
        `ConsensusImitator.pretrain` notices recordings that come again.

        Args:
            state: whose streams are left alone.
            stream: of the demonstrations: whatever memory the members have of those before.
            observations: [T, ...].
            actions: int32 [T], what the demonstrator did.
            starts: bool [T], an episode begins with this observation.
            real: bool [T], False for padding.
            action_masks: bool [T, A], what was legal; None for everything.
            owners: [T, ...], whose demonstrations they are (`members.Divides.owners`); None where nobody said.

        Returns:
            The state, and the stream of the demonstrations, T steps further.
        """

        def one(carried: tuple[LearnerState, Stream], part: Any) -> tuple[tuple[LearnerState, Stream], None]:
            shared, stream = carried
            observation, action, start, counts, mask, owner = part
            alone = shared.replace(stream=self.begin_episode(stream, start))
            decision = self.decide(alone, observation, action_mask=mask)
            decision = decision._replace(queried=counts, log_inflation=jnp.zeros(()))
            after, _ = self.observe(alone, observation, decision, action, owner=owner)
            return (after.replace(stream=None), after.stream), None

        real = jnp.asarray(real, bool)
        acted = (observations, jnp.asarray(actions, jnp.int32), jnp.asarray(starts, bool), real)
        parts = (*acted, action_masks, owners)
        (after, stream), _ = jax.lax.scan(one, (state.replace(stream=None), stream), parts)
        num_studied = state.studied + jnp.sum(real, dtype=jnp.int32)
        return after.replace(stream=state.stream, studied=num_studied), stream

    def clear_alarm(self, state: LearnerState) -> LearnerState:
        """Act again after no member explained the answers: the alarm's bets start afresh, every promise is void.

        While nothing is wrong, nothing changes: were the bets to start afresh, too, each start would have a false alarm
        of its own.
        """
        cleared = jnp.where(state.unexplained, jnp.uint32(CLEARED), jnp.uint32(0))
        alarm = jax.tree.map(lambda new, old: jnp.where(state.unexplained, new, old), self._init_alarm(), state.alarm)
        return state.replace(unexplained=jnp.zeros((), bool), alarm=alarm, voids=state.voids | cleared)

    def _init_alarm(self) -> AlarmState | None:
        return None if self.alarm is None else self.alarm.init(self.ensemble.num_members, self.ensemble.num_actions)

    def begin_episode(self, stream: Stream, begins: jax.Array | bool = True) -> Stream:
        """A fresh ledger, if the budget is per episode; members whose memory is of one episode forget.

        Args:
            stream: of one environment.
            begins: bool [], whether an episode begins at all.
        """
        fresh = stream.replace(carry=self.ensemble.begin_episode(stream.carry))
        if self.budget is not None and self.budget.per == "episode":
            fresh = fresh.replace(ledger=jnp.zeros_like(stream.ledger))
        carry, ledger = jax.tree.map(
            lambda new, old: jnp.where(begins, new, old), (fresh.carry, fresh.ledger), (stream.carry, stream.ledger)
        )
        return stream.replace(carry=carry, ledger=ledger)

    def decide_batch(self, state: LearnerState, observations: Any, action_masks: Any = None) -> PureDecision:
        """`decide` for each of B streams under the shared posterior; every field gains a leading axis B.

        The decisions hold the predictions. Where those are the observations themselves, a compiled call copies them,
        unless they are given away: ``jax.jit(Learner.decide_batch, donate_argnums=2)``.

        Args:
            state: with B streams.
            observations: with a leading axis B.
            action_masks: bool [B, A], the legal actions; None for all.
        """
        return jax.vmap(self.decide, in_axes=(BATCH, 0, None, 0))(state, observations, None, action_masks)

    def observe_batch(
        self,
        state: LearnerState,
        observations: Any,
        decisions: PureDecision,
        answers: Any,
        *,
        teaches: bool = True,
        owners: Any = None,
    ) -> tuple[LearnerState, ObserveInfo]:
        """`observe` for B streams: the answers enter the shared posterior one after another, in stream order."""

        def learn(shared: LearnerState, part: Any) -> tuple[LearnerState, ObserveInfo]:
            stream, observation, decision, answer, owner = part
            after, info = self._learn(shared.replace(stream=stream), observation, decision, answer, teaches, owner)
            return after.replace(stream=None), info

        decisions = self._examined(decisions)
        parts = (state.stream, observations, decisions, jnp.asarray(answers), owners)
        shared, info = jax.lax.scan(learn, state.replace(stream=None), parts)
        # All streams advance under the posterior that they decided under.
        streams = jax.vmap(self.advance, in_axes=(BATCH, 0, 0, 0))(state, observations, decisions, info.action)
        return shared.replace(stream=streams), info

    def _examined(self, decision: PureDecision) -> PureDecision:
        """A decision to learn from. If it was made as none (`pretrain`), its predictions may not be checked yet."""
        return decision.examined() if are_normalised(self.ensemble) else decision

    def _learn(
        self, state: LearnerState, observation: Any, decision: PureDecision, answer: Any, teaches: bool, owner: Any
    ) -> tuple[LearnerState, ObserveInfo]:
        """What the answer teaches: everything in the state but the stream."""
        posterior, unexplained, info = score(state, decision, answer, self.reweighting, self.ensemble.prior)
        after = state.replace(posterior=posterior, unexplained=unexplained)
        counts = decision.queried & info.explained
        if teaches and self.ensemble.learns:
            legal = (info.action >= 0) & (info.action < self.ensemble.num_actions)
            operands = (state.learned, state.stream.carry, observation, info.action, decision.usable)
            # A branch, not a selection: what is not learned is then not computed, except under vmap.
            learn = self.ensemble.learn if owner is None else partial(self.ensemble.learn, owner=owner)
            learned = jax.lax.cond(decision.queried & legal, learn, lambda learned, *_: learned, *operands)
            after = after.replace(learned=learned)
        alarm = None if state.alarm is None else self.alarm
        diversity = None if self.merging is None else state.diversity
        if alarm is None and diversity is None:
            return after, info

        def learned_from(before: Any, observation: Any, decision: PureDecision, answer: jax.Array) -> Any:
            bets, seen = before
            if seen is not None:
                seen = div.update(seen, decision.usable, answer)
            if alarm is not None:
                bets = alarm.update(bets, observation, decision.usable, answer, decision.invalid)
            return bets, seen

        # Of many streams, only for those that asked.
        before = (None if alarm is None else state.alarm), diversity
        found = where_asked(learned_from)(counts, before, observation, decision, info.action)
        settled, diversity = jax.tree.map(lambda new, old: jnp.where(counts, new, old), found, before)
        after = after.replace(diversity=state.diversity if diversity is None else diversity)
        if alarm is None:
            return after, info
        raised = alarm.raised(settled, jnp.log(self.ensemble.prior))
        return after.replace(alarm=settled, unexplained=unexplained | raised), info


def learning_key(key: jax.Array) -> jax.Array:
    """The key of the members' own randomness, apart from those of the draws: step counters never get so far."""
    return jax.random.fold_in(key, 2**31 + 1)


def random_words(key: jax.Array, step: jax.Array) -> jax.Array:
    """What a step's `draw.draw` uses, uint32 [2]: a function of the stream's key and its step counter only."""
    return jax.random.bits(jax.random.fold_in(key, step), (2,), jnp.uint32)


def judge(
    rules: Rules,
    state: LearnerState,
    log_probs: jax.Array,
    number: jax.Array | None = None,
    normalised: bool = False,
    action_mask: jax.Array | None = None,
) -> PureDecision:
    """From one stream's predictions [N, A] to its decision.

    Args:
        rules: to decide by.
        state: whose stream has no leading axis.
        log_probs: [N, A], as the members gave them, conditioned on the mask.
        number: as for `Learner.decide`.
        normalised: what the ensemble declares (`members.are_normalised`). At every step it is still checked that each
            prediction begins with a number, and that the law is one: the minimum holds no NaN, and neither it nor the
            first of the selected members sums to more than one. On a query everything is checked, since its answer is
            learned from.
        action_mask: bool [A], the legal actions: a law that gives another anything is none.
    """
    selection, merging, budget = rules.selection, rules.merging, rules.budget
    excess = _first_numbers(log_probs) if normalised else excesses(log_probs)
    selected = mask_of(selection, state.posterior.log_weights)
    if merging is not None and merging.tolerance is not None and state.diversity is not None:
        # Where no two members are alike, which is usual after some answers, there is nothing to merge.
        alike = div.any_alike(state.diversity, merging.tolerance, merging.min_answers)
        grown = where_asked(_merged)(alike, selection, merging, state.posterior.log_weights, state.diversity)
        selected = jnp.where(alike, grown, selected)
    law, sound = examined_law_of(rules.aggregation, log_probs, state.posterior.log_weights, selected, excess)
    if action_mask is not None:
        # No member gives such an action anything, but a rule may.
        sound &= jnp.all(jnp.asarray(action_mask, bool) | (law.probs == 0.0))
    nobody = ~jnp.any(selected)
    log_inflation = jnp.where(sound, law.log_inflation, 0.0)
    spent = False if budget is None else budget.exceeded(state.stream.ledger, log_inflation)
    asks = state.unexplained | spent | state.stream.asking | nobody | ~sound
    number = random_words(state.stream.key, state.stream.step) if number is None else number
    action = jnp.where(asks, QUERY, draw(number, law))
    queried = action == QUERY
    if normalised:
        found, dissent = examined(log_probs, selected, queried)
        excess = jnp.where(queried, found, excess)
    else:
        dissent = agg.dissent(log_probs, selected, queried, excess)
    invalid = jnp.isposinf(excess)
    # A rule that got what is no prediction is not at fault.
    rule_fault = jnp.where(sound | (jnp.any(invalid) if normalised else False), 0, AGGREGATION_FAULT)
    return PureDecision(
        action=action,
        queried=queried,
        query_prob=jnp.where(asks, 1.0, law.query_prob),
        min_probs=jnp.where(asks, 0.0, law.probs),
        selected=selected,
        invalid=invalid,
        dissent=dissent,
        log_probs=log_probs,
        excess=excess,
        log_inflation=jnp.where(asks, 0.0, log_inflation),
        handed_over=jnp.asarray(spent),
        # A law of nobody is nobody's fault but that of who selected nobody.
        rule_fault=jnp.where(nobody, SELECTION_FAULT, rule_fault).astype(jnp.int32),
    )


def _merged(selection: Any, merging: Merging, log_weights: jax.Array, diversity: div.DiversityState) -> jax.Array:
    assert merging.tolerance is not None
    return merged(selection, log_weights, div.near_duplicates(diversity, merging.tolerance, merging.min_answers))


def _first_numbers(log_probs: jax.Array) -> jax.Array:
    """[N]: ``inf`` for a prediction that begins with a NaN, as all of a softmax does if any of it is one; else 0."""
    return jnp.where(jnp.isnan(log_probs[:, 0]), jnp.inf, 0.0)


def score(
    state: LearnerState,
    decision: PureDecision,
    answer: Any,
    reweighting: Reweighting | None = None,
    prior: jax.Array | None = None,
) -> tuple[post.PosteriorState, jax.Array, ObserveInfo]:
    """The posterior after one stream's step, whether the alarm is on, and what happened.

    A ``reweighting`` other than Bayes' rule (None) needs the ``prior`` [N]. An answer outside ``0 .. A-1`` is explained
    by no member.
    """
    num_actions = decision.log_probs.shape[-1]
    answer = jnp.asarray(answer, jnp.int32)
    legal = (answer >= 0) & (answer < num_actions)
    # What a member withheld was asked about, and is no evidence against it.
    # (`posterior.normalised` of what is usable, at the answer; from sums that the decision was checked by.)
    given = decision.log_probs[:, jnp.clip(answer, 0, num_actions - 1)]
    predicted = given - jnp.log(masses(decision.log_probs))
    log_likelihood = jnp.where(legal & ~decision.invalid, predicted, -jnp.inf)
    asleep = decision.invalid & legal
    if reweighting is None or prior is None:
        updated, said = post.update(state.posterior, log_likelihood, asleep)
    else:
        updated, said = reweighting(state.posterior, log_likelihood, prior, asleep)
    kept = jax.tree.map(lambda new, old: jnp.where(decision.queried, new, old), updated, state.posterior)
    explained = said.explained | ~decision.queried
    info = ObserveInfo(
        action=jnp.where(decision.queried, answer, decision.action),
        evidence=jnp.where(decision.queried, said.evidence, 0.0),
        explained=explained,
    )
    return kept, state.unexplained | ~explained, info


def _entered(stream: Stream, log_inflation: jax.Array) -> jax.Array:
    """The ledger with a step's inflation, unless the step was entered when its question was posed."""
    return jnp.where(stream.asking, stream.ledger, enter(stream.ledger, log_inflation))


def _context(state: LearnerState) -> Context:
    return Context(step=state.stream.step, log_weights=state.posterior.log_weights, learned=state.learned)
