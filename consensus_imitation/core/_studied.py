"""Whether a recording was studied before: T2 counts each answer of the demonstrator once.

The learner's state remembers what was studied, however the run continues: as digests of episodes, and of whole
recordings. Of very many it keeps the smallest digests, which are a fair sample. A recording that comes again is noticed
by those of its episodes that are among them.
"""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: How many digests are kept.
KEPT = 64

#: Shorter episodes come again by chance.
SHORTEST = 8

_NONE = 2**64 - 1


def nothing() -> jax.Array:
    """Return the memory before the first recording: uint32 [KEPT, 2]."""
    return jnp.full((KEPT, 2), 0xFFFFFFFF, jnp.uint32)


def noticed(memory: Any, observations: Any, actions: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the memory after a recording, and whether part of it was studied before, or occurs twice within it.

    An episode, or a whole recording, of at least `SHORTEST` steps counts as studied before if all its observations and
    actions equal those of an earlier one. So does a recording that repeats one piece of at least that many steps.

    Args:
        memory: uint32 [KEPT, 2], from `nothing` or from here.
        observations: arrays with a leading axis T.
        actions: int32 [T].
        starts: bool [T], an episode begins.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core import _studied as studied
        >>> observations, actions, starts = np.arange(20) % 3, np.arange(20) % 2, np.arange(20) == 0
        >>> memory, again = studied.noticed(studied.nothing(), observations, actions, starts)
        >>> again, studied.noticed(memory, observations, actions, starts)[1]
        (False, True)
    """
    rows = np.concatenate([_bytes(leaf) for leaf in (*jax.tree.leaves(observations), actions)], axis=1)
    episodes = [part for part in np.split(rows, np.flatnonzero(starts)) if len(part)]
    parts = episodes if len(episodes) == 1 else [*episodes, rows]
    known = {(int(high) << 32) | int(low) for high, low in np.asarray(memory)} - {_NONE}
    again = _is_one_piece_over_and_over(rows)
    for part in parts:
        if len(part) >= SHORTEST:
            digest = int.from_bytes(hashlib.blake2b(part.tobytes(), digest_size=8).digest(), "big")
            again = again or digest in known
            known.add(digest)
    kept = np.full(KEPT, _NONE, np.uint64)
    kept[: len(known)] = sorted(known)[:KEPT]
    return np.stack([kept >> np.uint64(32), kept & np.uint64(0xFFFFFFFF)], axis=-1).astype(np.uint32), again


def _is_one_piece_over_and_over(rows: np.ndarray) -> bool:
    """Return whether the rows repeat a shorter piece that is too long to repeat by chance."""
    total = len(rows)
    periods = (p for p in range(1, total // 2 + 1) if total % p == 0)
    shortest = next((p for p in periods if np.array_equal(rows[p:], rows[:-p])), total)
    return SHORTEST <= shortest < total


def _bytes(leaf: Any) -> np.ndarray:
    """Return [T, ...] as uint8 [T, bytes]; the same numbers in another type are the same."""
    array = np.asarray(leaf)
    array = np.ascontiguousarray(array, np.int64 if array.dtype.kind in "biu" else np.float32)
    return array.reshape(len(array), -1).view(np.uint8)
