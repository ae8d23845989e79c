"""A journal: whatever ends the process, the run continues bit for bit, and its open question still waits."""

import tempfile
from pathlib import Path

import numpy as np

from consensus_imitation import ConsensusImitator, TopK, ensembles

RULE = TopK(2)


def members() -> ensembles.Ensemble:
    """Make the same members in every process: files hold arrays, never code."""
    return ensembles.tabular(np.random.default_rng(0).dirichlet(np.ones(3), (4, 10)))


def first_part(run_dir: Path) -> np.ndarray:
    """Act until a question waits, and leave."""
    with ConsensusImitator(members(), selection=RULE, journal=run_dir) as imitator:
        for step in range(100):
            decision = imitator.decide(step % 10)
            if decision.queried and step < 60:
                imitator.answer(decision, step % 3)
            elif decision.queried:
                break
        print(f"left after {imitator.num_steps} steps, with question {decision.query.id} open")
        return imitator.weights


def main() -> None:
    """Leave a run and continue it."""
    run_dir = Path(tempfile.mkdtemp()) / "run"
    weights = first_part(run_dir)
    with ConsensusImitator.resume(run_dir, members(), selection=RULE) as imitator:
        print("the weights are the same, bit for bit:", bool((imitator.weights == weights).all()))
        (waiting,) = imitator.pending
        closed = imitator.answer(waiting, 1)
        print(f"question {waiting.query.id} is answered: action {closed.action}, {imitator.num_steps} steps now")


if __name__ == "__main__":
    main()
