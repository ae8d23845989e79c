"""The command ``consensus-imitation knowledge``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.knowledge.config import KnowledgeConfig
from consensus_imitation.experiments.ledger import Stages


def _run(config: KnowledgeConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.knowledge import figure
    from consensus_imitation.experiments.knowledge.run import run

    runs = run(config, results.out, stages("what members know"), results.overwrite)
    figures.save(figure.draw(runs), results.out / "knowledge.png")
    said = [f"not as expected: {one}" for one in figure.unexpected(runs)]
    said.append(written(results.out, "runs.csv", "knowledge.png"))
    return Outcome(figure.tables(runs), said)


COMMAND = Command(
    "whether an imitator uses what its members know, beside what theory expects",
    KnowledgeConfig,
    _run,
    Results(Path("out/knowledge")),
    "contestants",
)
