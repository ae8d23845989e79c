"""The command ``consensus-imitation bench``."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus_imitation.cli.interrupts import before_leaving
from consensus_imitation.experiments.command import Command, Outcome, written
from consensus_imitation.experiments.ledger import Stages

if TYPE_CHECKING:
    import subprocess


@dataclass(frozen=True)
class Bench:
    """The cases to measure.

    Attributes:
        cases: names of cases; none for all of them.
        out: directory for bench.csv; without it no file is written.
        against: a commit of this checkout, at which the same cases are measured afterwards, to be compared.
        repeats: how often each function is timed; the median counts.
    """

    cases: tuple[str, ...] = ()
    out: Path | None = None
    against: str | None = None
    repeats: int = 15


def _run(settings: Bench, _: None, stages: Stages) -> Outcome:
    from consensus_imitation.benchmarks.against import checkout

    if settings.repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {settings.repeats}")
    if settings.against is None:
        return _measured(settings, None, stages)
    # Before anything is measured: whether there is such a commit is known at once.
    with checkout(settings.against) as tree, before_leaving(partial(shutil.rmtree, tree.parent, ignore_errors=True)):
        return _measured(settings, tree, stages)


def _measured(settings: Bench, other: Path | None, stages: Stages) -> Outcome:
    from consensus_imitation import benchmarks
    from consensus_imitation.benchmarks.against import changes, measure_at, origin
    from consensus_imitation.experiments.results import read_csv, write_csv
    from consensus_imitation.experiments.tables import Table

    results = benchmarks.run(settings.cases or None, settings.repeats, progress=stages("benchmarks"))
    rows = [result.as_row() for result in results]
    tables = [Table("speed, as ratios in one run", tuple(rows[0]), _cells(rows))]
    records = [result.as_record() | origin() for result in results]
    lines: list[str] = []
    if settings.out is not None:
        settings.out.mkdir(parents=True, exist_ok=True)
        write_csv(settings.out / "bench.csv", records, tuple(records[0]))
        lines.append(written(settings.out, "bench.csv"))
    if other is not None:
        progress = stages(f"benchmarks at {settings.against}")
        progress(0, 1)
        with ExitStack() as stack:
            figures = measure_at(
                other, settings.cases, settings.repeats, other / "results",
                started=lambda child: stack.enter_context(before_leaving(partial(_end, child))),
            )  # fmt: skip
        there = read_csv(figures)
        progress(1, 1)
        compared = [change.as_row() for change in changes(records, there)]
        if not compared:
            raise ValueError(f"{settings.against} has none of these figures under the same names")
        tables.append(Table(f"here, and at {settings.against}", tuple(compared[0]), _cells(compared)))
    return Outcome(tables, lines, sound=all(row["met"] is not False for row in rows))


def _end(child: "subprocess.Popen[str]") -> None:
    child.kill()
    child.wait(timeout=5)


def _cells(rows: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [tuple(str(cell) for cell in row.values()) for row in rows]


COMMAND = Command("speed, as ratios measured in one run", Bench, _run)
