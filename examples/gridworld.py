"""Tables in a gridworld: eight models of a demonstrator walk along a cliff, and ask where they differ."""

import gymnasium
import numpy as np

import consensus_imitation.envs.gymnasium_adapter  # noqa: F401 - registers the worlds
from consensus_imitation import ConsensusImitator, TopK, ensembles

STEPS = 500


def main() -> None:
    """Walk, and count the questions and the falls."""
    env = gymnasium.make("ConsensusImitation/Cliff-v0")
    world = env.unwrapped.world
    rng = np.random.default_rng(0)
    expert = world.demonstrator_probs.astype(float)  # [observations, actions]
    expert /= expert.sum(axis=1, keepdims=True)
    noise = rng.dirichlet(np.ones(expert.shape[1]), (7, len(expert)))
    imitator = ConsensusImitator(
        ensembles.tabular(np.concatenate([expert[None], 0.8 * expert + 0.2 * noise])),
        demonstrator=lambda observation: rng.choice(expert.shape[1], p=expert[observation]),
        selection=TopK(4),  # the four most likely models have a say
        seed=0,
    )
    falls, late = 0, 0
    observation, _ = env.reset(seed=0)
    for step in range(STEPS):
        decision = imitator.act(observation)
        late += decision.queried and step >= STEPS // 2
        observation, _, terminated, truncated, info = env.step(decision.action)
        falls += info["harm"]
        if terminated or truncated:
            observation, _ = env.reset()
    print(world.render_text(0))
    print(f"{STEPS} steps, {imitator.num_queries} questions, {late} of them in the later half, {falls} falls")
    print(f"weight of the model that equals the demonstrator: {imitator.weights[0]:.2f}")


if __name__ == "__main__":
    main()
