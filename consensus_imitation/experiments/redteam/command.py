"""The command ``consensus-imitation redteam``."""

from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, Results, written
from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.redteam.config import RedteamConfig


def _run(config: RedteamConfig, results: Results, stages: Stages) -> Outcome:
    if config.self_test:
        return _self_test(config, stages)
    if config.check:
        return _check(Path(config.check))
    from consensus_imitation.experiments import figures
    from consensus_imitation.experiments.redteam import benchmark, figure
    from consensus_imitation.experiments.redteam.run import run

    rows = run(config, results.out, stages("deceptive-model suite"), results.overwrite)
    figures.save(figure.draw(rows), results.out / "redteam.png")
    said = [written(results.out, "redteam.csv", "redteam.png")]
    if config.benchmark:
        return Outcome([benchmark.table(rows)], said)
    return Outcome([figure.matrix(rows)], said, figure.complaints(rows), not figure.unexpected(rows))


def _check(file: Path) -> Outcome:
    from consensus_imitation.experiments.redteam import benchmark
    from consensus_imitation.experiments.redteam.run import COLUMNS
    from consensus_imitation.experiments.results import read_csv

    rows = read_csv(file)
    wrong = benchmark.check(rows, COLUMNS)
    if wrong:
        return Outcome(complaints=wrong, sound=False)
    count = len({row["contestant"] for row in rows})
    said = f"{count} complete row{'' if count == 1 else 's'}: no cell contradicts itself or the scenarios"
    return Outcome([benchmark.table(rows)], [said])


def _self_test(config: RedteamConfig, stages: Stages) -> Outcome:
    from consensus_imitation.deception.self_test import self_test
    from consensus_imitation.experiments.tables import Table

    stage = stages("broken imitators")
    caught = self_test(config.num_seeds, config.seed, lambda _, done, total: stage(done, total))
    rows = [(one.name, one.what, one.held_to, ", ".join(one.scenarios) or "-") for one in caught]
    missed = [one.name for one in caught if not one.scenarios]
    table = Table(
        f"imitators that are broken on purpose, {config.num_seeds} runs of each scenario and side",
        ("imitator", "what it does wrong", "held to", "caught by"),
        rows,
    )
    complaints = [f"not caught: {', '.join(missed)}"] if missed else []
    return Outcome([table], [f"{len(caught) - len(missed)} of {len(caught)} caught"], complaints, not missed)


COMMAND = Command(
    "the deceptive-model suite, on the library's own rules",
    RedteamConfig,
    _run,
    Results(Path("out/redteam")),
    "scenarios",
)
