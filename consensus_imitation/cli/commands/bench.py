"""The command ``consensus-imitation bench``."""

from dataclasses import dataclass
from pathlib import Path

from consensus_imitation.experiments.command import Command, Outcome, written
from consensus_imitation.experiments.ledger import Stages


@dataclass(frozen=True)
class Bench:
    """The cases to measure.

    Attributes:
        cases: names of cases; none for all of them.
        out: directory for bench.csv; without it no file is written.
    """

    cases: tuple[str, ...] = ()
    out: Path | None = None


def _run(settings: Bench, _: None, stages: Stages) -> Outcome:
    from consensus_imitation import benchmarks
    from consensus_imitation.experiments.results import write_csv
    from consensus_imitation.experiments.tables import Table

    results = benchmarks.run(settings.cases or None, progress=stages("benchmarks"))
    rows = [result.as_row() for result in results]
    columns = tuple(rows[0])
    lines: list[str] = []
    if settings.out is not None:
        settings.out.mkdir(parents=True, exist_ok=True)
        write_csv(settings.out / "bench.csv", rows, columns)
        lines.append(written(settings.out, "bench.csv"))
    table = Table("speed, as ratios in one run", columns, [tuple(str(row[one]) for one in columns) for row in rows])
    return Outcome([table], lines, sound=all(row["met"] is not False for row in rows))


COMMAND = Command("speed, as ratios measured in one run", Bench, _run)
