"""The command ``consensus-imitation journal``: look at a run's journal, verify it, export it, give up what is torn.

Nothing heavy is imported before the command runs.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from consensus_imitation.tables import Table


class Outcome(NamedTuple):
    """What the command has to say.

    Attributes:
        tables: to be printed first.
        lines: to be printed after them.
        sound: whether nothing is wrong.
    """

    tables: "list[Table]"
    lines: list[str]
    sound: bool = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action", parser_class=type(parser))

    def action(
        name: str, run: Callable[[argparse.Namespace], Outcome], text: str, more: str
    ) -> argparse.ArgumentParser:
        added = actions.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}. {more}",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        added.add_argument("run_dir", type=Path, help="the run's directory, or its journal.sqlite")
        added.set_defaults(journal=run)
        return added

    show = action("show", _show, "a summary, and the last entries", "The run may be going on meanwhile.")
    show.add_argument("--last", type=int, default=20, help="how many entries")

    action(
        "verify", _verify, "check every entry, and the posterior",
        "Reads all of the journal, and works the posterior out once more from the recorded predictions and answers. "
        "Exit code 1 if anything is damaged, missing or does not follow.",
    )  # fmt: skip

    export = action(
        "export", _export, "write it in another format",
        "csv, parquet and npz have a row for each entry; minari makes a dataset of episodes, for which every "
        "observation has to be kept: Journal(..., observations=True).",
    )  # fmt: skip
    export.add_argument("--format", required=True, choices=("csv", "parquet", "npz", "minari"), help="of the new file")
    export.add_argument("--out", type=Path, required=True, help="the new file; for minari the dataset's directory")

    mend = action(
        "mend", _mend, "cut a torn tail back to the last whole call",
        "Going on with a run does so by itself for what a crash can tear; more has to be given up here. The damaged "
        "file is kept.",
    )  # fmt: skip
    mend.add_argument("--lose", type=int, help="how many calls may be given up; by default those of one transaction")


def run(arguments: argparse.Namespace) -> Outcome:
    """Do what is asked.

    Args:
        arguments: as parsed.

    Raises:
        ValueError: for arguments out of range.
        JournalError: if there is no journal, or it cannot be read; for ``verify`` that is an outcome.
        ImportError: without the packages of the format, naming the extra.
    """
    return arguments.journal(arguments)


def _show(arguments: argparse.Namespace) -> Outcome:
    from consensus_imitation.journal.show import CALL_COLUMNS, last_calls, summary
    from consensus_imitation.tables import Table

    if arguments.last < 1:
        raise ValueError(f"--last must be at least 1, got {arguments.last}")
    said = Table(f"journal of {arguments.run_dir}", ("what", "value"), [*summary(arguments.run_dir)])
    rows, alarms = last_calls(arguments.run_dir, arguments.last)
    return Outcome(
        [said, Table(f"the last {len(rows)} entries", CALL_COLUMNS, rows)], [f"alarm: {alarm}" for alarm in alarms]
    )


def _verify(arguments: argparse.Namespace) -> Outcome:
    from consensus_imitation.errors import DamagedError
    from consensus_imitation.journal.recovery import examine
    from consensus_imitation.journal.replay_posterior import replay

    try:
        report = examine(_file(arguments.run_dir))
        if not report.sound:
            return Outcome([], [*report.lines(), "going on with the run cuts it back to what is whole"], sound=False)
        again = replay(arguments.run_dir)
    except DamagedError as error:
        return Outcome([], [str(error)], sound=False)
    return Outcome([], [*report.lines(), *again.lines()], again.exact)


def _export(arguments: argparse.Namespace) -> Outcome:
    from consensus_imitation.journal.export import export

    return Outcome([], [f"written: {export(arguments.run_dir, arguments.out, arguments.format)}"])


def _mend(arguments: argparse.Namespace) -> Outcome:
    from consensus_imitation.journal.lock import Lock
    from consensus_imitation.journal.recovery import mend

    if arguments.lose is not None and arguments.lose < 0:
        raise ValueError(f"--lose must not be negative, got {arguments.lose}")
    file = _file(arguments.run_dir)
    lock = Lock(file.with_name("lock.sqlite"))
    try:
        return Outcome([], mend(file, arguments.lose).lines())
    finally:
        lock.close()


def _file(path: Path) -> Path:
    return path / "journal.sqlite" if path.is_dir() else path
