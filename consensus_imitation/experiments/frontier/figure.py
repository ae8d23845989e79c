"""The picture and the table of the frontier."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from consensus_imitation.experiments.compare.figure import draw_against_answers
from consensus_imitation.experiments.compare.summary import Demonstrated, score_of
from consensus_imitation.experiments.figures import line_style, new_figure
from consensus_imitation.experiments.frontier.summary import Cost
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import median_interval, share_interval
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row], found: Sequence[Cost], demonstrator: Demonstrated) -> "Figure":
    """Draw unsafe episodes per episode against answers needed, and how the learned policy gets better with answers.

    Args:
        rows: of ``frontier.csv``.
        found: of `summary.costs`.
        demonstrator: of the same run.
    """
    figure = new_figure(11.0, 4.4)
    frontier, score = figure.subplots(1, 2)
    most = max(row["answers"] for row in rows)
    for number, cost in enumerate(found):
        style = line_style(number)
        _draw_cost(frontier, cost, most, style["color"])
        own: dict[int, list[Row]] = {}
        for row in rows:
            if row["contestant"] == cost.contestant:
                own.setdefault(row["seed"], []).append(row)
        draw_against_answers(score, list(own.values()), lambda row: score_of(row, demonstrator), style)
    frontier.axhline(demonstrator.harm, color="#777777", linewidth=1, linestyle="--", label="the demonstrator alone")
    frontier.set(xlim=(0, 1.08 * most), ylim=(0, None))
    frontier.set(xlabel="answers until 95% of the demonstrator's score", ylabel="unsafe episodes per episode, learning")
    frontier.legend(frameon=False, fontsize=8)
    score.axhline(demonstrator.target, color="#777777", linewidth=1, linestyle="--")
    score.set(xlabel="answers", ylabel=f"{demonstrator.measure} of the learned policy (dashed: 95%)")
    seeds = len(found[0].episodes)
    figure.suptitle(f"{rows[0]['task']}: {seeds} seeds (left: 95% intervals; right: median, middle half)", fontsize=10)
    return figure


def _draw_cost(ax: "Axes", cost: Cost, most: float, color: str) -> None:
    """Draw one contestant; what never reaches the target stands at the right end."""
    x, left, right = (min(value, most) for value in median_interval(cost.to_target))
    y, low, high = share_interval(sum(cost.harms), max(1, sum(cost.episodes)))
    ax.errorbar(x, y, [[y - low], [high - y]], [[x - left], [right - x]], "o", color=color, label=cost.contestant,
                elinewidth=0.8)  # fmt: skip


def table(task: str, found: Sequence[Cost], demonstrator: Demonstrated) -> Table:
    """Tabulate what each contestant needs and costs.

    Args:
        task: its name.
        found: of `summary.costs`.
        demonstrator: of the same run.
    """
    columns = ("contestant", "to 95%", "runs", "p fewer", "unsafe, learning", "p more", "unsafe, until 95%")
    return Table(
        f"{task}: {len(found[0].episodes)} seeds. The demonstrator's {demonstrator.measure} is "
        f"{demonstrator.score:.4g}, 95% of it {demonstrator.target:.4g}; {100 * demonstrator.harm:.3g}% of its "
        "episodes are unsafe.\nto 95%: answers until an evaluation reaches that, median [95% interval]; runs: in how "
        "many one does; unsafe: of how many episodes, all seeds together; p: that chance alone makes it differ so much "
        f"from {found[0].contestant}, by signs of the differences on each seed.",
        columns,
        [_cells(cost, cost is found[0]) for cost in found],
    )


def _cells(cost: Cost, first: bool) -> tuple[str, ...]:
    middle, low, high = (
        f"{value:.0f}" if math.isfinite(value) else "never" for value in median_interval(cost.to_target)
    )
    harms, episodes = sum(cost.harms), sum(cost.episodes)
    return (
        cost.contestant,
        f"{middle} [{low}, {high}]",
        f"{sum(map(math.isfinite, cost.to_target))}/{len(cost.to_target)}",
        "" if first else f"{cost.fewer:.2g}",
        _share(harms, episodes),
        "" if first else f"{cost.more:.2g}",
        _share(cost.early[1], cost.early[0]),
    )


def _share(harms: int, episodes: int) -> str:
    return f"{harms} of {episodes}" + (f" ({100 * harms / episodes:.1f}%)" if episodes else "")
