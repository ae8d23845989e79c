"""Small networks for members: each maps ONE encoded observation to logits [A].

They take what an `Encoder` returns, without a batch axis; ``vmap`` adds batches and members. Under ``vmap`` over
members a convolution with its own kernel per member becomes a grouped convolution, which is very slow on CPUs inside a
``scan``; `PatchConv` is the same function as a matrix product over patches.

Memory is a window. A recurrent member could carry its hidden state from step to step. But earlier parameters computed
that state, and after some training no parameters explain it: a replay would not compute what the imitator acted on. So
`WindowedGRU` is unrolled from zero over the last L observations and the actions between them, both when it predicts and
when it is trained, on exactly the same inputs. `WindowedCNN` takes the same window at once.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from consensus_imitation.ensembles.neural._encoding_parts import GRID_SIZES, BoxLeaf, GridLeaf
from consensus_imitation.ensembles.neural.encoding import DictPart, Encoder, Part, TuplePart
from consensus_imitation.errors import ConfigurationError


class Window(NamedTuple):
    """The last L steps of an episode, the present one last.

    Attributes:
        observations: encoded observations [L, ...].
        actions: int32 [L], the action executed before each; -1 before the first one, and before an episode's first.
        valid: bool [L], False for entries from before the episode's beginning.
    """

    observations: Any
    actions: jax.Array
    valid: jax.Array


class Dense(nnx.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, sizes: Sequence[int], rngs: nnx.Rngs) -> None:
        """Make layers of these ``sizes``: of the input, of each hidden layer, of the output."""
        self.layers = nnx.List(
            [nnx.Linear(sizes[i], sizes[i + 1], rngs=rngs) for i in range(len(sizes) - 1)],
        )

    def __call__(self, features: jax.Array) -> jax.Array:
        """Map [..., first size] to [..., last size]."""
        for layer in self.layers[:-1]:
            features = jax.nn.relu(layer(features))
        return self.layers[-1](features)


class MLP(nnx.Module):
    """All features of the observation, flat, through dense layers."""

    def __init__(self, encoder: Encoder, num_actions: int, hidden: Sequence[int], rngs: nnx.Rngs) -> None:
        """Make layers; ``hidden`` gives the widths of the hidden ones."""
        self.encoder = encoder
        self.dense = Dense((encoder.width, *hidden, num_actions), rngs)

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the logits [A]."""
        return self.dense(self.encoder.features(encoded))


