"""The picture and the table of bounds beside what is observed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.figures import PALETTE, new_figure
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row]) -> "Figure":
    """Draw observed curves (with 95% bands) beside the theorems' bounds (dashed).

    Args:
        rows: of ``bounds.csv``.
    """
    parts = list(dict.fromkeys(row["part"] for row in rows))
    labels = {
        "queries": "queries so far (T3)",
        "cubed query probability": "sum of cubed query probabilities (T3)",
        "harm": "P(harm so far) (T5)",
        "truth ever left out": "P(truth ever left out so far) (T2)",
    }
    figure = new_figure(11.0, 7.2)
    for ax, part in zip(figure.subplots(2, 2).ravel(), parts, strict=True):
        settings = list(dict.fromkeys(row["setting"] for row in rows if row["part"] == part))
        for colour, setting in zip(PALETTE, settings, strict=False):
            own = [row for row in rows if row["part"] == part and row["setting"] == setting]
            steps, mean, low, high, bound = (
                np.array([row[name] for row in own], float) for name in ("step", "observed", "low", "high", "bound")
            )
            ax.plot(steps, mean, color=colour, label=figure_text(setting))
            ax.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            compared = "demonstrator alone" if setting == "no budget" else figure_text(f"bound, {setting}")
            ax.plot(steps, bound, color=colour, linestyle=":" if setting == "no budget" else "--", label=compared)
        ax.set(xlabel="step", ylabel=labels.get(part, figure_text(part)), xlim=(0, None))
        if part in ("queries", "cubed query probability"):
            ax.set_yscale("log")
        ax.legend(frameon=False, fontsize=8)
    return figure


def table(rows: Sequence[Row]) -> Table:
    """Return a table of the observations at the end of each part's runs, against the bound."""
    last: dict[tuple[str, str], Row] = {}
    for row in rows:
        last[row["part"], row["setting"]] = row
    body = [
        (
            part,
            setting,
            str(row["step"]),
            f"{row['observed']:.3g} [{row['low']:.3g}, {row['high']:.3g}]",
            f"{row['bound']:.3g}" + (" (demonstrator)" if setting == "no budget" else ""),
        )
        for (part, setting), row in last.items()
    ]
    return Table(
        "predicted against observed, with 95% intervals", ("what", "setting", "steps", "observed", "bound"), body
    )
