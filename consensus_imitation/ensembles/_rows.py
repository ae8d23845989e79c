"""Rows that only ever become more, on the host: an immutable value that shares its memory with earlier ones.

A value is a few blocks of memory and the number of rows in them. To append is to write the next row into the last
block, where no earlier value looks, and to make a value that counts one more. Each place of a block is given away once:
whoever comes second (another run that went on from the same value, or the same call after an interrupt) copies the
block and writes there. So a value never changes, an interrupt at worst leaves a place unused, and nobody needs a lock.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from math import prod
from typing import Any, Self

import jax
import numpy as np

from consensus_imitation.errors import ConfigurationError

#: Bytes of a block, as nearly as whole rows allow; and the fewest and the most rows that it holds.
_BLOCK_BYTES, _FEWEST, _MOST = 1 << 20, 16, 4096


@dataclass(frozen=True)
class Kind:
    """What a row is.

    Attributes:
        structure: of a row, a pytree of arrays.
        arrays: shape and type of each of them.
    """

    structure: Any
    arrays: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return the kind of a row like this one."""
        leaves, structure = jax.tree.flatten(row)
        return cls(structure, tuple((np.shape(leaf), np.dtype(leaf.dtype)) for leaf in leaves))

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return sum(dtype.itemsize * prod(shape) for shape, dtype in self.arrays)

    @cached_property
    def in_block(self) -> int:
        """R, rows of a block."""
        return min(_MOST, max(_FEWEST, _BLOCK_BYTES // max(1, self.row_bytes)))

    def memory(self, num_rows: int, *, zeros: bool = False) -> list[np.ndarray]:
        """Return arrays for so many rows, a leading axis each."""
        make = np.zeros if zeros else np.empty
        return [make((num_rows, *shape), dtype) for shape, dtype in self.arrays]

    def leaves_of(self, tree: Any, num_rows: int | None = None) -> list[np.ndarray]:
        """Return the arrays of a row, or of several with a leading axis.

        Raises:
            ConfigurationError: if they are of another kind.
        """
        leaves, structure = jax.tree.flatten(tree)
        leading = () if num_rows is None else (num_rows,)
        said = [((*leading, *shape), dtype) for shape, dtype in self.arrays]
        found = [(np.shape(leaf), np.dtype(leaf.dtype)) for leaf in leaves]
        if structure != self.structure or found != said:
            raise ConfigurationError(f"an answer of another kind: its arrays are {found}, and have to be {said}")
        return [np.asarray(leaf) for leaf in leaves]


class Block:
    """Memory for R rows, and which of its places is free next.

    Args:
        kind: of the rows.
        taken: places that are given away.
        like: a block whose first rows are copied to those places; None if the caller writes them.
    """

    __slots__ = ("_places", "leaves")

    def __init__(self, kind: Kind, taken: int = 0, like: "Block | None" = None) -> None:
        self.leaves = kind.memory(kind.in_block)
        self._places = count(taken)
        if like is not None:
            for mine, other in zip(self.leaves, like.leaves, strict=True):
                mine[:taken] = other[:taken]

    def claim(self) -> int:
        """Take the next place: nobody gets it again, whatever becomes of the caller."""
        return next(self._places)


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """Rows in the order in which they came, of which the latest C are held.

    A *place* in ``0 .. min(stored, C) - 1`` means the latest row whose number is that modulo C, as in a ring of C.

    Attributes:
        kind: of a row.
        capacity: C, rows that are held at least, as soon as there are as many.
        stored: rows that came so far.
        blocks: the last ones; rows ``iR .. (i+1)R - 1`` are in block i.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.ensembles._rows import Rows
        >>> rows = Rows.like(np.zeros(2), capacity=3)
        >>> for number in range(4):
        ...     rows = rows.appended(np.full(2, number, float))
        >>> rows.at(np.arange(3))[:, 0].tolist()  # row 3 has taken the place of row 0
        [3.0, 1.0, 2.0]
    """

    kind: Kind
    capacity: int
    stored: int = 0
    blocks: tuple[Block, ...] = ()

    @classmethod
    def like(cls, row: Any, capacity: int) -> Self:
        """Return no rows yet; they will be like this one."""
        return cls(Kind.of(row), capacity)

    @classmethod
    def from_ring(cls, kind: Kind, ring: Any, stored: int, capacity: int) -> Self:
        """Return the rows that a ring holds.

        Args:
            kind: of a row.
            ring: a pytree of arrays with a leading axis of C, or of less where it is not full. It is copied.
            stored: rows that came so far.
            capacity: C.

        Raises:
            ConfigurationError: if the ring is of another kind, or cannot hold the rows that it should.
        """
        length = min((len(leaf) for leaf in jax.tree.leaves(ring)), default=0)
        if not 0 <= min(stored, capacity) <= length <= capacity:
            raise ConfigurationError(
                f"a replay that holds the latest {capacity} of {stored} answers cannot have arrays of {length} of them"
            )
        leaves, first = kind.leaves_of(ring, length), max(0, stored - capacity)
        blocks: list[Block] = []
        for begin in range(first - first % kind.in_block, stored, kind.in_block):
            low, high = max(first, begin), min(stored, begin + kind.in_block)
            block = Block(kind, high - begin)
            for mine, given in zip(block.leaves, leaves, strict=True):
                mine[low - begin : high - begin] = given[np.arange(low, high) % capacity]
            blocks.append(block)
        return cls(kind, capacity, stored, tuple(blocks))

    @property
    def size(self) -> int:
        """Rows that can be read."""
        return min(self.stored, self.capacity)

    @property
    def num_bytes(self) -> int:
        """Memory of the blocks."""
        return len(self.blocks) * self.kind.in_block * self.kind.row_bytes

    def appended(self, row: Any) -> Self:
        """Return these with one more row, which is copied.

        Raises:
            ConfigurationError: if it is of another kind.
        """
        leaves, offset = self.kind.leaves_of(row), self.stored % self.kind.in_block
        blocks = self.blocks
        if offset == 0:
            blocks = (*blocks, Block(self.kind, 1))
        elif blocks[-1].claim() != offset:
            # Another value has a row there already.
            blocks = (*blocks[:-1], Block(self.kind, offset + 1, blocks[-1]))
        for memory, leaf in zip(blocks[-1].leaves, leaves, strict=True):
            memory[offset] = leaf
        return replace(self, stored=self.stored + 1, blocks=blocks)._without_old()

    def extended(self, ring: Any, stored: int) -> Self:
        """Return these with the rows that a ring holds beyond them; the arguments are those of `from_ring`."""
        if stored - self.stored >= self.capacity:
            return self.from_ring(self.kind, ring, stored, self.capacity)
        leaves, structure = jax.tree.flatten(ring)
        leaves, rows = [np.asarray(leaf) for leaf in leaves], self
        for number in range(self.stored, stored):
            rows = rows.appended(structure.unflatten([leaf[number % self.capacity] for leaf in leaves]))
        return rows

    def at(self, places: np.ndarray) -> Any:
        """Return the rows at these places, int [M]: arrays with a leading axis M that nobody else holds.

        Raises:
            IndexError: if there is no such place.
        """
        memory = self.kind.memory(len(places))
        self._copy(places, memory)
        return self.kind.structure.unflatten(memory)

    def ring(self, length: int) -> Any:
        """Return a ring as `from_ring` reads it, of ``length`` rows, `size` or more; zeros where there is none."""
        memory = self.kind.memory(length, zeros=True)
        self._copy(np.arange(self.size), [leaf[: self.size] for leaf in memory])
        return self.kind.structure.unflatten(memory)

    def _copy(self, places: np.ndarray, memory: list[np.ndarray]) -> None:
        for block, which, offsets in self._where(places):
            for mine, other in zip(memory, block.leaves, strict=True):
                mine[which] = other[offsets]

    def _where(self, places: np.ndarray) -> Iterator[tuple[Block, np.ndarray, np.ndarray]]:
        """Block by block: which of the places are in it, and where."""
        if np.any((places < 0) | (places >= self.size)):
            raise IndexError(f"there are places 0 .. {self.size - 1}, and not all of {places}")
        if not len(places):
            return
        last = self.stored - 1
        numbers = last - (last - places) % self.capacity
        own = numbers // self.kind.in_block - self._first
        order = np.argsort(own, kind="stable")
        found, begins = np.unique(own[order], return_index=True)
        for i, which in zip(found.tolist(), np.split(order, begins[1:]), strict=True):
            yield self.blocks[i], which, numbers[which] % self.kind.in_block

    @property
    def _first(self) -> int:
        """Number of the first block that is held."""
        return -(-self.stored // self.kind.in_block) - len(self.blocks)

    def _without_old(self) -> Self:
        """Without blocks of which no place is left: they are gone as soon as nobody holds an earlier value."""
        old = max(0, self.stored - self.capacity) // self.kind.in_block - self._first
        return replace(self, blocks=self.blocks[old:]) if old > 0 else self
