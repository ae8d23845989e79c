"""The settings of the comparison of bounds with what happens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BoundsConfig:
    """The settings of the comparison.

    Attributes:
        env: name of the world; the command envs lists them.
        alpha: of the alpha rule, in (0, 1].
        factors: of the inflation budgets.
        num_members: N, size of the ensemble.
        num_seeds: runs of each setting, at least 2.
        num_steps: T, steps per run.
        seed: of everything random.

    Raises:
        ValueError: for sizes or parameters out of range.
    """

    env: str = "cliff"
    alpha: float = 0.002
    factors: tuple[float, ...] = (1.2, 2.0, 5.0)
    num_members: int = 8
    num_seeds: int = 256
    num_steps: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.core.budget import InflationBudget
        from consensus_imitation.core.selection import AlphaThreshold

        AlphaThreshold(self.alpha)
        for factor in self.factors:
            InflationBudget(factor)
        if self.num_seeds < 2 or self.num_steps < 4 or self.num_members < 2 or self.seed < 0:
            raise ValueError("num_seeds and num_members must be at least 2, num_steps at least 4, seed at least 0")
