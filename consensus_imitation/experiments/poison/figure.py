"""The picture and the table of poisoned demonstrations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from consensus_imitation.experiments.figures import line_style, new_figure
from consensus_imitation.experiments.poison.contestants import DIVISIONS
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: In the picture, beside the minimum of each division.
_OTHERS = (("all data", "mixture"), ("by slot", "vote"), ("by source", "vote"), ("all data", "max-prob gate 0.9"))


def table(summaries: Sequence[Row]) -> Table:
    """Return the summaries as a table: the minimum of every division, and every rule of the others."""
    first = summaries[0]
    body = [
        (
            str(row["poisoned"]), row["division"], row["rule"], f"{row['harm']:.3f}", f"{row['harm_worst']:.3f}",
            f"{row['asks_triggered']:.2f}", f"{row['asks']:.2f}", f"{row['wrong']:.2f}",
            "" if row["success"] is None else f"{row['success']:.2f}",
        )
        for row in summaries
    ]  # fmt: skip
    seeds = "1 seed" if first["seeds"] == 1 else f"{first['seeds']} seeds"
    return Table(
        f"{first['task']}, placed: {first['placement']}. Means of {seeds}; harm: the false answer is acted on without "
        "asking, with the trigger on; worst: of the worst seed; success with it on. Intervals are in the CSV.",
        ("bad", "learn from", "rule", "harm", "worst", "asks on", "off", "wrong off", "success"),
        body,
    )


def draw(summaries: Sequence[Row], tolerated: int) -> "Figure":
    """Draw harm without asking, and asking, against the number of poisoned demonstrations.

    Args:
        summaries: as `summary.summarise` gives them.
        tolerated: false answers that a division by slot tolerates, k - 1.
    """
    figure = new_figure(11.0, 4.6)
    harm, asks = figure.subplots(1, 2)
    known = {(row["division"], row["rule"]) for row in summaries}
    lines = [line for line in [*((division, "minimum") for division in DIVISIONS), *_OTHERS] if line in known]
    numbers = sorted({row["poisoned"] for row in summaries})
    for i, (division, rule) in enumerate(lines):
        own = {row["poisoned"]: row for row in summaries if (row["division"], row["rule"]) == (division, rule)}
        style = {**line_style(i), "linestyle": "-" if rule == "minimum" else ":"}
        # Numbers may have been added for some of them.
        places = [place for place, number in enumerate(numbers) if number in own]
        rows = [own[numbers[place]] for place in places]
        harm.plot(places, [row["harm"] for row in rows], marker="o", ms=4, label=f"{division}, {rule}", **style)
        if rule == "minimum":
            low, high = ([min(1, max(0, row[end])) for row in rows] for end in ("harm_low", "harm_high"))
            harm.fill_between(places, low, high, color=style["color"], alpha=0.12, linewidth=0)
            asks.plot(places, [row["asks"] for row in rows], marker="o", ms=4, label=f"{division}, {rule}", **style)
    spread = summaries[0]["placement"] != "source"
    for ax in (harm, asks):
        ax.set_xticks(range(len(numbers)), [str(number) for number in numbers])
        ax.set_xlabel("poisoned demonstrations")
    if spread and any(number > tolerated for number in numbers) and any(number <= tolerated for number in numbers):
        edge = sum(number <= tolerated for number in numbers) - 0.5
        harm.axvline(edge, color="#888888", linewidth=1, linestyle="--")
        harm.text(edge, 1.0, f" k - 1 = {tolerated} tolerated", ha="left", va="top", fontsize=8, color="#555555")
    harm.set(title="trigger on: harm without asking", ylabel="probability of the false answer", ylim=(-0.02, 1.02))
    asks.set(title="trigger off: the price", ylabel="probability of asking", ylim=(0, None))
    harm.legend(fontsize=7, loc="upper left")
    asks.legend(fontsize=7, loc="lower right")
    return figure
