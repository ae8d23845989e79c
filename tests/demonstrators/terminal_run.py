"""A run with a person at the terminal: ``python -m tests.demonstrators.terminal_run DIRECTORY``; it resumes a run."""

import sys
from pathlib import Path

import gymnasium
import numpy as np

from consensus_imitation import ConsensusImitator, TopK, demonstrators, ensembles
from consensus_imitation.experiments import run_gymnasium

#: As many answers does it want in all.
ANSWERS = 30


def main(run_dir: Path) -> None:
    """Run until the person has answered so often, or stops."""
    env = gymnasium.make("FrozenLake-v1", is_slippery=False)
    members = ensembles.tabular(np.random.default_rng(0).dirichlet(np.full(4, 2.0), (3, 16)))
    person = demonstrators.terminal(env)
    resumes = (run_dir / "journal.sqlite").exists()
    if resumes:
        imitator = ConsensusImitator.resume(run_dir, members, person, selection=TopK(3))
    else:
        imitator = ConsensusImitator(members, person, selection=TopK(3), seed=0, journal=run_dir)
    with imitator:
        # A bar is on: it has to make way.
        run = run_gymnasium(
            env, imitator, num_steps=10_000, max_answers=ANSWERS, seed=1, out=run_dir / "tables", resume=resumes
        )
        sys.stdout.write(f"\nended with {imitator.num_queries} answers, interrupted: {run.interrupted}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
