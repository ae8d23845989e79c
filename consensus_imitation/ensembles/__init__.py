"""What a member can be: tables, stacked JAX functions, Python callables, and unions of those."""

from consensus_imitation.ensembles.base import Carry, Context, Ensemble, PureEnsemble
from consensus_imitation.ensembles.callables import Callables, callables
from consensus_imitation.ensembles.stacked import Stacked, stacked
from consensus_imitation.ensembles.tabular import Tabular, tabular
from consensus_imitation.ensembles.union import HostUnion, PureUnion, union

__all__ = [
    "Callables",
    "Carry",
    "Context",
    "Ensemble",
    "HostUnion",
    "PureEnsemble",
    "PureUnion",
    "Stacked",
    "Tabular",
    "callables",
    "stacked",
    "tabular",
    "union",
]
