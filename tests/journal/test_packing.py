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

from consensus_imitation.core._packing import always_packs, digest, pack, unpack
from consensus_imitation.errors import JournalCorruptedError, ObservationError

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
            except JournalCorruptedError:
                continue
            assert pack(value) == damaged
            assert not same(value, SAMPLE)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = unpack(data)
    except JournalCorruptedError:
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
        msgpack.packb(msgpack.ExtType(2, msgpack.packb(["<f4", [1] * 65, b"1234"]))),
        msgpack.packb(msgpack.ExtType(2, msgpack.packb([",".join(["i4"] * 5000), [0], b""]))),
        b"\xdd\xff\xff\xff\xff",  # a list of 2**32 - 1 parts
        b"\xc6\xff\xff\xff\xff",  # 2**32 - 1 bytes
        b"\xc9\xff\xff\xff\xff\x02",  # an array in 2**32 - 1 bytes
    ],
)
def test_what_is_never_written_is_refused(data: bytes) -> None:
    with pytest.raises(JournalCorruptedError):
        unpack(data)


def claimed(dtype: str, shape: list[int], code: int = 2) -> bytes:
    return msgpack.packb(msgpack.ExtType(code, msgpack.packb([dtype, shape, b""])))


#: What claims far more than is there: name, bytes.
CLAIMS = {
    "an empty array of long texts": claimed("<U536870911", [0]),
    "of long bytes": claimed("|S2147483647", [3, 0]),
    "a scalar of no bytes": claimed("<U536870911", [0], 3),
    "in a tuple": msgpack.packb(msgpack.ExtType(1, msgpack.packb([0]).replace(b"\x00", claimed("|S2147483647", [0])))),
    "lists of lists that are not there": b"\xdd"
    + (1_000_000).to_bytes(4)
    + b"\xdd\x00\x0f\x42\x40" * 900
    + b"\xc0" * 10**6,
    "in an array's shape": msgpack.packb(
        msgpack.ExtType(2, b"\x93\xa3<f4" + b"\xdd\x00\x0f\x42\x40" * 900 + b"\xc0" * 10**6)
    ),
}


def test_what_is_claimed_takes_no_memory() -> None:
    """In a process of its own: the rest of the system must not suffer if it does."""
    code = (
        "import msgpack, resource, sys, tracemalloc\n"
        "from consensus_imitation.errors import JournalCorruptedError\n"
        "from consensus_imitation.core._packing import unpack\n"
        "claims = msgpack.unpackb(sys.stdin.buffer.read())\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))\n"
        "for name, data in claims.items():\n"
        "    tracemalloc.start()\n"
        "    try:\n"
        "        unpack(data)\n"
        "    except JournalCorruptedError as error:\n"
        "        if isinstance(error.__cause__, MemoryError):\n"
        "            print(name, 'asked for more than there is')\n"
        "        taken = tracemalloc.get_traced_memory()[1]\n"
        "        if taken > 20 * 2**20:\n"
        "            print(name, 'took', taken, 'bytes')\n"
        "        tracemalloc.stop()\n"
        "    else:\n"
        "        print(name, 'was read')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=msgpack.packb(CLAIMS), capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, ""), done.stderr.decode()


@pytest.mark.parametrize("name", list(CLAIMS)[:4])
def test_items_that_are_not_there_are_counted_before_an_array_is_made(name: str) -> None:
    """Whether NumPy takes memory for them differs from release to release."""
    with pytest.raises(JournalCorruptedError, match="0 bytes for an array"):
        unpack(CLAIMS[name])


def test_tuples_lie_within_one_another_as_deep_as_can_be_read() -> None:
    deep: Any = np.zeros(2)
    for _ in range(15):
        deep = (deep,)
    assert same(unpack(pack(deep)), deep)
    with pytest.raises(ObservationError, match="more than 15 tuples"):
        pack((deep,))
    for forged in (100, 1000, 10_000):
        data = msgpack.packb([])
        for _ in range(forged):
            data = msgpack.packb(msgpack.ExtType(1, b"\x91" + data))
        with pytest.raises(JournalCorruptedError):
            unpack(data)


def test_an_empty_array_whose_items_are_huge_is_refused_before_it_is_written() -> None:
    assert same(unpack(pack(np.zeros(0, "U16000"))), np.zeros(0, "U16000"))
    with pytest.raises(ObservationError, match="items of 80000 bytes"):
        pack({"a": np.zeros((0, 3), "U20000")})
    long = np.array(["x" * 20_000])
    assert same(unpack(pack(long)), long)


def test_the_bytes_are_the_same_in_another_process() -> None:
    """Whatever the hash seed."""
    code = (
        "import sys, numpy as np; from consensus_imitation.core._packing import digest, pack;"
        "sys.stdout.write(digest(pack({name: np.arange(3) for name in {'b', 'a', 'c'}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == digest(pack({name: np.arange(3) for name in "abc"}))


@settings(deadline=None)
@given(arrays())
def test_what_always_packs_does(array: np.ndarray) -> None:
    if always_packs(array):
        assert unpack(pack(array)).tobytes() == array.tobytes()


def test_plain_arrays_always_pack_and_others_may_not() -> None:
    for dtype in ("?", "u1", "<i8", "<f2", "<f4", ">f8"):
        assert always_packs(np.zeros((2, 3), dtype))
    structured = np.zeros(2, [("x", "f4")])
    for value in (np.array([object()]), structured, np.zeros(2, jnp.bfloat16), [0.0], 1, {"x": np.zeros(2)}):
        assert not always_packs(value)
