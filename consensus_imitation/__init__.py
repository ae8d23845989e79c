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
from consensus_imitation.decision import Query
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.diversity import Merging
from consensus_imitation.draw import QUERY
from consensus_imitation.errors import (
    ConfigurationError,
    ConsensusImitationError,
    ConsensusWarning,
    DamagedError,
    FailedError,
    InvalidAnswerError,
    JournalError,
    LockedError,
    NoDemonstratorError,
    ObservationError,
    PendingQueryError,
    ReplayError,
    SilenceError,
    StaleAnswerError,
    WrongQueryError,
)
from consensus_imitation.gates import EntropyGate, MaxProbGate, MinimumGate, RandomQueries, VarianceGate
from consensus_imitation.imitator import ConsensusImitator, Decision
from consensus_imitation.journal.directory import Journal
from consensus_imitation.learner import Learner, LearnerState
from consensus_imitation.misspecification import MisspecificationAlarm
from consensus_imitation.reweighting import Reweighting
from consensus_imitation.selection import AlphaThreshold, TopK

__all__ = [
    "MAP",
    "QUERY",
    "AlphaThreshold",
    "ConfigurationError",
    "ConsensusImitationError",
    "ConsensusImitator",
    "ConsensusSampling",
    "ConsensusWarning",
    "DamagedError",
    "Decision",
    "EntropyGate",
    "FailedError",
    "InflationBudget",
    "InvalidAnswerError",
    "Journal",
    "JournalError",
    "Learner",
    "LearnerState",
    "LockedError",
    "MajorityVote",
    "MaxProbGate",
    "Merging",
    "Minimum",
    "MinimumGate",
    "MisspecificationAlarm",
    "NoDemonstratorError",
    "ObservationError",
    "OrderStatistic",
    "Patience",
    "PendingQueryError",
    "PointwiseMedian",
    "PosteriorMixture",
    "Query",
    "RandomQueries",
    "ReplayError",
    "Reweighting",
    "SafeAction",
    "SilenceError",
    "StaleAnswerError",
    "TopK",
    "UniformMixture",
    "VarianceGate",
    "WrongQueryError",
    "aggregation",
    "ensembles",
    "posterior",
    "selection",
]
