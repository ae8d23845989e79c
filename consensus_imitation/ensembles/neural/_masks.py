"""Multi-prize tickets: members that are binary masks on one frozen random network.

All members share one perceptron whose weights are random signs, never trained. A member is a choice of the connections
that count. While it learns, each connection has a score, and the best share of a layer's connections is kept; gradients
go straight through that choice (edge-popup). Frozen, a member is one bit for each connection, and so is the network.

References:
    Ramanujan et al. (2020), "What's Hidden in a Randomly Weighted Neural Network?" (edge-popup).
    Diffenderfer and Kailkhura (2021), "Multi-Prize Lottery Ticket Hypothesis" (binary weights).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from numpy.typing import ArrayLike

from consensus_imitation.core._validation import check_integer, check_integers, check_number
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.ensembles.neural._factories import from_module
from consensus_imitation.ensembles.neural._learned import Learned
from consensus_imitation.ensembles.neural._members import Architecture, Neural
from consensus_imitation.ensembles.neural._partition import divides
from consensus_imitation.ensembles.neural.encoding import Encoder, make_encoder, num_actions_of
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError

#: So often is the interval halved in which the threshold of a layer's scores lies.
_HALVINGS = 30


@lru_cache(maxsize=64)
def signs(seed: int, layer: int, shape: tuple[int, int]) -> np.ndarray:
    """Return a layer of the frozen network: float32 [inputs, outputs] of -1 and 1, the same for ever.

    From raw bits of a generator, whose stream no version of NumPy changes.
    """
    count = shape[0] * shape[1]
    words = np.random.PCG64([seed, layer]).random_raw(-(-count // 64))
    bits = np.unpackbits(words.astype("<u8").view(np.uint8))[:count]
    return (2.0 * bits - 1.0).astype(np.float32).reshape(shape)


def chosen(scores: jax.Array, kept: float) -> jax.Array:
    """Return the mask of the best share of the scores: float32, of their shape, 1 for those that are kept.

    Args:
        scores: of one layer.
        kept: share, in (0, 1]. Ties at the threshold are kept, too.
    """
    wanted = max(1, round(kept * scores.size))

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = low + (high - low) / 2
        enough = jnp.sum(scores >= middle) >= wanted
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    # At least so many reach the lower end, fewer the upper one.
    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.min(scores), jnp.max(scores) * (1 + 1e-6) + 1e-6))
    return (scores >= low).astype(scores.dtype)


def logits(masks: Sequence[jax.Array], seed: int, kept: float, features: jax.Array) -> jax.Array:
    """Return the logits [A] of the masked network: ReLU between layers, and a constant input in place of a bias.

    Args:
        masks: of each layer, [inputs + 1, outputs].
        seed: of the frozen network.
        kept: share of the connections that the scale is made for.
        features: [inputs].
    """
    for layer, mask in enumerate(masks):
        scale = np.float32(np.sqrt(2 / (kept * mask.shape[0])))
        weights = scale * signs(seed, layer, mask.shape)
        features = jnp.append(jax.nn.relu(features) if layer else features, 1.0) @ (weights * mask)
    return features


class MaskedMLP(nnx.Module):
    """A frozen perceptron of random signs; its parameters are scores of connections."""

    def __init__(
        self, encoder: Encoder, num_actions: int, hidden: Sequence[int], kept: float, seed: int, rngs: nnx.Rngs
    ) -> None:
        """Draw scores, uniform in [0, 1)."""
        self.encoder, self.kept, self.seed = encoder, kept, seed
        sizes = (encoder.width, *hidden, num_actions)
        self.scores = nnx.List(
            [nnx.Param(jax.random.uniform(rngs.params(), (sizes[i] + 1, sizes[i + 1]))) for i in range(len(sizes) - 1)]
        )

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the logits [A]."""
        masks: list[jax.Array] = []
        for scores in self.scores:
            value = scores[...]
            hard = chosen(jax.lax.stop_gradient(value), self.kept)
            # The value of the mask, and the gradient of the scores.
            masks.append(hard + value - jax.lax.stop_gradient(value))
        return logits(masks, self.seed, self.kept, self.encoder.features(encoded))


@dataclass(frozen=True)
class _MaskedMLP:
    encoder: Encoder
    num_actions: int
    hidden: tuple[int, ...]
    kept: float
    seed: int

    def __call__(self, rngs: nnx.Rngs) -> MaskedMLP:
        return MaskedMLP(self.encoder, self.num_actions, self.hidden, self.kept, self.seed, rngs)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        sizes = (self.encoder.width, *self.hidden, self.num_actions)
        return tuple((sizes[i] + 1, sizes[i + 1]) for i in range(len(sizes) - 1))


