"""Tangent-space members: linear in their parameters, around one shared random network.

All members share one perceptron that is never trained. A member is a direction in the space of its parameters: its
logits are the network's first-order change in that direction, ``J(x) w``, a linear model over the network's gradients
(or, for the last layer alone, over its last hidden layer). Each begins at a prior draw of its own, and is trained from
there. For squared loss and exact targets, gradient descent from a prior draw ends at a draw of the posterior
(sample-then-optimise); for the log-loss and Adam that is a heuristic, and stands here as one.

References:
    Jacot, Gabriel and Hongler (2018), "Neural Tangent Kernel".
    Matthews, Hron, Turner and Ghahramani (2017), "Sample-then-optimize posterior sampling for Bayesian linear models".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import ArrayLike

from consensus_imitation.core._validation import check_integer, check_integers
from consensus_imitation.ensembles.neural import networks
from consensus_imitation.ensembles.neural._factories import from_module
from consensus_imitation.ensembles.neural._members import Neural
from consensus_imitation.ensembles.neural.encoding import Encoder, make_encoder, num_actions_of
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError


@dataclass(frozen=True)
class _Shared:
    """The network that all members share: equal settings give the same one."""

    encoder: Encoder
    num_actions: int
    hidden: tuple[int, ...]
    seed: int

    def make(self, rngs: nnx.Rngs) -> networks.MLP:
        return networks.MLP(self.encoder, self.num_actions, self.hidden, rngs)


@lru_cache(maxsize=16)
def _frozen(shared: _Shared) -> dict[Any, Any]:
    """Return the parameters of the shared network, as NumPy arrays: constants of every compiled program."""
    with jax.ensure_compile_time_eval():
        return jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(shared.make(nnx.Rngs(shared.seed)))))


class AllLayers(nnx.Module):
    """A direction in the space of all parameters of the shared network."""

    def __init__(self, shared: _Shared, rngs: nnx.Rngs) -> None:
        """Draw the direction as the network's own parameters are drawn."""
        self.shared = shared
        self.direction = shared.make(rngs)

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the logits [A]: the derivative of the shared network's in the direction."""
        graphdef, state = nnx.split(self.direction)
        center = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(center, _frozen(self.shared))

        def of(parameters: Any) -> jax.Array:
            network: Any = nnx.merge(graphdef, parameters)
            return network(encoded)

        return jax.jvp(of, (center,), (state,))[1]


class LastLayer(nnx.Module):
    """A linear layer over the last hidden layer of the shared network."""

    def __init__(self, shared: _Shared, rngs: nnx.Rngs) -> None:
        """Draw the layer as the network's own last layer is drawn."""
        self.shared = shared
        width = shared.hidden[-1] if shared.hidden else shared.encoder.width
        self.last = nnx.Linear(width, shared.num_actions, rngs=rngs)

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the logits [A]."""
        features, layers = self.shared.encoder.features(encoded), _frozen(self.shared)["dense"]["layers"]
        for i in range(len(self.shared.hidden)):
            features = jax.nn.relu(features @ layers[i]["kernel"] + layers[i]["bias"])
        return self.last(jnp.asarray(features))


@dataclass(frozen=True)
class _Tangent:
    shared: _Shared
    layers: str

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        return AllLayers(self.shared, rngs) if self.layers == "all" else LastLayer(self.shared, rngs)


def tangent(
    observation_space: Any,
    action_space: Any,
    num_members: int = 5,
    hidden: Sequence[int] = (64, 64),
    layers: Literal["all", "last"] = "all",
    network_seed: int = 0,
    training: Training | None = None,
    prior: ArrayLike | None = None,
) -> Neural:
    """Return members that are linear in their parameters, around one shared random network.

    Each begins at a draw of its own from the prior, the law by which such a network's parameters are drawn, and is
    trained by gradient on the answers (`Training`). What no answer touches stays as it was drawn.

    Args:
        observation_space: as for `mlp`.
        action_space: ``Discrete(n)``, or the int n.
        num_members: N.
        hidden: widths of the hidden layers of the shared network.
        layers: "all", the derivative by all of its parameters; or "last", a linear layer over its last hidden layer,
            which costs little and learns less.
        network_seed: of the shared network.
        training: how they learn; `Training()` if None.
        prior: [N], uniform if None.

    Raises:
        ConfigurationError: as for `mlp`, and for other layers.

    Example:
        >>> import jax, numpy as np
        >>> from consensus_imitation import ensembles
        >>> members = ensembles.tangent((4,), 2, num_members=3, hidden=(8,))
        >>> context = ensembles.Context(0, np.zeros(3), learned=members.init_learned(jax.random.key(0)))
        >>> members.log_probs((), members.encoder([0.1, 0.0, -0.2, 0.0]), context).shape
        (3, 2)
    """
    if layers not in ("all", "last"):
        raise ConfigurationError(f"layers must be 'all' or 'last', got {layers!r}")
    encoder, num_actions = make_encoder(observation_space), num_actions_of(action_space)
    seed = check_integer("network_seed", network_seed, 0)
    shared = _Shared(encoder, num_actions, check_integers("hidden", hidden, 1), seed)
    return from_module(_Tangent(shared, layers), encoder, num_actions, num_members, training, prior)
