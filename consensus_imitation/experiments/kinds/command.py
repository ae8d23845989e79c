"""The command ``consensus-imitation kinds``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.kinds.config import KindsConfig
from consensus_imitation.experiments.ledger import Stages


def _run(config: KindsConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.kinds import figure
    from consensus_imitation.experiments.kinds.run import run

    rows = run(config, results.out, stages("kinds of members"), results.overwrite)
    figures.save(figure.draw(rows, config.kinds, config.curve), results.out / "kinds.png")
    names = list(dict.fromkeys((*config.kinds, *config.curve)))
    return Outcome(figure.tables(rows, names), [written(results.out, "runs.csv", "kinds.png")])


COMMAND = Command(
    "kinds of members that learn: cost, accuracy, independence, what they ask about",
    KindsConfig,
    _run,
    Results(Path("out/kinds")),
    "members",
)
