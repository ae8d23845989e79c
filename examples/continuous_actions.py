"""Actions that cannot be listed: three controllers of a mass on a spring, of which one has another gain."""

import jax.numpy as jnp
import numpy as np

from consensus_imitation import AlphaThreshold
from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.imitator import SamplingImitator


def main() -> None:
    """Steer for 300 steps."""
    noise = np.random.default_rng(0)
    log_std = jnp.log(jnp.array([0.2]))
    gains = jnp.array([1.0, 1.1, 5.0])
    members = gaussian(lambda gain, x: (-gain * x, log_std), gains, low=-2.0, high=2.0)

    def expert(x: np.ndarray) -> np.ndarray:
        return np.clip(-x + 0.2 * noise.normal(size=1), -2.0, 2.0)

    imitator = SamplingImitator(members, expert, selection=AlphaThreshold(0.01), seed=0)
    x = np.array([1.0])
    first = imitator.act(x)
    print(f"at x=1 it asks: {first.queried}; the member that objects: {first.dissenter}")
    for _ in range(299):
        decision = imitator.act(x)
        x = 0.9 * x + 0.3 * decision.action + 0.2 * noise.normal(size=1)
    print(f"{imitator.num_queries} questions in {imitator.num_steps} steps")
    print("weights of the gains:", dict(zip(gains.tolist(), imitator.weights.round(2).tolist(), strict=True)))


if __name__ == "__main__":
    main()
