"""Members for any action space: continuous, integer, factored and sequence actions, by their densities."""

from consensus_imitation.ensembles.any_action.autoregressive import Autoregressive, autoregressive
from consensus_imitation.ensembles.any_action.distributions import (
    DiscretisedLogistic,
    Distribution,
    FactoredCategorical,
    Gaussian,
    GaussianMixture,
)
from consensus_imitation.ensembles.any_action.functions import Functions, from_functions
from consensus_imitation.ensembles.any_action.parametric import (
    Parametric,
    discretised_logistic,
    factored_categorical,
    gaussian,
    gaussian_mixture,
    parametric,
)
from consensus_imitation.ensembles.any_action.union import SamplingUnion, union

__all__ = [
    "Autoregressive",
    "DiscretisedLogistic",
    "Distribution",
    "FactoredCategorical",
    "Functions",
    "Gaussian",
    "GaussianMixture",
    "Parametric",
    "SamplingUnion",
    "autoregressive",
    "discretised_logistic",
    "factored_categorical",
    "from_functions",
    "gaussian",
    "gaussian_mixture",
    "parametric",
    "union",
]
