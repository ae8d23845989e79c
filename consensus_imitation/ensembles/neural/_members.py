"""Members that are networks and learn from every answer: perceptrons, convolutions, recurrent, or any Flax module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct
from numpy.typing import ArrayLike

from consensus_imitation.core._sources import Source
from consensus_imitation.core._validation import check_instance, check_integer, check_integers
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.neural import _partition, networks
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._encoding_parts import BoxLeaf, GridLeaf
from consensus_imitation.ensembles.neural._on_host import learned_from
from consensus_imitation.ensembles.neural._partition import divides
from consensus_imitation.ensembles.neural.encoding import Encoder, make_encoder, num_actions_of
from consensus_imitation.ensembles.neural.networks import Window
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.ensembles.neural.training import Learned
from consensus_imitation.errors import ConfigurationError

#: Builds one member: ``rngs -> module``; the module maps one encoded observation (or a `Window`) to logits [A].
MakeModule = Callable[[nnx.Rngs], nnx.Module]

_Kind = Literal["auto", "image", "grid"]


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
    def apply(self) -> train.Apply:
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
        return train.Masked(zeros, np.zeros(self.num_actions, bool)) if self.training.masked else zeros


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
    def apply(self) -> train.Apply:
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


def mlp(
    observation_space: Any,
    action_space: Any,
    num_members: int = 5,
    hidden: Sequence[int] = (64, 64),
    training: Training | None = None,
    prior: ArrayLike | None = None,
) -> Neural:
    """Return multilayer perceptrons over all features of the observation.

    Args:
        observation_space: a Gymnasium space or anything else that `encoding.make_encoder` takes, e.g. an `Encoder`.
        action_space: ``Discrete(n)``, or the int n.
        num_members: N.
        hidden: widths of the hidden layers.
        training: how they learn; `Training()` if None.
        prior: [N], uniform if None.

    Raises:
        ConfigurationError: if a space is of an unsuitable kind, a size is not positive, or the prior does not fit.

    Example:
        >>> import jax, numpy as np
        >>> from consensus_imitation import ensembles
        >>> members = ensembles.mlp((4,), 2, num_members=3)
        >>> learned = members.init_learned(jax.random.key(0))
        >>> context = ensembles.Context(step=0, log_weights=np.zeros(3), learned=learned)
        >>> observation = members.encoder([0.1, 0.0, -0.2, 0.0])
        >>> members.log_probs((), observation, context).shape
        (3, 2)
    """
    encoder, num_actions = make_encoder(observation_space), num_actions_of(action_space)
    make = _MLP(encoder, num_actions, check_integers("hidden", hidden, 1))
    return from_module(make, encoder, num_actions, num_members, training, prior)


def cnn(
    observation_space: Any,
    action_space: Any,
    num_members: int = 5,
    channels: Sequence[int] | None = None,
    hidden: Sequence[int] = (64,),
    training: Training | None = None,
    prior: ArrayLike | None = None,
    *,
    kind: _Kind = "auto",
    window: int = 1,
) -> Neural:
    """Return convolutional networks for pictures, or for MiniGrid's views with direction and mission.

    Args:
        observation_space: with at least one Box ``[H, W, C]``, or a MiniGrid view; other parts join after the
            convolutions. `encoding.make_encoder` gives more control, e.g. over the vocabulary.
        action_space: ``Discrete(n)``, or the int n.
        num_members: N.
        channels: features of each 3x3 convolution, (16, 32, 32) for pictures; for a view one number, (16,).
        hidden: widths of the dense layers.
        training: how they learn; `Training()` if None.
        prior: [N], uniform if None.
        kind: "image", "grid" (a uint8 Box ``[H, W, 3]`` is a MiniGrid view), or "auto": a grid where the space is a
            Dict of ``image``, ``direction`` and ``mission``, as MiniGrid's are, with at most 32 cells a side. Give
            "image" where MiniGrid's wrappers draw smaller pictures than that.
        window: L, steps of the episode that they see, including the present one: for observations that do not show all,
            a few earlier ones and the actions between them (`networks.WindowedCNN`). The replay holds L observations
            for each answer.

    Raises:
        ConfigurationError: if a space is of an unsuitable kind, or a picture has its channels first.
    """
    check_integer("window", window, 1, "1 is the present step alone")
    encoder, num_actions = _encoder_of_kind(observation_space, kind), num_actions_of(action_space)
    dense = check_integers("hidden", hidden, 1)
    make = _CNN(encoder, num_actions, _trunk_of_kind(encoder, kind, channels), dense, window)
    seen = 0 if window == 1 else window
    return from_module(make, encoder, num_actions, num_members, training, prior, window=seen)


def recurrent(
    observation_space: Any,
    action_space: Any,
    num_members: int = 5,
    hidden: int = 64,
    window: int = 8,
    training: Training | None = None,
    prior: ArrayLike | None = None,
    *,
    channels: Sequence[int] | None = None,
    kind: _Kind = "auto",
) -> Neural:
    """Return recurrent networks, for observations that do not show all: a GRU over the last steps of the episode.

    The members see the last ``window`` observations of this episode and the actions between them, whoever chose them.
    The replay keeps the window with each answer, so that training sees exactly the inputs of the predictions.
    `networks` explains why the members carry no hidden state.

    Args:
        observation_space: as for `mlp`.
        action_space: ``Discrete(n)``, or the int n.
        num_members: N.
        hidden: size of the recurrent state.
        window: L, at least 2. Members do not see what lies further back.
        training: how they learn; `Training()` if None. The replay holds L observations for each answer.
        prior: [N], uniform if None.
        channels: of convolutions, as in `cnn`; None for views as in `cnn`, and for a flat picture otherwise.
        kind: as in `cnn`.

    Raises:
        ConfigurationError: if a space is of an unsuitable kind, or the window is too short.
    """
    check_integer("window", window, 2, "use ensembles.mlp or cnn for members without memory")
    check_integer("hidden", hidden, 1)
    encoder, num_actions = _encoder_of_kind(observation_space, kind), num_actions_of(action_space)
    flat = channels is None and kind != "image" and not _has_view(encoder)
    trunk = None if flat else _trunk_of_kind(encoder, kind, channels)
    make = _GRU(encoder, num_actions, trunk, hidden)
    return from_module(make, encoder, num_actions, num_members, training, prior, window=window)


def from_module(
    make_module: MakeModule,
    observation_space: Any,
    action_space: Any,
    num_members: int = 5,
    training: Training | None = None,
    prior: ArrayLike | None = None,
    *,
    window: int = 0,
) -> Neural:
    """Return your own networks: N initialisations of one Flax NNX module. Join several kinds with `union`.

    Args:
        make_module: ``nnx.Rngs -> nnx.Module``; called with one encoded observation (no batch axis), or a
            `networks.Window` of them, the module returns logits [A]. Define it where it stays the same object (not a
            lambda in a loop): equal functions share compiled code. `networks.MLP` shows how ``encoder.features`` helps.
        observation_space: as for `mlp`; if the module uses an `Encoder`, make it beforehand.
        action_space: ``Discrete(n)``, or the int n.
        num_members: N.
        training: how they learn; `Training()` if None.
        prior: [N], uniform if None.
        window: L, for a module over a `networks.Window`; 0 otherwise.

    Raises:
        ConfigurationError: if the module does not return logits [A], or keeps batch statistics or random numbers (its
            prediction would then not be a function of parameters and history); or, of members that divide the answers,
            if the encoder is of a class of your own, which may keep statistics of all of them.

    Example:
        >>> from flax import nnx
        >>> from consensus_imitation import ensembles
        >>> def linear(rngs: nnx.Rngs) -> nnx.Module:
        ...     return nnx.Linear(4, 2, rngs=rngs)
        >>> ensembles.from_module(linear, (4,), 2, num_members=3).num_members
        3
    """
    encoder, num_actions = make_encoder(observation_space), num_actions_of(action_space)
    if not callable(make_module):
        raise ConfigurationError(f"make_module must be a function rngs -> module, got {make_module!r}")
    check_integer("num_members", num_members, 1)
    check_integer("window", window, 0)
    check_instance("training", training, Training, "give a Training(...), or None for the defaults")
    arch = ModuleArchitecture(encoder, num_actions, window, Training() if training is None else training, make_module)
    check_encoder(arch)
    for path, variable in nnx.to_flat_state(_skeleton(make_module)[1]):
        if not isinstance(variable, nnx.Param):
            name = ".".join(str(key) for key in path)
            raise ConfigurationError(
                f"the module's {name} is a {type(variable).__name__}: members have parameters only, since what they "
                "predict must be a function of parameters and history (no batch normalisation, no dropout)"
            )
    logits = jax.eval_shape(lambda: arch.apply(arch.make_params(jax.random.key(0)), arch.zeros()))
    if getattr(logits, "shape", None) != (num_actions,):
        raise ConfigurationError(
            f"the module must return logits of shape ({num_actions},) for one observation; got "
            f"{getattr(logits, 'shape', type(logits).__name__)}"
        )
    return Neural(prior=jnp.asarray(normalise_prior(prior, num_members), jnp.float32), architecture=arch)


@dataclass(frozen=True)
class _MLP:
    encoder: Encoder
    num_actions: int
    hidden: tuple[int, ...]

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        return networks.MLP(self.encoder, self.num_actions, self.hidden, rngs)


@dataclass(frozen=True)
class _Trunk:
    encoder: Encoder
    grid: bool
    channels: tuple[int, ...]

    def __call__(self, rngs: nnx.Rngs) -> networks.GridTrunk | networks.ImageTrunk:
        if self.grid:
            return networks.GridTrunk(self.encoder, self.channels[0], rngs)
        return networks.ImageTrunk(self.encoder, self.channels, rngs)


@dataclass(frozen=True)
class _CNN:
    encoder: Encoder
    num_actions: int
    trunk: _Trunk
    hidden: tuple[int, ...]
    window: int

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        if self.window > 1:
            return networks.WindowedCNN(self.trunk(rngs), self.num_actions, self.hidden, self.window, rngs)
        return networks.CNN(self.trunk(rngs), self.num_actions, self.hidden, rngs)


@dataclass(frozen=True)
class _GRU:
    encoder: Encoder
    num_actions: int
    trunk: _Trunk | None
    hidden: int

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        trunk = networks.FlatTrunk(self.encoder) if self.trunk is None else self.trunk(rngs)
        return networks.WindowedGRU(trunk, self.num_actions, self.hidden, rngs)


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


def _encoder_of_kind(observation_space: Any, kind: _Kind) -> Encoder:
    if kind not in ("auto", "image", "grid"):
        raise ConfigurationError(f"kind must be 'auto', 'image' or 'grid'; got {kind!r}")
    return make_encoder(observation_space, grid={"auto": None, "image": False, "grid": True}[kind])


def _trunk_of_kind(encoder: Encoder, kind: _Kind, channels: Sequence[int] | None) -> _Trunk:
    grid = kind == "grid" or (kind == "auto" and _has_view(encoder))
    sizes = check_integers("channels", channels, 1) if channels is not None else ((16,) if grid else (16, 32, 32))
    if not sizes or (grid and len(sizes) != 1):
        raise ConfigurationError(f"channels must be positive, and one number for a grid; got {sizes}")
    return _Trunk(encoder, grid, sizes)


def _has_view(encoder: Encoder) -> bool:
    return any(isinstance(leaf, GridLeaf) for _, leaf in networks.leaves(encoder.root))


@lru_cache(maxsize=256)
def _skeleton(make_module: MakeModule) -> tuple[Any, Any]:
    """Return the module's structure, and a state of shapes to put parameters into."""
    return nnx.split(nnx.eval_shape(lambda: make_module(nnx.Rngs(0))))


def _apply_module(make_module: MakeModule, params: Any, inputs: Any) -> jax.Array:
    graphdef, state = _skeleton(make_module)
    state = jax.tree.map(lambda leaf: leaf, state)
    nnx.replace_by_pure_dict(state, params)
    module: Any = nnx.merge(graphdef, state)
    return module(inputs)
