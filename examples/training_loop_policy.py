"""A policy from a training loop of your own: four replicas of it imitate a controller on cart and pole, and ask."""

from typing import Any

import gymnasium
import jax
import numpy as np
import optax

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.experiments import run_gymnasium

optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))


def init(key: jax.Array) -> Any:
    """Parameters of a perceptron, and the optimiser's state."""
    first, second = jax.random.split(key)
    params = (0.5 * jax.random.normal(first, (4, 32)), 0.2 * jax.random.normal(second, (32, 2)))
    return params, optimizer.init(params)


def apply(state: Any, observation: jax.Array) -> jax.Array:
    """Logits of the two pushes."""
    hidden, output = state[0]
    return jax.nn.tanh(observation @ hidden) @ output


def update(state: Any, observations: jax.Array, actions: jax.Array) -> Any:
    """One step of behavioural cloning."""
    params, opt_state = state

    def loss(params: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(apply((params, None), observations), actions).mean()

    steps, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, steps), opt_state


def controller(observation: np.ndarray) -> int:
    """Push the cart to the side to which the pole falls."""
    return int(observation[2] + observation[3] > 0)


def main() -> None:
    """Let it act, ask and learn."""
    env = gymnasium.make("CartPole-v1")
    replicas = ensembles.from_training_loop(init, update, apply, env.observation_space, env.action_space, num_members=4)
    imitator = ConsensusImitator(replicas, demonstrator=controller, seed=0)
    run = run_gymnasium(env, imitator, num_steps=2000, progress=False)
    lengths = [episode["length"] for episode in run.episodes]
    print(f"{run.answers} answers in {run.steps} steps; {len(lengths)} episodes, the shortest of {min(lengths)} steps")


if __name__ == "__main__":
    main()
