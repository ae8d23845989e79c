"""What theory expects of every contestant, stated before anything ran: the regret of a step to the oracle.

The oracle reads the forecast of a member that knows, and takes a way that ends well for certain. So regret is the share
of steps that end badly. Where a number is exact up to what happens before a member is refuted, the interval is what
that can change. Each reason names the theorem (T1 to T6 of ``docs/theory.md``).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from consensus_imitation.deception.contestants import STRONGEST, WITH_ALARM
from consensus_imitation.experiments.knowledge.roads import (
    ALL,
    DEMONSTRATOR,
    ENDS_WELL,
    MINE,
    NOBODY,
    NUM_MEMBERS,
    USER,
)

#: The minimum over all members, also those that are refuted.
EVERYBODY = "minimum-all"
#: Draws a member by what its forecasts have been worth, and does what that one holds to be best.
READER = "reader"
#: The minimum under rules that leave a refuted member out.
FORGETFUL = ("minimum-top4", "minimum-alpha", STRONGEST, WITH_ALARM)
RULES = (*FORGETFUL, EVERYBODY, "uniform", "map", "mixture", "map-asking", "mixture-asking")
CONTESTANTS = ("demonstrator", *RULES, READER)

#: How often the contestants ask that ask at random.
_ASKED = 0.1


class Expected(NamedTuple):
    """What theory expects of the mean regret of a step.

    Attributes:
        low: at least so much.
        high: at most so much.
        reason: why.
    """

    low: float
    high: float
    reason: str


def expected(fact: str, use: str, contestant: str, num_steps: int) -> Expected:
    """Return what theory expects.

    Args:
        fact: one of `roads.FACTS`.
        use: one of `roads.USES`.
        contestant: one of `CONTESTANTS`.
        num_steps: T.
    """
    alone, used = _regret(fact, DEMONSTRATOR), _regret(fact, USER[fact])
    if contestant == "demonstrator":
        return Expected(alone, alone, "it does not know")
    if contestant == READER:
        if use == ALL:
            return Expected(0, 0, "whomever it draws knows")
        return Expected(0, alone / 2, "outcomes tell the forecast that knows from the others; how soon is not theory's")
    if use == NOBODY:
        return Expected(alone, alone, "a rule reads laws, and no law depends on the fact: it acts as the demonstrator")
    if use == ALL:
        share = _ASKED if contestant.endswith("asking") else 0.0
        regret = (1 - share) * used + share * alone
        return Expected(
            regret, regret, "all agree, so it acts as they do (T1); T2 to T5 say nothing, the truth is absent"
        )
    return _one(fact, num_steps)[contestant]


def _one(fact: str, num_steps: int) -> Mapping[str, Expected]:
    """One member's law uses the fact; the others' equal the demonstrator's, which refutes it when it is asked."""
    alone, used = _regret(fact, DEMONSTRATOR), _regret(fact, USER[fact])
    smallest = np.minimum(DEMONSTRATOR, USER[fact])
    asks = 1 - smallest.sum()
    # T1: the minimum's own mass, and the demonstrator's law where it asks.
    vetoed = _regret(fact, smallest + asks * np.array(DEMONSTRATOR))
    mixed = alone + (used - alone) / NUM_MEMBERS
    what = (
        "its veto halves the harm, since who is asked does not know"
        if fact == MINE
        else "it can gain no more than the 1 + theta of T4"
    )
    # Of the answers, that share refutes it (at once, or by more than others confirm it).
    against = DEMONSTRATOR[1] if fact == MINE else 1 - DEMONSTRATOR[2]
    # With a short cut it takes up to three such answers under the alpha rule, and a rare answer confirms it.
    enough = 1 if fact == MINE else 5
    by_vetoes, at_random = (enough / (rate * against) / num_steps for rate in (asks, _ASKED))
    until = "until answers refute the member, which T2 does not keep in"
    briefly = Expected(alone - by_vetoes * (alone - vetoed), alone, f"{what}, {until}")
    found: dict[str, Expected] = dict.fromkeys(FORGETFUL, briefly)
    found[EVERYBODY] = Expected(vetoed, vetoed, f"{what}; it keeps its veto for ever, and asks for ever")
    unlearned = Expected(mixed, mixed, "it follows the member by its prior, right or wrong, and never asks")
    follows = "it follows the member by its weight, until answers refute it"
    asking = Expected(alone - at_random * (1 - _ASKED) * (alone - used), alone, follows)
    found |= {"uniform": unlearned, "mixture": unlearned, "map-asking": asking, "mixture-asking": asking}
    found["map"] = Expected(alone, alone, "the first of equals is the demonstrator's equal, and it never asks")
    return found


def _regret(fact: str, law: np.ndarray | tuple[float, ...]) -> float:
    """Return the share of steps that end badly under a law [A]."""
    return float(1 - np.dot(law, ENDS_WELL[fact]))
