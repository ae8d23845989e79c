"""Observations in bytes, and back."""

import subprocess
import sys
from collections import OrderedDict, namedtuple
from typing import Any

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus_imitation.errors import DamagedError, ObservationError
from consensus_imitation.journal.packing import digest, pack, unpack

DTYPES = (
    hnp.boolean_dtypes() | hnp.integer_dtypes(endianness="?") | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?") | hnp.complex_number_dtypes() | hnp.unicode_string_dtypes()
    | hnp.byte_string_dtypes() | hnp.datetime64_dtypes() | hnp.timedelta64_dtypes() | st.just(np.dtype(jnp.bfloat16))
)  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of any bits: NaN with a payload, negative zero."""
    dtype, shape = draw(DTYPES), draw(SHAPES)
    if dtype.kind in "iufcVM":
        return np.ndarray(
            shape, dtype, draw(st.binary(min_size=(n := int(np.prod(shape)) * dtype.itemsize), max_size=n))
        )
    return draw(hnp.arrays(dtype, shape))


LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary() | arrays()
    | arrays().filter(lambda a: a.size > 0).map(lambda a: a.reshape(-1)[0])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Same types, shapes and bits, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, np.ndarray | np.generic):
        return (one.dtype.str, one.shape, one.tobytes()) == (other.dtype.str, other.shape, other.tobytes())
    if isinstance(one, float):
        return np.float64(one).tobytes() == np.float64(other).tobytes()
    return one == other


@given(VALUES)
def test_what_is_packed_comes_back_with_the_same_bits(value: Any) -> None:
    data = pack(value)
    assert same(unpack(data), value)
    assert pack(unpack(data)) == data


@given(st.dictionaries(st.text(), LEAVES, min_size=2, max_size=5), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    names = list(value)
    random.shuffle(names)
    assert pack(OrderedDict((name, value[name]) for name in names)) == pack(value)


@given(VALUES, VALUES)
def test_other_observations_have_other_bytes(one: Any, other: Any) -> None:
    assert (pack(one) == pack(other)) == same(one, other)


@given(arrays(), st.data())
@settings(max_examples=50)
def test_views_are_packed_by_their_content(array: np.ndarray, data: st.DataObject) -> None:
    view = np.asfortranarray(array)[::-1] if array.ndim else array
    assert pack(view) == pack(np.ascontiguousarray(view).reshape(view.shape))


def test_arrays_of_jax_come_back_as_numpy() -> None:
    value = {"image": jnp.arange(6, dtype=jnp.int8).reshape(2, 3), "level": jnp.float32(0.1)}
    back = unpack(pack(value))
    assert (type(back["image"]), back["image"].dtype, back["image"].shape) == (np.ndarray, np.int8, (2, 3))
    assert pack(value) == pack({name: np.asarray(part) for name, part in value.items()})
    back["image"][0, 0] = 9  # may be written to


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), r"the observation is of type builtins\.object"),
        ({"a": [1, {2}]}, r"the observation\['a'\]\[1\] is of type builtins\.set"),
        ({1: 2}, "the keys of a dict have to be str"),
        ({np.str_("a"): 2}, "the keys of a dict have to be str"),
        (np.array([None, 1]), "array of object"),
        (np.zeros(2, [("x", "i4")]), "use an array of numbers"),
        (np.ma.masked_array([1, 2], [True, False]), "MaskedArray"),
        (namedtuple("Seen", "a b")(1, 2), "Seen"),
        (2**64, "cannot be recorded"),
        (-(2**63) - 1, "cannot be recorded"),
        ("\ud800", "cannot be recorded"),
        (lambda: 1, "function"),
        (jax.random.key(0), "cannot be recorded"),
        (memoryview(b"x"), "memoryview"),
    ],
    ids=lambda value: str(type(value).__name__) if not isinstance(value, str) else None,
)  # fmt: skip
def test_anything_else_is_refused_by_place(value: Any, said: str) -> None:
    with pytest.raises(ObservationError, match=said):
        pack(value)
    with pytest.raises(ObservationError, match=r"the observation\['inner'\]"):
        pack({"inner": value})


def test_nesting_without_end_is_refused() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ObservationError):
        pack(deep)


SAMPLE = {
    "image": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "mission": "go",
    "at": (1, -2.5, np.float32(1)),
    "n": None,
}


def test_every_damaged_byte_is_noticed_by_its_digest_and_never_crashes() -> None:
    data = pack(SAMPLE)
    for at in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            assert digest(damaged) != digest(data)
            try:
                value = unpack(damaged)
            except DamagedError:
                continue
            assert pack(value) == damaged
            assert not same(value, SAMPLE)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = unpack(data)
    except DamagedError:
        return
    assert pack(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        pack(1) + b"\x00",
        msgpack.packb({"b": 1, "a": 2}),  # keys in another order
        msgpack.packb(msgpack.ExtType(9, b"")),
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb(msgpack.ExtType(2, msgpack.packb(["O", [1], b"12345678"]))),
        msgpack.packb(msgpack.ExtType(2, msgpack.packb(["<f4", [2**40], b""]))),
        msgpack.packb(msgpack.ExtType(2, msgpack.packb(["<f4", [-1, -1], b"1234"]))),
        b"\xdd\xff\xff\xff\xff",  # a list of 2**32 - 1 parts
    ],
)
def test_what_is_never_written_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError):
        unpack(data)


def test_the_bytes_are_the_same_in_another_process() -> None:
    """Whatever the hash seed."""
    code = (
        "import sys, numpy as np; from consensus_imitation.journal.packing import digest, pack;"
        "sys.stdout.write(digest(pack({name: np.arange(3) for name in {'b', 'a', 'c'}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == digest(pack({name: np.arange(3) for name in "abc"}))
