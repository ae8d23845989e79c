"""The picture and the table of members beside the law of a random demonstrator."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.experiments.figures import draw_band, line_style, new_figure, num_seeds
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row]) -> "Figure":
    """Draw the distance of the minimum from the demonstrator's law, and the share of what it asks about.

    Args:
        rows: of ``noisy.csv``.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    figure = new_figure(9.0, 3.6)
    panels = (("kl_minimum", "KL(demonstrator || minimum), nats"), ("answers", "answers"))
    for ax, (column, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for number, name in enumerate(_variants(rows)):
            runs = _runs(rows, name)
            values = np.array([[row[column] for row in run] for run in runs], float)
            draw_band(ax, np.array([row["step"] for row in runs[0]]), values, line_style(number), name)
        ax.set(xlabel="decisions", ylabel=label, ylim=(0, None))
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{rows[0]['world']}: {num_seeds(rows)} seeds (median and middle half)", fontsize=10)
    return figure


def table(rows: Sequence[Row]) -> Table:
    """Tabulate the end of every run: the mean over seeds, with the smallest and the largest."""
    body: list[tuple[str, ...]] = []
    for name in _variants(rows):
        last = [run[-1] for run in _runs(rows, name)]
        cells = (("answers", 0), ("kl_minimum", 3), ("kl_members", 3), ("doubt", 3), ("temperature", 2))
        body.append((name, *(_said([row[column] for row in last], digits) for column, digits in cells)))
    columns = ("variant", "answers", "KL of the minimum", "KL of members", "doubt", "temperature")
    steps = max(row["step"] for row in rows)
    return Table(f"{rows[0]['world']}: {num_seeds(rows)} seeds of {steps} decisions", columns, body)


def _said(values: Sequence[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _variants(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["variant"] for row in rows))


def _runs(rows: Sequence[Row], variant: str) -> list[list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        if row["variant"] == variant:
            found.setdefault(row["seed"], []).append(row)
    return list(found.values())
