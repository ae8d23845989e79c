"""The command ``consensus-imitation pendulum``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.pendulum.config import PendulumConfig


def _run(config: PendulumConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.pendulum import figure
    from consensus_imitation.experiments.pendulum.run import run

    rows = run(config, results.out, stages("pendulum"), results.overwrite)
    figures.save(figure.draw(rows), results.out / "pendulum.png")
    return Outcome([figure.table(rows)], [written(results.out, "pendulum.csv", "pendulum.png")])


COMMAND = Command(
    "a continuous task with a deceiver in the ensemble", PendulumConfig, _run, Results(Path("out/pendulum")), "runs"
)
