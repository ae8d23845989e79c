"""The picture and the tables of a training loop beside replicas of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.experiments.figures import line_style, new_figure, num_seeds
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import mean_interval
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (
    ("harm_trigger", "trigger's digit said, share", "digits with the trigger"),
    ("harm_familiar", "acted wrongly, share", "familiar digits"),
    ("labels", "labels", "cost of learning"),
)


def draw(rows: Sequence[Row]) -> "Figure":
    """Draw harm on digits with the trigger, harm on familiar ones, and labels, against the number of poisoned answers.

    Args:
        rows: of ``online.csv``.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    figure = new_figure(10.5, 3.6)
    for ax, (column, label, title) in zip(figure.subplots(1, 3), _PANELS, strict=True):
        _draw_column(ax, rows, column)
        ax.set(title=title, xlabel="poisoned answers in the stream", ylabel=label, ylim=(0, None))
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"{num_seeds(rows)} seeds (bars: smallest and largest); thresholds at equal asking on familiar digits"
    )
    return figure


def _draw_column(ax: "Axes", rows: Sequence[Row], column: str) -> None:
    amounts = sorted({row["poisoned"] for row in rows})
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    for number, name in enumerate(names):
        found = [_values(rows, name, amount, column) for amount in amounts]
        middle = np.array([np.mean(values) for values in found])
        spread = np.array([[m - min(v), max(v) - m] for m, v in zip(middle, found, strict=True)]).T
        places = np.arange(len(amounts)) + 0.06 * (number - len(names) / 2)
        ax.errorbar(places, middle, spread, label=name, marker="o", markersize=3, elinewidth=0.8, **line_style(number))
    ax.set_xticks(np.arange(len(amounts)), [str(amount) for amount in amounts])


def tables(rows: Sequence[Row]) -> list[Table]:
    """Tabulate every number of poisoned answers: means over seeds, with the smallest and the largest.

    Args:
        rows: of ``online.csv``.
    """
    columns = ("contestant", "labels", "mistakes", "accuracy", "familiar: asked / wrong", "trigger: asked / its digit",
               "turned: asked / wrong")  # fmt: skip
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    return [
        Table(
            f"{amount} poisoned answers, {num_seeds(rows)} seeds",
            columns,
            [_cells(rows, name, amount) for name in names],
        )
        for amount in sorted({row["poisoned"] for row in rows})
    ]


def _cells(rows: Sequence[Row], name: str, amount: int) -> tuple[str, ...]:
    def said(column: str, digits: int) -> str:
        values = _values(rows, name, amount, column)
        mean = mean_interval(values)[0]
        return f"{mean:.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"

    pairs = (("asked_familiar", "harm_familiar"), ("asked_trigger", "harm_trigger"), ("asked_turned", "wrong_turned"))
    alone = (said("labels", 0), said("mistakes", 0), said("accuracy", 3))
    return (name, *alone, *(f"{said(asked, 2)} / {said(harm, 3)}" for asked, harm in pairs))


def _values(rows: Sequence[Row], name: str, amount: int, column: str) -> list[float]:
    return [float(row[column]) for row in rows if row["contestant"] == name and row["poisoned"] == amount]
