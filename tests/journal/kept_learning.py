"""A run of members that learn: of pictures, with all that a round may do.

``python -m tests.journal.kept_learning`` writes it anew: only when the format of journals, or what members learn from
the same answers, changes on purpose.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from gymnasium import spaces

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.ensembles.neural.encoding import make_encoder

from . import kept_runs

KEPT = Path(__file__).with_name("kept_learning_run")
SIDE, ACTIONS, STEPS = 6, 3, 60


def parts() -> dict[str, Any]:
    """Two kinds of networks over pictures: the replay of the one has wrapped round, that of the other has room left."""
    wrapped = ensembles.Training(capacity=16, batch_size=8, updates=2, every=3, temperature=True, caution=2.0)
    roomy = ensembles.Training(capacity=256, batch_size=8, updates=2, averaging=2.0, plateau=ensembles.Plateau())
    encoder = make_encoder(spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8), grid=False)
    return {
        "ensemble": ensembles.union(
            ensembles.mlp(encoder, ACTIONS, 2, hidden=(4,), training=wrapped),
            ensembles.cnn(encoder, ACTIONS, 2, channels=(2,), hidden=(4,), training=roomy, kind="image"),
        ),
        "selection": TopK(4),
    }


def go_on(imitator: ConsensusImitator, first: int) -> None:
    """Some steps, answered as they come; an answer now and then that nobody would expect."""
    rng = np.random.default_rng(first)
    for _ in range(STEPS):
        picture = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        decision = imitator.decide(picture)
        if decision.queried:
            imitator.answer(decision, int(picture[0, 0, 0]) % ACTIONS)


def summary(imitator: ConsensusImitator) -> dict[str, Any]:
    """The bits of what counts, but not of answers that are not there: their places were zeros once."""
    state = imitator.state
    hashed = hashlib.sha256()
    for part in state.learned:
        for leaf in jax.tree.leaves((part.params, part.averages, part.optimizer, part.temperature)):
            hashed.update(np.asarray(leaf).tobytes())
        size = int(part.replay.size)
        for leaf in (*jax.tree.leaves(part.replay.inputs), part.replay.answers, part.replay.counts):
            hashed.update(np.asarray(leaf)[:size].tobytes())
    return {
        "steps": imitator.num_steps,
        "queries": imitator.num_queries,
        "stored": [int(part.replay.stored) for part in state.learned],
        "weights": np.asarray(state.posterior.log_weights).tobytes().hex(),
        "learned": hashed.hexdigest(),
    }


if __name__ == "__main__":
    kept_runs.write(sys.modules[__name__], checkpoint_every=50, last_bits=kept_runs.last_bits())
