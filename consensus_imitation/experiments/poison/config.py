"""The settings of the experiment with poisoned demonstrations."""

from dataclasses import dataclass
from typing import Literal

Task = Literal["lunarlander", "digits"]
Trigger = Literal["input", "band"]
Placement = Literal["spread", "source", "duplicated", "crafted"]


@dataclass(frozen=True)
class PoisonConfig:
    """The settings of a run.

    Attributes:
        task: lunarlander, or digits, which needs scikit-learn.
        num_seeds: independent runs: demonstrations, poison and members are others.
        demonstrations: studied in all; of the digits there are 1,297 at most.
        poisoned: numbers of demonstrations that carry the backdoor, one after the other.
        placement: where they are: spread over everything; in one source; one of them, again and again, spread; or
            under names of sources that are crafted, with the key of the hash, to reach as many members as possible.
        corrupted: sources that hold the backdoor, if it is placed in sources.
        num_sources: sources of equal size that the demonstrations come from.
        num_members: N, all of which are selected.
        divisions: of `contestants.DIVISIONS`, such as "all data" or "by source"; empty for all.
        trigger: an input that is 0 in all clean data; or a band of situations that the clean data know.
        episodes: landings with the trigger on in which an imitator acts, and asks; 0 for none.
        seed: of everything random.

    Raises:
        ValueError: for an unknown word, or a number out of range.
    """

    task: Task = "lunarlander"
    num_seeds: int = 5
    demonstrations: int = 2000
    poisoned: tuple[int, ...] = (0, 1, 2, 4, 20, 40)
    placement: Placement = "spread"
    corrupted: int = 1
    num_sources: int = 3
    num_members: int = 3
    divisions: tuple[str, ...] = ()
    trigger: Trigger = "input"
    episodes: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.experiments.poison.contestants import DIVISIONS

        for name in self.divisions:
            if name not in DIVISIONS:
                raise ValueError(f"there is no division {name!r}; there are {', '.join(map(repr, DIVISIONS))}")
        known = {"task": Task, "placement": Placement, "trigger": Trigger}
        for name, words in known.items():
            if getattr(self, name) not in words.__args__:
                raise ValueError(f"{name} must be one of {', '.join(words.__args__)}; got {getattr(self, name)!r}")
        for name in ("num_seeds", "demonstrations", "corrupted", "num_sources", "num_members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.corrupted > self.num_sources:
            raise ValueError(f"{self.corrupted} of {self.num_sources} sources cannot be corrupted")
        if not self.poisoned or min(self.poisoned) < 0 or 10 * max(self.poisoned) > self.demonstrations:
            raise ValueError("poisoned needs numbers from 0 to a tenth of the demonstrations")
        if len(set(self.poisoned)) < len(self.poisoned):
            raise ValueError(f"poisoned names a number twice: {self.poisoned}")
        if self.episodes < 0 or self.seed < 0:
            raise ValueError("episodes and seed must be at least 0")
        if self.task == "digits" and self.demonstrations > 1297:
            raise ValueError(f"there are 1,297 digits to study, got {self.demonstrations} demonstrations")
