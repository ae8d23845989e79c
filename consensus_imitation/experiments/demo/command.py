"""The command ``consensus-imitation demo``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results
from consensus_imitation.experiments.demo.config import DemoConfig
from consensus_imitation.experiments.ledger import Stages


def _run(config: DemoConfig, results: Results, stages: Stages) -> Outcome:
    from consensus_imitation.experiments.demo import page
    from consensus_imitation.experiments.demo.run import run
    from consensus_imitation.experiments.redteam import figure as redteam
    from consensus_imitation.experiments.sweep import figure as sweep

    found = run(config, results.out, stages, results.overwrite)
    path = page.write(results.out)
    return Outcome(
        [sweep.table(found.sweep_rows), redteam.matrix(found.redteam_rows)],
        [
            f"page: {path}",
            f"film: {path.with_name('film.gif')}",
            f"numbers: {results.out}/sweep, {results.out}/redteam",
        ],
        redteam.complaints(found.redteam_rows),
        not redteam.unexpected(found.redteam_rows),
    )


COMMAND = Command(
    "the main job: a short sweep, a short suite, and a page that explains them",
    DemoConfig,
    _run,
    Results(Path("demo")),
    "parts",
)