class Masks(Neural):
    """See `masks`."""

    @property
    def network(self) -> Any:
        """The frozen network: widths, share of the connections, seed."""
        architecture: Any = self.architecture
        return architecture.make_module

    def freeze(self, learned: Learned) -> "FrozenMasks":
        """Return the members as they are now, one bit for each connection; they learn no more.

        They predict what they predicted, to rounding.

        Args:
            learned: what they know, as `imitator.state.learned` has it.

        Raises:
            ConfigurationError: with prior networks, local caution or divided answers: such members are no masks alone.
        """
        settings = self.architecture.training
        if divides(settings):
            raise ConfigurationError(
                "members that divide the answers are no masks alone: each ignores what never varied in its share; "
                "freeze those of another bootstrap"
            )
        if settings.prior_scale:
            raise ConfigurationError("members with prior_scale are no masks alone: freeze those of prior_scale=0")
        if settings.local_caution:
            raise ConfigurationError(
                "members with local_caution are no masks alone: what they withhold goes by their answers, which are "
                "not kept"
            )
        params = learned.averages if settings.averaging else learned.params
        layers = [params["scores"][i] for i in sorted(params["scores"])]
        keep = jax.vmap(lambda scores: chosen(scores, self.network.kept))
        # What caution leaves of a member's mass is the same for all inputs.
        nothing = Context(jnp.int32(0), jnp.zeros(self.num_members), 0, learned)
        said = self.log_probs((), self.architecture.zeros(), nothing)
        bits = np.concatenate([np.asarray(keep(layer)).reshape(self.num_members, -1) for layer in layers], axis=-1)
        return FrozenMasks(
            bits=jnp.asarray(np.packbits(bits > 0.5, axis=-1)),
            temperature=jnp.exp(learned.temperature.log) if settings.temperature else jnp.ones(self.num_members),
            log_trust=jax.nn.logsumexp(said, axis=-1),
            prior=self.prior,
            architecture=self.architecture,
        )


class FrozenMasks(PureEnsemble):
    """Masks that learn no more; see `Masks.freeze`.

    Attributes:
        bits: uint8 [N, ceil(connections / 8)], whether each connection counts.
        temperature: float32 [N].
        log_trust: float32 [N], logarithm of the mass that is not withheld.
        prior: float32 [N].
        architecture: everything else; static.
    """

    bits: jax.Array
    temperature: jax.Array
    log_trust: jax.Array
    prior: jax.Array
    architecture: Architecture = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return self.prior.shape[-1]

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.architecture.num_actions

    @property
    def normalised(self) -> bool:
        """True: a softmax of logits, less what caution withheld."""
        return True

    @property
    def encoder(self) -> Encoder:
        """The encoder from the environment's observations to what the network takes."""
        return self.architecture.encoder

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return every member's prediction: [N, A]."""
        del carry, context
        architecture: Any = self.architecture
        network = architecture.make_module
        features = self.encoder.features(observation)

        def one(bits: jax.Array) -> jax.Array:
            flat, masks = jnp.unpackbits(bits).astype(jnp.float32), []
            for shape in network.shapes:
                size = shape[0] * shape[1]
                masks.append(flat[:size].reshape(shape))
                flat = flat[size:]
            return logits(masks, network.seed, network.kept, features)

        return jax.nn.log_softmax(jax.vmap(one)(self.bits) / self.temperature[:, None]) + self.log_trust[:, None]


def masks(
    observation_space: Any,
    action_space: Any,
    num_members: int = 5,
    hidden: Sequence[int] = (256, 256),
    kept: float = 0.2,
    network_seed: int = 0,
    training: Training | None = None,
    prior: ArrayLike | None = None,
) -> Masks:
    """Return members that are binary masks on one frozen random network (multi-prize tickets).

    The network's weights are random signs; a member learns which of its connections count. While members learn, each
    needs a score for every connection, so they take the memory of a dense network of these widths, and more
    time. `Masks.freeze` then leaves one bit a connection for each member, and one for the network that all share.

    Args:
        observation_space: as for `mlp`.
        action_space: ``Discrete(n)``, or the int n.
        num_members: N.
        hidden: widths of the hidden layers; wider than `mlp` needs, since only some of the connections help.
        kept: share of each layer's connections that counts, in (0, 1].
        network_seed: of the frozen network. Members with one seed share it.
        training: how they learn; if None, `Training()` with a learning rate for scores.
        prior: [N], uniform if None.

    Raises:
        ConfigurationError: as for `mlp`, and for a share out of range.

    Example:
        >>> import jax, numpy as np
        >>> from consensus_imitation import ensembles
        >>> members = ensembles.masks((4,), 2, num_members=3, hidden=(16,))
        >>> frozen = members.freeze(members.init_learned(jax.random.key(0)))
        >>> frozen.bits.shape, frozen.bits.dtype  # 5 * 16 + 17 * 2 connections
        ((3, 15), dtype('uint8'))
    """
    encoder, num_actions = make_encoder(observation_space), num_actions_of(action_space)
    check_number("kept", kept, "lie in (0, 1]", lambda share: (share > 0) & (share <= 1))
    seed = check_integer("network_seed", network_seed, 0)
    make = _MaskedMLP(encoder, num_actions, check_integers("hidden", hidden, 1), float(kept), seed)
    settings = Training(learning_rate=SCORES_RATE) if training is None else training
    members = from_module(make, encoder, num_actions, num_members, settings, prior)
    return Masks(prior=members.prior, architecture=members.architecture)


#: The learning rate of scores: they begin in [0, 1), and a connection has to pass others to count.
SCORES_RATE = 1e-2
