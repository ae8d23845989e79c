"""The picture and the tables of kinds of members."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.experiments.figures import line_style, new_figure
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row], kinds: Sequence[str], curve: Sequence[str]) -> "Figure":
    """Draw independence against accuracy, asking about foreign inputs, and where masks stand.

    Args:
        rows: of ``runs.csv``.
        kinds: those of the table.
        curve: those of the curve; none for no third panel.
    """
    figure = new_figure(13.0 if curve else 9.0, 4.4)
    axes = figure.subplots(1, 3 if curve else 2)
    for number, kind in enumerate(kinds):
        own = [row for row in rows if row["kind"] == kind]
        accuracy, n_eff, asked = ([row[name] for row in own] for name in ("accuracy", "n_eff", "asked_shuffled"))
        axes[0].plot(accuracy, n_eff, "o", color=line_style(number)["color"], label=kind)
        axes[1].plot(asked, [number] * len(own), "o", color=line_style(number)["color"])
        axes[1].plot([row["asked_turned"] for row in own], [number] * len(own), "x", color=line_style(number)["color"])
    axes[0].set(xlabel="accuracy of a member", ylabel="effective members", title="how well, and how independently")
    axes[0].legend(fontsize=8)
    axes[1].set_yticks(range(len(kinds)), kinds)
    axes[1].invert_yaxis()
    axes[1].axvline(0.1, color="gray", linestyle=":")
    axes[1].set(xlabel="share asked about", xlim=(-0.02, 1.02), title="foreign inputs: shuffled (o), turned (x)")
    if curve:
        _draw_curve(axes[2], rows, curve)
    return figure


def _draw_curve(ax: "Axes", rows: Sequence[Row], curve: Sequence[str]) -> None:
    settings = [(int(name.split("/")[1]), float(name.split("/")[2])) for name in curve]
    for number, width in enumerate(sorted({width for width, _ in settings})):
        kept = sorted(share for own, share in settings if own == width)
        accuracy = [_mean(rows, f"masks/{width}/{share:g}", "accuracy") for share in kept]
        ax.plot(
            [100 * (1 - share) for share in kept], accuracy, "o-", label=f"masks, width {width}", color=f"C{number}"
        )
    if any(row["kind"] == "mlp" for row in rows):
        dense = _mean(rows, "mlp", "accuracy")
        ax.axhline(dense, color="black", linestyle=":", label="mlp, dense, width 64")
        ax.axhspan(dense - 0.01, dense, color="0.9", zorder=0)
    ax.set(xlabel="connections pruned (%)", ylabel="accuracy of a member", title="masks on one frozen random network")
    ax.legend(fontsize=8)


def tables(rows: Sequence[Row], names: Sequence[str]) -> list[Table]:
    """Return the table of kinds: means over the runs.

    Args:
        rows: of ``runs.csv``.
        names: the kinds, in order.
    """
    columns = (
        *("members", "learn ms", "act us", "kB learning", "kB kept", "accuracy", "together", "N_eff", "theta"),
        *("theta shuffled", "asked", "theta turned", "asked turned"),
    )
    return [
        Table("means over runs; all members together unless of one", columns, [_cells(rows, name) for name in names])
    ]


def _cells(rows: Sequence[Row], kind: str) -> tuple[str, ...]:
    def of(column: str) -> float:
        return _mean(rows, kind, column)

    return (
        kind,
        f"{of('learn_ms'):.2f}",
        f"{of('act_us'):.1f}",
        f"{of('bytes_learning') / 1000:.0f}",
        f"{of('bytes_kept') / 1000:.1f}",
        *(f"{of(column):.3f}" for column in ("accuracy", "together")),
        f"{of('n_eff'):.2f}",
        *(
            f"{of(column):.3f}"
            for column in ("theta", "theta_shuffled", "asked_shuffled", "theta_turned", "asked_turned")
        ),
    )


def _mean(rows: Sequence[Row], kind: str, column: str) -> float:
    return float(np.mean([row[column] for row in rows if row["kind"] == kind]))
