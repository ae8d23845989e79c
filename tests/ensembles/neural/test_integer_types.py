"""Whole numbers of every type are what Python's integers are: nothing wraps round, whatever the environment counts in.

The entrances: an encoder's single observations and batches (`Discrete`, `MultiDiscrete`, `MultiBinary`, integer and
byte `Box`, nested); tables, of members, triggers, demonstrators and the alarm's contexts; the shell's `decide`, `act`,
`study` and `policy` on top of encoders and tables; settings of training.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.deception import transforms
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.ensembles import Context, Training
from consensus_imitation.ensembles.neural.encoding import make_encoder
from consensus_imitation.ensembles.tabular import Tabular
from consensus_imitation.errors import ConfigurationError, ObservationError

TYPES = [np.dtype(name) for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]

types = st.sampled_from(TYPES)


def numbers(dtype: np.dtype) -> st.SearchStrategy[int]:
    """Of the whole range, most of them near its ends and near zero."""
    least, most = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    near = [st.integers(max(least, middle - 300), min(most, middle + 300)) for middle in (least, 0, most)]
    return st.one_of(*near, st.integers(least, most))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_choices_are_counted_from_their_start(data: st.DataObject) -> None:
    dtype = data.draw(types)
    value = data.draw(numbers(dtype))
    size = data.draw(st.integers(1, 400))
    start = value - data.draw(st.integers(-3, size + 3))
    assume(abs(start) <= 2**62)
    encoder = make_encoder(spaces.Discrete(size, start=start))
    if start <= value < start + size:
        assert encoder(dtype.type(value)) == value - start
        assert encoder(value) == value - start
        batch = encoder.batch(np.array([value, value], dtype))
        assert batch.tolist() == [value - start] * 2
        assert batch.dtype == np.int32
    else:
        for call in (lambda: encoder(dtype.type(value)), lambda: encoder.batch(np.array([value], dtype))):
            with pytest.raises(ObservationError, match=f"from {start} to {start + size - 1}; got {value}"):
                call()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_several_choices_are_counted_each_from_its_own(data: st.DataObject) -> None:
    dtype = data.draw(types)
    values = data.draw(st.lists(numbers(dtype), min_size=2, max_size=3))
    sizes = [data.draw(st.integers(1, 300)) for _ in values]
    starts = [value - data.draw(st.integers(-1, size)) for value, size in zip(values, sizes, strict=True)]
    assume(all(abs(start) <= 2**62 for start in starts))
    encoder = make_encoder(spaces.MultiDiscrete(sizes, start=starts))
    observation = np.array(values, dtype)
    inside = [start <= value < start + size for value, size, start in zip(values, sizes, starts, strict=True)]
    if all(inside):
        expected = [value - start for value, start in zip(values, starts, strict=True)]
        assert encoder(observation).tolist() == expected
        assert encoder.batch(observation[None]).tolist() == [expected]
    else:
        for call in (lambda: encoder(observation), lambda: encoder.batch(observation[None])):
            with pytest.raises(ObservationError, match=r"observations?: (holds|expected)"):
                call()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_integer_boxes_are_scaled_as_exact_numbers_would_be(data: st.DataObject) -> None:
    dtype = data.draw(types)
    info = np.iinfo(dtype)
    least, most = max(int(info.min), -(10**6)), min(int(info.max), 10**6)
    low = data.draw(st.integers(least, most - 1))
    high = data.draw(st.integers(low + 1, most))
    value = data.draw(st.integers(low, high))
    encoder = make_encoder(spaces.Box(low, high, (1,), dtype.type))
    found = float(np.asarray(encoder.features(encoder(np.array([value], dtype))))[0])
    np.testing.assert_allclose(found, (value - low) / (high - low), rtol=2e-6, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_bytes_and_bits_are_refused_beyond_their_range(data: st.DataObject) -> None:
    dtype = data.draw(types)
    value = data.draw(numbers(dtype))
    for space, most in ((spaces.Box(0, 255, (1,), np.uint8), 255), (spaces.MultiBinary(1), 1)):
        encoder = make_encoder(space)
        if 0 <= value <= most:
            assert encoder(np.array([value], dtype)).tolist() == [value]
        else:
            with pytest.raises(ObservationError, match=f"from 0 to {most}; got {value} to {value}"):
                encoder(np.array([value], dtype))


def test_small_numbers_with_a_far_start_are_one_hot() -> None:
    encoder = make_encoder(spaces.Discrete(200, start=-100))
    features = encoder.features(encoder(np.int8(99)))
    np.testing.assert_array_equal(features, np.eye(200)[199])
    nested = make_encoder(spaces.Dict({"at": spaces.Discrete(200, start=-100), "with": spaces.MultiDiscrete([250])}))
    seen = nested({"at": np.int8(99), "with": np.array([249], np.uint8)})
    assert (int(seen["at"]), seen["with"].tolist()) == (199, [249])


S = 300
TABLE = ensembles.tabular(np.stack([np.linspace(0.2, 0.8, S), np.linspace(0.8, 0.2, S)], -1)[None].repeat(2, 0))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_tables_are_looked_up_by_the_number_itself(data: st.DataObject) -> None:
    dtype = data.draw(types)
    value = data.draw(numbers(dtype).filter(lambda number: -(2**31) <= number < 2**31))
    found = np.asarray(looked_up(dtype.type(value)))
    if 0 <= value < S:
        np.testing.assert_allclose(np.exp(found[0, 0]), 0.2 + 0.6 * value / (S - 1), rtol=1e-5)
    else:
        assert np.isnan(found).all()


@jax.jit
def looked_up(number: Any) -> jax.Array:
    return TABLE.log_probs((), number, Context(jnp.int32(0), jnp.zeros(2)))


@pytest.mark.parametrize("small", [np.int8, np.uint8, np.int16, np.int32])
def test_whatever_looks_up_a_table_looks_up_the_number_itself(small: Any) -> None:
    """The trigger of a planted member, a demonstrator, the alarm's contexts: all of more than 256 observations."""
    place = small(99)
    mask = np.arange(S) == 99
    planted = transforms.trigger_state(honest=TABLE, harmful=TABLE, mask=mask)
    context = Context(jnp.int32(0), jnp.zeros(2))
    assert bool(jax.jit(planted.defects)(place, context))
    assert not bool(jax.jit(planted.defects)(small(98), context))
    certain = np.eye(2)[mask.astype(int)]
    expert = TabularDemonstrator.create(certain)
    assert [int(expert.sample(jax.random.key(0), small(at))) for at in (98, 99)] == [0, 1]
    alarm = MisspecificationAlarm(num_contexts=S)
    state = jax.jit(alarm.update)(alarm.init(2, 2), place, jnp.log(jnp.full((2, 2), 0.5)), 1, jnp.zeros(2, bool))
    assert np.argwhere(np.asarray(state.counts)).tolist() == [[99, 1]]


