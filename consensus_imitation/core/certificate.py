"""What an imitator guarantees, in words, with the numbers so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from consensus_imitation.core import bounds
from consensus_imitation.core._validation import check_instance
from consensus_imitation.core.aggregation import Minimum, veto_factor
from consensus_imitation.core.harm import HarmRecord
from consensus_imitation.core.independence import EffectiveMembers
from consensus_imitation.core.independence import said as in_words
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.members import reach_of
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.core.priors import SemiInformative
from consensus_imitation.core.standing import Observed, Standing, said, standing


@dataclass(frozen=True)
class Statement:
    """A guarantee and the numbers so far. ``str(statement)`` is readable.

    Attributes:
        promise: the sentence about actions or events, for the rules in use.
        prior_weight: w, prior weight of the member assumed to equal the demonstrator.
        exclusion: bound on P(that member is ever left out) (T2); 1.0 is an empty bound.
        quorum: the sentence about dishonest members.
        tolerated_members: dishonest members that the quorum tolerates (T1), under both rules together: 0 where the
            aggregation rule gives no single member a veto.
        poison: the sentence about false answers; empty where every answer reaches every member.
        tolerated_answers: false answers, or corrupted sources of answers, that the quorum tolerates, since each reaches
            a few members only (T7); 0 where they reach all of them.
        factor: of the inflation budget; None without one.
        num_steps: steps so far, of all environments together.
        num_queries: queries so far.
        num_studied: recorded steps that were also learned from; see `ConsensusImitator.pretrain`.
        queries_bound: bound on the expected number of queries in that many steps (T3); ``inf`` where there is none.
        num_withdrawn: questions that got no answer.
        ledger: log of the inflation spent so far (the largest, of a batch).
        smallest_margin: by how many nats the log-weight of the selected member nearest to being left out could fall.
        nearest_member: which member it is.
        void: why nothing is guaranteed at all, so that the other fields only show what the rules can do; empty if
            something is guaranteed.
        now: what is promised from now on, what was observed against the bounds, and what that refutes.
        harm: what the demonstrator's own harm makes of the promise; None if nothing is known of it.
        belief: what its user believes of harm; None if nobody said. No theorem makes it, so it stands without one, too.
        effective: how many members err independently (`independence`), a report on which no promise rests; None where
            it is not measured.
        num_members: N.
    """

    promise: str
    prior_weight: float
    exclusion: float
    quorum: str
    tolerated_members: int
    poison: str
    tolerated_answers: int
    factor: float | None
    num_steps: int
    num_queries: int
    num_studied: int
    queries_bound: float
    num_withdrawn: int
    ledger: float
    smallest_margin: float
    nearest_member: int
    void: str
    now: Standing
    harm: "HarmBound | None" = None
    belief: SemiInformative | None = None
    effective: EffectiveMembers | None = None
    num_members: int = 0

    def __str__(self) -> str:
        promised = [self.promise, self.quorum, *([self.poison] if self.poison else [])]
        lines = [f"NOTHING IS GUARANTEED: {self.void}"] if self.void else promised
        expected = (
            ""
            if math.isinf(self.queries_bound) or self.void
            else f" (expected at most {said(self.queries_bound, self.num_steps)}, if no member withholds mass and "
            "every question is answered)"
        )
        spent = "" if math.isinf(self.ledger) else f", inflation spent {math.exp(self.ledger):.4g}"
        limit = "" if self.factor is None else f" of {self.factor:g}"
        lines.append(f"so far: {self.num_queries} queries in {self.num_steps} steps{expected}{spent}{limit}")
        if self.num_studied:
            lines.append(
                f"assumed of the {self.num_studied} recorded steps that were studied: each is the demonstrator's, none "
                "is an answer that this run was given, and none was left out for what it says or how it ended"
            )
        if self.num_withdrawn:
            lines.append(
                f"assumed of the {self.num_withdrawn} questions that got no answer: none was left without one for what "
                "the answer would have been"
            )
        lines.append(
            f"nearest to being left out: member {self.nearest_member}, by {self.smallest_margin:.3g} nats"
            if math.isfinite(self.smallest_margin)
            else "no selected member can be left out"
        )
        believed = [] if self.belief is None else [f"believed, and no bound: harm has probability {self.belief}"]
        if self.effective is not None:
            lines.append(in_words(self.effective, self.num_members, 1 - self.now.delta) + "; no promise rests on it")
        if self.void:
            return "\n".join([*lines, *believed, *(f"REFUTED: {one}" for one in self.now.refuted)])
        if self.harm is not None:
            lines.append(str(self.harm))
        return "\n".join([*lines, *believed, *self.now.lines()])


def certify(
    learner: Learner,
    prior: Sequence[float] | np.ndarray,
    log_weights: Sequence[float] | np.ndarray,
    *,
    truth: int | None,
    num_steps: int,
    num_streams: int,
    num_queries: int,
    ledger: float,
    num_studied: int = 0,
    void: str = "",
    unusable: bool = False,
    learns: bool | None = None,
    reach: int | None = None,
    observed: Observed | None = None,
    delta: float = 0.05,
    harm: HarmRecord | None = None,
    belief: SemiInformative | None = None,
    least_ledger: float | None = None,
    total_steps: int | None = None,
) -> Statement:
    """Return the statement for a learner's rules and a posterior.

    Args:
        learner: whose rules they are.
        prior: [N].
        log_weights: [N], the posterior's.
        truth: which member is assumed to equal the demonstrator; None for the worst case over all members of
            positive prior weight.
        num_steps: so far, of the stream that is furthest.
        num_streams: B, that share the posterior.
        num_queries: so far, of all streams.
        ledger: so far (the largest, of a batch).
        num_studied: recorded steps that were learned from.
        void: why nothing is guaranteed any more; empty if something is.
        unusable: whether any prediction was unusable: such a member asks without losing weight, and T3 ends.
        learns: whether members learn; None to ask the learner's own ensemble (it does not know it of members on the
            host).
        reach: members that one answer, or all answers of one source, can reach (`members.reach_of`); None likewise.
        observed: what the run has seen besides; None if nobody has counted.
        delta: level of what is stated with high probability, in (0, 1).
        harm: of the demonstrator's own episodes.
        belief: about harm in the trials to come.
        least_ledger: of the stream that has spent the least; None if it is the same.
        total_steps: of all streams together; None if each has taken ``num_steps``.

    Raises:
        ValueError: if ``truth`` is not a member of positive prior weight, or delta is out of range.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import AlphaThreshold, InflationBudget, Learner, ensembles
        >>> from consensus_imitation.core.certificate import certify
        >>> members = ensembles.tabular(np.full((4, 1, 2), 0.5))
        >>> learner = Learner(members, AlphaThreshold(0.0025), budget=InflationBudget(2.0))
        >>> said = certify(
        ...     learner, members.prior, [0.0] * 4, truth=None, num_steps=9, num_streams=1, num_queries=7, ledger=0.1
        ... )
        >>> said.promise[:66]
        'for every event, at every horizon: P(imitator) <= 2 * P(demonstrat'
    """
    check_instance("belief", belief, SemiInformative, "give priors.semi_informative(...), or None")
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")
    rule = learner.selection
    weights = normalise_prior(np.asarray(prior))
    candidates = np.flatnonzero(weights > 0).tolist() if truth is None else [truth]
    cubed = max(bounds.cubed_query_bound(rule, weights.tolist(), one) for one in candidates)
    prior_weight = float(min(weights[one] for one in candidates))
    by_one_answer = rule.exclusion_bound(prior_weight, len(weights))
    exclusion = by_one_answer if _bounds_all_steps(learner) else 1.0
    learns = bool(learner.ensemble.learns) if learns is None else learns
    observed = Observed(np.full(num_streams, np.nan)) if observed is None else observed
    total_steps = num_steps * num_streams if total_steps is None else total_steps
    reach = reach_of(learner.ensemble) if reach is None else reach
    tolerated_answers = tolerated(learner, reach, len(weights))
    current = jnp.asarray(log_weights, jnp.float32)
    margins = np.where(np.asarray(rule(current)), np.asarray(rule.margins(current)), np.inf)
    return Statement(
        promise=_promise(learner, prior_weight, exclusion, by_one_answer, num_streams, learns),
        prior_weight=prior_weight,
        exclusion=exclusion,
        quorum=_quorum(learner),
        tolerated_members=_tolerated(learner),
        poison=_poison(learner, reach, len(weights), tolerated_answers),
        tolerated_answers=tolerated_answers,
        factor=None if learner.budget is None else float(np.asarray(learner.budget.factor)),
        num_steps=total_steps,
        num_queries=num_queries,
        num_studied=num_studied,
        queries_bound=math.inf
        if unusable or learns or observed.withdrawn
        else _queries_bound(learner, len(weights), cubed, num_steps, num_streams, total_steps),
        num_withdrawn=observed.withdrawn,
        ledger=ledger,
        smallest_margin=float(margins.min()),
        nearest_member=int(margins.argmin()),
        void=void,
        now=standing(
            learner,
            candidates,
            weights,
            np.asarray(log_weights),
            observed,
            truth=truth,
            ledger=ledger if least_ledger is None else least_ledger,
            delta=delta,
            bayesian=learner.reweighting is None,
            unusable=unusable,
        ),
        harm=None if harm is None else _harm(learner, harm, exclusion, delta, void),
        belief=belief,
        effective=None if observed.errors is None else observed.errors.effective(1 - delta),
        num_members=len(weights),
    )


@dataclass(frozen=True)
class HarmBound:
    """A number for harm. ``str(bound)`` is readable.

    Attributes:
        per_episode: at most so likely is harm in an episode, all that can go wrong included (T5); 1.0 is empty.
        demonstrator: upper limit on the demonstrator's own rate.
        factor: of the inflation budget; ``inf`` without one.
        exclusion: bound on P(the truth is ever left out).
        delta: probability that the demonstrator's limit is too low.
        record: its episodes.
        void: why nothing is guaranteed; then ``per_episode`` is empty.
    """

    per_episode: float
    demonstrator: float
    factor: float
    exclusion: float
    delta: float
    record: HarmRecord
    void: str = ""

    def __str__(self) -> str:
        counted = f"{self.record.harmed} of the demonstrator's {self.record.episodes} episodes did harm"
        if self.void:
            return f"harm: {counted}; no number bounds the imitator's, as nothing is guaranteed: {self.void}"
        if math.isinf(self.factor):
            return f"harm: {counted}; without an inflation budget, no number bounds the imitator's (T5 needs one)"
        return (
            f"harm per episode at most {said(self.per_episode, 1.0)} with confidence {1 - self.delta:g} ({counted}, so "
            f"at most {self.demonstrator:.4g}, times {self.factor:g}, and {self.exclusion:.4g} for the case that the "
            "truth goes out), given a member equal to the demonstrator, and if its episodes and those to come are "
            "alike and begin independently of what was before, and how many were recorded was fixed beforehand"
        )


def _harm(learner: Learner, record: HarmRecord, exclusion: float, delta: float, void: str) -> HarmBound:
    upper = record.upper(delta)
    bounded = learner.budget is not None and type(learner.aggregation) is Minimum
    factor = float(np.asarray(learner.budget.factor)) if bounded and learner.budget is not None else math.inf
    per_episode = bounds.budget_bound(upper, exclusion, factor) if bounded and not void else 1.0
    return HarmBound(per_episode, upper, factor, exclusion, delta, record, void)


def _bounds_all_steps(learner: Learner) -> bool:
    """Return whether T2 bounds the probability of *ever* leaving the truth out: old answers must never fade."""
    rule = learner.reweighting
    return rule is None or (float(np.asarray(rule.forget)) == 1.0 and float(np.asarray(rule.share)) == 0.0)


def _tolerated(learner: Learner) -> int:
    """Return the quorum of both rules: the number of members counts only where one of them can veto."""
    return learner.selection.tolerated_members if math.isfinite(veto_factor(learner.aggregation)) else 0


def _quorum(learner: Learner) -> str:
    factor = veto_factor(learner.aggregation)
    if math.isinf(factor):
        return f"no quorum: under the rule {learner.aggregation.name!r} no member has a veto"
    if not (tolerated := _tolerated(learner)):
        return "no quorum: the weight may come to rest on a single member, which then acts alone"
    times = "" if factor == 1 else f"{factor:.4g} times "
    return (
        f"quorum: an honest member has a veto while at most {tolerated} members are dishonest: no set of actions gets "
        f"more than {times}the probability that this member gives it, except from the demonstrator"
    )


def tolerated(learner: Learner, reach: int, num_members: int) -> int:
    """Return how many false answers, or corrupted sources, leave a selected member untouched, whatever the weights.

    Of d such answers at most ``d * reach`` members learn anything; the quorum says how many of those it tolerates (T7).

    Args:
        learner: whose rules they are.
        reach: members that one of them can reach, see `members.reach_of`.
        num_members: N.
    """
    return _tolerated(learner) // reach if 0 < reach < num_members else 0


def _poison(learner: Learner, reach: int, num_members: int, answers: int) -> str:
    """Return the sentence about false answers."""
    if not 0 < reach < num_members:
        return ""
    if not answers:
        return "poison: no false answer is tolerated: the rules have no quorum for the members that one can reach"
    factor = veto_factor(learner.aggregation)
    times = "" if factor == 1 else f"{factor:.4g} times "
    return (
        f"poison: while at most {answers} answers are false (of a named source, while at most {answers} sources give "
        f"any), some selected member has learned from true answers alone: no set of actions gets more than {times}the "
        "probability that this member gives it, except from the demonstrator. Assumed: what was studied as trusted is "
        "true, and answers reach members in no other way, as through an encoder fitted to them"
    )


def _promise(
    learner: Learner, prior_weight: float, exclusion: float, by_one_answer: float, num_streams: int, learns: bool
) -> str:
    """Return the sentence that T4 to T6 allow for these rules, and no more."""
    rule = learner.aggregation
    # Not isinstance: only its author knows what a rule derived from the minimum does.
    if type(rule) is not Minimum:
        return f"no bound on actions or events is known of the rule {rule.name!r}"
    given = f"given a member equal to the demonstrator with prior weight at least {prior_weight:.3g}"
    if learns:
        given += " (which no network is: read this as what the rules can do, not as a guarantee)"
    if num_streams > 1:
        given += " and environments that do not act on one another"
    left_out = said(exclusion, 1.0)
    if not _bounds_all_steps(learner):
        given += (
            f"; the k-th answer, for any one k, leaves that member out with probability at most "
            f"{said(by_one_answer, 1.0)}, but nothing bounds for how long"
        )
    if learner.budget is not None:
        where = "" if num_streams == 1 else " in any one environment"
        factor = float(np.asarray(learner.budget.factor))
        if learner.budget.per == "episode":
            return (
                f"for every event{where}, within one episode: P(imitator) <= {factor:g} * P(demonstrator that takes "
                f"over at the start of that episode) + {left_out}, on average over what came before it, {given}"
            )
        bound = f"{factor:g} * P(demonstrator) + {left_out}"
        return f"for every event{where}, at every horizon: P(imitator) <= {bound}, {given}"
    if rule.threshold is not None:
        times = "infinitely many" if rule.threshold == 1 else f"{bounds.threshold_inflation(rule.threshold):.4g}"
    elif rule.rounds > 1:
        times = f"(1 + theta + ... + theta^{rule.rounds})"
    else:
        times = "(1 + query_prob)"
    return (
        f"at every step, while that member is selected: P(action) <= {times} * P(demonstrator's action), {given}; "
        f"it is ever left out with probability at most {left_out}"
    )


def _queries_bound(
    learner: Learner, num_members: int, cubed: float, num_steps: int, num_streams: int, total_steps: int
) -> float:
    """Return T3's bound where its proof applies: the minimum asks with probability theta, nothing else makes it ask."""
    plain = type(learner.aggregation) is Minimum and learner.aggregation == Minimum()
    if not plain or learner.budget is not None or learner.alarm is not None or learner.reweighting is not None:
        return math.inf
    # In a round of a batch any stream may count as the first, so the bound holds for the largest theta of the round.
    bound = num_streams * bounds.expected_queries_bound(cubed, num_steps)
    if learner.merging is not None and learner.merging.tolerance is not None:
        tolerance = float(np.asarray(learner.merging.tolerance))
        bound += bounds.merging_cost(num_members, tolerance, total_steps, num_streams)
    return min(float(total_steps), bound)
