"""What is wrong with a run over any action space, naming who it is. What is new is warned about, too."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._sampling_decision import SamplingDecision


@dataclass(frozen=True, slots=True)
class SamplingAlarms:
    """Counts of unusable densities, and of failures of the selection rule; nothing is changed in place.

    Attributes:
        rule_fault: what to say of a rule that selected nobody.
        invalid: how many unusable densities each member gave.
        failed: how often the selection rule selected nobody.
    """

    rule_fault: str
    invalid: Mapping[int, int] = field(default_factory=dict[int, int])
    failed: int = 0

    @classmethod
    def of(cls, learner: SamplingLearner) -> Self:
        """Nothing is wrong yet."""
        return cls(f"the selection rule {learner.selection!r:.200} selected nobody")

    def noted(self, invalid: np.ndarray, step: int, rule_fault: bool = False) -> Self:
        """With those counted who gave an unusable density (bool [N]), and a failed rule; it warns of what is new."""
        if rule_fault and not self.failed:
            _warn(f"at step {step} {self.rule_fault}; such a step is a query")
        members = np.flatnonzero(invalid).tolist()
        for member in members:
            if member not in self.invalid:
                _warn(
                    f"member {member} gave an unusable density at step {step} (NaN, infinite, or of a sample of its "
                    "own that is not finite or that it calls impossible); it counts as a veto while selected"
                )
        counted = {**self.invalid, **{one: self.invalid.get(one, 0) + 1 for one in members}}
        return replace(self, invalid=counted, failed=self.failed + rule_fault)

    def of_step(self, decision: SamplingDecision, unexplained: bool) -> tuple[str, ...]:
        """What is wrong at one step."""
        lines = [f"{self.rule_fault}: the demonstrator is asked"] if decision.rule_fault else []
        lines += [f"member {one} gave an unusable density" for one in np.flatnonzero(decision.invalid).tolist()]
        return (*lines, *([UNEXPLAINED] if unexplained else []))

    def lines(self) -> list[str]:
        """One line for each thing that is wrong."""
        lines = [
            f"member {member} gave an unusable density {count} times; of a proposed action it counts as a veto, of an "
            "answer as zero"
            for member, count in sorted(self.invalid.items())
        ]
        if self.failed:
            lines.append(f"{self.rule_fault}: so at {self.failed} decisions, which were therefore queries")
        return lines

    def cleared(self) -> Self:
        """What was wrong is forgotten; what still is will be found again."""
        return replace(self, invalid={}, failed=0)

    def saved(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {"invalid": sorted(self.invalid.items()), "failed": self.failed}

    def loaded(self, saved: dict[str, Any]) -> Self:
        """With what was `saved`."""
        return replace(self, invalid=dict(saved["invalid"]), failed=saved["failed"])


def _warn(message: str) -> None:
    warnings.warn(message, ConsensusWarning, stacklevel=6)
