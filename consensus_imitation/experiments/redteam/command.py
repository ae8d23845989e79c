"""The command ``consensus-imitation redteam``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.redteam.config import RedteamConfig


def _run(config: RedteamConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.redteam import figure
    from consensus_imitation.experiments.redteam.run import run

    rows = run(config, results.out, stages("deceptive-model suite"), results.overwrite)
    figures.save(figure.draw(rows), results.out / "redteam.png")
    said = [written(results.out, "redteam.csv", "redteam.png")]
    return Outcome([figure.matrix(rows)], said, figure.complaints(rows), not figure.unexpected(rows))


COMMAND = Command(
    "the deceptive-model suite, on the library's own rules",
    RedteamConfig,
    _run,
    Results(Path("out/redteam")),
    "scenarios",
)
