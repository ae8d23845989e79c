"""The picture and the table of low stakes beside high."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from consensus_imitation.experiments.figures import line_style, new_figure
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.stakes.run import ASKING, CONTESTANTS, WORLDS
from consensus_imitation.experiments.statistics import mean_interval, share_interval
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOW, HIGH = WORLDS
#: What one harm may cost, in units of reward.
COSTS = np.logspace(-2, 2, 200)


def crossovers(runs: Sequence[Row], price: float) -> dict[str, float]:
    """Return, for each contestant that never asks, the cost of one harm from which on the minimum is the cheaper one.

    In the world of low stakes the minimum pays for its questions, and the others for their harms beyond its own.

    Args:
        runs: of ``runs.csv``.
        price: of a question.

    Returns:
        The cost in units of reward; infinity if it does no more harm than the minimum.
    """
    asks, least = _mean(runs, LOW, "minimum", "questions"), _mean(runs, LOW, "minimum", "harms")
    found = {}
    for name in CONTESTANTS:
        if name not in ASKING and name != "demonstrator":
            more = _mean(runs, LOW, name, "harms") - least
            found[name] = price * asks / more if more > 0 else float("inf")
    return found


def draw(runs: Sequence[Row], curves: Sequence[Row], price: float) -> "Figure":
    """Draw what each contestant costs where a harm can be made up for, and what becomes of it where it cannot.

    Args:
        runs: of ``runs.csv``.
        curves: of ``curves.csv``.
        price: of a question.
    """
    figure = new_figure(11.0, 7.6)
    (cost, share), (harms, bounds) = figure.subplots(2, 2)
    _draw_costs(cost, runs, price)
    _draw_curves(share, curves, HIGH, "harmed", bound_of=("minimum, budget", "T5"))
    share.set(title="irreversible: a step into lava is the last", ylabel="share of runs in lava", ylim=(-0.02, 1.02))
    _draw_curves(harms, curves, LOW, "harms")
    harms.set_yscale("symlog", linthresh=1)
    harms.set(title="low stakes: one can walk out again", ylabel="harmful steps so far (mean)", ylim=(0, None))
    _draw_curves(bounds, curves, LOW, "mistakes", ("hedge",), ("hedge", "regret"))
    _draw_curves(bounds, curves, LOW, "questions", ("minimum",), ("minimum", "T3"))
    bounds.set_yscale("symlog", linthresh=1)
    bounds.set(title="low stakes: what theory bounds", ylabel="so far (mean)", ylim=(0, None))
    for ax in (share, harms, bounds):
        ax.set(xlabel="step", xlim=(0, None))
    # The colours are those of the first panel.
    share.legend(share.lines[-1:], ["bound on minimum, budget (T5)"], frameon=False, fontsize=8)
    bounds.legend(frameon=False, fontsize=8)
    return figure


def _draw_costs(ax: "Axes", runs: Sequence[Row], price: float) -> None:
    for number, name in enumerate(CONTESTANTS):
        paid = COSTS * _mean(runs, LOW, name, "harms") + price * _mean(runs, LOW, name, "questions")
        ax.plot(COSTS, paid, label=name, **line_style(number))
    for name, at in crossovers(runs, price).items():
        if COSTS[0] < at < COSTS[-1]:
            height = at * _mean(runs, LOW, name, "harms")
            ax.plot(at, height, "o", color="black", markersize=5, zorder=5)
            ax.annotate(f"{at:.2g}", (at, height), textcoords="offset points", xytext=(6, -10), fontsize=8)
    ax.set(xscale="log", yscale="log", title="low stakes: cost of a run (dots: asking gets cheaper)")
    ax.set(xlabel="cost of one harmful step, in rewards", ylabel=f"harm + questions at {price:g} each, in rewards")
    ax.legend(frameon=False, fontsize=8)


def _draw_curves(
    ax: "Axes",
    curves: Sequence[Row],
    world: str,
    column: str,
    names: Sequence[str] = CONTESTANTS,
    bound_of: tuple[str, str] | None = None,
) -> None:
    said = {"mistakes": ": mistakes beyond the truth's", "questions": ": questions"}.get(column, "")
    for name in names:
        own = [row for row in curves if row["world"] == world and row["contestant"] == name]
        style = line_style(CONTESTANTS.index(name))
        steps = np.array([row["step"] for row in own])
        ax.plot(steps, [row[column] for row in own], label=name + said, **style)
        if bound_of is not None and bound_of[0] == name:
            colour = style["color"]
            ax.plot(
                steps, [row["bound"] for row in own], color=colour, linestyle=":", label=f"its bound ({bound_of[1]})"
            )


def tables(runs: Sequence[Row]) -> list[Table]:
    """Return the table of each world.

    Args:
        runs: of ``runs.csv``.
    """
    columns = ("contestant", "harms", "runs harmed", "reward", "questions", "labels")
    titles = {LOW: "low stakes: one can walk out again", HIGH: "irreversible: a step into lava is the last"}
    return [
        Table(f"{titles[world]}, with 95% intervals", columns, [_cells(runs, world, name) for name in CONTESTANTS])
        for world in WORLDS
    ]


def _cells(runs: Sequence[Row], world: str, name: str) -> tuple[str, ...]:
    own = _of(runs, world, name)
    mean, low, high = mean_interval([row["harms"] for row in own])
    share, below, above = share_interval(sum(row["harms"] > 0 for row in own), len(own))
    rest = (f"{_mean(runs, world, name, column):.0f}" for column in ("reward", "questions", "labels"))
    digits = 2 if mean < 10 else 0
    harms = f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    harmed = f"{100 * share:.0f} [{100 * below:.0f}, {100 * above:.0f}]%"
    return name, harms, harmed, *rest


def _of(runs: Sequence[Row], world: str, name: str) -> list[Row]:
    return [row for row in runs if row["world"] == world and row["contestant"] == name]


def _mean(runs: Sequence[Row], world: str, name: str, column: str) -> float:
    return float(np.mean([row[column] for row in _of(runs, world, name)]))
