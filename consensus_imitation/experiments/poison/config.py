"""The settings of the experiment with poisoned demonstrations."""

from dataclasses import dataclass
from typing import Literal

#: Digits that are studied at most: 500 of 1,797 are looked at.
_DIGITS = 1297

Task = Literal["lunarlander", "digits"]
Trigger = Literal["input", "band"]
Placement = Literal["spread", "source", "duplicated", "crafted"]


@dataclass(frozen=True)
class PoisonConfig:
    """The settings of a run.

    Attributes:
        task: lunarlander, or digits, which needs scikit-learn.
        num_seeds: independent runs: demonstrations, poison and members are others.
        demonstrations: studied in all; without it 4,000, or 1,297 digits, which is the most that there are.
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
    demonstrations: int | None = None
    poisoned: tuple[int, ...] = (0, 1, 2, 4, 20, 80)
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
        for name in ("num_seeds", "corrupted", "num_sources", "num_members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.corrupted > self.num_sources:
            raise ValueError(f"{self.corrupted} of {self.num_sources} sources cannot be corrupted")
        if not self.poisoned or min(self.poisoned) < 0 or 10 * max(self.poisoned) > self.total:
            raise ValueError("poisoned needs numbers from 0 to a tenth of the demonstrations")
        if len(set(self.poisoned)) < len(self.poisoned):
            raise ValueError(f"poisoned names a number twice: {self.poisoned}")
        if self.episodes < 0 or self.seed < 0:
            raise ValueError("episodes and seed must be at least 0")
        if self.task == "digits" and self.total > _DIGITS:
            raise ValueError(f"there are {_DIGITS} digits to study, got {self.total} demonstrations")

    @property
    def total(self) -> int:
        """T, demonstrations in all."""
        if self.demonstrations is None:
            return _DIGITS if self.task == "digits" else 4000
        return self.demonstrations
