"""The command ``consensus-imitation noisy``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.noisy.config import NoisyConfig


def _run(config: NoisyConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.noisy import figure
    from consensus_imitation.experiments.noisy.run import run

    rows = run(config, results.out, stages("a random demonstrator"), results.overwrite)
    figures.save(figure.draw(rows), results.out / "noisy.png")
    return Outcome([figure.table(rows)], [written(results.out, "noisy.csv", "noisy.png")])


COMMAND = Command(
    "how near members come to a demonstrator that is truly random",
    NoisyConfig,
    _run,
    Results(Path("out/noisy")),
    "runs",
)
