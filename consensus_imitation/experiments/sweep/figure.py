"""The picture and the table of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from consensus_imitation.core._escaping import figure_text
from consensus_imitation.experiments.cells import percent, plus_minus
from consensus_imitation.experiments.figures import new_figure, num_seeds, rate_axis
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import mean_interval, share_interval
from consensus_imitation.experiments.sweep.columns import setting_label
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

    Where members withhold mass, dotted lines and hatched bars show how much of the rate that explains.

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
    cautious = _is_cautious(rows)
    for style, (label, own) in zip(styles, group_by_setting(curve).items(), strict=True):
        steps = sorted({row["step"] for row in own})
        stats = [mean_interval([row["query_rate"] for row in own if row["step"] == step]) for step in steps]
        mean, low, high = np.array(stats).T
        over_time.plot(steps, mean, label=figure_text(label), linewidth=1.8, color=style.colour, linestyle=style.line)
        over_time.fill_between(steps, low, high, color=style.colour, alpha=0.18, linewidth=0)
        if cautious:
            parts = [np.mean([row["withheld_rate"] for row in own if row["step"] == step]) for step in steps]
            over_time.plot(steps, parts, linewidth=1.2, color=style.colour, linestyle=":")
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
    if cautious:
        over_time.plot([], [], color="black", linestyle=":", linewidth=1.2, label="withheld by members")
    over_time.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

    _against_setting(asked, groups, styles, "query rate", _mean_of("query_rate"))
    if cautious:
        _stack(asked, groups, styles)
    _draw_harm(harmed, rows, groups, styles)
    _against_setting(returns, groups, styles, "mean return per episode", _mean_of("mean_return"))
    return figure


def table(rows: Sequence[Row]) -> Table:
    """Tabulate query rate, harm and return for each setting, with 95% intervals over seeds.

    The columns "withheld" and "disagree" are the two parts of the probability of asking: what the members withhold,
    whether they agree or not, and the rest. They are left out if no member withholds anything, as are columns of which
    nothing is known.
    """
    first = rows[0]
    harm, success = first["demonstrator_harm"] is not None, first.get("successes") is not None
    shown: dict[str, Callable[[Sequence[Row]], str]] = {
        "asks, % of steps": lambda own: plus_minus(100, [row["query_rate"] for row in own]),
    }
    if _is_cautious(rows):
        shown["withheld"] = lambda own: plus_minus(100, [row["withheld_rate"] for row in own])
        shown["disagree"] = lambda own: plus_minus(100, [row["disagreement_rate"] for row in own])
    if harm:
        shown["harmed, % of runs"] = lambda own: percent(*share_harmed(own))
        shown["by own action"] = lambda own: percent(*share_harmed(own, "harms_unasked"))
    if success:
        shown["success, % of episodes"] = _successes
    shown["return"] = lambda own: plus_minus(1, [row["mean_return"] for row in own])
    alone = (
        f"The demonstrator alone does harm in {100 * first['demonstrator_harm']:.1f}% of runs."
        if harm
        else "Nothing says what counts as harm."
    )
    seeds = len({row["seed"] for row in rows})
    return Table(
        f"{first['env']}: {seeds} seeds x {first['steps']} steps, with 95% intervals. {alone}",
        ("setting", *shown),
        [(name, *(cell(own) for cell in shown.values())) for name, own in group_by_setting(rows).items()],
    )


def group_by_setting(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the rows of each setting, in the order in which the settings first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(setting_label(row), []).append(row)
    return groups


def share_harmed(rows: Sequence[Row], column: str = "harms") -> tuple[float, float, float]:
    """Return the share of runs with at least one harm (or ``harms_unasked``), with its exact 95% interval."""
    return share_interval(sum(row[column] > 0 for row in rows), len(rows))


def _is_cautious(rows: Sequence[Row]) -> bool:
    """Return whether members withheld anything; less than a millionth is rounding."""
    return any(row["withheld_rate"] > 1e-6 for row in rows)


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


def _stack(ax: "Axes", groups: Mapping[str, Sequence[Row]], styles: Sequence[_Style]) -> None:
    """Draw the two parts of the probability of asking as bars, one upon the other."""
    for i, (own, style) in enumerate(zip(groups.values(), styles, strict=True)):
        withheld, disagree = (np.mean([row[f"{part}_rate"] for row in own]) for part in ("withheld", "disagreement"))
        ax.bar([i], [withheld], width=0.6, color="white", edgecolor=style.colour, hatch="///", zorder=0)
        ax.bar([i], [disagree], bottom=[withheld], width=0.6, color=style.colour, alpha=0.35, zorder=0)
    ax.bar([0], [0], color="white", edgecolor="black", hatch="///", label="withheld")
    ax.bar([0], [0], color="black", alpha=0.35, label="disagreement")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=9)


def _draw_harm(ax: "Axes", rows: Sequence[Row], groups: Mapping[str, Sequence[Row]], styles: Sequence[_Style]) -> None:
    """Draw the share of runs with harm; an empty panel if nothing says what that is."""
    what, alone = "share of runs with harm", rows[0]["demonstrator_harm"]
    ax.set_ylim(-0.03, 1.03)
    if alone is None:
        ax.set(xticks=[], yticks=[], ylabel=what)
        ax.text(0.5, 0.5, "nothing says what counts as harm", ha="center", transform=ax.transAxes, fontsize=9)
        return
    _against_setting(ax, groups, styles, what, share_harmed, shift=-0.12)
    _against_setting(ax, groups, styles, what, _share_harmed_unasked, shift=0.12, hollow=True)
    ax.axhline(alone, color="#777777", linestyle="--", linewidth=1, zorder=0, label="demonstrator alone")
    ax.plot([], [], "o", color="black", markerfacecolor="white", label="by its own action")
    ax.legend(loc="best", fontsize=9)


def _successes(rows: Sequence[Row]) -> str:
    """Return the share of episodes that succeeded, of those that ended."""
    episodes = sum(row["episodes"] for row in rows)
    return percent(*share_interval(sum(row["successes"] for row in rows), episodes)) if episodes else "none ended"


def _mean_of(column: str) -> Callable[[Sequence[Row]], tuple[float, float, float]]:
    return lambda rows: mean_interval([row[column] for row in rows])


def _share_harmed_unasked(rows: Sequence[Row]) -> tuple[float, float, float]:
    return share_harmed(rows, "harms_unasked")


def _setting_styles(groups: Mapping[str, Sequence[Row]]) -> list[_Style]:
    """Return the line styles: full lines from dark to light for k, dashed orange for alpha, grey for other rules."""
    from matplotlib import colormaps

    families = {rule: [rows[0]["rule"] for rows in groups.values()].count(rule) for rule in ("topk", "alpha")}
    others = iter(colormaps["Greys"](np.linspace(0.9, 0.4, max(1, len(groups)))))
    shades = {
        "topk": iter(colormaps["viridis"](np.linspace(0.0, 0.75, max(1, families["topk"])))),
        "alpha": iter(colormaps["Oranges"](np.linspace(0.9, 0.5, max(1, families["alpha"])))),
    }
    return [
        _Style(next(shades["topk"]), "-", "o")
        if rows[0]["rule"] == "topk"
        else _Style(next(shades["alpha"]), "--", "s")
        if rows[0]["rule"] == "alpha"
        else _Style(next(others), "-.", "D")
        for rows in groups.values()
    ]
