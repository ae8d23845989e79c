"""What runs of `shift` show: over all seeds, what was asked, what was caught and what was harmed."""

from collections.abc import Sequence

from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import share_interval

SUMMARY_COLUMNS = (
    *("task", "phase", "world", "contestant", "seeds", "episodes", "harmed", "harm_rate", "harm_low", "harm_high"),
    *("asked", "recall", "precision", "f1", "answers", "late_asked", "n_eff"),
)


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Return one row with `SUMMARY_COLUMNS` for each phase, world and contestant, in the order in which they appear.

    ``asked`` is the share of all steps, ``recall`` the share of mistakes that were asked about, ``precision`` the share
    of questions that prevented a mistake; ``answers`` and ``n_eff`` are per seed. The interval of the harm is exact for
    independent episodes, which those of one seed are not.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["phase"], row["world"], row["contestant"]), []).append(row)
    return [_summary(own) for own in groups.values()]


def _summary(own: Sequence[Row]) -> Row:
    def total(column: str) -> int:
        return sum(row[column] or 0 for row in own)

    first = own[0]
    harm = share_interval(total("harmed"), max(1, total("episodes")))
    recall = total("caught") / max(1, total("mistakes"))
    precision = total("caught") / max(1, total("asked"))
    f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    late = total("late_asked") / total("late_steps") if total("late_steps") else None
    independent = [row["n_eff"] for row in own if row["n_eff"] is not None]
    values = (
        *(first["task"], first["phase"], first["world"], first["contestant"], len(own), total("episodes")),
        *(total("harmed"), *harm, total("asked") / max(1, total("steps")), recall, precision, f1),
        *(total("asked") / len(own), late, sum(independent) / len(independent) if independent else None),
    )
    return dict(zip(SUMMARY_COLUMNS, values, strict=True))
