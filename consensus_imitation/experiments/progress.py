"""The progress of each stage of long work, on standard error, so that standard output holds results only."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

from consensus_imitation.core._escaping import visible
from consensus_imitation.experiments.ledger import Progress, Stages, Title
from consensus_imitation.experiments.printing import say


@contextmanager
def show_progress() -> Generator[Stages, None, None]:
    """Give each stage a bar, or lines where a bar cannot be redrawn: in a file, in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_interactive:
        yield _lines
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Bars(*columns, console=console)

    def stage(title: Title) -> Progress:
        task = None

        def update(done: int, total: int) -> None:
            # Nothing is drawn before there is something to show: a mistake should get its one line only.
            nonlocal task
            if task is None:
                bars.start()
                task = bars.add_task("")
            bars.update(task, completed=done, total=total, description=visible(_now(title)))

        return update

    try:
        yield stage
    finally:
        # Stopping bars that never started would print an empty line.
        if bars.tasks:
            bars.stop()


def _now(title: Title) -> str:
    return title if isinstance(title, str) else title()


def _lines(title: Title) -> Progress:
    """Return a line for every tenth."""
    began, tenths = time.monotonic(), -1

    def update(done: int, total: int) -> None:
        nonlocal tenths
        if total and 10 * done // total > tenths:
            tenths = 10 * done // total
            elapsed = timedelta(seconds=int(time.monotonic() - began))
            say(f"{_now(title)}: {done}/{total} after {elapsed}", file=sys.stderr, flush=True)

    return update
