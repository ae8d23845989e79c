"""The settings of the comparison with an oracle that reads the members."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KnowledgeConfig:
    """The settings of the comparison.

    Attributes:
        num_seeds: runs of each contestant in each cell, at least 8.
        num_steps: T, steps of a run, at least 100: expectations count what happens at first as a share of them.
        seed: of everything random.

    Raises:
        ValueError: for numbers out of range.
    """

    num_seeds: int = 256
    num_steps: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_seeds < 8 or self.num_steps < 100 or self.seed < 0:
            raise ValueError("num_seeds must be at least 8, num_steps at least 100, and seed at least 0")
