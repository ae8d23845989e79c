"""Any action space: continuous, integer, factored and sequence actions, by the rejection draw."""

from consensus_imitation.sampling.autoregressive import Autoregressive, autoregressive
from consensus_imitation.sampling.base import Action, SamplingBase, SamplingEnsemble
from consensus_imitation.sampling.decision import SamplingDecision
from consensus_imitation.sampling.distributions import (
    DiscretisedLogistic,
    Distribution,
    FactoredCategorical,
    Gaussian,
    GaussianMixture,
)
from consensus_imitation.sampling.draw import RejectionDraw, heaviest, rejection_draw
from consensus_imitation.sampling.experiment import pendulum
from consensus_imitation.sampling.functions import Functions, from_functions
from consensus_imitation.sampling.imitator import SamplingImitator
from consensus_imitation.sampling.learner import (
    PureSamplingDecision,
    SamplingLearner,
    SamplingObserveInfo,
    SamplingState,
    SamplingStream,
)
from consensus_imitation.sampling.parametric import (
    Parametric,
    discretised_logistic,
    factored_categorical,
    gaussian,
    gaussian_mixture,
    parametric,
)
from consensus_imitation.sampling.union import SamplingUnion, union

__all__ = [
    "Action",
    "Autoregressive",
    "DiscretisedLogistic",
    "Distribution",
    "FactoredCategorical",
    "Functions",
    "Gaussian",
    "GaussianMixture",
    "Parametric",
    "PureSamplingDecision",
    "RejectionDraw",
    "SamplingBase",
    "SamplingDecision",
    "SamplingEnsemble",
    "SamplingImitator",
    "SamplingLearner",
    "SamplingObserveInfo",
    "SamplingState",
    "SamplingStream",
    "SamplingUnion",
    "autoregressive",
    "discretised_logistic",
    "factored_categorical",
    "from_functions",
    "gaussian",
    "gaussian_mixture",
    "heaviest",
    "parametric",
    "pendulum",
    "rejection_draw",
    "union",
]
