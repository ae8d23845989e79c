"""Tables of results, all text: the terminal and the pages use the same cells."""

from typing import NamedTuple


class Table(NamedTuple):
    """A title, column headings and rows of cells, all text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
