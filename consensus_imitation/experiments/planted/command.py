"""The command ``consensus-imitation planted``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.planted.config import PlantedConfig


def _run(config: PlantedConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.planted import figure
    from consensus_imitation.experiments.planted.run import run
    from consensus_imitation.experiments.planted.summary import SUMMARY_COLUMNS, summarise
    from consensus_imitation.experiments.results import write_csv

    rows = run(config, results.out, stages(f"planted {config.task}"), results.overwrite)
    summaries = summarise(rows)
    write_csv(results.out / "planted_summary.csv", summaries, SUMMARY_COLUMNS)
    figures.save(figure.draw(summaries), results.out / "planted.png")
    said = [written(results.out, "planted.csv", "planted_summary.csv", "planted.png")]
    return Outcome([figure.table(summaries)], said)


COMMAND = Command(
    "a deceptive network among members that learn, on a real task",
    PlantedConfig,
    _run,
    Results(Path("out/planted")),
    "runs",
)
