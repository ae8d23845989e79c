"""The numbers that decide the draws, computed ahead: one by one they would take longer than the decisions."""

from typing import Any

import numpy as np

from consensus_imitation import compiled
from consensus_imitation.learner import Stream


class Numbers:
    """`learner.uniform` of each step, in blocks. Whatever is asked for is a function of the stream's key and step."""

    def __init__(self) -> None:
        # By environment (None for the only one, or for all in lockstep): first step of a block, and the block.
        self._blocks: dict[int | None, tuple[int, np.ndarray]] = {}

    def at(self, stream: Stream, step: int, env: int | None, batch: bool) -> Any:
        """The number in [0, 1) of the stream's present step, which is ``step``; [B] for a ``batch``."""
        first, block = self._blocks.get(env, (0, np.empty(0)))
        if not 0 <= step - first < len(block):
            block = np.asarray(compiled.numbers(stream, batch=batch))
            self._blocks[env] = first, block = step, block
        return block[step - first]

    def forget(self) -> None:
        """The steps have gone on without asking for every number, or have gone back."""
        self._blocks.clear()

    def forget_lockstep(self) -> None:
        """One environment of a batch has gone on by itself."""
        self._blocks.pop(None, None)
