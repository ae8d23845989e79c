"""Five lines around an ordinary training loop: it keeps four replicas, and asks for a label where they disagree."""

from typing import Any

import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

from consensus_imitation import ConsensusImitator, TopK, ensembles

optimizer = optax.adam(3e-3)


def init(key: jax.Array) -> Any:
    """Parameters of a perceptron, and the optimiser's state."""
    first, second = jax.random.split(key)
    params = (0.2 * jax.random.normal(first, (64, 64)), 0.2 * jax.random.normal(second, (64, 10)))
    return params, optimizer.init(params)


def apply(state: Any, x: jax.Array) -> jax.Array:
    """Logits."""
    hidden, output = state[0]
    return jax.nn.relu(x @ hidden) @ output


def update(state: Any, x: jax.Array, y: jax.Array) -> Any:
    """One step on a minibatch: what the loop has been doing all along."""
    params, opt_state = state
    loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(apply((p, None), x), y).mean()  # noqa: E731
    steps, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, steps), opt_state


def main() -> None:
    """Digits come one after another; whoever is asked says what a digit is."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = (digits.data / 16).astype(np.float32)[order], digits.target[order]

    replicas = ensembles.from_training_loop(init, update, apply, (64,), 10, num_members=4)  # 1
    imitator = ConsensusImitator(replicas, selection=TopK(4), seed=0)  # 2
    asked, wrong = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for t, (image, label) in enumerate(zip(images, labels, strict=True)):
        decision = imitator.decide(image)  # 3
        if decision.queried:  # 4
            asked[t] = True
            imitator.answer(decision, int(label))  # 5: learns, too
        else:
            wrong[t] = decision.action != label
    for part in (slice(0, 600), slice(600, 1200), slice(1200, None)):
        print(f"asked on {asked[part].mean():.0%}, wrong on {wrong[part].mean():.1%}")


if __name__ == "__main__":
    main()
