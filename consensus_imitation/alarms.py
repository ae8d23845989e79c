"""What went wrong so far, by member: kept for `ConsensusImitator.alarms`, and warned about when it first happens."""

import warnings
from collections import Counter

import numpy as np

from consensus_imitation.decision import Decision
from consensus_imitation.errors import ConsensusWarning

#: Why nothing is promised any more.
UNEXPLAINED = "no member explains the demonstrator's answers: every step is a query until clear_alarm() is called"


class Alarms:
    """Counts of unusable predictions, and members that were left alone.

    Args:
        members_learn: whether the members learn from answers, so that a member left alone all but ends learning.
    """

    def __init__(self, members_learn: bool) -> None:
        self.invalid: Counter[int] = Counter()
        self._members_learn = members_learn
        self._alone: set[int] = set()

    def watch(self, members_learn: bool) -> None:
        """Say anew whether a member left alone all but ends learning."""
        self._members_learn = members_learn

    def report(self, decision: Decision, active: np.ndarray | None = None) -> None:
        """Note what is wrong with a decision; warn of what is new.

        Args:
            decision: for one environment or B.
            active: bool [B], rows that count; None for all.
        """
        invalid, selected = np.atleast_2d(decision.invalid), np.atleast_2d(decision.selected)
        if active is not None:
            invalid, selected = invalid[active], selected[active]
        if invalid.any():
            for member in np.flatnonzero(invalid.any(axis=0)).tolist():
                self._report_invalid(member, decision.step)
        alone = selected.sum(axis=-1) == 1
        if self._members_learn and alone.any():
            for member in np.unique(selected[alone].argmax(axis=-1)).tolist():
                self._report_alone(member, decision.step)

    def lines(self) -> list[str]:
        """One line for each thing that is wrong."""
        return [
            f"member {member} gave an unusable prediction {count} times; it counts as the zero vector, so every step "
            "on which it is selected is a query"
            for member, count in sorted(self.invalid.items())
        ] + [
            f"member {member} was selected alone: nobody could disagree, so nothing was asked about, and learned, but "
            "what it withheld itself"
            for member in sorted(self._alone)
        ]

    def clear(self) -> None:
        """Forget it all."""
        self.invalid.clear()
        self._alone.clear()

    def _report_invalid(self, member: int, step: int) -> None:
        if member not in self.invalid:
            _warn(
                f"member {member} gave an unusable prediction at step {step} (NaN, negative, a sum above one, a wrong "
                "shape or an exception); it counts as the zero vector, hence a query while selected"
            )
        self.invalid[member] += 1

    def _report_alone(self, member: int, step: int) -> None:
        if member not in self._alone:
            self._alone.add(member)
            _warn(
                f"at step {step} member {member} is selected alone: nobody can disagree with it, so that nothing is "
                "asked about, and learned, any more but what it withholds itself; select two members at least, e.g. "
                "with TopK(2) | rule"
            )


def _warn(message: str) -> None:
    warnings.warn(message, ConsensusWarning, stacklevel=6)
