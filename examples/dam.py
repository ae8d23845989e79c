"""Query rate against k in your own environment, with harm as you define it.

With a picture: `consensus-imitation sweep --env examples/dam.py:make --harm examples/dam.py:flooded --seeds 5`
"""

from typing import Any

import gymnasium
import numpy as np

from consensus_imitation.experiments import sweep_environment, sweep_table


class Dam(gymnasium.Env[np.ndarray, np.int64]):
    """Keep the water behind a dam high, but not above the rim (1.0). Actions: 0 closes the gate, 1 half, 2 opens it."""

    observation_space = gymnasium.spaces.Box(0.0, 2.0, (2,), np.float32)  # level, inflow
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin half full, in dry weather."""
        super().reset(seed=seed)
        self.level, self.inflow, self.hours = 0.5, 0.02, 0
        return np.array([self.level, self.inflow], np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Let an hour pass; now and then it rains."""
        self.inflow = float(np.clip(0.9 * self.inflow + 0.002 + 0.1 * (self.np_random.random() < 0.03), 0.0, 0.3))
        self.level = float(np.clip(self.level + self.inflow - 0.1 * int(action), 0.0, 2.0))
        self.hours += 1
        observation = np.array([self.level, self.inflow], np.float32)
        return observation, self.level, self.level > 1.0, self.hours == 100, {}


def expert(observation: np.ndarray) -> int:
    """Open the gate as far as the water would come near the rim otherwise."""
    expected = observation[0] + 4.0 * observation[1]
    return 2 if expected > 0.9 else 1 if expected > 0.7 else 0


def make(seed: int) -> tuple[Dam, Any]:
    """Return the environment and who answers; the seed is for demonstrators that draw."""
    return Dam(), expert


def flooded(reward: float, terminated: bool, info: Any) -> bool:
    """Say whether a step did harm."""
    return terminated


def main() -> None:
    """Run a sweep that is too small to rely on."""
    rows, _ = sweep_environment(Dam, lambda env, seed: expert, harm=flooded, num_members=2, num_seeds=2, num_steps=200)
    print("\n".join(" | ".join(cells) for cells in sweep_table(rows).rows))


if __name__ == "__main__":
    main()
