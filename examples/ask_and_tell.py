"""Ask and tell: three environments share one posterior, and answers come when they come, in any order."""

import numpy as np

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import StaleAnswerError

ENVIRONMENTS, ROUNDS = 3, 40


def main() -> None:
    """Decide in every environment that does not wait; answer the newest question now and then."""
    rng = np.random.default_rng(0)
    members = ensembles.tabular(rng.dirichlet(np.ones(3), (4, 10)))
    imitator = ConsensusImitator(members, selection=TopK(2), num_envs=ENVIRONMENTS, seed=0)
    steps = np.zeros(ENVIRONMENTS, int)
    waiting = {}
    for round_ in range(ROUNDS):
        for env in range(ENVIRONMENTS):
            if env not in waiting:  # a question stops its own environment only
                decision = imitator.decide(int(rng.integers(10)), env=env)
                if decision.queried:
                    waiting[env] = decision.query  # a small record that can be sent anywhere
                else:
                    steps[env] += 1  # carry out decision.action here
        if waiting and round_ % 3 == 0:
            env, query = waiting.popitem()  # the newest first
            closed = imitator.answer(query, 2)
            steps[closed.env] += 1
    print(f"steps of the environments: {steps.tolist()}, {len(waiting)} of them wait for an answer")
    env, query = waiting.popitem()
    imitator.answer(query, 1)
    print("the same answer twice changes nothing:", imitator.answer(query, 1).action == 1)
    try:
        imitator.answer(query, 0)
    except StaleAnswerError:
        print("another answer to the same question is refused")


if __name__ == "__main__":
    main()
