"""The settings of the comparison of low stakes with high."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StakesConfig:
    """The settings of the comparison.

    Attributes:
        alpha: of the alpha rule, in (0, 1].
        factor: of the inflation budget, at least 1.
        num_members: N: the truth, a planted member, and imperfect ones; at least 2.
        num_seeds: runs of each contestant in each world, at least 8.
        num_steps: T, steps per run, at least 8. The planted member turns after a quarter of them.
        price: of one question, in units of reward: what a person's attention before an action costs.
        learning_rate: of the network trained by gradient descent (here one table of logits).
        seed: of everything random.

    Raises:
        ValueError: for sizes or parameters out of range.
    """

    alpha: float = 0.002
    factor: float = 2.0
    num_members: int = 8
    num_seeds: int = 64
    num_steps: int = 4000
    price: float = 0.01
    learning_rate: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        # Imported when it is needed: the command's help starts at once.
        from consensus_imitation.core.budget import InflationBudget
        from consensus_imitation.core.selection import AlphaThreshold

        AlphaThreshold(self.alpha)
        InflationBudget(self.factor)
        if self.num_seeds < 8 or self.num_steps < 8 or self.num_members < 2 or self.seed < 0:
            raise ValueError("num_seeds and num_steps must be at least 8, num_members at least 2, seed at least 0")
        if not (0 < self.price < float("inf") and 0 < self.learning_rate < float("inf")):
            raise ValueError("price and learning_rate must be positive numbers")
