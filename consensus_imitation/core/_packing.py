"""Canonical bytes of an observation: MessagePack, with extra types for arrays, NumPy's scalars and tuples.

Equal observations have equal bytes, whatever the order of a dict's keys. Nothing is executed when they are read.
"""

import hashlib
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import msgpack
import numpy as np

from consensus_imitation.errors import JournalCorruptedError, ObservationError

_TUPLE, _ARRAY, _SCALAR = 1, 2, 3
#: Tuples within tuples, including arrays in the innermost: reading each level takes more of C's stack.
_DEEPEST = 16
#: NumPy's own limit.
_MOST_AXES = 64
#: Bytes of an item, text included, of an array without any: NumPy takes memory for one item all the same.
_LARGEST_ABSENT = 1 << 16
_LONGEST_NAME = 32
#: Bytes: MessagePack has a limit of 4 GiB.
_LARGEST_ARRAY = 1 << 31
#: Kinds of NumPy types that their name in bytes fully describes: numbers, text, bytes, times.
_KINDS = frozenset("biufcSUmM")


def pack(value: Any, what: str = "the observation") -> bytes:
    """Return the canonical bytes of an observation, or of an action without a number: every bit, -0.0 and NaN too.

    Args:
        value: None, a bool, int (of 64 bits), float, str or bytes, a NumPy or JAX array or scalar, or a list, tuple or
            dict with str keys of such; at most 15 tuples within one another.
        what: how a message calls it.

    Raises:
        ObservationError: for anything else, naming its place.

    Example:
        >>> import numpy as np
        >>> observation = {"image": np.zeros((2, 2), np.uint8), "mission": "go to the red ball"}
        >>> pack(observation) == pack(dict(reversed(observation.items())))
        True
        >>> unpack(pack(observation))["mission"]
        'go to the red ball'
    """
    return _bytes(value, what)


def always_packs(value: Any) -> bool:
    """Return whether a value is of a kind that `pack` never refuses, said at once: a NumPy array of plain numbers."""
    return type(value) is np.ndarray and value.dtype.kind in "biuf" and value.nbytes < _LARGEST_ARRAY


def unpack(data: bytes) -> Any:
    """Return what was packed. Arrays are NumPy's and may be written to; JAX's scalars are arrays.

    The memory that it needs is proportional to the size of the data, whatever sizes the data claim.

    Raises:
        JournalCorruptedError: for bytes that `pack` does not write.
    """
    try:
        value = _unpacked(data, 0)
        canonical = pack(value) == data
    except Exception as error:
        raise JournalCorruptedError(f"these {len(data)} bytes are not a packed observation: {error}") from error
    if not canonical:
        raise JournalCorruptedError(f"these {len(data)} bytes are not a packed observation: not in canonical form")
    return value


