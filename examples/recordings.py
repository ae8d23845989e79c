"""Demonstrations that you have: record or load them, let the members study them once, then act."""

import tempfile
from pathlib import Path

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.demonstrators.recordings import load, record
from consensus_imitation.experiments import run_gymnasium, tasks

STEPS = 300


def main() -> None:
    """Compare the first steps with recordings and without."""
    task = tasks.make("cartpole")
    env = task.make_env()
    file = Path(tempfile.mkdtemp()) / "cartpole.npz"
    record(env, task.make_demonstrator(env, seed=1), num_steps=600, seed=1).save(file)
    recorded = load(file)
    for study in (False, True):
        imitator = ConsensusImitator(
            ensembles.mlp(env.observation_space, env.action_space, num_members=3),
            demonstrator=task.make_demonstrator(env, seed=0),
            seed=0,
        )
        if study:
            imitator.pretrain(recorded.observations, recorded.actions, recorded.starts)
        run = run_gymnasium(env, imitator, num_steps=STEPS, task=task, progress=False)
        what = f"{len(recorded.actions)} recorded steps" if study else "no recordings"
        print(f"{what}: {run.answers} answers in the first {STEPS} steps")


if __name__ == "__main__":
    main()
