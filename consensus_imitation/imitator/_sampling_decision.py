"""What the stateful shell returns at every step."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from consensus_imitation.core._observations import owned


@dataclass(frozen=True, slots=True, eq=False)
class SamplingDecision:
    """One step's decision, as NumPy values that cannot be written to.

    Attributes:
        action: the action to take; None while the answer is due.
        queried: whether the demonstrator chooses the action.
        query_prob_estimate: in [0, 1]: unbiased one-sample **estimate** of the probability that this step was a query
            (theta), which is not known for actions that cannot be listed.
        selected: bool [N], the members that had a say.
        dissenter: the selected member with the lowest density of the proposed action relative to the proposer's; None
            if no member's was lower.
        invalid: bool [N], members that gave an unusable density of the proposed action, or, after an answer, of the
            answer.
        step: number of the step, from 0.
        rule_fault: whether the selection rule selected nobody, so that the demonstrator was asked.
    """

    action: Any
    queried: bool
    query_prob_estimate: float
    selected: np.ndarray
    dissenter: int | None
    invalid: np.ndarray
    step: int
    rule_fault: bool = False

    def __post_init__(self) -> None:
        """What its holder could write to, the imitator would read again when the answer comes."""
        for name in ("action", "selected", "invalid"):
            object.__setattr__(self, name, owned(getattr(self, name)))
