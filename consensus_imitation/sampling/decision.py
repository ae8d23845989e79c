"""What the stateful shell returns at every step."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class SamplingDecision:
    """One step's decision, as NumPy values.

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
    """

    action: Any
    queried: bool
    query_prob_estimate: float
    selected: np.ndarray
    dissenter: int | None
    invalid: np.ndarray
    step: int
