"""What a member can be: tables, stacked JAX functions, networks that learn, Python callables, and unions of those."""

from consensus_imitation.core.members import Carry, Context, Ensemble, FixedMembers, PureEnsemble
from consensus_imitation.ensembles.callables import Callables, callables
from consensus_imitation.ensembles.isolated._ensemble import Isolated, isolated
from consensus_imitation.ensembles.neural._factories import cnn, from_module, mlp, recurrent
from consensus_imitation.ensembles.neural._masks import FrozenMasks, Masks, masks
from consensus_imitation.ensembles.neural._members import Neural
from consensus_imitation.ensembles.neural._tangent import tangent
from consensus_imitation.ensembles.neural._training_loop import from_training_loop
from consensus_imitation.ensembles.neural.settings import Plateau, Training
from consensus_imitation.ensembles.stacked import Stacked, stacked
from consensus_imitation.ensembles.tabular import Tabular, tabular
from consensus_imitation.ensembles.union import HostUnion, PureUnion, union

__all__ = [
    "Callables",
    "Carry",
    "Context",
    "Ensemble",
    "FixedMembers",
    "FrozenMasks",
    "HostUnion",
    "Isolated",
    "Masks",
    "Neural",
    "Plateau",
    "PureEnsemble",
    "PureUnion",
    "Stacked",
    "Tabular",
    "Training",
    "callables",
    "cnn",
    "from_module",
    "from_training_loop",
    "isolated",
    "masks",
    "mlp",
    "recurrent",
    "stacked",
    "tabular",
    "tangent",
    "union",
]
