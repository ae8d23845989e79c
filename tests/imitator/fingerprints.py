"""All that an imitator's next step depends on, as one number; and what a step was."""

import hashlib
from typing import Any

import jax
import numpy as np

from consensus_imitation import ConsensusImitator, Decision


def fingerprint(imitator: ConsensusImitator) -> str:
    """SHA-256 over the bytes of every leaf of the state, the counters, and the queries that wait."""
    content = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(imitator.state):
        plain = jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        array = np.asarray(plain)
        content.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        content.update(array.tobytes())
    waiting = [None if one.query is None else one.query.id for one in imitator.pending]
    content.update(repr((imitator.num_steps, imitator.num_queries, waiting)).encode())
    return content.hexdigest()


def taken(decision: Decision) -> tuple[Any, ...]:
    """What was done, comparable between two imitators of different runs."""
    parts = (decision.action, decision.queried, decision.query_prob, decision.min_probs, decision.selected)
    return tuple(np.asarray(part).tobytes() for part in parts)
