"""What answers cost that members keep to learn from again: time by the capacity, memory by the size of a picture."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
from gymnasium import spaces

from consensus_imitation import ConsensusImitator, TopK, ensembles

#: Rounds of training beyond any answer that is given here; and so much caution that nearly every step asks.
_NEVER, _ALWAYS = 10**9, 1e9

_PEAK = """
import resource
from consensus_imitation.benchmarks import replay
replay.give_answers({answers}, {every})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make_answer(capacity: int, side: int = 96) -> Callable[[], int]:
    """Return a step that asks and learns the answer without a round of training: 5 convolutional members, pictures."""
    training = ensembles.Training(capacity=capacity, every=_NEVER, caution=_ALWAYS)
    space = spaces.Box(0, 255, (side, side, 3), np.uint8)
    imitator = ConsensusImitator(ensembles.cnn(space, 4, training=training), _first, selection=TopK(3), seed=0)
    pictures = np.random.default_rng(0).integers(0, 256, (16, side, side, 3), dtype=np.uint8)

    def answer() -> int:
        given = imitator.num_queries
        # A step in a thousand asks nothing: however cautious, members keep back at most 0.999.
        while imitator.num_queries == given:
            imitator.act(pictures[imitator.num_steps % len(pictures)])
        return imitator.num_queries

    return answer


def give_answers(count: int, every: int) -> None:
    """Give so many answers about pictures of 210x160 to members of the default kind, at the default capacity.

    Args:
        count: of answers.
        every: answers between rounds of training; 0 for none.
    """
    training = ensembles.Training(every=every or _NEVER)
    members = ensembles.cnn(spaces.Box(0, 255, (210, 160, 3), np.uint8), 4, training=training)
    imitator = ConsensusImitator(members, _first, seed=0)
    rng = np.random.default_rng(0)
    while imitator.num_queries < count:
        imitator.act(rng.integers(0, 256, (210, 160, 3), dtype=np.uint8))


def peak_memory(answers: int, every: int) -> float:
    """Return the largest resident memory, in megabytes, of a process that does nothing but `give_answers`."""
    code = _PEAK.format(answers=answers, every=every)
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    kilobytes = float(found.stdout) / (1024 if sys.platform == "darwin" else 1)
    return kilobytes * 1024 / 1e6


def _first(observation: object) -> int:
    del observation
    return 0
