"""The command ``consensus-imitation stakes``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.stakes.config import StakesConfig


def _run(config: StakesConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.stakes import figure
    from consensus_imitation.experiments.stakes.run import run

    runs, curves = run(config, results.out, stages("low stakes and high"), results.overwrite)
    figures.save(figure.draw(runs, curves, config.price), results.out / "stakes.png")
    said = [
        f"where one harm costs more than {cost:.2g} rewards, asking first is cheaper than {name}"
        for name, cost in figure.crossovers(runs, config.price).items()
    ]
    said.append(written(results.out, "runs.csv", "curves.csv", "stakes.png"))
    return Outcome(figure.tables(runs), said)


COMMAND = Command(
    "when online training is enough, and when one has to ask first",
    StakesConfig,
    _run,
    Results(Path("out/stakes")),
    "contestants",
)
