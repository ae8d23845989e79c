"""The command ``consensus-imitation sweep``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.sweep.config import SweepConfig


def _run(config: SweepConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.sweep import figure
    from consensus_imitation.experiments.sweep.run import run

    rows, curve = run(config, results.out, stages(f"sweep {config.env}"), results.overwrite)
    figures.save(figure.draw(rows, curve, config.betray_at), results.out / "sweep.png")
    return Outcome([figure.table(rows)], [written(results.out, "sweep.csv", "curve.csv", "sweep.png")])


COMMAND = Command(
    "query rate, harm and return against k and alpha", SweepConfig, _run, Results(Path("out/sweep")), "seeds"
)
