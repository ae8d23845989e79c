"""Every pixel of a picture reaches every member, whatever its sides; pictures and views are told apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from consensus_imitation import ensembles
from consensus_imitation.deception.networks import PlantedNetwork
from consensus_imitation.ensembles import Context, Neural
from consensus_imitation.ensembles.neural._encoding_parts import BoxLeaf, GridLeaf
from consensus_imitation.ensembles.neural.encoding import MINIGRID_WORDS, make_encoder
from consensus_imitation.ensembles.neural.networks import Window
from consensus_imitation.errors import ConfigurationError, ObservationError

from .test_encoding import minigrid_view

#: Every length that a stride treats in its own way, the usual ones, and pictures that are no squares.
SIDES = [*((side, side) for side in range(1, 14)), (16, 16), (17, 18), (42, 42), (84, 84), (3, 84), (20, 11), (30, 7)]


def positive(members: Neural) -> Any:
    """Parameters above 0, leaves [N, ...]: no unit is off and nothing cancels, so a gradient is 0 only without a path.

    They are small, so that no gate is so far open that its slope is lost to rounding.
    """
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(members.architecture.make_params, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.float32(rng.uniform(0.1, 1.0, (members.num_members, *leaf.shape)) / np.prod(leaf.shape[:-1])),
        shapes,
    )


def reached(members: Neural, seen: Any, window: int = 0) -> Any:
    """Whether every member's logits depend on each number that is ``seen``: leaves of bools."""

    def total(params: Any, seen: Any) -> jax.Array:
        inputs = windowed(seen, window) if window else seen
        return jnp.sum(members.architecture.apply(params, inputs))

    slopes = jax.jit(jax.vmap(jax.grad(total, 1), in_axes=(0, None)))(positive(members), seen)
    return jax.tree.map(lambda leaf: np.asarray(leaf != 0).all(0), slopes)


def windowed(seen: Any, window: int) -> Window:
    """Steps in the middle of an episode."""
    return Window(seen, jnp.ones(window, jnp.int32), jnp.ones(window, bool))


@pytest.mark.slow
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_every_pixel_reaches_every_member(sides: tuple[int, int]) -> None:
    members = ensembles.cnn((*sides, 1), 2, 2, channels=(2, 2, 2), hidden=(3,))
    assert reached(members, jnp.full((*sides, 1), 0.5)).all()


def test_default_channels_fit_every_picture() -> None:
    for side in (*range(3, 26), 84):
        assert ensembles.cnn((side, side, 3), 2).num_members == 5
    for shape in ((3, 7, 1), (12, 5, 4), (210, 160, 3), (4, 84, 1), (1, 1, 1), (8, 8, 12)):
        assert ensembles.cnn(shape, 2).num_members == 5
        assert ensembles.recurrent(shape, 2, kind="image").num_members == 5


@pytest.mark.slow
@pytest.mark.parametrize("side", [5, 12])
def test_every_pixel_of_every_step_reaches_members_with_a_memory(side: int) -> None:
    pictures = jnp.full((3, side, side, 1), 0.5)
    for members in (
        ensembles.recurrent((side, side, 1), 2, 2, hidden=4, window=3, channels=(2, 2, 2)),
        ensembles.recurrent((side, side, 1), 2, 2, hidden=4, window=3, kind="image"),
        ensembles.recurrent((side, side, 1), 2, 2, hidden=4, window=3),
        ensembles.cnn((side, side, 1), 2, 2, channels=(2, 2, 2), hidden=(4,), window=3),
    ):
        assert reached(members, pictures, window=3).all()


def test_every_pixel_beside_other_parts_and_of_every_picture() -> None:
    space = spaces.Dict(
        {
            "left": spaces.Box(0, 255, (12, 10, 1), np.uint8),
            "right": spaces.Box(-1.0, 1.0, (6, 16, 2), np.float32),
            "speed": spaces.Box(-1.0, 1.0, (2,), np.float32),
        }
    )
    members = ensembles.cnn(space, 2, 2, channels=(2, 2, 2), hidden=(3,))
    found = reached(members, {name: jnp.full(part.shape, 0.5) for name, part in space.spaces.items()})
    assert all(leaf.all() for leaf in found.values())


