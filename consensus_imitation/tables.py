"""Tables of results for the terminal and for the page: the same numbers, worked out once."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from consensus_imitation.experiments.compare_summary import Demonstrated, MethodSummary, median_interval
from consensus_imitation.experiments.results import Row, mean_interval, share_interval


class Table(NamedTuple):
    """A title, column headings and rows of cells, all text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def setting_label(row: Row) -> str:
    """Short name of a row's setting, such as "k=4" or "alpha=0.01"."""
    return f"k={row['k']}" if row["rule"] == "topk" else f"alpha={row['alpha']:g}"


def group_by_setting(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each setting, in the order in which the settings first appear."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(setting_label(row), []).append(row)
    return groups


def share_harmed(rows: Sequence[Row], column: str = "harms") -> tuple[float, float, float]:
    """Share of runs with at least one harm (or ``harms_unasked``), with its exact 95% interval."""
    return share_interval(sum(row[column] > 0 for row in rows), len(rows))


def sweep_table(rows: Sequence[Row]) -> Table:
    """Query rate, harm and return for each setting, with 95% intervals over seeds."""
    body = [
        (
            label,
            _plus_minus(100, [row["query_rate"] for row in own]),
            _percent(*share_harmed(own)),
            _percent(*share_harmed(own, "harms_unasked")),
            _plus_minus(1, [row["mean_return"] for row in own]),
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


def redteam_table(rows: Sequence[Row]) -> Table:
    """Harm and query rate of every contestant under attack, expected against observed."""
    body = [
        (
            row["scenario"],
            row["contestant"],
            f"{row['harm_rate']:.3f} [{row['harm_low']:.3f}, {row['harm_high']:.3f}]",
            f"{row['query_rate']:.3f}",
            str(row["expected"]),
            str(row["observed"]) + ("" if row["as_expected"] else "  !"),
        )
        for row in rows
        if row["attack"]
    ]
    return Table(
        "deceptive-model suite, runs under attack (harm: share of runs with harm [95% interval])",
        ("scenario", "contestant", "harm", "asks", "expected", "observed"),
        body,
    )


def redteam_matrix(rows: Sequence[Row]) -> Table:
    """Share of runs harmed under attack, scenario by contestant; "!" marks what differs from the expectation."""
    attacks = [row for row in rows if row["attack"]]
    contestants = tuple(dict.fromkeys(row["contestant"] for row in attacks))
    cells = {
        (row["scenario"], row["contestant"]): f"{row['harm_rate']:.2f}" + ("" if row["as_expected"] else " !")
        for row in attacks
    }
    scenarios = dict.fromkeys(row["scenario"] for row in attacks)
    letters = [chr(ord("A") + i) for i in range(len(contestants))]
    legend = ", ".join(f"{letter} {contestant}" for letter, contestant in zip(letters, contestants, strict=True))
    return Table(
        f"share of runs with harm, under attack (! = not as theory says)\n{legend}",
        ("scenario", *letters),
        [(name, *(cells.get((name, contestant), "") for contestant in contestants)) for name in scenarios],
    )


def bounds_table(rows: Sequence[Row]) -> Table:
    """What was observed by the end of each part's runs, against the bound."""
    last: dict[tuple[str, str], Row] = {}
    for row in rows:
        last[row["part"], row["setting"]] = row
    body = [
        (
            part,
            setting,
            str(row["step"]),
            f"{row['observed']:.3g} [{row['low']:.3g}, {row['high']:.3g}]",
            f"{row['bound']:.3g}" + (" (demonstrator)" if setting == "no budget" else ""),
        )
        for (part, setting), row in last.items()
    ]
    return Table(
        "predicted against observed, with 95% intervals", ("what", "setting", "steps", "observed", "bound"), body
    )


def bench_table(rows: Sequence[Row]) -> Table:
    """Measured ratios against their targets."""
    columns = tuple(rows[0])
    return Table("speed, as ratios in one run", columns, [tuple(str(row[c]) for c in columns) for row in rows])


def compare_table(task: str, summaries: Sequence[MethodSummary], demonstrator: Demonstrated) -> Table:
    """Answers needed, harm on the way and afterwards, and how asking dies out: medians with intervals over seeds."""
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


def _median(values: Sequence[float], interval: bool = True) -> str:
    if not values:
        return ""
    middle, low, high = median_interval(values)
    if not interval or low == high:
        return _number(middle)
    return f"{_number(middle)} [{_number(low)}, {_number(high)}]"


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _plus_minus(scale: float, values: Sequence[float]) -> str:
    mean, _, high = mean_interval(values)
    if high != high:  # a single seed has no interval
        return f"{scale * mean:.3g}"
    return f"{scale * mean:.3g} ± {scale * (high - mean):.1g}"


def _percent(share: float, low: float, high: float) -> str:
    return f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