def as_read(value: Any) -> Any:
    """Return an observation as `unpack` will give it, so that what is done with it now can be repeated.

    Dicts of any kind become plain dicts with their keys in order; JAX's arrays become NumPy's.
    """
    if isinstance(value, dict):
        parts = cast(dict[Any, Any], value)
        if any(type(name) is not str for name in parts):
            return parts
        return {name: as_read(parts[name]) for name in sorted(parts)}
    if type(value) in (list, tuple):
        return type(value)(as_read(part) for part in value)
    if isinstance(value, jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return np.asarray(value)
    return value


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _bytes(value: Any, place: str, depth: int = 0) -> bytes:
    """Convert a value to what MessagePack can write; ``depth`` counts the tuples around it."""
    if depth > _DEEPEST:
        raise _too_deep(place)
    try:
        return cast(bytes, msgpack.packb(_plain(value, place, depth), strict_types=True))
    except ObservationError:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise ObservationError(f"{place} cannot be recorded: {error}") from error


def _too_deep(place: str) -> ObservationError:
    return ObservationError(f"{place} cannot be recorded: it lies in more than {_DEEPEST - 1} tuples")


def _plain(value: Any, place: str, depth: int) -> Any:
    """Return the same in MessagePack's own types."""
    kind = type(value)
    if value is None or kind in (bool, float, bytes):
        return value
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise ObservationError(f"{place} is {value}, which cannot be recorded: integers have at most 64 bits")
        return value
    if kind is str:
        if not value.isascii() and value != value.encode(errors="replace").decode():
            raise ObservationError(f"{place} is a text with half a character, which cannot be recorded: {value!r}")
        return value
    if isinstance(value, dict):
        names = list(cast(dict[Any, Any], value))
        for name in names:
            if type(name) is not str:
                raise ObservationError(f"{place} has the key {name!r}: the keys of a dict have to be str")
        return {name: _plain(value[name], f"{place}[{name!r}]", depth) for name in sorted(names)}
    if kind is list:
        return [_plain(part, f"{place}[{i}]", depth) for i, part in enumerate(value)]
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, _bytes(list(value), place, depth + 1))
    if isinstance(value, np.generic):
        return msgpack.ExtType(_SCALAR, _array(np.asarray(value), place, depth + 1))
    if kind is np.ndarray or isinstance(value, jax.Array):
        return msgpack.ExtType(_ARRAY, _array(value, place, depth + 1))
    raise ObservationError(
        f"{place} is of type {kind.__module__}.{kind.__qualname__}, which cannot be recorded: use None, bool, int, "
        "float, str, bytes, NumPy or JAX arrays and scalars, and lists, tuples and dicts of them"
    )


def _array(value: Any, place: str, depth: int) -> bytes:
    """Convert an array to its type, its shape and its numbers, which MessagePack takes as they are."""
    if depth > _DEEPEST:
        raise _too_deep(place)
    try:
        array = np.asarray(value)
    except TypeError as error:
        raise ObservationError(f"{place} cannot be recorded: {error}") from error
    if array.size == 0 and array.dtype.itemsize > _LARGEST_ABSENT:
        raise ObservationError(
            f"{place} is an empty array of items of {array.dtype.itemsize} bytes, which cannot be recorded: items that "
            f"are not there have at most {_LARGEST_ABSENT}"
        )
    return cast(bytes, msgpack.packb([_name(array.dtype, place), array.shape, array.tobytes()]))


def _name(dtype: np.dtype[Any], place: str) -> str:
    if dtype.kind in _KINDS:
        return dtype.str
    # JAX's own small floats and integers.
    if dtype.isbuiltin == 2 and np.dtype(dtype.name) == dtype:
        return dtype.name
    raise ObservationError(
        f"{place} is an array of {dtype}, which cannot be recorded: use an array of numbers, text or bytes"
    )


def _unpacked(data: bytes, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} types within one another")
    # MessagePack takes memory for as many parts as the data claim, nested ones, too: first check that they exist.
    whole = msgpack.Unpacker(max_buffer_size=max(1, len(data)))
    whole.feed(data)
    whole.skip()
    return msgpack.unpackb(data, ext_hook=lambda code, inner: _read(code, inner, depth + 1), strict_map_key=True)


def _read(code: int, data: bytes, depth: int) -> Any:
    inner = _unpacked(data, depth)
    if code == _TUPLE:
        return tuple(inner)
    if code not in (_ARRAY, _SCALAR):
        raise ValueError(f"unknown type {code}")
    name, shape, content = inner
    if len(name) > _LONGEST_NAME or len(shape) > _MOST_AXES:
        raise ValueError(f"no array has a type named by {len(name)} letters, or {len(shape)} axes")
    dtype = np.dtype(str(name))
    _name(dtype, "it")
    if dtype.itemsize * math.prod(shape) != len(content) or dtype.itemsize > max(len(content), _LARGEST_ABSENT):
        raise ValueError(f"{len(content)} bytes for an array {shape} of {dtype}")
    array = np.ndarray(tuple(shape), dtype, content).copy()
    return array[()] if code == _SCALAR else array
