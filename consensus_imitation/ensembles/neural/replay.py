"""The answers that members learn from again and again: in arrays for compiled programs, in rows on the host.

A compiled program returns a copy of every array that passes through it. In a ``scan`` that is a copy at the end of many
steps; in a shell, which calls a program for each answer, it is one for each answer, of all answers that there is room
for. So the shells keep the answers on the host (`_rows`), and a compiled program sees how many there are (`Elsewhere`).

A `Replay` is either. Whoever looks at the arrays of one that is in rows, `jax.tree` and compiled programs included,
finds them: they are made then, with room for all C answers, and kept with it. Whoever does not look, pays nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.core import Tracer

from consensus_imitation.ensembles._rows import Kind, Rows
from consensus_imitation.errors import ConfigurationError

#: Rows of the arrays of `dense`, at least: a few more answers do not compile anew.
_LEAST_DENSE = 256
_ARRAYS = ("inputs", "answers", "counts")


class Row(NamedTuple):
    """One answered query; with a leading axis, several.

    Attributes:
        inputs: what the members were asked about.
        answer: int32 [].
        counts: uint8 [N], how often it counts for each member.
    """

    inputs: Any
    answer: Any
    counts: Any


class Replay(struct.PyTreeNode):
    """Answered queries; a ring once it is full.

    Attributes:
        inputs: what the members were asked about, leaves [C, ...].
        answers: int32 [C].
        counts: uint8 [C, N], how often each answer counts for each member.
        stored: int32 [], answers stored so far in all.
        capacity: C. The arrays may be shorter as long as no answer has to take the place of another.

    Example:
        >>> import jax
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> members = ensembles.mlp((2,), 3, training=ensembles.Training(capacity=100))
        >>> imitator = ConsensusImitator(members, lambda observation: 1, seed=0)
        >>> [imitator.act([0.5, 0.5]).queried for _ in range(3)]
        [True, True, True]
        >>> replay = imitator.state.learned.replay  # in rows: nothing was copied
        >>> int(replay.stored), replay.answers.shape, replay.answers[:4].tolist()
        (3, (100,), [1, 1, 1, 0])
    """

    inputs: Any
    answers: jax.Array  # [C]
    counts: jax.Array  # [C, N]
    stored: jax.Array  # []
    capacity: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, rows: Rows, stored: jax.Array | None = None) -> Self:
        """Return a replay in rows, of `Row` each.

        Args:
            rows: the answers.
            stored: how many came so far, if that is on the device already; it is not looked at.
        """
        replay = object.__new__(cls)
        number = jnp.full((), rows.stored, jnp.int32) if stored is None else stored
        replay.__dict__.update(stored=number, capacity=rows.capacity, _rows=rows)
        return replay

    @property
    def size(self) -> jax.Array:
        """The number of answers that it holds, int32 []."""
        return jnp.minimum(self.stored, self.capacity)

    @property
    def rows(self) -> Rows | None:
        """The answers on the host; None if they are in arrays."""
        return self.__dict__.get("_rows")

    def __getattr__(self, name: str) -> Any:
        """Make the arrays of a replay in rows when somebody looks at them."""
        rows = self.rows
        if rows is None or name not in _ARRAYS:
            raise AttributeError(f"a {type(self).__name__} has no {name}", name=name, obj=self)
        arrays: dict[str, Any] = dict(zip(_ARRAYS, _arrays(rows), strict=True))
        if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arrays)):
            self.__dict__.update(arrays)
        return arrays[name]

    def __reduce__(self) -> Any:
        """Return what makes it again, in arrays, for whoever copies or sends it."""
        return (type(self), (self.inputs, self.answers, self.counts, self.stored, self.capacity))

    def __repr__(self) -> str:
        """Say how many answers there is room for, and no numbers, which may have to be looked for on a device."""
        where = "arrays" if self.rows is None else "rows"
        return f"<{type(self).__name__}: the latest {self.capacity} answers, in {where}>"

    def on_host(self) -> Rows:
        """Return the answers in rows: the very same if they are, else copied.

        Raises:
            ConfigurationError: if the arrays are too short for the answers that they are said to hold.
        """
        if self.rows is not None:
            return self.rows
        ring = self._ring()
        kind = Kind.of(jax.tree.map(lambda leaf: np.empty(np.shape(leaf)[1:], leaf.dtype), ring))
        return Rows.from_ring(kind, ring, int(self.stored), self.capacity)

    def added_to(self, before: Rows) -> Rows:
        """Return the answers in rows, where the first ones are in rows already."""
        return before.extended(self._ring(), int(self.stored))

    def dense(self, more: int) -> Self:
        """Return the same in arrays with room for so many ``more`` answers, and not for all C."""
        rows = self.on_host()
        room = max(_LEAST_DENSE, 1 << max(0, rows.stored + more - 1).bit_length())
        return self._in_arrays(jax.tree.map(jnp.asarray, rows.ring(min(rows.capacity, room))))

    def trimmed(self) -> Self:
        """Return the same in NumPy's arrays without any room: what goes to the disk."""
        rows = self.on_host()
        return self._in_arrays(rows.ring(rows.size))

    def shaped(self) -> Self:
        """Return it with the shapes and types of the arrays in their place, none of which is made."""
        if self.rows is None:
            return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype), self)
        kind = self.rows.kind
        shapes = [jax.ShapeDtypeStruct((self.capacity, *shape), dtype) for shape, dtype in kind.arrays]
        like = self._in_arrays(kind.structure.unflatten(shapes))
        return like.replace(stored=jax.ShapeDtypeStruct((), self.stored.dtype))

    def _ring(self) -> Row:
        return Row(self.inputs, self.answers, self.counts)

    def _in_arrays(self, ring: Row) -> Self:
        return type(self)(*ring, stored=self.stored, capacity=self.capacity)


