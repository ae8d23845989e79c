"""An alarm: no model is the demonstrator, the imitator notices, and from then on it only asks."""

import warnings

import numpy as np

from consensus_imitation import ConsensusImitator, MisspecificationAlarm, TopK, ensembles


def main() -> None:
    """Imitate somebody whom no model describes."""
    rng = np.random.default_rng(0)
    members = ensembles.tabular(np.array([[[0.90, 0.05, 0.05]], [[0.80, 0.15, 0.05]], [[0.70, 0.05, 0.25]]]))
    imitator = ConsensusImitator(
        members,
        demonstrator=lambda observation: rng.choice(3, p=[0.2, 0.2, 0.6]),  # no model says so
        selection=TopK(3),
        alarm=MisspecificationAlarm(delta=0.01),  # a false alarm in at most one of a hundred runs
        seed=0,
    )
    with warnings.catch_warnings(action="ignore"):  # a warning says the same as the alarm
        while not imitator.alarms:
            imitator.act(0)
    print(f"alarm after {imitator.num_steps} steps and {imitator.num_queries} answers:")
    print(imitator.alarms[-1])
    asked = sum(imitator.act(0).queried for _ in range(50))
    print(f"of the next 50 steps it asks on {asked}")
    imitator.clear_alarm()  # you have looked, and take the responsibility
    print("after clear_alarm:", imitator.certificate().void)


if __name__ == "__main__":
    main()
