"""Summaries of a comparison: answers needed, harm, and how asking dies out; per seed, then with intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from consensus_imitation.experiments.curves import decay_exponent, late_rate
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import median_interval

#: A method has arrived when it is first evaluated at this share of the demonstrator's own score.
NEAR = 0.95


class Demonstrated(NamedTuple):
    """How well the demonstrator does alone.

    Attributes:
        measure: what the score is: the mean ``"return"`` or the rate of ``"success"``.
        score: the measure.
        success: share of episodes solved.
        harm: share of episodes that were unsafe.
        mean_return: of the episodes.
        episodes: how many were played.
    """

    measure: str
    score: float
    success: float
    harm: float
    mean_return: float
    episodes: int

    @property
    def target(self) -> float:
        """95% of the score; for a negative one, 5% of its size below it."""
        return self.score - (1 - NEAR) * abs(self.score)


class MethodSummary(NamedTuple):
    """One method, over its seeds. Intervals are (median, low, high), see `median_interval`.

    Attributes:
        method: its name.
        seeds: how many runs.
        to_target: answers until an evaluation first reaches the target, for each seed; ``inf`` where none does.
        harms: unsafe episodes while learning, for each seed.
        failures: unsolved episodes while learning, for each seed.
        harms_at_equal: unsafe episodes until the number of answers at which the reference method arrives (or, for a
            method that never asks so often, in its whole run), for each seed; empty if the reference never arrives.
        all_harms: unsafe episodes in the whole run, including those after learning, for each seed: at equal steps.
        score: of the last evaluation, for each seed.
        late_rate: share of the last tenth of steps on which it asked, for each seed; None where its answers were spent
            before: then it cannot ask.
        decay: fitted exponent of the query rate, for each seed; None where the run is too short to fit.
    """

    method: str
    seeds: int
    to_target: list[float]
    harms: list[int]
    failures: list[int]
    harms_at_equal: list[int]
    all_harms: list[int]
    score: list[float]
    late_rate: list[float | None]
    decay: list[float | None]


def answers_to_target(rows: Sequence[Row], demonstrator: Demonstrated) -> float:
    """Return how many answers one run needed until an evaluation reached the target; ``inf`` if it never did."""
    for row in rows:
        if score_of(row, demonstrator) >= demonstrator.target:
            return float(row["answers"])
    return math.inf


def score_of(row: Row, demonstrator: Demonstrated) -> float:
    """Return the evaluation of a row, in the measure of the task."""
    return float(row["mean_return"] if demonstrator.measure == "return" else row["success"])


def harms_until(rows: Sequence[Row], answers: float) -> int:
    """Count unsafe episodes of one run while learning, until it has had so many answers, or to its end."""
    reached = [row for row in rows if row["answers"] >= answers]
    return int((reached[0] if reached else rows[-1])["harms"])


def summarise(rows: Sequence[Row], curve: Sequence[Row], demonstrator: Demonstrated) -> list[MethodSummary]:
    """Return one summary for each method, in the order in which the methods appear.

    The reference of ``harms_at_equal`` is the method called ``minimum``, or the first one without it: the median of its
    answers to the target.
    """
    runs = _by_run(rows)
    curves = _by_run(curve)
    names = list(dict.fromkeys(method for method, _ in runs))
    if not names:
        return []
    reference = "minimum" if "minimum" in names else names[0]
    equal = median_interval([answers_to_target(run, demonstrator) for run in _of(runs, reference)])[0]
    return [_summary(name, _of(runs, name), _of(curves, name), demonstrator, equal) for name in names]


def _summary(
    name: str, runs: list[list[Row]], curves: list[list[Row]], demonstrator: Demonstrated, equal: float
) -> MethodSummary:
    ends = [run[-1] for run in runs]
    return MethodSummary(
        method=name,
        seeds=len(runs),
        to_target=[answers_to_target(run, demonstrator) for run in runs],
        harms=[int(end["harms"]) for end in ends],
        failures=[int(end["failures"]) for end in ends],
        harms_at_equal=[harms_until(run, equal) for run in runs] if math.isfinite(equal) else [],
        all_harms=[int(end["harms"] + end["deployed_harms"]) for end in ends],
        score=[score_of(end, demonstrator) for end in ends],
        late_rate=[late_rate(points) for points in curves],
        decay=[decay_exponent(points) for points in curves],
    )


def _by_run(rows: Sequence[Row]) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["seed"]), []).append(row)
    return groups


def _of(groups: dict[tuple[str, int], list[Row]], method: str) -> list[list[Row]]:
    return [own for (name, _), own in groups.items() if name == method]