def _arrays(rows: Rows) -> Row:
    if not rows.stored:
        # Made where they are asked for: a program that is compiled, or asked for its shapes, then holds no zeros.
        leaves = [jnp.zeros((rows.capacity, *shape), dtype) for shape, dtype in rows.kind.arrays]
        return rows.kind.structure.unflatten(leaves)
    with jax.ensure_compile_time_eval():
        return jax.tree.map(jnp.asarray, rows.ring(rows.capacity))


class Elsewhere(struct.PyTreeNode):
    """Stands for a `Replay` whose answers the caller keeps: without them nothing can be learned, and all be predicted.

    Attributes:
        stored: int32 [], answers so far in all.
    """

    stored: jax.Array  # []


def parted(learned: Any, before: Sequence[Rows] = ()) -> tuple[Any, tuple[Rows, ...]]:
    """Return what members know without their answers, and the answers.

    Args:
        learned: a pytree with any number of `Replay`.
        before: as many rows, if some that those in arrays begin with are known.

    Raises:
        ConfigurationError: if arrays are too short for the answers that they are said to hold.
    """
    nodes, structure = jax.tree.flatten(learned, is_leaf=is_replay)
    replays = [node for node in nodes if is_replay(node)]
    if before:
        rows = tuple(one.rows or one.added_to(own) for one, own in zip(replays, before, strict=True))
    else:
        rows = tuple(one.on_host() for one in replays)
    return structure.unflatten([Elsewhere(node.stored) if is_replay(node) else node for node in nodes]), rows


def joined(learned: Any, rows: Sequence[Rows]) -> Any:
    """Undo `parted`; nothing is copied.

    Raises:
        ConfigurationError: if there are more rows than replays, or fewer.
    """
    nodes, structure = jax.tree.flatten(learned, is_leaf=_is_elsewhere)
    if sum(_is_elsewhere(node) for node in nodes) != len(rows):
        raise ConfigurationError(f"members cannot go on without their answers: {len(rows)} replays are not theirs")
    waiting = iter(rows)
    return structure.unflatten([Replay.of(next(waiting), n.stored) if _is_elsewhere(n) else n for n in nodes])


def is_replay(node: Any) -> bool:
    """Return whether a node of a pytree is a `Replay`: ``is_leaf`` where its arrays are not to be made."""
    return isinstance(node, Replay)


def _is_elsewhere(node: Any) -> bool:
    return isinstance(node, Elsewhere)
