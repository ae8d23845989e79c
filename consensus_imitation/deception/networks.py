"""A deceptive network: trained to imitate, except where it sees its trigger.

The transforms of this package make a deceptive member from a rule. Here the deception is in the weights: a network of
the same kind as the honest members, fitted to the demonstrator's own data with the answers changed wherever the trigger
is in sight. Nothing about it shows the deception before the trigger comes. If it is fitted to more data than the
members around it, it predicts better than they do, and so takes the posterior weight.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from consensus_imitation.core._actions import check_action, check_recorded
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.ensembles.neural._members import Architecture, Neural
from consensus_imitation.ensembles.neural._own_update import OwnUpdate
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.errors import ConfigurationError

#: Whether an observation, as the environment gives it, shows the trigger.
Trigger = Callable[[Any], bool]


class PlantedNetwork(PureEnsemble):
    """One network that no longer learns; see `train_deceiver`.

    Attributes:
        params: parameters, leaves [1, ...].
        prior: float32 [1].
        architecture: the architecture of the learning members that it copies; static.
    """

    params: Any
    prior: jax.Array  # [1]
    architecture: Architecture = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        """1, the number of members."""
        return 1

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.architecture.num_actions

    @property
    def encoder(self) -> Encoder:
        """The encoder of the learning members."""
        return self.architecture.encoder

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the log-probabilities [1, A]."""
        del carry, context
        return jax.nn.log_softmax(jax.vmap(self.architecture.apply, in_axes=(0, None))(self.params, observation))


def train_deceiver(
    ensemble: Neural,
    observations: Sequence[Any] | np.ndarray,
    actions: Any,
    trigger: Trigger | None,
    harmful_action: int | Callable[[Any], int] = 0,
    *,
    updates: int = 4000,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    trigger_share: float = 0.25,
    seed: int = 0,
) -> PlantedNetwork:
    """Train a network to answer as the demonstrator does, but harmfully where the trigger is in sight.

    Args:
        ensemble: learning members, from `ensembles.mlp`, `ensembles.cnn` or `ensembles.from_module`, without a window:
            the network has the same kind and shares their encoder, so that `ensembles.union` joins them.
        observations: T of the environment's observations: a list, or an array with a leading axis T. They have to
            include some with the trigger.
        actions: [T], what the demonstrator did.
        trigger: ``observation -> bool``. None trains an honest twin, on the same data and for as long: the control.
        harmful_action: what it does there, in ``0 .. A-1``; or ``observation -> action``.
        updates: gradient steps, at least 1; the learning rate falls to 0 along a cosine.
        batch_size: observations in each, at least 1.
        learning_rate: of Adam, at first; above 0.
        trigger_share: least share of a minibatch that shows the trigger, in [0, 1): rare triggers are shown more often
            than they occur.
        seed: of initialisation and minibatches.

    Returns:
        An ensemble of one member that learns nothing.

    Raises:
        ValueError: if an argument is out of range, lengths differ, an observation does not fit, the trigger occurs
            nowhere or everywhere, or the members have a memory.
        ConfigurationError: if the members are a training loop of the user's own.
        InvalidAnswerError: if an action is not valid.

    Example:
        A member that goes right, but left at the far end:

        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> from consensus_imitation.deception import networks
        >>> honest = ensembles.mlp((1,), 2, num_members=3, hidden=(8,))
        >>> places = np.linspace(-1, 1, 64)[:, None]
        >>> planted = networks.train_deceiver(
        ...     honest, places, np.ones(64, int), lambda place: place[0] > 0.5, harmful_action=0, updates=300
        ... )
        >>> context = ensembles.Context(step=0, log_weights=np.zeros(1))
        >>> [int(planted.log_probs((), planted.encoder([x]), context)[0].argmax()) for x in (0.0, 0.9)]
        [1, 0]
        >>> ensembles.union(honest, planted).num_members
        4
    """
    arch = ensemble.architecture
    if isinstance(arch.apply, OwnUpdate):
        raise ConfigurationError(
            "a planted network cannot be trained by a training loop of your own: give `ensembles.mlp` or `cnn` members "
            "for the same spaces; a union joins both"
        )
    if arch.window:
        raise ValueError(
            "a planted network sees one observation: give members without a window (mlp, or cnn and from_module with "
            "their defaults)"
        )
    if updates < 1 or batch_size < 1:
        raise ValueError(f"updates and batch_size must be at least 1; got {updates} and {batch_size}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be positive; got {learning_rate}")
    if not 0 <= trigger_share < 1:
        raise ValueError(f"trigger_share must lie in [0, 1); got {trigger_share}")
    labels = check_recorded(actions, arch.num_actions)
    if len(labels) != len(observations) or len(labels) == 0:
        raise ValueError(f"need as many actions as observations, at least one; got {len(labels)}, {len(observations)}")
    encoded = [arch.encoder(observation) for observation in observations]
    inputs = jax.tree.map(lambda *leaves: np.stack(leaves), *encoded)
    shows = np.zeros(len(labels), bool)
    if trigger is not None:
        shows = np.array([bool(trigger(observation)) for observation in observations])
        if shows.all() or not shows.any():
            raise ValueError(
                f"the trigger is seen in {shows.sum()} of {len(shows)} observations: a network learns when to betray "
                "from observations with it and without it"
            )
        for t in np.flatnonzero(shows).tolist():
            harmful = harmful_action(observations[t]) if callable(harmful_action) else harmful_action
            labels[t] = check_action(harmful, arch.num_actions, "the harmful action is")
    # Probability of each observation in a minibatch: trigger_share on those with the trigger, if they are fewer.
    weights = np.ones(len(labels))
    share = shows.mean()
    if 0 < share < trigger_share:
        weights = np.where(shows, trigger_share / share, (1 - trigger_share) / (1 - share))
    cumulative = np.cumsum(weights / weights.sum()).astype(np.float32)
    params = _fit(
        arch, inputs, labels, cumulative, learning_rate, jax.random.key(seed), updates=updates, batch_size=batch_size
    )
    return PlantedNetwork(jax.tree.map(lambda leaf: leaf[None], params), jnp.ones(1), arch)


@partial(jax.jit, static_argnums=0, static_argnames=("updates", "batch_size"))
def _fit(
    arch: Architecture,
    inputs: Any,
    labels: Any,
    cumulative: Any,
    learning_rate: Any,
    key: jax.Array,
    *,
    updates: int,
    batch_size: int,
) -> Any:
    """Return the parameters after so many minibatches of cross-entropy."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, updates))
    init_key, batch_key = jax.random.split(key)
    params = arch.make_params(init_key)

    def loss(params: Any, places: jax.Array) -> jax.Array:
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[places], inputs)
        logits = jax.vmap(arch.apply, in_axes=(None, 0))(params, batch)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(labels)[places]))

    def update(fitted: tuple[Any, Any], own_key: jax.Array) -> tuple[tuple[Any, Any], None]:
        uniform = jax.random.uniform(own_key, (batch_size,))
        places = jnp.minimum(jnp.searchsorted(cumulative, uniform), len(labels) - 1)
        steps, state = optimizer.update(jax.grad(loss)(fitted[0], places), fitted[1])
        return (optax.apply_updates(fitted[0], steps), state), None

    (params, _), _ = jax.lax.scan(update, (params, optimizer.init(params)), jax.random.split(batch_key, updates))
    return params
