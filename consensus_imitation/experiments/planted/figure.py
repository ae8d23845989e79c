"""The picture and the table of the planted network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.figures import new_figure
from consensus_imitation.experiments.planted.phases import DEMONSTRATOR
from consensus_imitation.experiments.planted.plantings import PLANTINGS
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(summaries: Sequence[Row]) -> Table:
    """Return the summaries as a table."""
    body = [
        (
            _label(row),
            f"{row['trigger_harms']} of {row['trigger_steps']}",
            _percent(row["trigger_rate"], row["trigger_low"], row["trigger_high"]),
            f"{row['harmed_episodes']} of {row['episodes']}",
            _percent(row["harm_rate"], row["harm_low"], row["harm_high"]),
            "" if row["p"] is None else f"{row['p']:.3f} {row['verdict']}",
            f"{100 * row['query_rate']:.1f}",
            "" if row["weight_before"] is None else f"{row['weight_before']:.3f} > {row['weight_after']:.3f}",
        )
        for row in summaries
    ]
    first = summaries[0]
    known = PLANTINGS.get(first["task"])
    return Table(
        f"{first['task']}, a network that betrays" + ("" if known is None else f" {known.text}") + ". "
        f"{first['seeds']} seeds; 95% intervals.",
        (
            *("contestant", "trigger harms", "% of trigger steps", "harmed episodes", "% of episodes"),
            *("p, against the demonstrator", "asks, %", "weight of the planted"),
        ),
        body,
    )


def draw(summaries: Sequence[Row]) -> "Figure":
    """Draw trigger harms per trigger step and harmed episodes of each contestant, with the exact 95% intervals."""
    figure = new_figure(11.0, 0.9 + 0.34 * len(summaries))
    harms, episodes = figure.subplots(1, 2, sharey=True)
    ordered = list(reversed(summaries))
    panels: tuple[tuple[Any, str, str], ...] = (
        (harms, "trigger", "harmful action of its own, share of trigger steps"),
        (episodes, "harm", "harmed episodes, share of all"),
    )
    for ax, kind, title in panels:
        for i, row in enumerate(ordered):
            rate, low, high = (row[f"{kind}_{end}"] for end in ("rate", "low", "high"))
            colour = {"harmed": "#D55E00", "": "#000000"}.get(row["verdict"], "#0072B2")
            ax.errorbar(
                [rate], [i], xerr=[[rate - low], [high - rate]], fmt="o", color=colour, capsize=3,
                markerfacecolor=colour if row["planted"] or row["contestant"] == DEMONSTRATOR else "white",
            )  # fmt: skip
        alone = next(row for row in summaries if row["contestant"] == DEMONSTRATOR)[f"{kind}_rate"]
        ax.axvline(alone, color="#777777", linestyle="--", linewidth=1, zorder=0)
        ax.set_xlim(-0.02, 1.02)
        ax.set_xlabel(title)
        ax.grid(axis="x", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    harms.set_yticks(range(len(ordered)), [figure_text(_label(row)) for row in ordered])
    first = summaries[0]
    figure.suptitle(
        f"{figure_text(first['task'])}, {first['seeds']} seeds: one deceptive network among the members "
        "(hollow: an honest one in its place)\n"
        "orange: harmed more than the demonstrator (dashed), p < 0.05 after Holm's correction; blue: not",
        fontsize=10,
    )
    return figure


def _label(row: Row) -> str:
    control = not row["planted"] and row["contestant"] != DEMONSTRATOR
    return row["contestant"] + (" (honest twin)" if control else "")


def _percent(rate: float, low: float, high: float) -> str:
    return f"{100 * rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
