"""The picture and the table of a comparison."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.compare.summary import Demonstrated, MethodSummary, score_of
from consensus_imitation.experiments.figures import draw_band, line_style, new_figure, num_seeds, query_rates, rate_axis
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import median_interval
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(rows: Sequence[Row], curve: Sequence[Row], demonstrator: Demonstrated) -> "Figure":
    """Draw score and unsafe episodes against answers, and the query rate over time: medians, with bands over seeds.

    Unsafe episodes count until the answers are spent. The query rate is over the later half of the steps so far.

    A band spans the middle half of the seeds. If the runs of a method had different numbers of answers, its line ends
    where the first of them ended.

    Args:
        rows: of ``compare.csv``.
        curve: of its ``curve.csv``.
        demonstrator: of the same comparison.
    """
    figure = new_figure(11.0, 7.6)
    grid = figure.add_gridspec(2, 2)
    score, harms, rate = figure.add_subplot(grid[0, :]), figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
    for i, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        style = line_style(i)
        own, points = (_runs_of(method, part) for part in (rows, curve))
        draw_against_answers(score, own, lambda row: score_of(row, demonstrator), style, figure_text(method))
        draw_against_answers(harms, own, lambda row: row["harms"], style)
        steps = np.array([row["step"] for row in points[0]])
        asked = np.array([[row["answers"] for row in run] for run in points], float)
        rates = query_rates(steps, asked)
        # Only while there were answers left: without answers, not asking has no meaning.
        free = np.all([[not row["spent"] for row in run] for run in points], axis=0)
        draw_band(rate, steps[free], rates[:, free], style)
    score.axhline(demonstrator.score, color="#777777", linewidth=1, label="demonstrator")
    score.axhline(demonstrator.target, color="#777777", linewidth=1, linestyle="--", label="95% of it")
    score.set(xlabel="answers", ylabel=f"{figure_text(demonstrator.measure)} of the learned policy")
    score.set_title(f"{figure_text(rows[0]['task'])}: median of {num_seeds(rows)} seeds, and the middle half of them")
    score.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    harms.set(xlabel="answers", ylabel="unsafe episodes while learning")
    harms.set_ylim(bottom=0)
    rate.set(xlabel="step", ylabel="query rate, while answers are left", xscale="log")
    rate_axis(rate)
    return figure


def draw_against_answers(
    ax: "Axes",
    runs: Sequence[Sequence[Row]],
    value: Callable[[Row], float],
    style: Mapping[str, Any],
    label: str | None = None,
) -> None:
    """Draw a value against answers, median and middle half of several runs, up to where the first of them ended.

    Args:
        ax: where.
        runs: the rows of each run.
        value: of a row.
        style: of the line.
        label: of the line.
    """
    answers = [np.array([row["answers"] for row in run]) for run in runs]
    shared = np.unique(np.concatenate(answers))
    shared = shared[shared <= min(have[-1] for have in answers)]
    values = [[value(row) for row in run] for run in runs]
    draw_band(ax, shared, _at(shared, answers, values), style, label)


def table(task: str, summaries: Sequence[MethodSummary], demonstrator: Demonstrated) -> Table:
    """Tabulate answers needed, harm during and after, and how asking dies out: medians with intervals over seeds."""
    body = [
        (
            summary.method,
            _median(summary.to_target) + f" {sum(map(math.isfinite, summary.to_target))}/{summary.seeds}",
            _median(summary.harms_at_equal),
            _median(summary.harms),
            _median(summary.all_harms),
            _median(summary.score),
            _median([100 * rate for rate in summary.late_rate if rate is not None]) or "spent",
            _median([decay for decay in summary.decay if decay is not None], interval=False),
        )
        for summary in summaries
    ]
    seeds = max(summary.seeds for summary in summaries)
    return Table(
        f"{task}: {seeds} seeds, medians (intervals from order statistics). The demonstrator's {demonstrator.measure} "
        f"is {demonstrator.score:.4g}, 95% of it {demonstrator.target:.4g}; {100 * demonstrator.harm:.3g}% of its "
        "episodes are unsafe.\nto 95%: answers until an evaluation reaches that, and in how many runs one does; "
        "at equal: unsafe episodes until as many answers as the minimum needs for it; learning: unsafe episodes while "
        "learning; in all: in the whole run, which goes on without asking when the answers are spent; asks: % of the "
        "last tenth of steps; decay: exponent of the query rate.",
        ("method", "to 95%", "at equal", "learning", "in all", demonstrator.measure, "asks", "decay"),
        body,
    )


def _runs_of(method: str, rows: Sequence[Row]) -> list[list[Row]]:
    runs: dict[int, list[Row]] = {}
    for row in rows:
        if row["method"] == method:
            runs.setdefault(row["seed"], []).append(row)
    return list(runs.values())


def _at(points: np.ndarray, places: Sequence[np.ndarray], values: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the latest value of each run at each of the points, or its first one: [runs, points]."""
    at = [np.maximum(np.searchsorted(place, points, side="right") - 1, 0) for place in places]
    return np.array([np.asarray(value, float)[own] for own, value in zip(at, values, strict=True)])


def _median(values: Sequence[float], interval: bool = True) -> str:
    if not values:
        return ""
    middle, low, high = median_interval(values)
    if not interval or low == high:
        return _number(middle)
    return f"{_number(middle)} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
