"""The public names of ``consensus_imitation``, which imports this module when the first of them is used."""

from consensus_imitation import demonstrators, ensembles, errors
from consensus_imitation.core import aggregation, posterior, priors, selection
from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.budget import InflationBudget
from consensus_imitation.core.draw import QUERY
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.merging import Merging
from consensus_imitation.core.reweighting import Reweighting
from consensus_imitation.core.selection import AlphaThreshold, TopK
from consensus_imitation.core.state import LearnerState
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.imitator import ConsensusImitator, Decision, Query
from consensus_imitation.journal.directory import Journal

__all__ = [
    "QUERY",
    "AlphaThreshold",
    "ConsensusImitator",
    "Decision",
    "InflationBudget",
    "Journal",
    "Learner",
    "LearnerState",
    "Merging",
    "Minimum",
    "MisspecificationAlarm",
    "Patience",
    "Query",
    "Reweighting",
    "SafeAction",
    "TopK",
    "aggregation",
    "demonstrators",
    "ensembles",
    "errors",
    "posterior",
    "priors",
    "selection",
]
