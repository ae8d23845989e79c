"""What an observation becomes: fixed shapes, nothing unfit passes, one and many agree."""

import subprocess
import sys
import zlib
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation.ensembles.neural.encoding import MINIGRID_WORDS, Encoder, make_encoder, num_actions_of
from consensus_imitation.errors import ObservationError


class MissionSpace(spaces.Space[str]):
    """Like MiniGrid's: a space of texts that is not a ``Text``."""

    def __init__(self) -> None:
        super().__init__(dtype=str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        return str(self.np_random.choice(["go to the red ball", "pick up the blue key"]))


def minigrid_view() -> spaces.Dict:
    parts = {
        "direction": spaces.Discrete(4),
        "image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
        "mission": MissionSpace(),
    }
    return spaces.Dict(parts)  # type: ignore[arg-type]


SPACES = {
    "floats": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "doubles": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "far": spaces.Box(np.array([-100.0, 0.0]), np.array([100.0, 1.0]), dtype=np.float64),
    "bytes": spaces.Box(0, 255, (5, 4, 3), np.uint8),
    "integers": spaces.Box(-3, 7, (4,), np.int64),
    "number": spaces.Box(0.0, 1.0, (), np.float32),
    "discrete": spaces.Discrete(5),
    "discrete from 3": spaces.Discrete(5, start=3),
    "choices": spaces.MultiDiscrete([2, 3, 4]),
    "choices from": spaces.MultiDiscrete([[2, 3], [4, 2]], start=[[1, 0], [-1, 5]]),
    "bits": spaces.MultiBinary((2, 3)),
    "text": spaces.Text(12),
    "dict": spaces.Dict(
        {"b": spaces.Discrete(3), "a": spaces.Dict({"x": spaces.Text(9), "y": spaces.Box(0, 1, (2,))})}
    ),
    "tuple": spaces.Tuple((spaces.MultiBinary(2), spaces.Box(0, 255, (2,), np.uint8), spaces.Text(5))),
}


def shapes(encoded: Any) -> Any:
    return jax.tree.map(lambda leaf: (np.shape(leaf), np.asarray(leaf).dtype), encoded)


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_has_the_same_shapes_and_finite_features(name: str) -> None:
    space = SPACES[name]
    encoder = make_encoder(space)
    space.seed(0)
    features = jax.jit(encoder.features)
    for _ in range(20):
        encoded = encoder(space.sample())
        assert shapes(encoded) == shapes(encoder.zeros())
        assert features(encoded).shape == (encoder.width,)
        assert features(encoded).dtype == np.float32
        assert np.isfinite(features(encoded)).all()


@pytest.mark.parametrize("name", SPACES)
def test_a_batch_is_the_single_ones(name: str) -> None:
    """As a list of observations, and as Gymnasium's vector environments put them together."""
    space = SPACES[name]
    encoder = make_encoder(space)
    space.seed(1)
    observations = [space.sample() for _ in range(3)]
    singles = [encoder(observation) for observation in observations]
    expected = jax.tree.map(lambda *parts: np.stack(parts), *singles)
    out = gymnasium.vector.utils.create_empty_array(space, 3)
    together = gymnasium.vector.utils.concatenate(space, observations, out)
    for batch in (encoder.batch(observations), encoder.batch(together)):
        assert jax.tree.structure(batch) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, batch, expected)
        assert shapes(batch) == shapes(expected)


@pytest.mark.parametrize("name", SPACES)
def test_equal_spaces_give_equal_encoders(name: str) -> None:
    first, second = make_encoder(SPACES[name]), make_encoder(SPACES[name])
    assert first == second
    assert hash(first) == hash(second)
    assert first != make_encoder((97,))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_one_hot_of_choices(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    values = [data.draw(st.integers(0, size - 1)) for size in sizes]
    found = make_encoder(spaces.MultiDiscrete(sizes))
    expected = np.concatenate([np.eye(size)[value] for size, value in zip(sizes, values, strict=True)])
    np.testing.assert_array_equal(found.features(found(np.array(values))), expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=64), min_size=2, max_size=2))
