"""From the members' action distributions to one law over "act" and "ask": the minimum, other rules, and gates."""

from consensus_imitation.core.aggregation.gates import (
    EntropyGate,
    MaxProbGate,
    MinimumGate,
    RandomQueries,
    VarianceGate,
    doubt,
)
from consensus_imitation.core.aggregation.rules import (
    MAP,
    ConsensusSampling,
    MajorityVote,
    Minimum,
    OrderStatistic,
    PointwiseMedian,
    PosteriorMixture,
    UniformMixture,
)
from consensus_imitation.core.laws import (
    AGREEMENT_TOLERANCE,
    MASS_TOLERANCE,
    ROUNDING,
    ActionLaw,
    Aggregation,
    dissent,
    from_logits,
    log_minimum,
    validate,
    veto_factor,
)

__all__ = [
    "AGREEMENT_TOLERANCE",
    "MAP",
    "MASS_TOLERANCE",
    "ROUNDING",
    "ActionLaw",
    "Aggregation",
    "ConsensusSampling",
    "EntropyGate",
    "MajorityVote",
    "MaxProbGate",
    "Minimum",
    "MinimumGate",
    "OrderStatistic",
    "PointwiseMedian",
    "PosteriorMixture",
    "RandomQueries",
    "UniformMixture",
    "VarianceGate",
    "dissent",
    "doubt",
    "from_logits",
    "log_minimum",
    "validate",
    "veto_factor",
]
