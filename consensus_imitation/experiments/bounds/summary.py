"""Which bounds are exceeded by more than chance allows."""

from collections.abc import Sequence

from scipy import stats

from consensus_imitation.experiments.results import Row


def exceeded(rows: Sequence[Row], num_seeds: int) -> list[Row]:
    """Return the rows that contradict a bound: what was observed would, at the bound, have probability below 1e-5.

    The rows without a budget have the demonstrator's own probability for comparison, which is not a bound.
    """
    wrong: list[Row] = []
    for row in rows:
        if row["setting"] == "no budget":
            continue
        if row["setting"] == "largest of the runs":
            # Not the largest itself: one run in twenty may exceed the limit.
            if row["low"] > row["bound"]:
                wrong.append(row)
        elif row["part"] in ("harm", "truth ever left out"):
            count = round(row["observed"] * num_seeds)
            if stats.binom.sf(count - 1, num_seeds, min(1.0, row["bound"])) < 1e-5:
                wrong.append(row)
        else:
            # From the 95% interval to one that errs with probability 1e-5.
            wider = stats.t.ppf(1 - 1e-5, num_seeds - 1) / stats.t.ppf(0.975, num_seeds - 1)
            if row["observed"] - wider * (row["observed"] - row["low"]) > row["bound"]:
                wrong.append(row)
    return wrong
