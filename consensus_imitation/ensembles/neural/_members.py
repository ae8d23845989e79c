"""Members that are networks and learn from every answer: perceptrons, convolutions, recurrent, or any Flax module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from consensus_imitation.core._sources import Source
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.ensembles.neural import _coupling, _partition, networks
from consensus_imitation.ensembles.neural import _rounds as rounds
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._encoding_parts import BoxLeaf
from consensus_imitation.ensembles.neural._learned import Apply, Learned, Masked
from consensus_imitation.ensembles.neural._on_host import learned_from
from consensus_imitation.ensembles.neural._partition import divides
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.ensembles.neural.networks import Window
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError

#: Builds one member: ``rngs -> module``; the module maps one encoded observation (or a `Window`) to logits [A].
MakeModule = Callable[[nnx.Rngs], nnx.Module]


@dataclass(frozen=True)
class Architecture:
    """All about the members that is not an array. Equal architectures share compiled functions.

    Attributes:
        encoder: what a member sees.
        num_actions: A.
        window: L, steps that it sees; 0 for the present observation without its axis.
        training: how it learns.
    """

    encoder: Encoder
    num_actions: int
    window: int
    training: Training

    def make_params(self, key: jax.Array) -> Any:
        """Return freshly initialised parameters of one member."""
        raise NotImplementedError

    @property
    def apply(self) -> Apply:
        """Return what makes the logits [A] of one member, of its parameters and what it sees."""
        raise NotImplementedError

    def zeros(self) -> Any:
        """Return an input of zeros, for its shapes."""
        zeros = self.encoder.zeros()
        if not self.window:
            return zeros
        repeated = jax.tree.map(lambda leaf: np.zeros((self.window, *leaf.shape), leaf.dtype), zeros)
        return Window(repeated, jnp.full(self.window, -1, jnp.int32), jnp.zeros(self.window, bool))

    def kept_zeros(self) -> Any:
        """Return the same as the replay keeps it (`training.kept`)."""
        zeros = self.zeros()
        return Masked(zeros, np.zeros(self.num_actions, bool)) if self.training.masked else zeros


@dataclass(frozen=True)
class ModuleArchitecture(Architecture):
    """An architecture that is a Flax module.

    Attributes:
        make_module: see `from_module`.
    """

    make_module: MakeModule

    def make_params(self, key: jax.Array) -> Any:
        """Return freshly initialised parameters of one member, a plain nested dictionary."""
        return nnx.to_pure_dict(nnx.split(self.make_module(nnx.Rngs(key)))[1])

    @property
    def apply(self) -> Apply:
        """Return what makes the logits [A] of one member."""
        return partial(_apply_module, self.make_module)


class Neural(PureEnsemble):
    """N networks of one architecture that learn from every answer; see `mlp`, `cnn`, `recurrent` and `from_module`.

    Attributes:
        prior: float32 [N].
        architecture: everything else; static.
    """

    prior: jax.Array  # [N]
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
    def learns(self) -> bool:
        """True: the members learn."""
        return True

    @property
    def encoder(self) -> Encoder:
        """The encoder from the environment's observations to what the networks take."""
        return self.architecture.encoder

    @property
    def training(self) -> Training:
        """How the members learn."""
        return self.architecture.training

    @property
    def normalised(self) -> bool:
        """True: a softmax of logits, less what caution withholds."""
        return True

    def init_learned(self, key: jax.Array) -> Learned:
        """Return random parameters and an empty replay."""
        arch = self.architecture
        if divides(arch.training):
            shapes = (arch.zeros(), arch.kept_zeros())
            return _partition.init(arch.training, arch.make_params, self.num_members, *shapes, key)
        return train.init(arch.training, arch.make_params, self.num_members, arch.kept_zeros(), key)

    def init_carry(self) -> Carry:
        """Return the empty window, shared by all members; () for members that see only the present step.

        It holds the last L-1 steps: the encoded observations, the action executed after each, and whether it is real.
        """
        if not self.architecture.window:
            return ()
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[1:], self.architecture.zeros())

    def begin_episode(self, carry: Carry) -> Carry:
        """Return the empty window: another episode is not evidence of what is hidden in this one."""
        del carry
        return self.init_carry()

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return every network's prediction: [N, A]."""
        arch = self.architecture
        predict = _partition.log_probs if divides(arch.training) else train.log_probs
        return predict(arch.training, arch.apply, context.learned, self.inputs(carry, observation))

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return the window one step further."""
        del context, queried
        if not self.architecture.window:
            return carry
        done = jnp.asarray(action, jnp.int32)
        return jax.tree.map(
            lambda kept, new: jnp.concatenate([kept[1:], jnp.asarray(new, kept.dtype)[None]]),
            carry,
            Window(observation, done, jnp.ones((), bool)),
        )

    @property
    def reach(self) -> int:
        """Members that one answer, or all answers of one source, can reach: 1 of a partition, else all."""
        return 1 if divides(self.training) else self.num_members

    def owners(self, learned: Learned, sources: Sequence[Source | None], trusted: Any = False) -> Any:
        """Return whose answers these are (`core.members.Divides`); None where all members learn from all of them."""
        return _partition.owners(learned, sources, trusted) if divides(self.training) else None

    def learn(
        self,
        learned: Learned,
        carry: Carry,
        observation: Any,
        answer: jax.Array,
        log_probs: jax.Array,
        owner: Any = None,
    ) -> Learned:
        """Store the answer; after every few of them, a round of training."""
        arch = self.architecture
        told = (learned, self.inputs(carry, observation), jnp.asarray(answer, jnp.int32), log_probs)
        if divides(arch.training):
            return _partition.learn(arch.training, arch.apply, *told, owner)
        return train.learn(arch.training, arch.apply, *told)

    def learn_on_host(
        self,
        learned: Learned,
        carry: Carry,
        observation: Any,
        answer: Any,
        log_probs: jax.Array,
        owner: Any = None,
    ) -> Learned:
        """`learn`, where the answers are in rows: none of those before is copied (see `replay`)."""
        if divides(self.training):
            return _partition.learned_from(self, learned, carry, observation, answer, log_probs, owner)
        return learned_from(self, learned, carry, observation, answer, log_probs)

    def inputs(self, carry: Carry, observation: Any) -> Any:
        """Return what a network sees: the observation, or a `networks.Window` that ends with it."""
        if not self.architecture.window:
            return observation
        before = jnp.concatenate([jnp.full(1, -1, jnp.int32), carry.actions])
        present = Window(observation, before[0], jnp.ones((), bool))
        joined = jax.tree.map(
            lambda kept, new: jnp.concatenate([kept, jnp.asarray(new, kept.dtype)[None]]), carry, present
        )
        # The carry keeps the action taken *after* each observation; the network sees the one before.
        return joined._replace(actions=before)


def check_encoder(arch: Architecture) -> None:
    """Refuse settings of the training that do not go with what the members see.

    Raises:
        ConfigurationError: of members that divide the answers, for an encoder of a class of your own; with local
            caution, for observations among which distance means nothing.
    """
    if divides(arch.training) and type(arch.encoder) is not Encoder:
        raise ConfigurationError(
            "bootstrap='partition' takes the library's own encoders only: one that keeps statistics of what it has "
            f"seen would pass on what others are taught; got a {type(arch.encoder).__name__}"
        )
    if arch.training.local_caution:
        _check_distances(arch.encoder, arch.window)


def check_coupling(arch: Architecture, num_members: int) -> None:
    """Refuse settings of the training that compare members where they cannot, and warn where they can.

    Raises:
        ConfigurationError: see `_coupling.check`.
    """
    numbers = sum(leaf.size for leaf in jax.tree.leaves(arch.zeros()))
    largest = rounds.NUMBERS_AT_ONCE // max(1, numbers)
    _coupling.check(arch.training, arch.encoder, num_members, arch.num_actions, largest)


def _check_distances(encoder: Encoder, window: int) -> None:
    """Refuse local caution where the distance of two inputs does not say whether they are alike.

    Raises:
        ConfigurationError: naming the part of the observation.
    """
    reason = ""
    if window:
        reason = "a window of steps is far from every other one as soon as it was reached in another way"
    for path, leaf in networks.leaves(encoder.root):
        if not isinstance(leaf, BoxLeaf) or leaf.as_bytes or len(leaf.shape) > 1:
            kinds = "pictures, views, choices and words, one is about as far from any other as from the next"
            reason = f"the observation{''.join(f'[{key!r}]' for key in path)} is no vector of floats, and among {kinds}"
    if reason:
        raise ConfigurationError(
            f"local_caution asks where an input is far from all that was answered, and here distance means nothing: "
            f"{reason}. Leave it at 0, or give members a vector of numbers in which what is alike is near"
        )


@lru_cache(maxsize=256)
def skeleton(make_module: MakeModule) -> tuple[Any, Any]:
    """Return the module's structure, and a state of shapes to put parameters into."""
    return nnx.split(nnx.eval_shape(lambda: make_module(nnx.Rngs(0))))


def _apply_module(make_module: MakeModule, params: Any, inputs: Any) -> jax.Array:
    graphdef, state = skeleton(make_module)
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, params)
    module: Any = nnx.merge(graphdef, state)
    return module(inputs)
