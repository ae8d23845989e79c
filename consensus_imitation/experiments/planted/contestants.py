"""The contestants of the planted network: when they ask, and how they act."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from consensus_imitation.core.aggregation import (
    MAP,
    Aggregation,
    EntropyGate,
    MajorityVote,
    MaxProbGate,
    Minimum,
    MinimumGate,
    PosteriorMixture,
    VarianceGate,
)
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK


class Contestant(NamedTuple):
    """When to ask and how to act.

    Attributes:
        rule: None for the imitator's default.
        selection: number of members -> rule; None for the imitator's default.
        at_rate: ask at random in place of ``rule``, as often as the minimum asks.
    """

    rule: Aggregation | None
    selection: Callable[[int], SelectionRule] | None = None
    at_rate: bool = False


CONTESTANTS: Mapping[str, Contestant] = {
    "minimum": Contestant(None),
    "minimum, top 2 or 0.01": Contestant(Minimum(), lambda _: TopK(2) | AlphaThreshold(0.01)),
    "minimum, all": Contestant(Minimum(), TopK),
    "minimum, alpha 0.01": Contestant(Minimum(), lambda _: AlphaThreshold(0.01)),
    "MAP": Contestant(MAP()),
    "mixture": Contestant(PosteriorMixture()),
    "majority vote": Contestant(MajorityVote(), TopK),
    "max-prob gate 0.9": Contestant(MaxProbGate(0.9)),
    "entropy gate 0.3": Contestant(EntropyGate(0.3)),
    "variance gate 0.005": Contestant(VarianceGate(0.005)),
    "random queries": Contestant(None, at_rate=True),
    "minimum's gate, mixture acts": Contestant(MinimumGate(PosteriorMixture())),
}
