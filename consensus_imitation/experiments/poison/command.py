"""The command ``consensus-imitation poison``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.poison.config import PoisonConfig


def _run(config: PoisonConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.poison import figure
    from consensus_imitation.experiments.poison.run import run
    from consensus_imitation.experiments.poison.summary import SUMMARY_COLUMNS, summarise
    from consensus_imitation.experiments.results import write_csv

    rows = run(config, results.out, stages(f"poison {config.task}"), results.overwrite)
    summaries = summarise(rows)
    write_csv(results.out / "poison_summary.csv", summaries, SUMMARY_COLUMNS)
    figures.save(figure.draw(summaries, config.num_members - 1), results.out / "poison.png")
    said = [written(results.out, "poison.csv", "poison_summary.csv", "poison.png")]
    return Outcome([figure.table(summaries)], said)


COMMAND = Command(
    "a pipeline some of whose demonstrations are poisoned, divided among the members or not",
    PoisonConfig,
    _run,
    Results(Path("out/poison")),
    "teams",
)
