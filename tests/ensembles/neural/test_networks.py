"""The networks' functions, against plain definitions of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Context, Neural, Training
from consensus_imitation.ensembles.neural import networks
from consensus_imitation.ensembles.neural.encoding import make_encoder
from consensus_imitation.ensembles.neural.networks import PatchConv, Window, WindowedCNN, WindowedGRU

from .streams import losses, prequential
from .test_encoding import minigrid_view

#: Few and small updates: what a network can learn shows soon enough.
QUICK = Training(batch_size=32, updates=4, learning_rate=3e-3, capacity=2048, label_smoothing=0.0, caution=0.0)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (2, 2), (1, 1), (5, 3)])
def test_patch_convolution_is_a_convolution(size: int, stride: int, key: jax.Array) -> None:
    ours = PatchConv(4, 6, size, stride, nnx.Rngs(0))
    padding = [networks.conv_padding(side, size, stride) for side in (9, 8)]
    theirs = nnx.Conv(4, 6, (size, size), (stride, stride), padding=padding, rngs=nnx.Rngs(1))
    theirs.kernel[...] = ours.linear.kernel[...].reshape(size, size, 4, 6)
    theirs.bias[...] = ours.linear.bias[...] + 0.5
    ours.linear.bias[...] = theirs.bias[...]
    image = jax.random.normal(key, (9, 8, 4))
    assert ours(image).shape == (
        networks.conv_size(9, size, stride),
        networks.conv_size(8, size, stride),
        6,
    )
    np.testing.assert_allclose(ours(image), theirs(image), atol=1e-5)

    def total(module: Any) -> jax.Array:
        return jnp.sum(jnp.sin(module(image)))

    ours_grad, theirs_grad = nnx.grad(total)(ours), nnx.grad(total)(theirs)
    np.testing.assert_allclose(
        ours_grad["linear"]["kernel"][...].reshape(size, size, 4, 6), theirs_grad["kernel"][...], atol=1e-4
    )


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5))
def test_padding_is_the_least_that_leaves_nothing_out(side: int, size: int, stride: int) -> None:
    stride = min(size, stride)
    before, after = networks.conv_padding(side, size, stride)
    padded = before + side + after
    covered = {place for first in range(0, padded - size + 1, stride) for place in range(first, first + size)}
    assert covered == set(range(padded))
    assert networks.conv_size(side, size, stride) == len(range(0, padded - size + 1, stride)) >= 1
    fewer = padded - 1
    assert before + after == 0 or fewer < size or (fewer - size) % stride != 0
    assert 0 <= after - before <= 1


def test_a_stride_that_steps_over_pixels_is_refused() -> None:
    for stride in (0, 4):
        with pytest.raises(ValueError, match="stride must be from 1 to the kernel's size, 3"):
            PatchConv(1, 1, 3, stride, nnx.Rngs(0))


def test_recurrent_unit_is_flax_own(key: jax.Array) -> None:
    encoder = make_encoder((3,))
    ours = WindowedGRU(networks.FlatTrunk(encoder), 4, 8, nnx.Rngs(key))
    ours.gates_input.bias[...] = jnp.linspace(-1.0, 1.0, 24)
    theirs = nnx.GRUCell(8, 8, rngs=nnx.Rngs(1))
    theirs.dense_i.kernel[...] = ours.gates_input.kernel[...]
    theirs.dense_i.bias[...] = ours.gates_input.bias[...]
    theirs.dense_h.kernel[...] = ours.gates_state.kernel[...]
    observations = jax.random.normal(key, (5, 3))
    window = Window(observations, jnp.array([-1, 0, 3, 2, 1]), jnp.array([False, False, True, True, True]))
    state = jnp.zeros(8)
    for i in (2, 3, 4):
        before = jnp.eye(4)[window.actions[i]]
        step = jax.nn.relu(ours.embed(jnp.concatenate([observations[i], before])))
        state, _ = theirs(state, step)
    np.testing.assert_allclose(ours(window), ours.head(jnp.concatenate([state, step])), atol=1e-5)


def test_what_precedes_the_episode_is_not_seen(key: jax.Array) -> None:
    network = WindowedGRU(networks.FlatTrunk(make_encoder((3,))), 4, 8, nnx.Rngs(key))
    valid, actions = jnp.array([False, True, True]), jnp.array([-1, -1, 2])
    observations = jax.random.normal(key, (3, 3))
    first = network(Window(observations, actions, valid))
    np.testing.assert_array_equal(first, network(Window(observations.at[0].set(9.0), actions, valid)))
    assert not np.allclose(first, network(Window(observations.at[1].set(9.0), actions, valid)))


def test_a_windowed_network_takes_present_past_and_actions(key: jax.Array) -> None:
    """Against NumPy on the layers' own parameters; what precedes the episode is not seen."""
    trunk = networks.ImageTrunk(make_encoder((4, 4, 1)), (2,), nnx.Rngs(key))
    network = WindowedCNN(trunk, 3, (6,), 3, nnx.Rngs(key))
    network.embed.bias[...] = jnp.array([0.5, -0.5, 1.0])
    pictures = jax.random.normal(key, (3, 4, 4, 1))
    actions, valid = jnp.array([-1, -1, 2]), jnp.array([False, True, True])
    flat = np.asarray(pictures).reshape(3, 16)
    past = np.maximum(flat @ np.asarray(network.embed.kernel[...]) + np.asarray(network.embed.bias[...]), 0)
    past[0] = 0.0
    done = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1]])
    features = np.concatenate([np.asarray(trunk(pictures[2])), past[:2].ravel(), done.ravel()])
    hidden, last = network.dense.layers
    inner = np.maximum(features @ np.asarray(hidden.kernel[...]) + np.asarray(hidden.bias[...]), 0)
    expected = inner @ np.asarray(last.kernel[...]) + np.asarray(last.bias[...])
    np.testing.assert_allclose(network(Window(pictures, actions, valid)), expected, atol=1e-5)
    unseen = network(Window(pictures.at[0].set(9.0), actions, valid))
    np.testing.assert_allclose(unseen, expected, atol=1e-5)
    assert not np.allclose(network(Window(pictures.at[1].set(9.0), actions, valid)), expected, atol=1e-3)
    assert not np.allclose(network(Window(pictures, actions.at[2].set(1), valid)), expected, atol=1e-3)


