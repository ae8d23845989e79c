"""Rounds of training: N members at once against one, and convolutions as products over patches against ``nnx.Conv``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Neural, Training
from consensus_imitation.ensembles.neural._learned import Learned
from consensus_imitation.ensembles.neural.networks import Dense, PatchConv, conv_padding
from consensus_imitation.ensembles.neural.training import fit

_TRAINING = Training(capacity=1024)
_PICTURE, _CHANNELS, _NUM_ACTIONS = (14, 14, 3), (16, 32), 6


@dataclass(frozen=True)
class Convolutional:
    """A factory of networks of two 3x3 convolutions, the second with a stride of 2, and a dense layer.

    Args:
        convolution: ``(channels, features, stride, rngs) -> layer``.
    """

    convolution: Callable[[int, int, int, nnx.Rngs], nnx.Module]

    def __call__(self, rngs: nnx.Rngs) -> nnx.Module:
        """Return one network."""
        return _Network(self.convolution, rngs)


class _Network(nnx.Module):
    def __init__(self, convolution: Callable[[int, int, int, nnx.Rngs], nnx.Module], rngs: nnx.Rngs) -> None:
        depths: Sequence[int] = (_PICTURE[-1], *_CHANNELS)
        self.layers = nnx.List([convolution(depths[i], depths[i + 1], i + 1, rngs) for i in range(len(_CHANNELS))])
        self.dense = Dense((6 * 6 * _CHANNELS[-1], _NUM_ACTIONS), rngs)

    def __call__(self, picture: jax.Array) -> jax.Array:
        hidden = picture
        for layer in self.layers:
            apply: Any = layer
            hidden = jax.nn.relu(apply(hidden))
        return self.dense(hidden.ravel())


def by_patches(channels: int, features: int, stride: int, rngs: nnx.Rngs) -> nnx.Module:
    """Return the library's convolution."""
    return PatchConv(channels, features, 3, stride, rngs)


def by_flax(channels: int, features: int, stride: int, rngs: nnx.Rngs) -> nnx.Module:
    """Return Flax's convolution, of pictures with sides of even length."""
    padding = [conv_padding(_PICTURE[0], 3, stride)] * 2
    return nnx.Conv(channels, features, (3, 3), (stride, stride), padding=padding, rngs=rngs)


def perceptrons(num_members: int) -> Neural:
    """Return networks of two hidden layers of 64."""
    return ensembles.mlp((8,), 4, num_members, training=_TRAINING)


def convolutional(convolution: Callable[[int, int, int, nnx.Rngs], nnx.Module], num_members: int) -> Neural:
    """Return the convolutional networks."""
    make = Convolutional(convolution)
    return ensembles.from_module(make, _PICTURE, _NUM_ACTIONS, num_members, _TRAINING)


def make_learned(members: Neural) -> Learned:
    """Return members with a full replay of random answers."""
    learned = jax.jit(Neural.init_learned)(members, jax.random.key(0))
    replay = learned.replay
    inputs = jax.random.normal(jax.random.key(1), replay.inputs.shape)
    answers = jax.random.randint(jax.random.key(2), replay.answers.shape, 0, members.num_actions)
    stored, counts = jnp.int32(len(answers)), jnp.ones_like(replay.counts)
    return learned.replace(replay=replay.replace(inputs=inputs, answers=answers, stored=stored, counts=counts))


def make_round(members: Neural) -> Callable[[Learned], Any]:
    """Return one compiled round of training: 8 updates on 128 answers."""
    arch = members.architecture
    return jax.jit(lambda learned: fit(arch.training, arch.apply, learned))


def same_parameters(patches: Learned) -> dict[str, Any]:
    """Return the parameters of `by_patches` in the shape that `by_flax` uses."""

    def kernel(layer: dict[str, Any]) -> dict[str, Any]:
        linear = layer["linear"]
        shape = linear["kernel"].shape
        return linear | {"kernel": linear["kernel"].reshape(shape[0], 3, 3, -1, shape[-1])}

    layers = {i: kernel(layer) for i, layer in patches.params["layers"].items()}
    return patches.params | {"layers": layers}
