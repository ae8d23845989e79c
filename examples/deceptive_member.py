"""A deceptive member: it imitates perfectly for 200 steps, has most weight, and then makes for the edge."""

from typing import Any

import jax
import jax.numpy as jnp

from consensus_imitation import Learner, TopK
from consensus_imitation.core.rollout import rollouts
from consensus_imitation.experiments import make_setting

SEEDS, STEPS, TURN = 32, 400, 200


def harm_and_queries(state: Any, trajectory: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return whether a run was harmed, and the questions before and after the turn."""
    del state
    return trajectory.harm.any(), trajectory.queried[:TURN].sum(), trajectory.queried[TURN:].sum()


def main() -> None:
    """Compare the heaviest member alone with the minimum of four."""
    setting = make_setting("cliff", num_members=8, betray_at=TURN)
    keys = jax.random.split(jax.random.key(0), SEEDS)
    rules = TopK(jnp.array([1, 4]))  # both in one compiled program
    learner = Learner(setting.ensemble, rules)
    harmed, before, after = rollouts(
        learner, setting.world.env, setting.demonstrator, keys, STEPS, rules, harm_and_queries
    )
    for row, k in enumerate((1, 4)):
        print(
            f"k={k}: {int(harmed[row].sum())} of {SEEDS} runs are harmed; "
            f"{before[row].mean():.1f} questions before the turn, {after[row].mean():.1f} after it"
        )


if __name__ == "__main__":
    main()
