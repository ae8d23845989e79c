"""An imitator's state on disk: parameters, posterior, memory and counters in one file, written whole or not at all.

The file holds arrays and a line of JSON in MessagePack, behind a checksum over all of it. Nothing is executed when it
is read: the structure comes from the imitator that the user constructs.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from consensus_imitation.errors import ConfigurationError, JournalCorruptedError
from consensus_imitation.journal._files import write_whole

#: The first bytes of every file; a reader refuses another one.
FORMAT = b"consensus-imitation-state-2\n"
_OLDER = b"consensus-imitation-state-1"
_BODY = len(FORMAT) + hashlib.sha256().digest_size


@dataclass(frozen=True)
class Growing:
    """Stands in a state that a checkpoint is to be like for an array with a leading axis of any length up to a number.

    Attributes:
        shape: the first number is the largest.
        dtype: of the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def like(cls, leaf: Any) -> Self:
        """For an array, or shape and type of one, that has the largest length."""
        return cls(tuple(leaf.shape), np.dtype(leaf.dtype))

    def as_long_as(self, array: Any) -> Any:
        """With the length of an array that takes its place, if it may have it; else as it is."""
        length = np.shape(array)[:1]
        return replace(self, shape=(*length, *self.shape[1:])) if length and length[0] <= self.shape[0] else self


class Checkpoint(NamedTuple):
    """What was saved: a pytree of arrays, for example a learner's state; and the run's own numbers."""

    state: Any
    header: dict[str, Any]


def save_checkpoint(path: Path, state: Any, header: dict[str, Any]) -> None:
    """Write a state, replacing the file in one go; it is on the disk when this returns.

    Args:
        path: of the file, which only its owner may read: the key of the draws is in it.
        state: a pytree of arrays, for example `ConsensusImitator.state`.
        header: whatever else is needed to go on; anything that JSON can hold.

    Raises:
        OSError: if it cannot be written. The file is then the old one or the new one, and whole.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.journal.checkpoint import load_checkpoint, save_checkpoint
        >>> imitator = ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), seed=0)
        >>> path = Path(tempfile.mkdtemp()) / "state.msgpack"
        >>> save_checkpoint(path, imitator.state, {"step": 0})
        >>> load_checkpoint(path, like=imitator.state).header
        {'step': 0}
    """
    leaves = [np.asarray(_plain(leaf)) for leaf in jax.tree.leaves(state)]
    text = json.dumps({"structure": _structure(state), "header": header})
    content = {"json": text, "leaves": {str(i): leaf for i, leaf in enumerate(leaves)}}
    body = serialization.msgpack_serialize(content)
    write_whole(path, FORMAT + hashlib.sha256(FORMAT + body).digest() + body)


def load_checkpoint(path: Path, like: Any) -> Checkpoint:
    """Read a state back.

    Args:
        path: of the file.
        like: a state of the same kind: from an imitator with the same ensemble and rules; it may hold `Growing` in the
            place of arrays, for which NumPy's come back.

    Raises:
        FileNotFoundError: if there is no such file.
        JournalCorruptedError: if it is no checkpoint, or not what was written.
        ConfigurationError: if it is one of another ensemble.
    """
    said, saved = _read(path)
    old, structure = jax.tree.flatten(like)
    if len(said["structure"]) == len(old):
        old = [leaf.as_long_as(saved[str(i)]) if isinstance(leaf, Growing) else leaf for i, leaf in enumerate(old)]
    if said["structure"] != _structure(structure.unflatten(old)):
        raise ConfigurationError(
            f"{path} does not fit: it was saved by an imitator with another ensemble, other rules or another number of "
            "environments; construct the imitator as it was then"
        )
    leaves = [saved[str(i)] for i in range(len(old))]
    if [f"{leaf.dtype} {leaf.shape}" for leaf in leaves] != [_kind(leaf) for leaf in old]:
        raise JournalCorruptedError(
            f"{path} gives its checksum, and its arrays are not what it says that they are; delete it"
        )
    rebuilt = [_as_before(leaf, before) for leaf, before in zip(leaves, old, strict=True)]
    return Checkpoint(jax.tree.unflatten(structure, rebuilt), said["header"])


def load_header(path: Path) -> dict[str, Any]:
    """The run's own numbers of a checkpoint, all of which is checked.

    Raises:
        FileNotFoundError: if there is no such file.
        JournalCorruptedError: if it is no checkpoint, or not what was written.
    """
    return _read(path)[0]["header"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said, and the leaves."""
    with path.open("rb") as file:
        # Of another file no more than is needed to tell.
        data = file.read(200)
        if data.startswith(FORMAT):
            data += file.read()
    if not data.startswith(FORMAT):
        older = " (it is in an older format: start the run anew)" if _OLDER in data else ""
        raise JournalCorruptedError(f"{path} is no checkpoint of this library{older}")
    checksum, body = data[len(FORMAT) : _BODY], data[_BODY:]
    # Nothing is parsed before it is known to be what was written.
    if hashlib.sha256(FORMAT + body).digest() != checksum:
        raise JournalCorruptedError(
            f"{path} is damaged: its content does not give its checksum; delete it, an older one may do"
        )
    try:
        content = cast(dict[str, Any], serialization.msgpack_restore(body))
        said, leaves = json.loads(content["json"]), content["leaves"]
        # All of it is there, and no more than is looked for.
        _ = said["structure"], said["header"], [leaves[str(i)] for i in range(len(said["structure"]))]
    except Exception as error:
        raise JournalCorruptedError(f"{path} gives its checksum, and holds no state: {error}; delete it") from error
    return said, leaves


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as_before(leaf: np.ndarray, before: Any) -> Any:
    if isinstance(before, Growing):
        return leaf
    if _is_key(before):
        return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(before))
    return jnp.asarray(leaf)


def _kind(leaf: Any) -> str:
    """Type and shape of an array, of a key's data."""
    data = _plain(leaf)
    return f"{data.dtype} {data.shape}"


def _structure(state: Any) -> list[str]:
    """Name, type and shape of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]
