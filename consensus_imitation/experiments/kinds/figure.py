"""The picture and the tables of kinds of members."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.experiments.figures import PALETTE, line_style, new_figure
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
        axes[0].plot(accuracy, n_eff, "os^"[number // len(PALETTE) % 3], color=line_style(number)["color"], label=kind)
        axes[1].plot(asked, [number] * len(own), "o", color=line_style(number)["color"])
        axes[1].plot([row["asked_turned"] for row in own], [number] * len(own), "x", color=line_style(number)["color"])
    axes[0].set(xlabel="accuracy of a member", ylabel="effective members", title="how well, and how independently")
    axes[0].legend(fontsize=8)
    axes[1].set_yticks(range(len(kinds)), kinds)
    axes[1].invert_yaxis()
    axes[1].axvline(0.1, color="gray", linestyle=":")
    turned = not all(np.isnan(row["asked_turned"]) for row in rows)
    title = "foreign inputs: shuffled" + (" (o), turned (x)" if turned else "")
    axes[1].set(xlabel="share asked about", xlim=(-0.02, 1.02), title=title)
    if curve:
        _draw_curve(axes[2], rows, curve)
    return figure


def _draw_curve(ax: "Axes", rows: Sequence[Row], curve: Sequence[str]) -> None:
    settings = [(int(name.split("/")[1]), float(name.split("/")[2])) for name in curve]
    for number, width in enumerate(sorted({width for width, _ in settings})):
        kept = sorted(share for own, share in settings if own == width)
        accuracy = [_mean(rows, f"masks/{width}/{share:g}", "accuracy") for share in kept]
        pruned = [100 * (1 - share) for share in kept]
        ax.plot(pruned, accuracy, marker="o", label=f"masks, width {width}", **line_style(number))
    if any(row["kind"] == "mlp" for row in rows):
        dense = _mean(rows, "mlp", "accuracy")
        ax.axhline(dense, color="black", linestyle=":", label="mlp, dense, width 64")
        ax.axhspan(dense - 0.01, dense, color="0.85", zorder=0, label="within a point of it")
    ax.set(xlabel="connections pruned (%)", ylabel="accuracy of a member", title="masks on one frozen random network")
    ax.legend(fontsize=8)


def tables(rows: Sequence[Row], names: Sequence[str]) -> list[Table]:
    """Return what each kind costs, and how it does.

    Args:
        rows: of ``runs.csv``.
        names: the kinds, in order.
    """
    cost = ("members", "learn (ms)", "act (us)", "kB learning", "kB kept")
    conduct = ("members", "accuracy", "together", "N_eff", "theta", "shuffled: asked", "turned: asked")
    return [
        Table(
            "cost: processor time of all members together, memory of one", cost, [_cost(rows, name) for name in names]
        ),
        Table("conduct, means over runs", conduct, [_conduct(rows, name) for name in names]),
    ]


def _cost(rows: Sequence[Row], kind: str) -> tuple[str, ...]:
    learn, act, learning, kept = (
        _mean(rows, kind, name) for name in ("learn_ms", "act_us", "bytes_learning", "bytes_kept")
    )
    return kind, f"{learn:.2f}", f"{act:.1f}", f"{learning / 1000:.0f}", f"{kept / 1000:.1f}"


def _conduct(rows: Sequence[Row], kind: str) -> tuple[str, ...]:
    columns = ("accuracy", "together", "n_eff", "theta", "asked_shuffled", "asked_turned")
    values = [(_mean(rows, kind, name), digits) for name, digits in zip(columns, (3, 3, 2, 3, 2, 2), strict=True)]
    return kind, *("-" if np.isnan(value) else f"{value:.{digits}f}" for value, digits in values)


def _mean(rows: Sequence[Row], kind: str, column: str) -> float:
    return float(np.mean([row[column] for row in rows if row["kind"] == kind]))
