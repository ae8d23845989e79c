"""The contestants: how the demonstrations are divided among the members, and what is made of their predictions."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from consensus_imitation.core.aggregation import (
    MAP,
    Aggregation,
    EntropyGate,
    MajorityVote,
    MaxProbGate,
    Minimum,
    PosteriorMixture,
    VarianceGate,
)

Bootstrap = Literal["none", "poisson", "partition"]


class Division(NamedTuple):
    """What each member learns from.

    Attributes:
        bootstrap: of `Training`.
        by_source: whether the members are told of the sources.
    """

    bootstrap: Bootstrap
    by_source: bool = False


DIVISIONS: Mapping[str, Division] = {
    "all data": Division("none"),
    "Poisson": Division("poisson"),
    "by slot": Division("partition"),
    "by source": Division("partition", by_source=True),
}

RULES: Mapping[str, Aggregation] = {
    "minimum": Minimum(),
    "vote": MajorityVote(),
    "mixture": PosteriorMixture(),
    "MAP": MAP(),
    "max-prob gate 0.9": MaxProbGate(0.9),
    "entropy gate 0.3": EntropyGate(0.3),
    "variance gate 0.005": VarianceGate(0.005),
}
