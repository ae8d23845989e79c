"""An imitator's state on disk: parameters, posterior, memory and counters in one file, written whole or not at all.

The file holds arrays and a line of JSON in MessagePack, nothing that is executed when it is read.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from consensus_imitation.learner import LearnerState

#: Written into every file; a reader refuses another one.
FORMAT = "consensus-imitation-state-1"


class Checkpoint(NamedTuple):
    """What was saved: the learner's state, and the run's own numbers."""

    state: LearnerState
    header: dict[str, Any]


def save_checkpoint(path: Path, state: LearnerState, header: dict[str, Any]) -> None:
    """Write a state, replacing the file in one go.

    Args:
        path: of the file.
        state: from `ConsensusImitator.state`.
        header: whatever else is needed to go on; anything that JSON can hold.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.experiments.checkpoint import load_checkpoint, save_checkpoint
        >>> imitator = ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), seed=0)
        >>> path = Path(tempfile.mkdtemp()) / "state.msgpack"
        >>> save_checkpoint(path, imitator.state, {"step": 0})
        >>> load_checkpoint(path, like=imitator.state).header
        {'step': 0}
    """
    leaves = [np.asarray(_plain(leaf)) for leaf in jax.tree.leaves(state)]
    text = json.dumps({"format": FORMAT, "structure": _structure(state), "header": header})
    content = {"json": text, "leaves": {str(i): leaf for i, leaf in enumerate(leaves)}}
    part = path.with_suffix(path.suffix + ".part")
    with part.open("wb") as file:
        file.write(serialization.msgpack_serialize(content))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def load_checkpoint(path: Path, like: LearnerState) -> Checkpoint:
    """Read a state back.

    Args:
        path: of the file.
        like: a state of the same kind: from an imitator with the same ensemble and rules.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint, or one of another ensemble.
    """
    try:
        content = cast(dict[str, Any], serialization.msgpack_restore(path.read_bytes()))
        said = json.loads(content["json"])
        known = said["format"] == FORMAT
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of this library: {error}") from error
    if not known:
        raise ValueError(f"{path} is a checkpoint in another format: {said['format']!r}, expected {FORMAT!r}")
    if said["structure"] != _structure(like):
        raise ValueError(
            f"{path} does not fit: it was saved by an imitator with another ensemble, other rules or another number of "
            "environments; construct the imitator as it was then"
        )
    old, structure = jax.tree.flatten(like)
    leaves = [content["leaves"][str(i)] for i in range(len(old))]
    rebuilt = [_as_before(leaf, before) for leaf, before in zip(leaves, old, strict=True)]
    return Checkpoint(jax.tree.unflatten(structure, rebuilt), said["header"])


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _as_before(leaf: np.ndarray, before: Any) -> jax.Array:
    if _is_key(before):
        return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(before))
    return jnp.asarray(leaf)


def _structure(state: LearnerState) -> list[str]:
    """Name, type and shape of every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]
