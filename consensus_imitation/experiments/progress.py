"""The progress of each stage of long work, on standard error, so that standard output holds results only."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

from consensus_imitation.core._escaping import visible
from consensus_imitation.experiments.ledger import Progress, Stages, Title
from consensus_imitation.experiments.printing import say

#: Added to a stage's title until its first part is finished.
_COMPILING = " (compiling first)"


@contextmanager
def show_progress(outlook: str = "") -> Generator[Stages, None, None]:
    """Give each stage a bar, or lines where a bar cannot be redrawn: in a file, in a pipe.

    A stage says at first that programs are compiled: its first part takes longer than the others.

    Args:
        outlook: said before the first stage begins.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    begun = False

    def begin() -> None:
        # Nothing is said before there is something to show: a mistake should get its one line only.
        nonlocal begun
        if not begun and outlook:
            say(outlook, file=sys.stderr, flush=True)
        begun = True

    if not console.is_interactive:
        yield lambda title: _lines(title, begin)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Bars(*columns, console=console)
    way = _MakingWay(bars)

    def stage(title: Title) -> Progress:
        task, first = None, 0

        def update(done: int, total: int) -> None:
            nonlocal task, first
            if task is None:
                begin()
                task, first = bars.add_task(""), done
            compiling = _COMPILING if done == first < total else ""
            bars.update(task, completed=done, total=total, description=visible(_now(title)) + compiling)
            way.begin()  # not before there is something to show; again, it does nothing

        return update

    try:
        yield stage
    finally:
        way.end()
        # Stopping bars that never started would print an empty line.
        if bars.tasks:
            bars.stop()


class _MakingWay:
    """Hides bars while a demonstrator is asked, who may be a person that is shown something.

    One that always answers at once is none: for its sake nothing is hidden, which would flicker.
    """

    #: Nobody reads and answers in so many seconds; after so many such answers in a row bars stay.
    AT_ONCE, ANSWERS = 0.02, 3

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._registered = ExitStack()
        self._shown, self._hidden = False, False
        self._asked, self._quick = 0.0, 0

    def begin(self) -> None:
        """Draw from now on."""
        if not self._shown:
            # Not before: it imports what a command that shows nothing does not need.
            from consensus_imitation.demonstrators._attention import making_way

            self._registered.enter_context(making_way(self.hide, self.show))
            self._shown = True
            self._bars.start()

    def end(self) -> None:
        """Draw no more."""
        self._registered.close()

    def hide(self, person: bool) -> None:
        """Somebody is asked."""
        self._asked = time.monotonic()
        if self._shown and (person or self._quick < self.ANSWERS):
            self._hidden = True
            # Wiped, not left standing: what is shown to the person begins at an empty line.
            self._bars.live.transient = True
            self._bars.stop()
            self._bars.live.transient = False

    def show(self) -> None:
        """Nobody is asked any more."""
        self._quick = self._quick + 1 if time.monotonic() - self._asked < self.AT_ONCE else 0
        if self._hidden:
            self._hidden = False
            self._bars.start()


def _now(title: Title) -> str:
    return title if isinstance(title, str) else title()


def _lines(title: Title, begin: Callable[[], None]) -> Progress:
    """Return a line for every tenth."""
    began, tenths, first = time.monotonic(), -1, None

    def update(done: int, total: int) -> None:
        nonlocal tenths, first
        begin()
        first = done if first is None else first
        if total and 10 * done // total > tenths:
            tenths = 10 * done // total
            elapsed = timedelta(seconds=int(time.monotonic() - began))
            compiling = _COMPILING if done == first < total else ""
            say(f"{_now(title)}: {done}/{total} after {elapsed}{compiling}", file=sys.stderr, flush=True)

    return update
