"""Tables of results, all text: for the terminal and for pages the same cells."""

from typing import NamedTuple


class Table(NamedTuple):
    """A title, column headings and rows of cells, all text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
