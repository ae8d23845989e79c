"""The command ``consensus-imitation online``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.online.config import OnlineConfig


def _run(config: OnlineConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.online import figure
    from consensus_imitation.experiments.online.run import run

    rows = run(config, results.out, stages("a training loop and its replicas"), results.overwrite)
    figures.save(figure.draw(rows), results.out / "online.png")
    return Outcome(figure.tables(rows), [written(results.out, "online.csv", "online.png")])


COMMAND = Command(
    "an ordinary training loop, and replicas of it that ask", OnlineConfig, _run, Results(Path("out/online")), "runs"
)
