"""The command ``consensus-imitation journal``: show a run, verify, export, report on it, cut off a torn end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from consensus_imitation.experiments.command import Command, Outcome
from consensus_imitation.experiments.ledger import Stages


@dataclass(frozen=True)
class Show:
    """Show a summary and the last entries. The run may continue meanwhile.

    Attributes:
        run_dir: the run's directory, or its journal.sqlite.
        last: how many entries.
    """

    run_dir: Positional[Path]
    last: int = 20


@dataclass(frozen=True)
class Verify:
    """Check every entry, and the posterior.

    Read all of the journal, and compute the posterior again from the recorded predictions and answers. The exit code is
    1 if anything is damaged, missing or does not follow.

    Attributes:
        run_dir: the run's directory, or its journal.sqlite.
    """

    run_dir: Positional[Path]


@dataclass(frozen=True)
class Export:
    """Write the journal in another format.

    csv, parquet and npz have a row for each entry; minari makes a dataset of episodes, which needs a journal that keeps
    every observation: Journal(..., observations=True).

    Attributes:
        run_dir: the run's directory, or its journal.sqlite.
        format: of the new file.
        out: the new file; for minari the dataset's directory.
    """

    run_dir: Positional[Path]
    format: Literal["csv", "parquet", "npz", "minari"]
    out: Path


@dataclass(frozen=True)
class Report:
    """Write a page for people: who acted, when and why it asked, weights, alarms, certificate.

    One file that needs nothing else. It needs Jinja2, which the extra plot brings.

    Attributes:
        run_dir: the run's directory, or its journal.sqlite.
        out: the page.
    """

    run_dir: Positional[Path]
    out: Path


@dataclass(frozen=True)
class Mend:
    """Cut a torn end back to the last whole call.

    A run that continues does so by itself for what a crash can tear; use this command to give up more. The damaged file
    is kept.

    Attributes:
        run_dir: the run's directory, or its journal.sqlite.
        lose: how many calls you give up at most; by default those of one transaction.
    """

    run_dir: Positional[Path]
    lose: int | None = None


def _run(action: Show | Verify | Export | Report | Mend, _: None, stages: Stages) -> Outcome:
    del stages
    match action:
        case Show():
            return _show(action)
        case Verify():
            return _verify(action)
        case Export():
            from consensus_imitation.journal.export import export

            return Outcome(lines=[f"written: {export(action.run_dir, action.out, action.format)}"])
        case Report():
            from consensus_imitation.experiments import journal_report

            return Outcome(lines=[f"written: {journal_report.write(action.run_dir, action.out)}"])
        case Mend():
            return _mend(action)


def _show(action: Show) -> Outcome:
    from consensus_imitation.core._escaping import visible
    from consensus_imitation.experiments.tables import Table
    from consensus_imitation.journal.show import CALL_COLUMNS, last_calls, summary

    if action.last < 1:
        raise ValueError(f"--last must be at least 1, got {action.last}")
    said = Table(f"journal of {action.run_dir}", ("what", "value"), [*summary(action.run_dir)])
    rows, alarms = last_calls(action.run_dir, action.last)
    return Outcome(
        [said, Table(f"the last {len(rows)} entries", CALL_COLUMNS, rows)],
        [f"alarm: {visible(alarm)}" for alarm in alarms],
    )


def _verify(action: Verify) -> Outcome:
    from consensus_imitation.errors import JournalCorruptedError
    from consensus_imitation.journal.audit import replay
    from consensus_imitation.journal.recovery import examine

    try:
        report = examine(_file(action.run_dir))
        if not report.sound:
            said = [*report.lines(), "a run that continues cuts it back to the whole part"]
            return Outcome(lines=said, sound=False)
        again = replay(action.run_dir)
    except JournalCorruptedError as error:
        return Outcome(lines=[str(error)], sound=False)
    return Outcome(lines=[*report.lines(), *again.lines()], sound=again.exact)


def _mend(action: Mend) -> Outcome:
    from consensus_imitation.journal._lock import Lock
    from consensus_imitation.journal.recovery import mend

    if action.lose is not None and action.lose < 0:
        raise ValueError(f"--lose must not be negative, got {action.lose}")
    file = _file(action.run_dir)
    lock = Lock(file.parent)
    try:
        return Outcome(lines=mend(file, action.lose).lines())
    finally:
        lock.close()


def _file(path: Path) -> Path:
    return path / "journal.sqlite" if path.is_dir() else path


COMMAND = Command(
    "what a run wrote down: show, verify, export, report, mend", Show | Verify | Export | Report | Mend, _run
)
