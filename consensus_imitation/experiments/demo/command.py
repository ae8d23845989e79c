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
    drawing = stages("the page and its pictures")
    drawing(0, 1)
    path = page.write(results.out)
    drawing(1, 1)
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
    "This takes about a minute on two cores. It has four parts: a sweep over k and\n"
    "alpha; five scenarios of the deceptive-model suite; one run, watched closely;\n"
    "the page. Most of the time goes into compiling, 5 to 10 seconds each.",
)
