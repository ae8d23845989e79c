"""The command ``consensus-imitation bounds``."""

from pathlib import Path

from consensus_imitation.experiments.bounds.config import BoundsConfig
from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages


def _run(config: BoundsConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.bounds import figure
    from consensus_imitation.experiments.bounds.run import run
    from consensus_imitation.experiments.bounds.summary import exceeded

    rows = run(config, results.out, stages("predicted against observed"), results.overwrite)
    figures.save(figure.draw(rows), results.out / "bounds.png")
    wrong = exceeded(rows, config.num_seeds)
    said = [written(results.out, "bounds.csv", "bounds.png")]
    return Outcome([figure.table(rows)], said, [f"bound exceeded: {row}" for row in wrong], not wrong)


COMMAND = Command(
    "the theorems' bounds beside what is observed", BoundsConfig, _run, Results(Path("out/bounds")), "settings"
)
