"""The compared ways to imitate: the same members, the same number of answers, the same evaluation."""

from consensus_imitation.experiments.methods.base import (
    Apprentice,
    BudgetSpentError,
    CountedDemonstrator,
    MakeEnsemble,
    Method,
    Setup,
)
from consensus_imitation.experiments.methods.dagger import Dagger
from consensus_imitation.experiments.methods.nearest import NearestNeighbours
from consensus_imitation.experiments.methods.registry import check_method, describe, make_method, names
from consensus_imitation.experiments.methods.safedagger import SafeDagger
from consensus_imitation.experiments.methods.variance import EnsembleDagger, ThriftyDagger

__all__ = [
    "Apprentice",
    "BudgetSpentError",
    "CountedDemonstrator",
    "Dagger",
    "EnsembleDagger",
    "MakeEnsemble",
    "Method",
    "NearestNeighbours",
    "SafeDagger",
    "Setup",
    "ThriftyDagger",
    "check_method",
    "describe",
    "make_method",
    "names",
]
