"""The command ``consensus-imitation collapse``."""

from pathlib import Path

from consensus_imitation.experiments.collapse.config import CollapseConfig
from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages


def _run(config: CollapseConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.collapse import figure
    from consensus_imitation.experiments.collapse.run import run

    rows, curve = run(config, results.out, stages(f"collapse {config.task}"), results.overwrite)
    figures.save(figure.draw(curve), results.out / "collapse.png")
    return Outcome([figure.table(rows)], [written(results.out, "collapse.csv", "curve.csv", "collapse.png")])


COMMAND = Command(
    "what happens to the posterior when all members learn", CollapseConfig, _run, Results(Path("out/collapse")), "runs"
)
