"""What voids a promise: facts that the learner's state keeps, so that they survive however the run continues."""

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

#: Each fact is one bit of a state's ``voids``.
CLEARED, UNANSWERED, OTHER_RULES, WENT_BACK, STUDIED_TWICE, BROKEN_OFF = (1 << place for place in range(6))

#: After these the weights are not those of one prior and the demonstrator's own answers, each counted once: neither may
#: they refute anything.
_NO_EVIDENCE = OTHER_RULES | WENT_BACK | STUDIED_TWICE

_REASONS = {
    CLEARED: "an alarm that no member explains the answers was cleared",
    UNANSWERED: "on some steps nobody answered and the safe action was taken, which no bound covers",
    OTHER_RULES: "the rules or the prior were changed, and what is guaranteed is guaranteed of one set of rules from "
    "the first step",
    WENT_BACK: "the imitator went back to an earlier state, and drew again what had been drawn before",
    STUDIED_TWICE: "a recording was studied twice, or two recorded episodes are equal step by step, and an answer may "
    "count only once",
    BROKEN_OFF: "an exception broke off a step whose action had been drawn, and whoever raises it may choose what is "
    "done (a demonstrator's observe() does not veto: let it return)",
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


def are_evidence(voids: Any) -> bool:
    """Return whether the weights may refute that a member equals the demonstrator, whatever else is void.

    Args:
        voids: uint32 [].
    """
    return not int(np.asarray(voids)) & _NO_EVIDENCE


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