class PatchConv(nnx.Module):
    """A convolution that sees all of its picture, as one matrix product over patches.

    Where kernel and stride would leave out the last rows or columns, or the picture is smaller than the kernel, it puts
    zeros around the picture: as few as possible, and none where nothing would be left out (`conv_padding`).

    Equal to ``nnx.Conv`` with that padding and with kernel ``kernel.reshape(size, size, C, features)``.
    """

    def __init__(self, channels: int, features: int, size: int, stride: int, rngs: nnx.Rngs) -> None:
        """Make kernels of ``size x size``.

        Raises:
            ConfigurationError: if the stride is longer than the kernel, so that it would skip pixels.
        """
        if not 1 <= stride <= size:
            raise ConfigurationError(f"stride must be from 1 to the kernel's size, {size}; got {stride}")
        self.size, self.stride = size, stride
        self.linear = nnx.Linear(size * size * channels, features, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map [H, W, C] to [H', W', features]; H' and W' are `conv_size` of H and W."""
        padding = [conv_padding(side, self.size, self.stride) for side in image.shape[:2]]
        return self.linear(patches(jnp.pad(image, [*padding, (0, 0)]), self.size, self.stride))


def patches(image: jax.Array, size: int, stride: int) -> jax.Array:
    """Slice an image of at least ``size x size`` into all its patches: [H, W, C] to [H', W', size * size * C]."""
    high, wide = ((side - size) // stride + 1 for side in image.shape[:2])
    shifted = [
        image[i : i + (high - 1) * stride + 1 : stride, j : j + (wide - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(shifted, axis=-1)


def conv_padding(side: int, size: int, stride: int) -> tuple[int, int]:
    """Return how many zeros to put before and after a side: the fewest with which a convolution sees all of it.

    Example:
        >>> from consensus_imitation.ensembles.neural.networks import conv_padding
        >>> [conv_padding(side, size=3, stride=2) for side in (1, 2, 7, 8)]
        [(1, 1), (0, 1), (0, 0), (0, 1)]
    """
    missing = size - side if side < size else -(side - size) % stride
    return missing // 2, missing - missing // 2


def conv_size(side: int, size: int, stride: int) -> int:
    """Return the length of a side after a `PatchConv`: at least 1."""
    return (side + sum(conv_padding(side, size, stride)) - size) // stride + 1


class ImageTrunk(nnx.Module):
    """Convolutions over the pictures of an observation, beside its other features.

    Every Box of three dimensions is a picture ``[H, W, C]``, of any size: each pixel of it matters to the features.
    Strides of 2 while a side is longer than 8, else of 1.
    """

    def __init__(self, encoder: Encoder, channels: Sequence[int], rngs: nnx.Rngs) -> None:
        """Make layers; ``channels`` gives the features of each 3x3 convolution.

        Raises:
            ConfigurationError: if the observation has no picture, or one whose channels come first.
        """
        self.encoder = encoder
        self.stacks = nnx.List([])
        self.width = 0
        for path, leaf in leaves(encoder.root):
            if not _is_picture(leaf):
                self.width += leaf.width
                continue
            high, wide, depth = leaf.shape
            if _channels_first(high, wide, depth):
                raise ConfigurationError(
                    f"the picture {path or ''}{leaf.shape} seems to have its channels first, and they have to come "
                    "last, [H, W, C]: move them in a wrapper (gymnasium.wrappers.TransformObservation with "
                    "np.moveaxis(picture, 0, -1)); if they are last, exchange rows and columns; or use ensembles.mlp"
                )
            stack = nnx.List([])
            for features in channels:
                stride = 2 if max(high, wide) > 8 else 1
                high, wide = conv_size(high, 3, stride), conv_size(wide, 3, stride)
                stack.append(PatchConv(depth, features, 3, stride, rngs))
                depth = features
            self.stacks.append(stack)
            self.width += high * wide * depth
        if not len(self.stacks):
            raise ConfigurationError("the observation holds no picture [H, W, C]: use ensembles.mlp")

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the features [width]."""
        parts: list[jax.Array] = []
        stacks = iter(self.stacks)
        for path, leaf in leaves(self.encoder.root):
            value = at(encoded, path)
            if not _is_picture(leaf):
                parts.append(leaf.features(value))
                continue
            picture = leaf.scaled(value)
            for layer in next(stacks):
                picture = jax.nn.relu(layer(picture))
            parts.append(picture.ravel())
        return jnp.concatenate(parts)


class GridTrunk(nnx.Module):
    """A MiniGrid view beside the rest of the observation, such as the mission and the direction.

    Cells are one-hot, then linear (so that a colour and an object add up), then scaled and shifted by the rest of the
    observation (FiLM: Perez et al. 2018): "this cell is what the mission names" is then one unit. One convolution over
    3x3 cells follows.
    """

    def __init__(self, encoder: Encoder, channels: int, rngs: nnx.Rngs) -> None:
        """Make layers; ``channels`` is the number of features of each cell.

        Raises:
            ConfigurationError: unless the observation holds exactly one MiniGrid view.
        """
        views = [(path, leaf) for path, leaf in leaves(encoder.root) if isinstance(leaf, GridLeaf)]
        if len(views) != 1:
            raise ConfigurationError(
                f"the observation holds {len(views)} MiniGrid views instead of one: encode it with grid=True, or use "
                "kind='image'"
            )
        self.path, self.view = views[0]
        high, wide = (conv_size(side, 3, 1) for side in self.view.size)
        self.encoder = encoder
        rest = encoder.width - self.view.width
        self.embed = nnx.Linear(sum(GRID_SIZES), channels, rngs=rngs)
        self.film = nnx.Linear(rest, 2 * channels, rngs=rngs) if rest else None
        self.conv = PatchConv(channels, channels, 3, 1, rngs)
        self.width = high * wide * channels + rest

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the features [width]."""
        cells = self.embed(self.view.cells(at(encoded, self.path)))
        parts = [leaf.features(at(encoded, path)) for path, leaf in leaves(self.encoder.root) if path != self.path]
        if self.film is not None:
            scale, shift = jnp.split(self.film(jnp.concatenate(parts)), 2)
            cells = cells * (1 + scale) + shift
        picture = jax.nn.relu(self.conv(jax.nn.relu(cells)))
        return jnp.concatenate([picture.ravel(), *parts])


class FlatTrunk(nnx.Module):
    """All features of the observation, flat."""

    def __init__(self, encoder: Encoder) -> None:
        """Make a trunk that has nothing to learn."""
        self.encoder = encoder
        self.width = encoder.width

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the features [width]."""
        return self.encoder.features(encoded)


class CNN(nnx.Module):
    """A trunk for pictures or views, then dense layers."""

    def __init__(self, trunk: ImageTrunk | GridTrunk, num_actions: int, hidden: Sequence[int], rngs: nnx.Rngs) -> None:
        """Make layers; ``hidden`` gives the widths of the dense ones."""
        self.trunk = trunk
        self.dense = Dense((trunk.width, *hidden, num_actions), rngs)

    def __call__(self, encoded: Any) -> jax.Array:
        """Return the logits [A]."""
        return self.dense(self.trunk(encoded))


class WindowedCNN(nnx.Module):
    """A `CNN` over the present step of a `Window`, beside each earlier observation and the actions.

    An earlier observation goes through one linear layer, flat, and not through the convolutions, which cost the most:
    it still contains what was in view.
    """

    def __init__(
        self, trunk: ImageTrunk | GridTrunk, num_actions: int, hidden: Sequence[int], window: int, rngs: nnx.Rngs
    ) -> None:
        """Make layers; ``hidden`` gives the widths of the dense ones.

        Each earlier observation gets half as many features as the first dense layer has, or as many as there are
        actions if there is no dense layer.
        """
        self.trunk, self.flat = trunk, FlatTrunk(trunk.encoder)
        self.num_actions = num_actions
        past = max(1, hidden[0] // 2) if hidden else num_actions
        self.embed = nnx.Linear(self.flat.width, past, rngs=rngs)
        before = (window - 1) * past + window * num_actions
        self.dense = Dense((trunk.width + before, *hidden, num_actions), rngs)

    def __call__(self, window: Window) -> jax.Array:
        """Return the logits [A]."""
        present = self.trunk(jax.tree.map(lambda leaf: leaf[-1], window.observations))
        earlier = jax.tree.map(lambda leaf: leaf[:-1], window.observations)
        seen = jax.nn.relu(self.embed(jax.vmap(self.flat)(earlier))) * window.valid[:-1, None]
        done = jax.nn.one_hot(window.actions, self.num_actions)
        return self.dense(jnp.concatenate([present, seen.ravel(), done.ravel()]))


class WindowedGRU(nnx.Module):
    """A gated recurrent unit over a `Window`, from a state of zeros at its beginning."""

    def __init__(
        self, trunk: FlatTrunk | ImageTrunk | GridTrunk, num_actions: int, hidden: int, rngs: nnx.Rngs
    ) -> None:
        """Make layers; ``hidden`` is the size of the state, and of the embedding of each step."""
        self.trunk = trunk
        self.num_actions, self.hidden = num_actions, hidden
        self.embed = nnx.Linear(trunk.width + num_actions, hidden, rngs=rngs)
        self.gates_input = nnx.Linear(hidden, 3 * hidden, rngs=rngs)
        self.gates_state = nnx.Linear(hidden, 3 * hidden, use_bias=False, rngs=rngs)
        self.head = Dense((2 * hidden, num_actions), rngs)

    def __call__(self, window: Window) -> jax.Array:
        """Return the logits [A]."""
        features = jax.vmap(self.trunk)(window.observations)
        before = jax.nn.one_hot(window.actions, self.num_actions)
        steps = jax.nn.relu(self.embed(jnp.concatenate([features, before], axis=-1)))
        # What does not depend on the state is computed for all steps at once.
        inputs = self.gates_input(steps)
        state = jnp.zeros(self.hidden)
        for i in range(len(window.actions)):
            state = jnp.where(window.valid[i], self._step(state, inputs[i]), state)
        return self.head(jnp.concatenate([state, steps[-1]]))

    def _step(self, state: jax.Array, inputs: jax.Array) -> jax.Array:
        reset_in, update_in, candidate_in = jnp.split(inputs, 3)
        reset_own, update_own, candidate_own = jnp.split(self.gates_state(state), 3)
        reset = jax.nn.sigmoid(reset_in + reset_own)
        update = jax.nn.sigmoid(update_in + update_own)
        candidate = jnp.tanh(candidate_in + reset * candidate_own)
        return (1 - update) * candidate + update * state


def leaves(part: Part, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Return the leaves of an encoder's root in order, each with the keys that lead to it."""
    if isinstance(part, DictPart):
        return [leaf for key, own in part.parts for leaf in leaves(own, (*path, key))]
    if isinstance(part, TuplePart):
        return [leaf for i, own in enumerate(part.parts) for leaf in leaves(own, (*path, i))]
    return [(path, part)]


def at(encoded: Any, path: tuple[Any, ...]) -> Any:
    """Return the part of an encoded observation that those keys lead to."""
    for key in path:
        encoded = encoded[key]
    return encoded


def _is_picture(leaf: Any) -> bool:
    return isinstance(leaf, BoxLeaf) and len(leaf.shape) == 3


def _channels_first(high: int, wide: int, depth: int) -> bool:
    """Return whether ``[C, H, W]`` is likelier: as many as colours or stacked frames have, or a square behind them."""
    return depth > 4 and high < min(wide, depth) and (high <= 4 or wide == depth)
