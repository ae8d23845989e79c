"""The settings of the demo."""

from dataclasses import dataclass

from consensus_imitation.experiments.redteam.config import RedteamConfig
from consensus_imitation.experiments.sweep.config import SweepConfig


@dataclass(frozen=True)
class DemoConfig:
    """What the demo runs.

    Attributes:
        env: name of the world; the command envs lists them.
        seed: of everything random.
    """

    env: str = "cliff"
    seed: int = 0

    def sweep(self) -> SweepConfig:
        """Return the short sweep."""
        return SweepConfig(env=self.env, k=(1, 2, 4, 8), alpha=(0.001,), num_seeds=128, num_steps=2000, seed=self.seed)

    def redteam(self) -> RedteamConfig:
        """Return the short suite."""
        from consensus_imitation import deception

        return RedteamConfig(scenarios=deception.SHORT, num_seeds=128, seed=self.seed)
