"""What a certificate compares with its bounds: sums over the answered questions, beside the state and as immutable.

A question counts when it is answered, by what its members had predicted for it. So a journal that is done again gives
the same sums to the last bit, and a checkpoint keeps them in its header. A state alone does not hold them: an imitator
that goes on from one (``from_state``, ``load``), or from a checkpoint of an earlier version, counts from there on, and
says so.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.closeness import Closeness
from consensus_imitation.core.independence import ErrorGroups, errors_of
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.selection import AlphaThreshold, Intersection, SelectionRule, Union
from consensus_imitation.imitator.decision import Decision


@dataclass(frozen=True, eq=False)
class Tally:
    """The sums.

    Attributes:
        squared: float64 [B], for each stream the sum of ``(theta - v)_+^2`` over its answered questions (T3): theta
            squared where no selected member withholds anything. NaN where T3 does not apply.
        since: steps, of all environments, that had been closed before the first one that counts.
        withdrawn: questions that got no answer at all.
        closeness: how close members that learn are to the demonstrator; None where it is not asked.
        errors: the members' errors at the answers; None where the members' diversity is not measured.
    """

    squared: np.ndarray
    since: int
    withdrawn: int
    closeness: Closeness | None
    errors: ErrorGroups | None

    @classmethod
    def begin(cls, learner: Learner, learns: bool, steps: np.ndarray, withdrawn: int = 0) -> Self:
        """Nothing is counted yet but questions that got no answer, after so many steps of each environment."""
        squared = np.full(steps.shape, 0.0 if counts_squares(learner, learns) else np.nan)
        asked = learns and learner.reweighting is None and least_alpha(learner.selection) is not None
        size = learner.ensemble.num_members
        errors = None if learner.merging is None else ErrorGroups.nothing(size)
        return cls(squared, int(steps.sum()), withdrawn, Closeness.nothing(size) if asked else None, errors)

    def answered(
        self, decision: Decision, log_probs: Any, active: np.ndarray | None, log_weights: Any, answers: Any, late: Any
    ) -> Self:
        """A step with a query was closed.

        Args:
            decision: of one environment, or of B.
            log_probs: [N, A], or [B, N, A]: what its members predicted.
            active: bool [B], rows that count; None for all.
            log_weights: [N], the posterior's before the answers.
            answers: int [], or [B].
            late: bool [], or [B]: nobody answered, and nothing was learned.
        """
        after = self._counted(decision, log_probs, np.asarray(decision.queried) & ~np.asarray(late), active)
        if self.closeness is None and self.errors is None:
            return after
        closeness, errors = self.closeness, self.errors
        rows = np.asarray(log_probs, np.float64).reshape(-1, *np.shape(log_probs)[-2:])
        counts = np.atleast_1d(np.asarray(decision.queried) & ~np.asarray(late))
        weights = np.asarray(log_weights, np.float64)
        for row in np.flatnonzero(counts if active is None else counts & active).tolist():
            invalid = np.atleast_2d(decision.invalid)[row]
            said = _normalised(np.where(invalid[:, None], -np.inf, rows[row]))
            answer = int(np.atleast_1d(answers)[row])
            if not 0 <= answer < said.shape[-1]:
                continue
            if closeness is not None:
                closeness = closeness.after(weights, said, answer)
                # The next answer of the same round is weighed by what this one has made of the weights.
                weights = Closeness.reweighed(weights, said, answer)
            wrong = None if errors is None else errors_of(said, answer)
            errors = errors if errors is None or wrong is None else errors.after(wrong)
        return replace(after, closeness=closeness, errors=errors)

    def went_unanswered(self) -> Self:
        """A question was withdrawn."""
        return replace(self, withdrawn=self.withdrawn + 1)

    def saved(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        closeness = None if self.closeness is None else self.closeness.saved()
        return {
            "squared": [None if np.isnan(one) else one for one in self.squared.tolist()],
            "since": self.since,
            "withdrawn": self.withdrawn,
            "closeness": closeness,
            "errors": None if self.errors is None else self.errors.saved(),
        }

    def loaded(self, saved: dict[str, Any] | None) -> Self:
        """What was `saved`; None, by an earlier version, leaves what was begun where the checkpoint is."""
        if saved is None:
            return self
        closeness = None if saved["closeness"] is None else Closeness.load(saved["closeness"])
        # Checkpoints of an earlier version have no errors: those are counted from there on.
        errors = self.errors if saved.get("errors") is None else ErrorGroups.load(saved["errors"])
        if "squared" not in saved:  # Another sum was kept then: this one begins here.
            return replace(self, withdrawn=saved["withdrawn"], closeness=closeness, errors=errors)
        squared = np.array([np.nan if one is None else one for one in saved["squared"]], float)
        return type(self)(squared, saved["since"], saved["withdrawn"], closeness, errors)

    def _counted(self, decision: Decision, log_probs: Any, counts: np.ndarray, active: np.ndarray | None) -> Self:
        counts = np.atleast_1d(counts)
        place = slice(None) if decision.env is None else slice(decision.env, decision.env + 1)
        if math.isnan(self.squared[0]):
            return self
        rows = np.asarray(log_probs, np.float64).reshape(counts.size, *np.shape(log_probs)[-2:])
        invalid, selected = np.atleast_2d(decision.invalid), np.atleast_2d(decision.selected)
        probs = np.exp(np.where(invalid[..., None], -np.inf, rows))
        chosen = np.where(selected[..., None], probs, np.inf).min(axis=-2)
        theta = 1 - np.where(np.isfinite(chosen), chosen, 0.0).sum(axis=-1)
        withheld = 1 - np.where(selected, probs.sum(axis=-1), 1.0).min(axis=-1)
        taken = np.where(counts, np.maximum(0.0, theta - np.maximum(0.0, withheld)) ** 2, 0.0)
        squared = self.squared.copy()
        squared[place] += taken if active is None else np.where(active, taken, 0.0)
        return replace(self, squared=squared)


def counts_squares(learner: Learner, learns: bool) -> bool:
    """Whether T3 bounds the sum: the minimum, an alpha rule, Bayes' rule, members that are fixed and not merged."""
    merging = learner.merging
    return (
        type(learner.aggregation) is Minimum
        and learner.aggregation == Minimum()
        and learner.selection.smallest_share > 0
        and learner.reweighting is None
        and (merging is None or merging.tolerance is None)
        and not learns
    )


def least_alpha(rule: SelectionRule) -> float | None:
    """The alpha for which T2's own proof, by the sum of all relative weights, keeps members in; None without one."""
    if isinstance(rule, AlphaThreshold):
        return rule.smallest_share
    if isinstance(rule, Union | Intersection):
        parts = [least_alpha(part) for part in rule.rules]
        known = [alpha for alpha in parts if alpha is not None]
        if isinstance(rule, Union):
            return min(known, default=None)
        return sum(known) if len(known) == len(parts) else None
    return None


def _normalised(log_probs: np.ndarray) -> np.ndarray:
    mass = np.exp(log_probs).sum(axis=-1, keepdims=True)
    return log_probs - np.log(np.where(mass > 0, mass, 1.0))
