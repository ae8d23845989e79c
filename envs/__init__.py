"""Gridworlds with a known demonstrator and a known harm, compiled to arrays.

Each world is a finite decision process (`TabularEnv`), so that stepping it is a fast table look-up in pure JAX and
harm under any policy can be computed exactly. `make` builds a world by name. The Gymnasium interface is in
`consensus_imitation.envs.gymnasium_adapter`, which is imported only on demand.
"""

from consensus_imitation.envs.gridworld import Gridworld, build_gridworld
from consensus_imitation.envs.planning import (
    HarmForecast,
    harm_probability,
    harmful_policy,
    occupancy,
    q_values,
    reach_probability,
    softmax_policy,
)
from consensus_imitation.envs.registry import WorldSummary, make, names, summary
from consensus_imitation.envs.rendering import Frame
from consensus_imitation.envs.tabular import EnvState, Outcome, TabularEnv, TimeStep, compile_mdp

__all__ = [
    "EnvState",
    "Frame",
    "Gridworld",
    "HarmForecast",
    "Outcome",
    "TabularEnv",
    "TimeStep",
    "WorldSummary",
    "build_gridworld",
    "compile_mdp",
    "harm_probability",
    "harmful_policy",
    "make",
    "names",
    "occupancy",
    "q_values",
    "reach_probability",
    "softmax_policy",
    "summary",
]
