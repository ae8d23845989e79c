"""The parts of an observation: how each is checked, carried and turned into features."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.errors import ObservationError

#: MiniGrid's numbers: 11 objects, 6 colours, and the state of a door or the direction of an agent.
GRID_SIZES = (11, 6, 4)

_WORD = re.compile(r"[^\W_]+")

#: A float is scaled by bounds between these; bounds outside do not show what is usual.
_USUAL, _ABSURD = 10.0, 1e6

#: Beyond it the squares of gradients, which optimisers keep, would soon be infinite, and all learning would be lost.
LARGEST = 1e15


@dataclass(frozen=True)
class Leaf:
    """One array of an observation."""

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Check and convert one value, or ``length`` values with a leading axis.

        Raises:
            ObservationError: if it does not fit; the message begins with ``where``.
        """
        raise NotImplementedError

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return the features: float32 [width]."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Number of features."""
        raise NotImplementedError

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        raise NotImplementedError


@dataclass(frozen=True)
class BoxLeaf(Leaf):
    """Numbers of a fixed shape; ``(number - offset) * scale`` are the features.

    Attributes:
        shape: of one observation.
        as_bytes: whether they are kept as uint8.
        offset: of all, or of each in C order.
        scale: of all, or of each in C order.
    """

    shape: tuple[int, ...]
    as_bytes: bool
    offset: float | tuple[float, ...]
    scale: float | tuple[float, ...]

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Return the encoded value: float32 or uint8 [shape]."""
        array = _array(value, self.shape, where, length)
        if self.as_bytes:
            return _whole(array, 0, 255, where).astype(np.uint8)
        if array.dtype.kind not in "fiub":
            _refuse(where, f"expected numbers; got {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            _refuse(where, "holds NaN or infinite numbers")
        if (np.abs(array) > LARGEST).any():
            _refuse(where, f"holds numbers beyond {LARGEST:g}, which networks cannot learn from: scale them down")
        return array

    def scaled(self, encoded: jax.Array) -> jax.Array:
        """Return the features in the observation's own shape."""
        numbers = jnp.asarray(encoded, jnp.float32)
        if self.offset == 0.0 and self.scale == 1.0:
            return numbers
        offset, scale = (np.asarray(part, np.float32) for part in (self.offset, self.scale))
        if offset.ndim:
            offset = offset.reshape(self.shape)
        if scale.ndim:
            scale = scale.reshape(self.shape)
        return (numbers - offset) * scale

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return the features, scaled and flat."""
        return self.scaled(encoded).ravel()

    @property
    def width(self) -> int:
        """Number of numbers."""
        return int(np.prod(self.shape, dtype=int))

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        return np.zeros(self.shape, np.uint8 if self.as_bytes else np.float32)


@dataclass(frozen=True)
class ChoiceLeaf(Leaf):
    """One of ``size`` numbers from ``start``; kept as an index from 0."""

    size: int
    start: int

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Return the encoded value: int32 []."""
        return _indices(_array(value, (), where, length), self.size, self.start, where)

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return the one-hot vector of the choice."""
        return jax.nn.one_hot(encoded, self.size)

    @property
    def width(self) -> int:
        """Number of choices."""
        return self.size

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        return np.zeros((), np.int32)


@dataclass(frozen=True)
class ChoicesLeaf(Leaf):
    """Several choices; sizes and starts in C order."""

    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    starts: tuple[int, ...]

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Return the encoded value: int32 [number of choices]."""
        array = _array(value, self.shape, where, length)
        flat = array.reshape(*array.shape[: array.ndim - len(self.shape)], -1)
        return _indices(flat, self.sizes, self.starts, where)

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return a one-hot vector for each choice."""
        return jnp.concatenate([jax.nn.one_hot(encoded[i], size) for i, size in enumerate(self.sizes)])

    @property
    def width(self) -> int:
        """Number of choices in all."""
        return sum(self.sizes)

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        return np.zeros(len(self.sizes), np.int32)


@dataclass(frozen=True)
class BinaryLeaf(Leaf):
    """Zeros and ones."""

    shape: tuple[int, ...]

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Return the encoded value: uint8 [shape]."""
        return _whole(_array(value, self.shape, where, length), 0, 1, where).astype(np.uint8)

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return the bits as flat features."""
        return jnp.asarray(encoded, jnp.float32).ravel()

    @property
    def width(self) -> int:
        """Number of bits."""
        return int(np.prod(self.shape, dtype=int))

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        return np.zeros(self.shape, np.uint8)


@dataclass(frozen=True)
class TextLeaf(Leaf):
    """A bag of words: counts of the vocabulary's, then of all others by checksum, each at most 255.

    The checksum is CRC-32 of the UTF-8 word, the same in every process.
    """

    vocabulary: tuple[str, ...]
    buckets: int

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Return the encoded value: uint8 [width]."""
        if length is None:
            return self._count(value, where)
        if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or len(value) != length:
            _refuse(where, f"expected {length} texts; got {value!r}")
        return np.stack([self._count(text, f"{where}[{i}]") for i, text in enumerate(value)])

    def _count(self, text: Any, where: str) -> np.ndarray:
        if not isinstance(text, str):
            _refuse(where, f"expected a text; got {type(text).__name__}")
        counts = np.zeros(self.width, np.int64)
        for word in _WORD.findall(text.lower()):
            index = self._index(word)
            if index is not None:
                counts[index] += 1
        return np.minimum(counts, 255).astype(np.uint8)

    def _index(self, word: str) -> int | None:
        if word in self.vocabulary:
            return self.vocabulary.index(word)
        if not self.buckets:
            return None
        return len(self.vocabulary) + zlib.crc32(word.encode()) % self.buckets

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return the counts as features."""
        return jnp.asarray(encoded, jnp.float32)

    @property
    def width(self) -> int:
        """Words and buckets."""
        return len(self.vocabulary) + self.buckets

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        return np.zeros(self.width, np.uint8)


@dataclass(frozen=True)
class GridLeaf(Leaf):
    """A MiniGrid view ``[H, W, 3]`` of object, colour and state numbers.

    The states are those of a door (open, closed, locked); in a full view an agent's state is one of four directions.
    """

    size: tuple[int, int]

    def encode(self, value: Any, where: str, length: int | None) -> np.ndarray:
        """Return the encoded value: uint8 [H, W, 3]."""
        array = _whole(_array(value, (*self.size, 3), where, length), 0, 255, where)
        if not (array < np.array(GRID_SIZES)).all():
            _refuse(
                where,
                f"is not a MiniGrid view: object, colour and state must be below {GRID_SIZES}; for a picture construct "
                "the ensemble with kind='image', or the encoder with grid=False",
            )
        return array.astype(np.uint8)

    def cells(self, encoded: jax.Array) -> jax.Array:
        """Return every cell as one-hot: float32 [H, W, 21]."""
        parts = [jax.nn.one_hot(encoded[..., i], size) for i, size in enumerate(GRID_SIZES)]
        return jnp.concatenate(parts, axis=-1)

    def features(self, encoded: jax.Array) -> jax.Array:
        """Return all cells, flat."""
        return self.cells(encoded).ravel()

    @property
    def width(self) -> int:
        """Number of cells times 21."""
        return self.size[0] * self.size[1] * sum(GRID_SIZES)

    def zeros(self) -> np.ndarray:
        """Return an encoded value of zeros."""
        return np.zeros((*self.size, 3), np.uint8)


def box_scale(
    low: np.ndarray, high: np.ndarray, whole: bool
) -> tuple[float | tuple[float, ...], float | tuple[float, ...]]:
    """Return the offset and scale of the features of a Box, from its bounds; see `encoding.make_encoder`."""
    bounded = (np.maximum(np.abs(low), np.abs(high)) <= _ABSURD) & (high > low)
    if whole:
        offset = np.where(bounded, low, 0.0)
        scale = 1 / np.where(bounded, high - offset, 1.0)
    else:
        largest = np.maximum(np.abs(low), np.abs(high))
        offset = np.zeros_like(low)
        scale = 1 / np.where(bounded & (largest > _USUAL), largest, 1.0)
    return _one_or_all(offset), _one_or_all(scale)


def _one_or_all(numbers: np.ndarray) -> float | tuple[float, ...]:
    flat = [float(number) for number in numbers.ravel()]
    return flat[0] if flat and len(set(flat)) == 1 else tuple(flat)


def _array(value: Any, shape: tuple[int, ...], where: str, length: int | None) -> np.ndarray:
    expected = shape if length is None else (length, *shape)
    if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
        _refuse(where, "is a masked array, and what is masked has no value: fill it in a wrapper of the environment")
    try:
        array = np.asarray(value)
    except Exception as error:  # An object may do anything when NumPy makes it an array.
        raise ObservationError(f"{where}: is no array of shape {expected}: {error}") from error
    if array.shape != expected:
        _refuse(where, f"expected shape {expected}; got {array.shape}")
    return array


def _whole(array: np.ndarray, low: int, high: int, where: str) -> np.ndarray:
    """Return the same array, of whole numbers from ``low`` to ``high``, in any type: do not compute in it."""
    if array.dtype.kind not in "iub":
        _refuse(where, f"expected whole numbers; got {array.dtype}")
    if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
        _refuse(where, f"expected numbers from {low} to {high}; got {array.min()} to {array.max()}")
    return array


def _indices(array: np.ndarray, sizes: int | tuple[int, ...], starts: int | tuple[int, ...], where: str) -> np.ndarray:
    """Return choices, of any type of whole numbers, as int32 counted from their starts.

    The difference is computed in int64: in the environment's own type it may wrap round (99 - -100 is -57 in int8).
    """
    first, last = np.asarray(starts, np.int64), np.add(starts, np.subtract(sizes, 1, dtype=np.int64), dtype=np.int64)
    numbers = _whole(array, int(first.min()), int(last.max()), where).astype(np.int64)
    if not ((first <= numbers) & (numbers <= last)).all():
        _refuse(where, f"holds a number outside its range; the sizes are {sizes}, from {starts}")
    return (numbers - first).astype(np.int32)


def _refuse(where: str, problem: str) -> NoReturn:
    raise ObservationError(f"{where}: {problem}")
