"""A run that was written before the house was rebuilt, and what it has to come to when it is done again.

``python -m tests.journal.kept_run`` writes it anew: only when the format of journals changes on purpose.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    Decision,
    InflationBudget,
    Merging,
    MisspecificationAlarm,
    Patience,
    Reweighting,
    SafeAction,
    TopK,
    ensembles,
)

from . import kept_runs

KEPT = Path(__file__).with_name("kept")
STATES, MEMBERS, ACTIONS, STEPS = 5, 4, 3, 80


def tables() -> Any:
    """What the members say, [N, S, A], which do not differ much: the demonstrator is the first."""
    rng = np.random.default_rng(8)
    common = rng.dirichlet(np.ones(ACTIONS), size=STATES)
    return 0.9 * common + 0.1 * rng.dirichlet(np.ones(ACTIONS), size=(MEMBERS, STATES))


def parts() -> dict[str, Any]:
    """Members and rules of every kind that a run's description speaks of."""
    return {
        "ensemble": ensembles.tabular(tables()),
        "selection": TopK(2) | AlphaThreshold(0.05),
        "alarm": MisspecificationAlarm(0.01),
        "inflation_budget": InflationBudget(factor=1e6),
        "merging": Merging(),
        "reweighting": Reweighting(temper=0.5),
        "patience": Patience(then=SafeAction(0), timeout=60.0),
    }


def go_on(imitator: ConsensusImitator, first: int) -> list[Decision]:
    """Some steps, answered as they come."""
    decisions: list[Decision] = []
    rng = np.random.default_rng(first)
    for i in range(first, first + STEPS):
        decision = imitator.decide(i % STATES)
        answer = int(rng.choice(ACTIONS, p=tables()[0, i % STATES]))
        decisions.append(imitator.answer(decision, answer) if decision.queried else decision)
    return decisions


def summary(imitator: ConsensusImitator) -> dict[str, Any]:
    """The bits of what counts."""
    state = imitator.state
    posterior = np.asarray(state.posterior.log_weights)
    return {
        "steps": imitator.num_steps,
        "queries": imitator.num_queries,
        "weights": posterior.tobytes().hex(),
        "ledger": np.asarray(state.stream.ledger).tobytes().hex(),
        "alarms": list(imitator.alarms),
    }


if __name__ == "__main__":
    kept_runs.write(sys.modules[__name__], checkpoint_every=60)