def test_floats_pass_as_they_are_or_are_refused(values: list[float]) -> None:
    encoder = make_encoder((2,))
    with np.errstate(over="ignore"):
        expected = np.array(values).astype(np.float32)
    if (np.abs(expected) <= 1e15).all():
        np.testing.assert_array_equal(encoder.features(encoder(values)), expected)
    else:
        reason = "NaN or infinite" if not np.isfinite(expected).all() else "beyond 1e\\+15"
        with pytest.raises(ObservationError, match=f"observation: holds .*{reason}"):
            encoder(values)


def test_scales() -> None:
    def features(space: spaces.Box, value: Any) -> np.ndarray:
        encoder = make_encoder(space)
        return np.asarray(encoder.features(encoder(np.asarray(value, space.dtype))))

    np.testing.assert_allclose(features(spaces.Box(0, 255, (3,), np.uint8), [0, 51, 255]), [0, 0.2, 1], rtol=1e-6)
    np.testing.assert_allclose(features(spaces.Box(-3, 7, (2,), np.int64), [-3, 2]), [0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(features(SPACES["far"], [50.0, 0.5]), [0.5, 0.5])  # type: ignore[arg-type]
    huge = spaces.Box(-3.4e38, 3.4e38, (1,), np.float32)
    np.testing.assert_allclose(features(huge, [7.0]), [7.0])


def test_words_are_counted_and_others_share_buckets() -> None:
    encoder = make_encoder(spaces.Text(99), vocabulary=("Red", "ball", "red"), buckets=4)
    assert encoder.width == 2 + 4
    expected = np.zeros(6)
    expected[:2] = [2, 1]
    expected[2 + zlib.crc32(b"zebra") % 4] += 1
    np.testing.assert_array_equal(encoder("red RED, ball? zebra!"), expected)
    assert make_encoder(spaces.Text(9), vocabulary=("a",), buckets=0)("b c").sum() == 0
    assert encoder("red " * 300)[0] == 255


def test_hashes_are_the_same_in_every_process() -> None:
    code = "from gymnasium.spaces import Text; from consensus_imitation.ensembles.neural.encoding import make_encoder;"
    code += "print(make_encoder(Text(9))('quokka').argmax())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    )
    assert int(done.stdout) == make_encoder(spaces.Text(9))("quokka").argmax()


def test_a_minigrid_view_is_recognised_by_its_company_only() -> None:
    encoder = make_encoder(minigrid_view())
    assert encoder.width == 7 * 7 * 21 + 4 + len(MINIGRID_WORDS) + 8
    observation = {"image": np.zeros((7, 7, 3), np.uint8), "direction": np.int64(2), "mission": "go to the red ball"}
    encoded = encoder(observation)
    assert encoded["image"].dtype == np.uint8
    assert encoded["mission"].sum() == 5
    named = [MINIGRID_WORDS[i] for i in np.flatnonzero(encoded["mission"])]
    assert set(named) == {"go", "to", "the", "red", "ball"}
    view = spaces.Box(0, 255, (7, 7, 3), np.uint8)
    assert make_encoder(view).width == 7 * 7 * 3
    assert make_encoder(view, grid=True).width == 7 * 7 * 21
    assert make_encoder(minigrid_view(), grid=False).width < encoder.width
    wrong = observation | {"image": np.full((7, 7, 3), 11, np.uint8)}
    with pytest.raises(ValueError, match=r"observation\['image'\]: is not a MiniGrid view"):
        encoder(wrong)


def test_one_hot_cells() -> None:
    encoder = make_encoder(spaces.Box(0, 255, (1, 2, 3), np.uint8), grid=True)
    cells = np.array([[[6, 0, 1], [10, 5, 3]]], np.uint8)
    expected = np.concatenate([np.concatenate([np.eye(11)[o], np.eye(6)[c], np.eye(4)[s]]) for o, c, s in cells[0]])
    np.testing.assert_array_equal(encoder.features(encoder(cells)), expected)


NESTED = {"b": 1, "a": {"x": "hi", "y": np.zeros(2, np.float32)}}
UNFIT = {
    "shape": ("floats", np.zeros(4), r"observation: expected shape \(3,\); got \(4,\)"),
    "ragged": ("floats", [[1.0], [1.0, 2.0], 3.0], "observation: is no array"),
    "nan": ("floats", np.array([0.0, np.nan, 1.0]), "observation: holds NaN"),
    "infinite": ("floats", np.array([0.0, np.inf, 1.0]), "observation: holds NaN or inf"),
    "words": ("floats", np.array(["a", "b", "c"]), "observation: expected numbers"),
    "float byte": ("bytes", np.zeros((5, 4, 3), np.float32), "observation: expected whole numbers"),
    "large byte": ("bytes", np.full((5, 4, 3), 256), "observation: expected numbers from 0 to 255"),
    "too large": ("discrete", 5, "from 0 to 4"),
    "too small": ("discrete from 3", 2, "from 3 to 7"),
    "fraction": ("discrete", 1.5, "expected whole numbers"),
    "choice": ("choices", np.array([0, 3, 0]), "outside its range"),
    "bit": ("bits", np.full((2, 3), 2), "from 0 to 1"),
    "no text": ("text", 3, "expected a text; got int"),
    "no dict": ("dict", 3, "expected a dictionary"),
    "missing": ("dict", {"b": 1}, r"missing keys \['a'\]"),
    "unknown": ("dict", NESTED | {"c": 1}, r"unknown keys \['c'\]"),
    "inner": ("dict", NESTED | {"a": {"x": "hi", "y": np.zeros(3)}}, r"observation\['a'\]\['y'\]: expected shape"),
    "tuple": ("tuple", (np.zeros(2, int),), "expected a tuple of 3 parts"),
    "in tuple": ("tuple", (np.zeros(2, int), np.zeros(2, np.uint8), 3), r"observation\[2\]: expected a text"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_refused_by_name(case: str) -> None:
    name, observation, message = UNFIT[case]
    with pytest.raises(ValueError, match=message):
        make_encoder(SPACES[name])(observation)


def test_unfit_batches_are_refused() -> None:
    encoder = make_encoder(SPACES["dict"])
    good = encoder.batch([NESTED, NESTED])
    assert good["b"].shape == (2,)
    together = {"b": np.array([0, 1]), "a": {"x": ("hi", "ho"), "y": np.zeros((2, 2))}}
    encoder.batch(together)
    for wrong in (
        together | {"b": np.array([0])},
        together | {"a": {"x": ("hi",), "y": np.zeros((2, 2))}},
        together | {"b": 1},
        [],
        [NESTED, {"b": 1}],
    ):
        with pytest.raises(ValueError, match="observation"):
            encoder.batch(wrong)
    with pytest.raises(ValueError, match="leading axis"):
        make_encoder(SPACES["discrete"]).batch(np.int64(3))
    with pytest.raises(ValueError, match="leading axis"):
        make_encoder(SPACES["text"]).batch("hello")


def test_spaces_without_gymnasium() -> None:
    assert make_encoder(4).width == 4
    assert make_encoder((2, 3)).width == 6
    encoder = make_encoder((2,))
    assert isinstance(encoder, Encoder)
    assert make_encoder(encoder) is encoder
    for wrong in (0, (2, 0)):
        with pytest.raises(ValueError, match="positive"):
            make_encoder(wrong)


@pytest.mark.parametrize("space", [spaces.Sequence(spaces.Discrete(2)), "box", None], ids=str)
def test_other_spaces_are_refused(space: Any) -> None:
    with pytest.raises(ValueError, match="cannot encode"):
        make_encoder(space)


def test_number_of_actions() -> None:
    assert num_actions_of(spaces.Discrete(6)) == 6
    assert num_actions_of(3) == 3
    with pytest.raises(ValueError, match="from 0"):
        num_actions_of(spaces.Discrete(3, start=1))
    for wrong in (spaces.Box(0, 1), spaces.MultiDiscrete([2, 2]), "x"):
        with pytest.raises(ValueError, match="must be numbered"):
            num_actions_of(wrong)
    for size in (0, -1, True):
        with pytest.raises(ValueError, match="must be"):
            num_actions_of(size)


def test_gymnasium_is_imported_on_demand() -> None:
    code = "import sys; from consensus_imitation import ensembles\n"
    code += "from consensus_imitation.ensembles.neural import encoding; encoding.make_encoder((2,));"
    code += "ensembles.mlp((2,), 3); assert 'gymnasium' not in sys.modules; sys.modules['gymnasium'] = None\n"
    code += "try:\n    encoding.make_encoder('x')\nexcept ImportError as error:\n    print(error.name, error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("gymnasium ")
    assert "consensus_imitation[gym]" in done.stdout
