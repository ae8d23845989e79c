"""Your own Gymnasium environment: small networks learn from each answer, and ask less and less."""

from typing import Any

import gymnasium
import numpy as np

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.experiments import run_gymnasium


class Thermostat(gymnasium.Env[np.ndarray, np.int64]):
    """Keep a room at 20 degrees while it is cold outside. Actions: 0 cools, 1 waits, 2 heats."""

    observation_space = gymnasium.spaces.Box(-50.0, 50.0, (2,), np.float32)  # room, outside
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin somewhere between 10 and 30 degrees."""
        super().reset(seed=seed)
        self.room, self.outside, self.minutes = self.np_random.uniform(10, 30), self.np_random.uniform(-5, 15), 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Let a minute pass."""
        self.room += (int(action) - 1) + 0.02 * (self.outside - self.room) + 0.1 * self.np_random.normal()
        self.minutes += 1
        return self._observe(), -abs(self.room - 20.0), False, self.minutes == 50, {}

    def _observe(self) -> np.ndarray:
        return np.array([self.room, self.outside], np.float32)


def expert(observation: np.ndarray) -> int:
    """Heat below 19.5 degrees, cool above 20.5."""
    return 2 if observation[0] < 19.5 else 0 if observation[0] > 20.5 else 1


def main() -> None:
    """Act for 1000 minutes."""
    env = Thermostat()
    members = ensembles.mlp(env.observation_space, env.action_space, num_members=3)
    imitator = ConsensusImitator(members, demonstrator=expert, seed=0)
    for steps in (250, 250, 500):
        before = imitator.num_queries
        run_gymnasium(env, imitator, num_steps=steps, seed=imitator.num_steps, progress=False)
        print(f"{steps} more steps: asked on {(imitator.num_queries - before) / steps:.0%} of them")
    policy = imitator.policy()
    agrees = [policy.predict(np.array([room, 5.0], np.float32))[0] == expert([room]) for room in range(10, 31)]
    print(f"the networks alone do what the expert does at {sum(agrees)} of {len(agrees)} temperatures")


if __name__ == "__main__":
    main()
