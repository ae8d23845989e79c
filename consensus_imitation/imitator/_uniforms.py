"""The numbers that decide the draws, computed ahead: one by one they would take longer than the decisions."""

from typing import Any

import numpy as np

from consensus_imitation.core.state import Stream
from consensus_imitation.imitator import kernels


class Numbers:
    """`learner.random_words` of each step, in blocks; each is a function of its stream's key and step."""

    def __init__(self) -> None:
        # By environment (None for the only one, or for all in lockstep): the keys, the first steps, and the block.
        self._blocks: dict[int | None, tuple[Any, np.ndarray, np.ndarray]] = {}

    def at(self, keys: Any, stream: Stream, steps: np.ndarray, env: int | None, batch: bool) -> Any:
        """The two words of a stream's present step: uint32 [2]; [B, 2] for a ``batch``.

        Args:
            keys: of all streams, the very array that the run has: a block of another is not used.
            stream: the one that the step is of, or all of a ``batch``.
            steps: int64 [B] (or [1]), steps closed in each environment.
            env: which environment it is; None for the only one, or all in lockstep.
            batch: whether it is about all of a batch.
        """
        now = steps if env is None else steps[env : env + 1]
        known, first, block = self._blocks.get(env, (None, now, np.empty(0)))
        ahead = now - first
        place = int(ahead[0])
        # Environments may have gone on by themselves since, or the run gone back.
        if known is not keys or not 0 <= place < len(block) or (len(ahead) > 1 and (ahead != place).any()):
            place, block = 0, np.asarray(kernels.numbers(stream.key, stream.step, batch=batch))
            self._blocks[env] = keys, now.copy(), block
        return block[place]
