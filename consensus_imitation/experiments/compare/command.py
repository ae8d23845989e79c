"""The command ``consensus-imitation compare``."""

from dataclasses import dataclass
from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.compare.config import CompareConfig
from consensus_imitation.experiments.ledger import Stages


@dataclass(frozen=True)
class CompareResults(Results):
    """Where the results go, and how they are made.

    Attributes:
        processes: runs at a time, each with one thread.
    """

    processes: int = 1


def _run(config: CompareConfig, results: CompareResults, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.compare import figure
    from consensus_imitation.experiments.compare.run import run
    from consensus_imitation.experiments.compare.summary import summarise

    progress = stages(f"compare {config.task}")
    found = run(config, results.out, progress, results.overwrite, results.processes)
    figures.save(figure.draw(found.rows, found.curve, found.demonstrator), results.out / "compare.png")
    summaries = summarise(found.rows, found.curve, found.demonstrator)
    return Outcome(
        [figure.table(config.task, summaries, found.demonstrator)],
        [written(results.out, "compare.csv", "curve.csv", "compare.png")],
    )


COMMAND = Command(
    "ways to imitate on a real task, at equal numbers of answers",
    CompareConfig,
    _run,
    CompareResults(Path("out/compare")),
    "runs",
)
