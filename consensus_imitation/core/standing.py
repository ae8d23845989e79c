"""Where a run stands against its bounds: what is promised from now on, what was observed, and what that refutes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from consensus_imitation.core import bounds, from_now_on
from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.closeness import Closeness
from consensus_imitation.core.independence import ErrorGroups
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.selection import SelectionRule

#: How many answers ahead the statement about members that are only close looks.
ANSWERS_AHEAD = 100
#: The chance that the sum of cubes raises an alarm although a member equals the demonstrator.
ALARM_DELTA = 0.01


@dataclass(frozen=True)
class Standing:
    """Numbers beside a promise.

    Attributes:
        delta: level of what holds with high probability.
        member: the one that "from now on" speaks of: the heaviest, or the one that was named.
        exclusion: bound on P(it is out now or ever later, given what was so far), if it equals the demonstrator (T2).
        credence: bound on the credence that the truth is out or will be, of one who believes the posterior (T2); a
            belief. NaN where the weights are no posterior.
        squared: bound on the expected sum of ``(theta - v)_+^2`` over the questions that will be answered, in each
            environment, v being the most that a selected member withholds (T3); ``inf`` where there is none.
        squared_limit: limit of that sum over the whole run and all environments, that it ever exceeds with probability
            at most delta (T3).
        squared_observed: that sum so far; NaN where T3 does not apply, and where the weights are no evidence.
        since: steps that had been closed before the first one in that sum.
        factor_left: what is left of the inflation budget (the most, of a batch, so that it bounds each environment's)
            (T5); None without one, and where no bound is known of the aggregation rule.
        per_episode: whether that is of the episode only.
        num_streams: B, environments that it is said of one by one.
        close_exclusion: bound on P(the member is out within the next `ANSWERS_AHEAD` answers) if they are no worse
            predicted than those so far; NaN where it is not measured (T2 for members that are close).
        close_excess: what that takes for the mean excess of an answer, at level delta.
        refuted: what the observations refute, one sentence each.
        named: whether the member was named, and the heaviest would have been another choice.
    """

    delta: float
    member: int
    exclusion: float
    credence: float
    squared: float
    squared_limit: float
    squared_observed: float
    since: int
    factor_left: float | None
    per_episode: bool
    num_streams: int
    close_exclusion: float
    close_excess: float
    refuted: tuple[str, ...]
    named: bool = False

    def lines(self) -> list[str]:
        """In words."""
        now = [
            f"member {self.member}, if it equals the demonstrator, is out or will be with probability at most "
            f"{said(self.exclusion, 1.0)}"
        ]
        if self.factor_left is not None:
            where = (" in any one environment" if self.num_streams > 1 else "") + (
                " within this episode" if self.per_episode else ""
            )
            now.append(
                f"for every event{where}, if so: P(imitator) <= {self.factor_left:.4g} * P(demonstrator that takes "
                f"over now) + {said(self.exclusion, 1.0)}"
                + (", if environments do not act on one another" if self.num_streams > 1 else "")
            )
        if not math.isnan(self.credence):
            now.append(
                f"who believes the weights believes that the truth is out or will be with at most "
                f"{said(self.credence, 1.0)} (a belief)"
            )
        if math.isfinite(self.squared):
            where = " in each environment" if self.num_streams > 1 else ""
            now.append(
                f"if so, the sum of theta^2, beyond what members withhold, over the questions yet to be answered{where}"
                f" is expected to be at most {self.squared:.4g}"
            )
        if not math.isnan(self.close_exclusion):
            now.append(
                f"within the next {ANSWERS_AHEAD} answers member {self.member} is out with probability at most "
                f"{said(self.close_exclusion, 1.0)}, assuming that they exceed its prediction by no more than those so "
                f"far (mean excess at most {self.close_excess:.3g} with confidence {1 - self.delta:g})"
            )
        found = ["from now on: " + "; ".join(now)]
        if math.isfinite(self.squared_limit) and not math.isnan(self.squared_observed):
            since = f" (of the steps since {self.since} had been closed)" if self.since else ""
            who = f"member {self.member}" if self.named else "a member"
            cubes = "; so does that of theta^3 over all steps, if nobody withholds and every question is answered"
            found.append(
                f"observed: sum of theta^2, beyond what members withhold, over answered questions "
                f"{self.squared_observed:.4g}{since}, which exceeds {self.squared_limit:.4g} with probability at most "
                f"{self.delta:g} while {who} equals the demonstrator{'' if self.num_streams > 1 else cubes}"
            )
        return [*found, *(f"REFUTED: {one}" for one in self.refuted)]


@dataclass(frozen=True, eq=False)
class Observed:
    """What a run has seen besides its posterior.

    Attributes:
        squared: float64 [B], `Standing.squared_observed` by environment; NaN where T3 does not apply.
        since: steps closed before the first that counts.
        withdrawn: questions that got no answer.
        closeness: of members that learn; None where it is not measured.
        alpha: of the alpha rule by which such a member is kept in; None without one.
        errors: the members' errors at the answers; None where they are not measured.
    """

    squared: np.ndarray
    since: int = 0
    withdrawn: int = 0
    closeness: Closeness | None = None
    alpha: float | None = None
    errors: ErrorGroups | None = None


def standing(
    learner: Learner,
    candidates: Sequence[int],
    prior: np.ndarray,
    log_weights: np.ndarray,
    observed: Observed,
    *,
    truth: int | None,
    ledger: float,
    delta: float,
    bayesian: bool,
    unusable: bool,
) -> Standing:
    """Return where a run stands.

    Args:
        learner: whose rules they are.
        candidates: members that may be the truth.
        prior: [N].
        log_weights: [N], the posterior's now.
        observed: what the run has seen.
        truth: the member that "from now on" is about; None for the heaviest.
        ledger: inflation spent in the environment that has spent the least.
        delta: level.
        bayesian: whether the weights are a posterior by Bayes' rule, so that T2 bounds all times.
        unusable: whether any prediction was unusable: T3 says nothing then.
    """
    rule, weights = learner.selection, from_now_on.weights_now(log_weights)
    member = int(weights.argmax()) if truth is None else truth
    num_streams = observed.squared.size
    applies = not unusable and not np.isnan(observed.squared).any()
    limit = squared_limit(rule, prior, candidates, delta, num_streams) if applies else math.inf
    total = float(observed.squared.sum()) if applies else math.nan
    exclusion = from_now_on.exclusion_bound(rule, weights, member) if bayesian else 1.0
    budget = learner.budget
    excess, close = math.nan, math.nan
    if observed.closeness is not None and observed.alpha is not None and bayesian:
        # Which of them is the heaviest is known only afterwards.
        excess = observed.closeness.mean_excess(member, delta / len(candidates))
        at_most = min(1.0, observed.alpha / weights[member]) if weights[member] > 0 else 1.0
        close = from_now_on.close_exclusion_bound(at_most, ANSWERS_AHEAD * excess)
    return Standing(
        delta=delta,
        member=member,
        exclusion=exclusion,
        credence=from_now_on.credence(rule, weights) if bayesian else math.nan,
        squared=bounds.cubed_query_bound(rule, weights.tolist(), member)
        if applies and weights[member] > 0
        else math.inf,
        squared_limit=limit,
        squared_observed=total,
        since=observed.since,
        factor_left=None
        if budget is None or type(learner.aggregation) is not Minimum
        else from_now_on.factor_left(float(np.asarray(budget.factor)), min(max(ledger, 0.0), 700.0)),
        per_episode=budget is not None and budget.per == "episode",
        num_streams=num_streams,
        close_exclusion=close,
        close_excess=excess,
        refuted=refuted_by_squares(total, limit, delta, observed.withdrawn, truth),
        named=truth is not None,
    )


def squared_limit(
    rule: SelectionRule, prior: np.ndarray, candidates: Sequence[int], delta: float, num_streams: int
) -> float:
    """Return the largest limit over the members that may be the truth: above it, none of them is."""
    return max(
        bounds.cubed_query_limit(rule, prior.tolist(), one, delta, num_streams=num_streams) for one in candidates
    )


def refuted_by_squares(
    observed: float, limit: float, delta: float, withdrawn: int, truth: int | None = None
) -> tuple[str, ...]:
    """Return what the sum of squares refutes, in words; nothing where it does not exceed its limit, or is not known."""
    if not observed > limit:
        return ()
    who = "some member" if truth is None else f"member {truth}"
    unless = f", or what the answers would have been decided which {withdrawn} questions got none" if withdrawn else ""
    return (
        f"that {who} equals the demonstrator and the answers are its own: the sum of theta^2 over answered questions "
        f"is {observed:.4g}, above {limit:.4g}, which it would exceed with probability at most {delta:g} (T3){unless}",
    )


def said(bound: float, nothing: float) -> str:
    """Return a bound in words, and whether it says nothing."""
    return f"{bound:.4g}" + (" (which says nothing)" if bound >= nothing else "")
