"""Members in separate processes: one hangs, and the imitator asks instead of hanging with it."""

import time
import warnings

from consensus_imitation import ConsensusImitator, TopK, ensembles

THIS = f"{__file__}:"


def careful(observation: int) -> list[float]:
    """Predict."""
    return [0.6, 0.4]


def fragile(observation: int) -> list[float]:
    """Predict, or hang."""
    while observation == 7:
        pass
    return [0.6, 0.4]


def main() -> None:
    """Act where both answer, and where one of them does not."""
    with ensembles.isolated([THIS + "careful", THIS + "fragile"], num_actions=2, deadline=1.0) as members:
        imitator = ConsensusImitator(members, demonstrator=lambda observation: 0, selection=TopK(2))
        print("both answer, it asks:", imitator.act(3).queried)
        begin = time.monotonic()
        with warnings.catch_warnings(action="ignore"):  # a warning says the same as the alarm
            decision = imitator.act(7)
        waited = time.monotonic() - begin
        print(f"one hangs, it asks: {decision.queried}, and took less than five seconds: {waited < 5}")
        print(imitator.alarms[-1])


if __name__ == "__main__":
    main()
