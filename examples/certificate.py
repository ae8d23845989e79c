"""A certificate: what you may claim for a run, in words, with the numbers so far; and what voids it."""

import numpy as np

from consensus_imitation import AlphaThreshold, ConsensusImitator, InflationBudget, TopK, ensembles, envs
from consensus_imitation.core.bounds import alpha_for


def main() -> None:
    """Choose alpha for a failure probability, act, and read the certificate."""
    world = envs.make("cliff")
    rng = np.random.default_rng(0)
    expert = world.demonstrator_probs.astype(float)
    expert /= expert.sum(axis=1, keepdims=True)
    noise = rng.dirichlet(np.ones(expert.shape[1]), (7, len(expert)))
    alpha = float(alpha_for(delta=0.01, prior_weight=1 / 8))  # one of eight members, a failure in a hundred runs
    imitator = ConsensusImitator(
        ensembles.tabular(np.concatenate([expert[None], 0.99 * expert + 0.01 * noise])),
        demonstrator=lambda observation: rng.choice(expert.shape[1], p=expert[observation]),
        selection=TopK(3) | AlphaThreshold(alpha),
        inflation_budget=InflationBudget(factor=2.0),  # nothing gets more than twice as likely
        seed=0,
    )
    decisions = [imitator.act(int(rng.integers(len(expert)))) for _ in range(200)]
    statement = imitator.certificate()
    print(statement)
    print(f"the budget handed {sum(decision.handed_over for decision in decisions)} steps to the demonstrator")
    print(f"alpha = {alpha:.5f}; dishonest members tolerated: {statement.tolerated_members}")


if __name__ == "__main__":
    main()
