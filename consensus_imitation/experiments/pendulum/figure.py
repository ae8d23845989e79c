"""The picture and the table of the pendulum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.cells import plus_minus
from consensus_imitation.experiments.figures import draw_band, line_style, new_figure, num_seeds
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row]) -> "Figure":
    """Draw return and query rate of each episode: medians, and the middle half of the seeds.

    Args:
        rows: of ``pendulum.csv``.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    figure = new_figure(9.0, 3.4)
    axes = figure.subplots(1, 2)
    for number, (name, runs) in enumerate(_by_contestant(rows).items()):
        episodes = np.array([row["episode"] for row in runs[0]])
        for ax, column in zip(axes, ("return", "query_rate"), strict=True):
            values = np.array([[row[column] for row in run] for run in runs], float)
            draw_band(ax, episodes, values, line_style(number), figure_text(name))
    turned = [row["episode"] for row in rows if row["triggered"]]
    for ax, label in zip(axes, ("return", "query rate"), strict=True):
        ax.set(xlabel="episode", ylabel=label)
        if turned:
            ax.axvline(min(turned), color="black", linestyle=":", linewidth=1)
    axes[1].legend(frameon=False, fontsize=8)
    figure.suptitle(f"{num_seeds(rows)} seeds; from the dotted line on the deceiver does harm", fontsize=10)
    return figure


def table(rows: Sequence[Row]) -> Table:
    """Tabulate return per episode before and after the turn, and queries of a run, with 95% intervals over seeds."""
    body: list[tuple[str, ...]] = []
    for name, runs in _by_contestant(rows).items():
        before, after = (_mean_return(runs, turned) for turned in (False, True))
        body.append((name, before, after, plus_minus(1, [sum(row["queries"] for row in run) for run in runs])))
    return Table(
        f"pendulum: {num_seeds(rows)} seeds, with 95% intervals",
        ("contestant", "return before the turn", "return after it", "queries"),
        body,
    )


def _by_contestant(rows: Sequence[Row]) -> dict[str, list[list[Row]]]:
    """Return the runs of each contestant, in the order in which the contestants first appear."""
    found: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        found.setdefault(row["contestant"], {}).setdefault(row["seed"], []).append(row)
    return {name: list(runs.values()) for name, runs in found.items()}


def _mean_return(runs: Sequence[Sequence[Row]], turned: bool) -> str:
    """Average over the episodes of one phase; empty if there are none."""
    own = [[row["return"] for row in run if row["triggered"] == turned] for run in runs]
    return plus_minus(1, [float(np.mean(returns)) for returns in own]) if own[0] else ""
