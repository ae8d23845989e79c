"""What the commands print at a terminal: text and tables, in which no character from elsewhere is obeyed."""

import sys
from typing import TYPE_CHECKING, TextIO

from consensus_imitation.core._escaping import visible, visible_lines

if TYPE_CHECKING:
    from consensus_imitation.experiments.tables import Table


def say(text: str, file: TextIO | None = None, flush: bool = False) -> None:
    """Print lines, their control characters written out.

    Args:
        text: one line or several.
        file: standard output if None.
        flush: whether it has to appear at once.
    """
    stream = sys.stdout if file is None else file
    # A terminal of another encoding cannot show everything.
    shown = (
        visible_lines(text).encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8")
    )
    print(shown, file=stream, flush=flush)


def print_table(table: "Table", file: TextIO | None = None) -> None:
    """Draw a table as wide as the terminal; long cells are folded.

    Args:
        table: what to draw.
        file: standard output if None.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    title = Text(visible_lines(table.title))
    drawn = RichTable(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        drawn.add_column(Text(visible(column)), overflow="fold")
    for row in table.rows:
        # As Text: brackets and colons of a plain str would be rich's own markup.
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    Console(file=file).print(drawn)
