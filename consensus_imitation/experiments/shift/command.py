"""The command ``consensus-imitation shift``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.shift.config import ShiftConfig


def _run(config: ShiftConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.results import write_csv
    from consensus_imitation.experiments.shift import figure
    from consensus_imitation.experiments.shift.run import run
    from consensus_imitation.experiments.shift.summary import SUMMARY_COLUMNS, summarise

    rows = run(config, results.out, stages(f"shift {config.task}"), results.overwrite)
    summaries = summarise(rows)
    write_csv(results.out / "shift_summary.csv", summaries, SUMMARY_COLUMNS)
    figures.save(figure.draw(summaries), results.out / "shift.png")
    return Outcome(figure.tables(summaries), [written(results.out, "shift.csv", "shift_summary.csv", "shift.png")])


COMMAND = Command(
    "a world that changes in ways that the answers did not cover",
    ShiftConfig,
    _run,
    Results(Path("out/shift")),
    "contestants",
)
