"""The picture and the table of a study of collapse."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.collapse.run import EARLY_ANSWERS, groups
from consensus_imitation.experiments.figures import draw_band, line_style, new_figure, num_seeds, query_rates
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import median_interval, share_interval
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Bottom of the picture's axis.
_LOWEST_RATE = 0.003


def table(rows: Sequence[Row]) -> Table:
    """Return one line for each variant: medians over the seeds, with intervals where they are not just a count."""
    body: list[tuple[str, ...]] = []
    for name, own in groups(rows).items():
        in_charge = [np.inf if row["one_in_charge_at"] is None else row["one_in_charge_at"] for row in own]
        episodes, harms = (sum(row[column] for row in own) for column in ("episodes", "harms"))
        returns = [row["mean_return"] for row in own]
        unsafe = share_interval(harms, episodes) if episodes else None
        body.append(
            (
                name,
                _median(in_charge),
                _median(_known(own, "effective"), 2),
                _median([100 * row["alone_late"] for row in own]),
                _median([row["answers"] for row in own], interval=True),
                _median([100 * rate for rate in _known(own, "late_rate")], 1, interval=True),
                _median(_known(own, "decay"), 2),
                _median([row["early_harms"] for row in own], 1),
                f"{harms}/{episodes}" + (f" [{100 * unsafe[1]:.0f}, {100 * unsafe[2]:.0f}]%" if unsafe else ""),
                # Where 1 is the goal, whole numbers would suggest that all reach it.
                _median(returns, 0 if max(map(abs, returns)) >= 10 else 2, interval=True),
                _median([100 * row["success"] for row in own]),
            )
        )
    first = rows[0]
    seeds = num_seeds(rows)
    return Table(
        f"{first['task']}: {first['members']} members, {first['steps']} steps, {seeds} seeds, medians (in brackets: "
        "interval from order statistics, all seeds if they are few).\n90%: answers until one member holds 90% of the "
        "weight; members: effective number by weight; alone: % of the later half of steps on which one member decides; "
        f"asks: % of the last tenth of steps; early: unsafe episodes begun before {EARLY_ANSWERS} answers; unsafe: "
        "episodes of all seeds, with the exact 95% interval; return, solved: of the evaluation at the end.",
        ("variant", "90%", "members", "alone", "answers", "asks", "decay", "early", "unsafe", "return", "solved"),
        body,
    )


def panels(variants: Sequence[str]) -> dict[str, list[str]]:
    """Group variants to draw together: those that differ in the selection rule only, and those with the same one.

    Example:
        >>> panels(["top2", "alpha0.01", "top2/share0.1"])
        {'selection rules': ['top2', 'alpha0.01'], 'top2': ['top2', 'top2/share0.1']}
    """
    rest = {name: name.partition("/")[2] for name in variants}
    common = Counter(rest.values()).most_common(1)[0][0]
    together = [name for name in variants if rest[name] == common]
    found = {f"selection rules{f', {common}' if common else ''}": together} if len(together) > 1 else {}
    for selection in dict.fromkeys(name.partition("/")[0] for name in variants):
        own = [name for name in variants if name.partition("/")[0] == selection]
        if len(own) > 1:
            found[selection] = own
    drawn = {name for names in found.values() for name in names}
    left = [name for name in variants if name not in drawn]
    return {**found, "others": left} if left else found


def draw(curve: Sequence[Row]) -> "Figure":
    """Draw effective members by weight over answers, and query rate over steps: medians, and the middle half of seeds.

    The rate is over the later half of the steps so far; no query at all counts as half a query, since zero has no
    logarithm, and what is below 0.3% is off the axis. A variant is drawn as far as all of its runs had answers.

    Args:
        curve: of ``curve.csv``.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    runs = {name: _runs(own) for name, own in groups(curve).items()}
    columns = panels(list(runs))
    figure = new_figure(3.0 * len(columns) + 0.6, 5.6)
    axes = figure.subplots(2, len(columns), squeeze=False, sharey="row")
    for (title, names), above, below in zip(columns.items(), *axes, strict=True):
        for i, name in enumerate(names):
            style = line_style(i)
            rest = name.removeprefix(title)
            _effective(
                above,
                runs[name],
                style,
                figure_text(name if rest == name else rest.removeprefix("/") or "defaults otherwise"),
            )
            _rate(below, runs[name], style)
        above.set(xlabel="answers", title=figure_text(title), xscale="log")
        above.legend(frameon=False, fontsize=7, loc="upper right")
        below.set(xlabel="step", xscale="log", yscale="log")
    members = curve[0]["members"]
    axes[0, 0].set(ylabel="effective members by weight", ylim=(0.9, 1.25 * members))
    # Lower rates are practically zero, and would flatten all others.
    axes[1, 0].set(ylabel="query rate", ylim=(_LOWEST_RATE, 1.3))
    seeds = num_seeds(curve)
    figure.suptitle(f"{figure_text(curve[0]['task'])}: {members} members, {seeds} seeds", fontsize=10)
    return figure


def _effective(ax: "Axes", runs: list[list[Row]], style: dict[str, Any], label: str) -> None:
    answers = [np.array([row["answers"] for row in run], float) for run in runs]
    last = min(own[-1] for own in answers)
    grid = np.unique(np.concatenate(answers))
    grid = grid[(grid >= 1) & (grid <= last)]
    if not len(grid):
        return
    values = [
        np.interp(grid, own, np.array([row["effective"] for row in run], float))
        for own, run in zip(answers, runs, strict=True)
    ]
    draw_band(ax, grid, np.array(values), style, label)


def _rate(ax: "Axes", runs: list[list[Row]], style: dict[str, Any]) -> None:
    steps = np.array([row["step"] for row in runs[0]])
    asked = np.array([[row["answers"] for row in run] for run in runs], float)
    draw_band(ax, steps, query_rates(steps, asked, least=0.5), style)


def _runs(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row["seed"], []).append(row)
    return list(found.values())


def _known(rows: Sequence[Row], column: str) -> list[float]:
    return [row[column] for row in rows if row[column] is not None]


def _median(values: Sequence[float], digits: int = 0, interval: bool = False) -> str:
    if not values:
        return ""
    middle, low, high = ("never" if np.isinf(v) else f"{v:.{digits}f}" for v in median_interval(values))
    return f"{middle} [{low}, {high}]" if interval and low != high else middle
