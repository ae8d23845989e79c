"""Safe imitation learning: act where every plausible model of the demonstrator agrees, ask where they do not."""

from consensus_imitation import aggregation, ensembles, posterior, selection
from consensus_imitation.aggregation import (
    MAP,
    ConsensusSampling,
    MajorityVote,
    Minimum,
    OrderStatistic,
    PointwiseMedian,
    PosteriorMixture,
    UniformMixture,
)
from consensus_imitation.budget import InflationBudget
from consensus_imitation.diversity import Merging
from consensus_imitation.draw import QUERY
from consensus_imitation.errors import (
    ConsensusImitationError,
    ConsensusWarning,
    InvalidAnswerError,
    NoDemonstratorError,
    PendingQueryError,
)
from consensus_imitation.gates import EntropyGate, MaxProbGate, MinimumGate, RandomQueries, VarianceGate
from consensus_imitation.imitator import ConsensusImitator, Decision
from consensus_imitation.learner import Learner, LearnerState
from consensus_imitation.misspecification import MisspecificationAlarm
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import AlphaThreshold, TopK

__all__ = [
    "MAP",
    "QUERY",
    "AlphaThreshold",
    "ConsensusImitationError",
    "ConsensusImitator",
    "ConsensusSampling",
    "ConsensusWarning",
    "Decision",
    "EntropyGate",
    "InflationBudget",
    "InvalidAnswerError",
    "Learner",
    "LearnerState",
    "MajorityVote",
    "MaxProbGate",
    "Merging",
    "Minimum",
    "MinimumGate",
    "MisspecificationAlarm",
    "NoDemonstratorError",
    "OrderStatistic",
    "PendingQueryError",
    "PointwiseMedian",
    "PosteriorMixture",
    "RandomQueries",
    "Reweighting",
    "TopK",
    "UniformMixture",
    "VarianceGate",
    "aggregation",
    "ensembles",
    "posterior",
    "selection",
]
