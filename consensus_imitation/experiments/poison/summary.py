"""Means over the seeds of what the teams with poisoned demonstrations did."""

from collections.abc import Sequence

from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import mean_interval

_MEASURED = ("harm", "asks_triggered", "asks", "wrong", "success", "rounds", "seconds")
SUMMARY_COLUMNS = (
    *("task", "placement", "poisoned", "division", "rule", "seeds", "harm_low", "harm_high", "harm_worst"),
    *_MEASURED,
)


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Return one row with `SUMMARY_COLUMNS` for each number of poisoned demonstrations, division and rule.

    Means over the seeds; of harm also Student's 95% interval, and the worst seed. None where nothing was measured.
    """
    groups: dict[tuple[int, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["poisoned"], row["division"], row["rule"]), []).append(row)
    found: list[Row] = []
    for own in groups.values():
        means = {name: _mean([row[name] for row in own]) for name in _MEASURED}
        _, low, high = mean_interval([row["harm"] for row in own])
        known = {name: own[0][name] for name in ("task", "placement", "poisoned", "division", "rule")}
        ends = {"harm_low": low, "harm_high": high, "harm_worst": max(row["harm"] for row in own)}
        found.append({**known, "seeds": len(own), **ends, **means})
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
