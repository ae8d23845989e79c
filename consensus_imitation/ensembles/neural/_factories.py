"""Factories of networks: perceptrons, convolutions, recurrence, and modules of your own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from numpy.typing import ArrayLike

from consensus_imitation.core._validation import check_instance, check_integer, check_integers
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.neural import networks
from consensus_imitation.ensembles.neural._encoding_parts import GridLeaf

#: Builds one member: ``rngs -> module``; the module maps one encoded observation (or a `Window`) to logits [A].
from consensus_imitation.ensembles.neural._members import (
    MakeModule,
    ModuleArchitecture,
    Neural,
    check_coupling,
    check_encoder,
    skeleton,
)
from consensus_imitation.ensembles.neural.encoding import Encoder, make_encoder, num_actions_of
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError

_Kind = Literal["auto", "image", "grid"]


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
            if the encoder is of a class of your own, which may keep statistics of all of them; or, of members that are
            compared in training, if there are too few of them, or actions, or the observations are no floats.

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
    for path, variable in nnx.to_flat_state(skeleton(make_module)[1]):
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
    check_coupling(arch, num_members)
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
