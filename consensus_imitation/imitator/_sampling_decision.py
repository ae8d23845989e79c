"""What the stateful shell over any action space returns at every step."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from consensus_imitation.core._observations import owned
from consensus_imitation.imitator.decision import Query


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
        log_densities: float32 [N], the members' log-densities of the proposed action, or, after an answer, of that.
        env: the environment, if it is one of several.
        query: what an answer has to name; None if nothing was asked.
        alarms: what is wrong at this step, one line each.
    """

    action: Any
    queried: bool
    query_prob_estimate: float
    selected: np.ndarray
    dissenter: int | None
    invalid: np.ndarray
    step: int
    rule_fault: bool
    log_densities: np.ndarray
    env: int | None = None
    query: Query | None = None
    alarms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """What its holder could write to, the imitator would read again when the answer comes."""
        for name in ("action", "selected", "invalid", "log_densities"):
            object.__setattr__(self, name, owned(getattr(self, name)))