def test_a_planted_network_sees_what_its_fellows_see() -> None:
    members = ensembles.cnn((12, 12, 1), 2, 2, channels=(2, 2, 2), hidden=(3,))
    one = jax.tree.map(lambda leaf: leaf[:1], positive(members))
    planted = PlantedNetwork(one, jnp.ones(1), members.architecture)
    context = Context(jnp.int32(0), jnp.zeros(1))
    slope = jax.jit(jax.grad(lambda picture: planted.log_probs((), picture, context)[0, 0]))(jnp.full((12, 12, 1), 0.5))
    assert (slope != 0).all()


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("size", [(7, 7), (3, 3), (2, 2), (8, 5)], ids=str)
@pytest.mark.parametrize("window", [1, 2])
def test_every_cell_of_a_view_reaches_every_member(size: tuple[int, int], window: int) -> None:
    """Cells are numbers that are looked up: each is exchanged for another object, colour and state in turn."""
    members = ensembles.cnn(spaces.Box(0, 255, (*size, 3), np.uint8), 2, 2, kind="grid", hidden=(3,), window=window)
    params = positive(members)
    cells = np.arange(size[0] * size[1] * 3)
    changed = np.zeros((len(cells), *size, 3), np.uint8)
    changed.reshape(len(cells), -1)[cells, cells] = 1
    views = np.concatenate([np.zeros((1, *size, 3), np.uint8), changed])

    def logits(view: Any) -> jax.Array:
        inputs = view if window == 1 else windowed(jnp.stack([view * 0, view]), 2)
        return jax.vmap(members.architecture.apply, in_axes=(0, None))(params, inputs)

    found = np.asarray(jax.jit(jax.vmap(logits))(views))
    assert (found[1:] != found[0]).any(-1).all()


@pytest.mark.parametrize(
    ("sides", "width"),
    [((7, 7), 1), ((8, 8), 4), ((11, 11), 1), ((13, 13), 4), ((15, 15), 9), ((12, 12), 4), ((84, 84), 100)],
    ids=str,
)
def test_padding_adds_no_more_than_is_needed(sides: tuple[int, int], width: int) -> None:
    """Where nothing was left out before (the first five) nothing is padded: parameters have the shapes they had."""
    members = ensembles.cnn((*sides, 1), 2, 1, channels=(2, 2, 5), hidden=(3,))
    kernel = jax.eval_shape(members.architecture.make_params, jax.random.key(0))["dense"]["layers"][0]["kernel"]
    assert kernel.shape == (width * 5, 3)


@pytest.mark.parametrize("shape", [(3, 84, 84), (1, 28, 28), (4, 84, 84), (3, 210, 160), (12, 64, 64), (3, 10, 10)])
def test_channels_that_come_first_are_refused_with_the_remedy(shape: tuple[int, int, int]) -> None:
    for make in (ensembles.cnn, lambda *given: ensembles.recurrent(*given, kind="image")):
        with pytest.raises(ConfigurationError, match=r"channels first.*\[H, W, C\].*np.moveaxis"):
            make(shape, 2)
    assert ensembles.cnn((*shape[1:], shape[0]), 2).num_members == 5
    space = spaces.Dict({"camera": spaces.Box(0, 255, shape, np.uint8), "speed": spaces.Discrete(2)})
    with pytest.raises(ConfigurationError, match=r"camera.*channels first"):
        ensembles.cnn(space, 2)


def drawn_view(side: int) -> spaces.Dict:
    """What MiniGrid's wrappers that draw pictures make of a view."""
    parts = {**minigrid_view().spaces, "image": spaces.Box(0, 255, (side, side, 3), np.uint8)}
    return spaces.Dict(parts)


@pytest.mark.parametrize("side", [40, 56])
def test_a_picture_that_minigrid_drew_is_a_picture(side: int) -> None:
    image = dict(make_encoder(drawn_view(side)).root.parts)["image"]  # type: ignore[union-attr]
    assert isinstance(image, BoxLeaf)
    members = ensembles.cnn(drawn_view(side), 2, 2)
    seen = {"image": np.full((side, side, 3), 200, np.uint8), "direction": 1, "mission": "go to the red ball"}
    assert members.encoder(seen)["mission"].shape == (len(MINIGRID_WORDS) + 8,)
    assert members.encoder(seen)["mission"].sum() == 5


def test_a_small_picture_is_refused_as_a_view_with_the_remedy() -> None:
    seen = {"image": np.full((24, 24, 3), 200, np.uint8), "direction": 1, "mission": "go to the red ball"}
    with pytest.raises(ObservationError, match=r"is not a MiniGrid view.*kind='image'.*grid=False"):
        ensembles.cnn(drawn_view(24), 2, 2).encoder(seen)
    assert ensembles.cnn(drawn_view(24), 2, 2, kind="image").encoder(seen)["image"].max() == 200


@pytest.mark.parametrize("side", [3, 7, 25])
def test_a_view_stays_a_view(side: int) -> None:
    image = dict(make_encoder(drawn_view(side)).root.parts)["image"]  # type: ignore[union-attr]
    assert isinstance(image, GridLeaf)