def memory_task(length: int, episode: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The right answer is the sign of the last-but-one observation; of the present one at an episode's beginning."""
    observations = np.random.default_rng(0).choice([-1.0, 1.0], (length, 1)).astype(np.float32)
    starts = np.arange(length) % episode == 0
    before = np.where(starts[:, None], observations, np.roll(observations, 1, axis=0))
    return observations, (before[:, 0] > 0).astype(np.int32), starts


@pytest.mark.slow
def test_recurrent_members_remember_and_others_cannot(key: jax.Array) -> None:
    observations, answers, starts = memory_task(600)
    recurrent = ensembles.recurrent((1,), 2, 2, hidden=16, window=3, training=QUICK)
    perceptron = ensembles.mlp((1,), 2, 2, hidden=(16,), training=QUICK)
    remembering = losses(prequential(recurrent, observations, answers, key, starts), answers)
    without = losses(prequential(perceptron, observations, answers, key, starts), answers)
    assert remembering[-100:].mean() < 0.1
    assert without[-100:].mean() > 0.6


@pytest.mark.slow
def test_windowed_members_remember_and_others_cannot(key: jax.Array) -> None:
    observations, answers, starts = memory_task(600)
    pictures = np.broadcast_to(observations[:, None, None], (600, 3, 3, 1))
    found = {}
    for window in (1, 2):
        members = ensembles.cnn((3, 3, 1), 2, 2, channels=(4,), hidden=(16,), training=QUICK, window=window)
        found[window] = losses(prequential(members, pictures, answers, key, starts), answers)[-100:].mean()
    assert found[2] < 0.1
    assert found[1] > 0.6


@pytest.mark.slow
def test_recurrent_members_see_the_actions(key: jax.Array) -> None:
    """The demonstrator never repeats itself; nothing else tells what it did."""
    answers = (np.arange(400) % 2).astype(np.int32)
    observations = np.zeros((400, 1), np.float32)
    found = prequential(ensembles.recurrent((1,), 2, 2, hidden=8, window=2, training=QUICK), observations, answers, key)
    assert losses(found, answers)[-50:].mean() < 0.1


def test_the_window_moves_and_ends_with_the_episode() -> None:
    members = ensembles.recurrent((1,), 3, 2, hidden=4, window=3)
    context = Context(jnp.int32(0), jnp.zeros(2), 0, ())
    carry = members.init_carry()
    for t in range(4):
        inputs = members.inputs(carry, np.full(1, t, np.float32))
        expected = [max(0, s) for s in range(t - 2, t + 1)]
        np.testing.assert_array_equal(inputs.observations[:, 0], expected)
        np.testing.assert_array_equal(inputs.valid, [s >= 0 for s in range(t - 2, t + 1)])
        np.testing.assert_array_equal(inputs.actions[inputs.valid][1:], [s % 3 for s in range(max(0, t - 2), t)])
        carry = members.advance(carry, np.full(1, t, np.float32), context, jnp.int32(t % 3), jnp.array(False))
    jax.tree.map(np.testing.assert_array_equal, members.begin_episode(carry), members.init_carry())


def grid_task(length: int) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Is the ball before the agent of the colour that the mission names?"""
    rng = np.random.default_rng(0)
    observations, answers = [], []
    for _ in range(length):
        image = np.zeros((7, 7, 3), np.uint8)
        image[..., 0] = 1
        colour, named = rng.integers(3, size=2) if rng.random() < 0.4 else [rng.integers(3)] * 2
        image[3, rng.integers(2, 5)] = (6, colour, 0)
        mission = f"go to the {('red', 'green', 'blue')[named]} ball"
        observations.append({"image": image, "direction": 0, "mission": mission})
        answers.append(int(colour == named))
    return observations, np.array(answers, np.int32)


@pytest.mark.slow
def test_grid_network_compares_cells_with_the_mission(key: jax.Array) -> None:
    members = ensembles.cnn(minigrid_view(), 2, 1, hidden=(32,), training=QUICK)
    observations, answers = grid_task(900)
    encoded = members.encoder.batch(observations)
    found = losses(prequential(members, encoded, answers, key), answers)
    assert found[-200:].mean() < 0.35
    blind = encoded | {"mission": np.zeros_like(encoded["mission"])}  # the control: the mission is unknown
    assert losses(prequential(members, blind, answers, key), answers)[-200:].mean() > 0.5


@pytest.mark.slow
def test_pictures(key: jax.Array) -> None:
    """Where the bright pixel is, beside a number that matters as much."""
    space = spaces.Dict({"camera": spaces.Box(0, 255, (12, 12, 1), np.uint8), "side": spaces.Discrete(2)})
    members = ensembles.cnn(space, 2, 1, channels=(8, 8), hidden=(16,), training=QUICK)
    rng = np.random.default_rng(0)
    places, sides = rng.integers(12, size=(500, 2)), rng.integers(2, size=500)
    pictures = np.zeros((500, 12, 12, 1), np.uint8)
    pictures[np.arange(500), places[:, 0], places[:, 1]] = 255
    answers = ((places[:, 1] < 6) ^ (sides == 1)).astype(np.int32)
    encoded = members.encoder.batch({"camera": pictures, "side": sides})
    found = losses(prequential(members, encoded, answers, key), answers)
    assert found[:40].mean() > 0.6
    assert found[-100:].mean() < 0.4


@pytest.mark.slow
@pytest.mark.parametrize(
    "members",
    [
        ensembles.mlp(minigrid_view(), 7, 2),
        ensembles.mlp(spaces.Discrete(5), spaces.Discrete(3), 2, hidden=()),
        ensembles.cnn(minigrid_view(), 7, 2),
        ensembles.cnn((9, 9, 1), 3, 2, channels=(4,)),
        ensembles.cnn(minigrid_view(), 7, 2, window=3),
        ensembles.cnn((9, 9, 1), 3, 2, channels=(4,), hidden=(), window=2),
        ensembles.cnn(spaces.Box(0, 255, (7, 7, 3), np.uint8), 3, 2, kind="grid"),
        ensembles.cnn(minigrid_view(), 3, 2, kind="image", channels=(4,)),
        ensembles.recurrent(minigrid_view(), 7, 2, hidden=4, window=3),
        ensembles.recurrent((9, 9, 1), 7, 2, hidden=4, window=2, channels=(4,)),
        ensembles.recurrent(4, 2, 2, hidden=4),
    ],
    ids=lambda members: type(members.architecture.make_module).__name__,
)
def test_all_networks_predict_distributions(members: Neural, key: jax.Array) -> None:
    learned = jax.jit(Neural.init_learned)(members, key)
    context = Context(jnp.int32(0), jnp.zeros(2), 0, learned)
    observation = jax.tree.map(np.ones_like, members.encoder.zeros())
    found = jax.jit(Neural.log_probs)(members, members.init_carry(), observation, context)
    assert found.shape == (2, members.num_actions)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1e-3, rtol=1e-4)  # caution withholds the rest before any answer
    assert not np.allclose(found[0], found[1])


def test_unsuitable_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="holds no picture"):
        ensembles.cnn((4,), 2)
    with pytest.raises(ValueError, match="0 MiniGrid views"):
        ensembles.cnn((7, 7, 3), 2, kind="grid")
    with pytest.raises(ValueError, match="kind must be"):
        ensembles.cnn((9, 9, 1), 2, kind="photo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels must be"):
        ensembles.cnn(minigrid_view(), 2, channels=(4, 4))
    with pytest.raises(ValueError, match="window must be"):
        ensembles.cnn((9, 9, 1), 2, window=0)
    with pytest.raises(ValueError, match="window must be"):
        ensembles.recurrent((1,), 2, window=1)
    with pytest.raises(ValueError, match="hidden must be"):
        ensembles.recurrent((1,), 2, hidden=0)
