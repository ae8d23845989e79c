"""The command ``consensus-imitation frontier``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.frontier.config import FrontierConfig
from consensus_imitation.experiments.ledger import Stages


def _run(config: FrontierConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.frontier import figure
    from consensus_imitation.experiments.frontier.run import run
    from consensus_imitation.experiments.frontier.summary import costs

    rows, demonstrator = run(config, results.out, stages("fewer answers"), results.overwrite)
    found = costs(rows, demonstrator)
    figures.save(figure.draw(rows, found, demonstrator), results.out / "frontier.png")
    return Outcome(
        [figure.table(config.task, found, demonstrator)], [written(results.out, "frontier.csv", "frontier.png")]
    )


COMMAND = Command(
    "fewer answers: what each way to train and to select costs in unsafe episodes",
    FrontierConfig,
    _run,
    Results(Path("out/frontier")),
    "runs",
)
