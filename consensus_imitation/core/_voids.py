"""What voids a promise: facts that the learner's state keeps, so that they survive however the run continues."""

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

#: Each fact is one bit of a state's ``voids``.
CLEARED, UNANSWERED, OTHER_RULES, WENT_BACK, STUDIED_TWICE = (1 << place for place in range(5))

_REASONS = {
    CLEARED: "an alarm that no member explains the answers was cleared",
    UNANSWERED: "on some steps nobody answered and the safe action was taken, which no bound covers",
    OTHER_RULES: "the rules or the prior were changed, and what is guaranteed is guaranteed of one set of rules from "
    "the first step",
    WENT_BACK: "the imitator went back to an earlier state, and drew again what had been drawn before",
    STUDIED_TWICE: "a recording was studied twice, or two recorded episodes are equal step by step, and an answer may "
    "count only once",
}

State = TypeVar("State")


def marked(state: State, fact: int) -> State:
    """Return the state with one more fact.

    Args:
        state: a pytree with ``voids``, uint32 [].
        fact: of those above.
    """
    known: Any = state
    return known.replace(voids=known.voids | jnp.uint32(fact))


def reasons(voids: Any) -> list[str]:
    """Return why nothing is guaranteed, one sentence for each fact; empty if something is.

    Args:
        voids: uint32 [].

    Example:
        >>> from consensus_imitation.core import _voids as voids
        >>> voids.reasons(voids.CLEARED)
        ['an alarm that no member explains the answers was cleared']
    """
    bits = int(np.asarray(voids))
    return [reason for fact, reason in _REASONS.items() if bits & fact]
