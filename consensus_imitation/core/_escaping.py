"""Make text from elsewhere harmless for the place that it is written to: one function for each place.

Names and messages come from users, environments, members and files. A terminal would obey their control characters, a
browser their tags, and a spreadsheet their formulas. Matplotlib reads text between dollars as mathematics.
"""

import unicodedata
from typing import Any

import numpy as np

from consensus_imitation.core._integers import is_integer

#: Characters at the start of a cell that make a spreadsheet take it for a formula, or lose the cell's beginning.
_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
#: Marks a cell as text, whatever it looks like.
_TEXT = "'"


def visible(text: str) -> str:
    r"""Return one line for a terminal: control characters, also those that change the direction, are written out.

    Example:
        >>> print(visible("red \x1b[31m\nnext"))
        red \x1b[31m\nnext
    """
    if text.isprintable():
        return text
    return "".join(one if _is_plain(one) else _written_out(one) for one in text)


def visible_lines(text: str) -> str:
    r"""Return the same for a text that may have several lines."""
    return "\n".join(visible(line) for line in text.split("\n"))


def figure_text(text: str, longest: int = 40) -> str:
    r"""Return a label of a picture: dollars stay dollars, a legend shows it, and it leaves room for other things.

    Args:
        text: what to write.
        longest: the number of characters after which it is cut off.

    Example:
        >>> print(figure_text("$x$"))
        \$x\$
    """
    shown = visible(text)
    if len(shown) > longest:
        shown = shown[: longest - 3] + "..."
    # matplotlib keeps labels with a leading underscore out of legends.
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")


def csv_cell(value: Any) -> str:
    """Return a value as a cell of a CSV file, from which `csv_value` gives back the same value.

    None is an empty cell. Some texts get an apostrophe in front: a text that would be read as something else (empty, a
    number, True, False), one that a spreadsheet would take for a formula, and one that begins with an apostrophe.

    Args:
        value: None, a truth value, an integer, a floating-point number or a text, of Python or NumPy.

    Raises:
        ValueError: for anything else, and for a text with half a character, which no file can hold.

    Example:
        >>> [csv_cell(value) for value in (None, 0.5, "go", "=1+1", "12", "")]
        ['', '0.5', 'go', "'=1+1", "'12", "'"]
    """
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if is_integer(value):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if not isinstance(value, str):
        raise ValueError(f"a cell of a table holds a number, a truth value or a text, not {value!r}")
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"no file can hold a text with half a character: {text!r}") from error
    start = text.lstrip(" ")[:1]
    marked = start == _TEXT or start in _FORMULA or not isinstance(csv_value(text), str)
    return _TEXT + text if marked else text


def csv_value(cell: str) -> Any:
    """Return what `csv_cell` was given.

    Example:
        >>> [csv_value(cell) for cell in ("", "0.5", "12", "go", "'=1+1", "'12", "'")]
        [None, 0.5, 12, 'go', '=1+1', '12', '']
    """
    if cell == "":
        return None
    if cell.startswith(_TEXT):
        return cell[1:]
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return {"True": True, "False": False}.get(cell, cell)


def _is_plain(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
