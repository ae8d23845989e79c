"""A vector environment: eight copies of cart and pole in lockstep, one set of networks, one demonstrator each."""

import gymnasium

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.experiments import run_gymnasium

COPIES, STEPS = 8, 150


def expert(observation: list[float]) -> int:
    """Push the cart to the side to which the pole falls."""
    return int(observation[2] + observation[3] > 0)


def main() -> None:
    """Run them together."""
    env = gymnasium.make_vec("CartPole-v1", num_envs=COPIES, vectorization_mode="sync")
    imitator = ConsensusImitator(
        ensembles.mlp(env.single_observation_space, env.single_action_space, num_members=3),
        demonstrator=expert,  # a function serves all copies; one with a memory is needed once for each
        num_envs=COPIES,
        seed=0,
    )
    run = run_gymnasium(env, imitator, num_steps=STEPS, progress=False)
    print(f"{STEPS} steps of {COPIES} copies, {run.answers} answers")
    print(
        f"asked on {run.answers / STEPS / COPIES:.0%} of all steps; all copies share the weights",
        imitator.weights.round(2),
    )


if __name__ == "__main__":
    main()