class Encoded(Tabular):
    """A table behind an encoder, as networks have one."""

    @property
    def encoder(self) -> Any:
        return make_encoder(spaces.Discrete(S, start=-100))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("members", "number"),
    [(TABLE, np.uint8(199)), (Encoded(TABLE.table, TABLE.prior), np.int8(99))],
    ids=["table", "encoded"],
)
def test_at_every_entrance_of_the_shell_a_small_type_is_the_number(members: Any, number: Any) -> None:
    expected = np.float32([0.2 + 0.6 * 199 / (S - 1), 0.8 - 0.6 * 199 / (S - 1)])
    one = ConsensusImitator(members, lambda _: 1, selection=TopK(2), seed=1)
    for seen in (number, np.int64(number), int(number)):
        np.testing.assert_allclose(one.decide(seen).min_probs, expected, rtol=1e-5)
        one = ConsensusImitator(members, lambda _: 1, selection=TopK(2), seed=1)
    assert one.policy().predict(number)[0] == 0
    one.pretrain(np.array([number, number]), [1, 0])
    batch = ConsensusImitator(members, lambda _: 1, selection=TopK(2), seed=1, num_envs=2)
    np.testing.assert_allclose(batch.act(np.array([number, number])).min_probs, [expected] * 2, rtol=1e-5)
    assert batch.policy(num_envs=2).predict(np.array([number, number]))[0].tolist() == [0, 0]


def test_settings_of_training_reckon_as_python_numbers_do() -> None:
    """A float16 that a sum of answers is added to is full at 65,504; an int8 times an int8 at 127."""
    given_types = Training(
        batch_size=np.int8(4), updates=np.int8(100), every=np.int8(2), capacity=np.uint8(200), caution=np.float16(20.0)
    )
    plain = Training(batch_size=4, updates=100, every=2, capacity=200, caution=20.0)
    assert given_types == plain
    assert hash(given_types) == hash(plain)
    for name in ("batch_size", "updates", "every", "capacity"):
        assert type(getattr(given_types, name)) is int
    assert type(given_types.caution) is float
    members = ensembles.mlp(2, 2, 1, hidden=(), training=given_types)
    learned = members.init_learned(jax.random.key(0))
    learned = learned.replace(replay=learned.replay.replace(stored=jnp.int32(100_000)))
    found = members.log_probs((), jnp.int32(0), Context(jnp.int32(0), jnp.zeros(1), 0, learned))
    np.testing.assert_allclose(np.exp(found).sum(), 100_000 / 100_020, rtol=1e-5)


@pytest.mark.parametrize("space", [spaces.Discrete(2**40), spaces.Discrete(3, start=2**62 + 1)], ids=str)
def test_spaces_that_no_network_can_count_in_are_refused(space: Any) -> None:
    with pytest.raises(ConfigurationError, match="choices"):
        make_encoder(space)
