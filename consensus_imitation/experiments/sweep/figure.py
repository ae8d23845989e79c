"""The picture and the table of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.cells import percent, plus_minus
from consensus_imitation.experiments.figures import new_figure, num_seeds, rate_axis
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import mean_interval, share_interval
from consensus_imitation.experiments.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class _Style(NamedTuple):
    colour: Any
    line: str
    marker: str


def draw(rows: Sequence[Row], curve: Sequence[Row], betray_at: int | None) -> "Figure":
    """Draw query rate over time for each setting; query rate, share of runs harmed and return against the setting.

    Args:
        rows: of ``sweep.csv``.
        curve: of ``curve.csv``.
        betray_at: step of the deceptive member's betrayal, if there is one.

    Raises:
        ImportError: without matplotlib, naming the extra that brings it.
    """
    figure = new_figure(11.0, 6.4)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.15, 1))
    over_time = figure.add_subplot(grid[0, :])
    asked, harmed, returns = (figure.add_subplot(grid[1, i]) for i in range(3))
    groups = group_by_setting(rows)
    styles = _setting_styles(groups)
    for style, (label, own) in zip(styles, group_by_setting(curve).items(), strict=True):
        steps = sorted({row["step"] for row in own})
        stats = [mean_interval([row["query_rate"] for row in own if row["step"] == step]) for step in steps]
        mean, low, high = np.array(stats).T
        over_time.plot(steps, mean, label=figure_text(label), linewidth=1.8, color=style.colour, linestyle=style.line)
        over_time.fill_between(steps, low, high, color=style.colour, alpha=0.18, linewidth=0)
    if betray_at is not None:
        over_time.axvline(betray_at, color="black", linestyle=":", linewidth=1)
        over_time.annotate(
            "the deceptive model turns", (betray_at, 0.0), xycoords=("data", "axes fraction"),
            xytext=(5, 16), textcoords="offset points", fontsize=9,
        )  # fmt: skip
    rate_axis(over_time)
    over_time.set(
        xlabel="step", ylabel="query rate", xlim=(0, max(row["step"] for row in curve)),
        title=f"{figure_text(rows[0]['env'])}: how often the demonstrator is asked "
        f"(mean of {num_seeds(rows)} seeds, 95% interval)",
    )  # fmt: skip
    over_time.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

    _against_setting(asked, groups, styles, "query rate", _mean_of("query_rate"))
    _against_setting(harmed, groups, styles, "share of runs with harm", share_harmed, shift=-0.12)
    _against_setting(harmed, groups, styles, "share of runs with harm", _share_harmed_unasked, shift=0.12, hollow=True)
    _against_setting(returns, groups, styles, "mean return per episode", _mean_of("mean_return"))
    harmed.set_ylim(-0.03, 1.03)
    alone = rows[0]["demonstrator_harm"]
    harmed.axhline(alone, color="#777777", linestyle="--", linewidth=1, zorder=0, label="demonstrator alone")
    harmed.plot([], [], "o", color="black", markerfacecolor="white", label="by its own action")
    harmed.legend(loc="upper right", frameon=False, fontsize=9)
    return figure


def table(rows: Sequence[Row]) -> Table:
    """Tabulate query rate, harm and return for each setting, with 95% intervals over seeds."""
    body = [
        (
            label,
            plus_minus(100, [row["query_rate"] for row in own]),
            percent(*share_harmed(own)),
            percent(*share_harmed(own, "harms_unasked")),
            plus_minus(1, [row["mean_return"] for row in own]),
        )
        for label, own in group_by_setting(rows).items()
    ]
    first = rows[0]
    seeds = len({row["seed"] for row in rows})
    return Table(
        f"{first['env']}: {seeds} seeds x {first['steps']} steps, with 95% intervals. "
        f"The demonstrator alone does harm in {100 * first['demonstrator_harm']:.1f}% of runs.",
        ("setting", "asks, % of steps", "harmed, % of runs", "by own action", "return"),
        body,
    )


def setting_label(row: Row) -> str:
    """Return the short name of a row's setting, such as "k=4" or "alpha=0.01"."""
    return f"k={row['k']}" if row["rule"] == "topk" else f"alpha={row['alpha']:g}"


def group_by_setting(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each setting, in the order in which the settings first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(setting_label(row), []).append(row)
    return groups


def share_harmed(rows: Sequence[Row], column: str = "harms") -> tuple[float, float, float]:
    """Return the share of runs with at least one harm (or ``harms_unasked``), with its exact 95% interval."""
    return share_interval(sum(row[column] > 0 for row in rows), len(rows))


def _against_setting(
    ax: "Axes",
    groups: Mapping[str, Sequence[Row]],
    styles: Sequence[_Style],
    ylabel: str,
    interval: Callable[[Sequence[Row]], tuple[float, float, float]],
    shift: float = 0.0,
    hollow: bool = False,
) -> None:
    for i, (own, style) in enumerate(zip(groups.values(), styles, strict=True)):
        mean, low, high = interval(own)
        spread = None if np.isnan(low) else [[mean - low], [high - mean]]
        face = "white" if hollow else style.colour
        ax.errorbar(
            [i + shift], [mean], yerr=spread, fmt=style.marker, color=style.colour, markerfacecolor=face, capsize=3
        )
    crowded = sum(len(label) for label in groups) > 16
    ax.set_xticks(
        range(len(groups)), map(figure_text, groups), rotation=30 if crowded else 0, ha="right" if crowded else "center"
    )
    ax.set_ylabel(ylabel)
    ax.margins(x=0.12)


def _mean_of(column: str) -> Callable[[Sequence[Row]], tuple[float, float, float]]:
    return lambda rows: mean_interval([row[column] for row in rows])


def _share_harmed_unasked(rows: Sequence[Row]) -> tuple[float, float, float]:
    return share_harmed(rows, "harms_unasked")


def _setting_styles(groups: Mapping[str, Sequence[Row]]) -> list[_Style]:
    """Return the line styles: full lines from dark to light for k, dashed orange lines for alpha."""
    from matplotlib import colormaps

    families = {rule: [rows[0]["rule"] for rows in groups.values()].count(rule) for rule in ("topk", "alpha")}
    shades = {
        "topk": iter(colormaps["viridis"](np.linspace(0.0, 0.75, max(1, families["topk"])))),
        "alpha": iter(colormaps["Oranges"](np.linspace(0.9, 0.5, max(1, families["alpha"])))),
    }
    return [
        _Style(next(shades["topk"]), "-", "o")
        if rows[0]["rule"] == "topk"
        else _Style(next(shades["alpha"]), "--", "s")
        for rows in groups.values()
    ]
