"""A person at the console: the imitator shows the situation where its models differ, and waits for a key."""

import numpy as np

from consensus_imitation import ConsensusImitator, TopK, ensembles, envs

STEPS = 12


def main() -> None:
    """Play the first steps of a walk with a person."""
    world = envs.make("vase")
    keys = {name[0]: action for action, name in enumerate(world.action_names)}

    def person(observation: int) -> int:
        print(world.render_text(observation))
        while (key := input(f"{', '.join(world.action_names)}? ")) not in keys:
            print(f"one of {' '.join(keys)}, please")
        return keys[key]

    expert = world.demonstrator_probs.astype(float)
    rng = np.random.default_rng(0)
    others = 0.5 * expert + 0.5 * rng.dirichlet(np.ones(expert.shape[1]), (3, len(expert)))
    imitator = ConsensusImitator(
        ensembles.tabular(np.concatenate([expert[None], others])), person, selection=TopK(3), seed=1
    )
    env = world.env
    state = int(np.asarray(env.start_states)[0])
    for _ in range(STEPS):
        decision = imitator.act(state)
        state = int(np.asarray(env.next_state)[state, decision.action, 0])
    print(f"the person was asked {imitator.num_queries} times in {STEPS} steps")
    print("weights of the models:", imitator.weights.round(2).tolist())


if __name__ == "__main__":
    main()
