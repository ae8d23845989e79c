"""A trained policy as the demonstrator: anything with Stable-Baselines3's `predict` can answer."""

from typing import Any

import gymnasium
import numpy as np

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.demonstrators import as_demonstrator
from consensus_imitation.experiments import run_gymnasium


class Policy:
    """Stands for `stable_baselines3.PPO.load("cartpole")`: the same method, and the same results."""

    def predict(self, observation: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """Push the cart to the side to which the pole falls."""
        return np.array(int(observation[2] + observation[3] > 0)), state


def main() -> None:
    """Imitate it on cart and pole."""
    env = gymnasium.make("CartPole-v1")
    expert = as_demonstrator(Policy())  # `demonstrator=Policy()` does the same
    imitator = ConsensusImitator(
        ensembles.mlp(env.observation_space, env.action_space, num_members=3), demonstrator=expert, seed=0
    )
    run = run_gymnasium(env, imitator, num_steps=1000, progress=False)
    lengths = [episode["length"] for episode in run.episodes]
    print(f"{run.answers} answers in {run.steps} steps; {len(lengths)} episodes, the shortest of {min(lengths)} steps")


if __name__ == "__main__":
    main()
