"""What is wrong: with one decision, and with the run so far, naming who it is. What is new is warned about, too."""

import warnings
from collections import Counter, deque
from typing import Any

import numpy as np

from consensus_imitation.core.learner import Learner
from consensus_imitation.core.state import AGGREGATION_FAULT, SELECTION_FAULT
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.imitator.decision import Decision, some

#: Why nothing is promised any more.
UNEXPLAINED = "no member explains the demonstrator's answers: every step is a query until clear_alarm() is called"

#: A member is near exclusion if one answer that it finds half as likely as the others would leave it out.
NEAR = float(np.log(2))

#: A query storm: so many queries within less than twice as many decisions, at three times the rate before, over at
#: least twice as many decisions before. Only those count that disagreement caused: not what the budget hands over, nor
#: what is asked because nothing explains the answers, or because a rule failed.
STORM_QUERIES, STORM_RATE, STORM_RISE = 50, 0.5, 3.0


class Alarms:
    """Counts of unusable predictions, members that were left alone, storms of queries, spent budgets, failed rules.

    Args:
        members_learn: whether the members learn from answers, so that a member left alone all but ends learning.
        rule_faults: what to say of each fault of a rule (`rule_faults`).
    """

    def __init__(self, members_learn: bool, rule_faults: dict[int, str]) -> None:
        self.invalid: Counter[int] = Counter()
        self._members_learn = members_learn
        self._rule_faults = rule_faults
        # By what was said: another rule may have been put in its place.
        self._failed: Counter[str] = Counter()
        self._alone: frozenset[int] = frozenset()
        self._near: tuple[str, ...] = ()
        self._unanswered = 0
        self._handed_over = 0
        self._storm = ""
        # Decisions so far, of all environments; and the step of the latest in each, which may be made again.
        self._decisions = 0
        self._latest: dict[int | None, int] = {}
        # Of the latest queries: decisions made before each, and who dissented.
        self._places: deque[int] = deque(maxlen=STORM_QUERIES)
        self._dissent: deque[list[float]] = deque(maxlen=STORM_QUERIES)
        self._queries = 0

    def copy(self) -> "Alarms":
        """The same, to be changed. What they hold, copies share: it is replaced, and never changed in place."""
        other = Alarms.__new__(Alarms)
        other.__dict__.update(self.__dict__)
        return other

    def watch(self, members_learn: bool, rule_faults: dict[int, str]) -> None:
        """Say anew whether a member left alone all but ends learning, and what the rules are called."""
        self._members_learn, self._rule_faults = members_learn, rule_faults

    def report(self, decision: Decision, unexplained: bool, active: np.ndarray | None) -> tuple[str, ...]:
        """Note what is wrong with a decision; warn of what is new.

        Args:
            decision: for one environment or B.
            unexplained: whether no member explains the answers.
            active: bool [B], rows that count; None for all.

        Returns:
            What is wrong at this step.
        """
        # Most steps have nothing to tell, and are told so by few and quick looks.
        invalid, selected = decision.invalid, decision.selected
        if active is not None:
            invalid, selected = invalid[active], selected[active]
        lines: list[str] = []
        if some(decision.rule_fault):
            for fault in np.unique(decision.rule_fault).tolist():
                lines += [self._report_fault(self._rule_faults[fault], decision.step)] if fault else []
        if np.count_nonzero(invalid):
            for member in np.flatnonzero(np.atleast_2d(invalid).any(axis=0)).tolist():
                self._report_invalid(member, decision.step)
                lines.append(f"member {member} gave an unusable prediction")
        if self._members_learn:
            for member in _alone(selected):
                self._report_alone(member, decision.step)
                lines.append(f"member {member} was selected alone")
        first = self._latest.get(decision.env) != decision.step
        if some(decision.handed_over):
            self._handed_over += int(np.sum(decision.handed_over)) if first else 0
            lines.append("the inflation budget is spent: the demonstrator takes the step")
        if first:
            self._count(decision, unexplained, active)
        if some(decision.queried) and not unexplained:
            lines.extend(self._report_queries())
        lines.extend(self._near)
        if unexplained:
            lines.append(UNEXPLAINED)
        return tuple(lines)

    def weigh(self, margins: np.ndarray) -> None:
        """Say anew who is near exclusion, by how many nats each log-weight could fall ([N])."""
        self._near = tuple(
            f"member {member} is near exclusion: it has a say only while its log-weight falls by less than "
            f"{margins[member]:.2g} nats"
            for member in np.flatnonzero((margins >= 0) & (margins < NEAR)).tolist()
        )

    def left_unanswered(self, count: int) -> None:
        """On so many steps nobody answered, and the safe action is taken."""
        self._unanswered += count

    def lines(self) -> list[str]:
        """One line for each thing that is wrong."""
        found = [
            f"{fault}: so at {count} decisions, which were therefore queries"
            for fault, count in sorted(self._failed.items())
        ]
        found += [
            f"member {member} gave an unusable prediction {count} times; it counts as the zero vector, so every step "
            "on which it is selected is a query"
            for member, count in sorted(self.invalid.items())
        ]
        found += [
            f"member {member} was selected alone: nobody could disagree, so nothing was asked about, and learned, but "
            "what it withheld itself"
            for member in sorted(self._alone)
        ]
        if self._storm:
            found.append(self._storm)
        if self._handed_over:
            found.append(f"the inflation budget is spent: {self._handed_over} steps were handed to the demonstrator")
        if self._unanswered:
            found.append(
                f"{self._unanswered} queries were not answered: the safe action was taken, which no bound covers"
            )
        return [*found, *self._near]

    def clear(self) -> None:
        """Forget what was wrong; what still is will be found again."""
        self.invalid, self._failed, self._alone = Counter(), Counter(), frozenset()
        self._storm, self._handed_over = "", 0

    def saved(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "invalid": sorted(self.invalid.items()),
            "failed": sorted(self._failed.items()),
            "alone": sorted(self._alone),
            "near": list(self._near),
            "unanswered": self._unanswered,
            "handed_over": self._handed_over,
            "storm": self._storm,
            "decisions": self._decisions,
            "latest": list(self._latest.items()),
            "places": list(self._places),
            "dissent": list(self._dissent),
            "queries": self._queries,
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Go on from what was `saved`."""
        self.invalid = Counter(dict(saved["invalid"]))
        self._failed = Counter(dict(saved["failed"]))
        self._alone = frozenset(saved["alone"])
        self._near = tuple(saved["near"])
        self._unanswered, self._handed_over = saved["unanswered"], saved["handed_over"]
        self._storm, self._queries = saved["storm"], saved["queries"]
        self._decisions, self._latest = saved["decisions"], dict(saved["latest"])
        self._places = deque(saved["places"], STORM_QUERIES)
        self._dissent = deque(saved["dissent"], STORM_QUERIES)

    def _count(self, decision: Decision, unexplained: bool, active: np.ndarray | None) -> None:
        """Count a decision, and its queries; one that is made again, because nobody could be asked, counts once."""
        self._latest = {**self._latest, decision.env: decision.step}
        if some(decision.queried) and not unexplained:
            drawn = np.atleast_1d(decision.queried) & ~np.atleast_1d(decision.handed_over)
            drawn &= np.atleast_1d(decision.rule_fault) == 0
            dissent = np.atleast_2d(decision.dissent)
            if active is not None:
                drawn, dissent = drawn[active], dissent[active]
            rows = np.flatnonzero(drawn).tolist()
            self._places = deque([*self._places, *(self._decisions + row for row in rows)], STORM_QUERIES)
            self._dissent = deque([*self._dissent, *(dissent[row].tolist() for row in rows)], STORM_QUERIES)
            self._queries += len(rows)
        self._decisions += np.size(decision.queried) if active is None else int(active.sum())

    def _report_queries(self) -> list[str]:
        """A storm: many queries of late, where few were before. The member that dissented most is named."""
        if len(self._places) < STORM_QUERIES:
            return []
        before, earlier = self._places[0], self._queries - STORM_QUERIES
        span = self._decisions - before
        storms = (
            STORM_RATE * span < STORM_QUERIES
            and before >= 2 * STORM_QUERIES
            and STORM_QUERIES / span > STORM_RISE * earlier / before
        )
        if not storms:
            return []
        blame = np.sum(self._dissent, axis=0)
        share = blame.max() / blame.sum() if blame.sum() > 0 else 0.0
        self._storm = (
            f"query storm: {STORM_QUERIES} of the last {span} steps were queries, against {earlier / before:.2g} per "
            "step before; "
            + (f"member {blame.argmax()} dissented most ({share:.0%} of it)" if share else "no member dissented")
        )
        return [self._storm]

    def _report_fault(self, fault: str, step: int) -> str:
        if fault not in self._failed:
            _warn(f"at step {step} {fault}; such a step is a query")
        self._failed = self._failed + Counter([fault])
        return f"{fault}: the demonstrator is asked"

    def _report_invalid(self, member: int, step: int) -> None:
        if member not in self.invalid:
            _warn(
                f"member {member} gave an unusable prediction at step {step} (NaN, negative, a sum above one, a wrong "
                "shape or an exception); it counts as the zero vector, hence a query while selected"
            )
        self.invalid = self.invalid + Counter([member])

    def _report_alone(self, member: int, step: int) -> None:
        if member not in self._alone:
            self._alone |= {member}
            _warn(
                f"at step {step} member {member} is selected alone: nobody can disagree with it, so that nothing is "
                "asked about, and learned, any more but what it withholds itself; select two members at least, e.g. "
                "with TopK(2) | rule"
            )


def _alone(selected: np.ndarray) -> list[int]:
    """Who is selected alone, in some row: [N] or [B, N]."""
    if selected.ndim == 1:
        return np.flatnonzero(selected).tolist() if np.count_nonzero(selected) == 1 else []
    return np.unique(selected[selected.sum(axis=-1) == 1].argmax(axis=-1)).tolist()


def rule_faults(learner: Learner) -> dict[int, str]:
    """What to say of a learner's rules where one failed, by `PureDecision.rule_fault`."""
    return {
        SELECTION_FAULT: f"the selection rule {learner.selection!r:.200} selected nobody",
        AGGREGATION_FAULT: (
            f"the aggregation rule {learner.aggregation.name!r} gave no law (probs and query_prob must be numbers of "
            "at least 0 that sum to one together, and probs 0 for what an action mask forbids)"
        ),
    }


def _warn(message: str) -> None:
    warnings.warn(message, ConsensusWarning, stacklevel=6)
