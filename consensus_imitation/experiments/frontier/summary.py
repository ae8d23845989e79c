"""What each contestant needs and costs, beside the first of them."""

from collections.abc import Sequence
from typing import NamedTuple

from consensus_imitation.experiments.compare.summary import Demonstrated, answers_to_target
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.statistics import sign_flip


class Cost(NamedTuple):
    """One contestant, over its seeds.

    Attributes:
        contestant: its name.
        to_target: answers until an evaluation first reaches 95% of the demonstrator's score, for each seed; ``inf``
            where none does.
        episodes: while learning, for each seed.
        harms: how many of them were unsafe, for each seed.
        early: episodes and unsafe ones until the target was reached (or to the end), over all seeds.
        fewer: probability of so many fewer answers than the first contestant needs, if on each seed it could as well
            be the other way round (`sign_flip`); where the target is never reached, all answers count as needed.
        more: likewise of so many more unsafe episodes per episode.
    """

    contestant: str
    to_target: list[float]
    episodes: list[int]
    harms: list[int]
    early: tuple[int, int]
    fewer: float
    more: float


def costs(rows: Sequence[Row], demonstrator: Demonstrated) -> list[Cost]:
    """Return what each contestant needs and costs, in the order of the rows.

    Args:
        rows: of ``frontier.csv``, of the same seeds for each contestant.
        demonstrator: of the same run.
    """
    runs: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        runs.setdefault(row["contestant"], {}).setdefault(row["seed"], []).append(row)
    found: list[Cost] = []
    for name, own in runs.items():
        to_target = [answers_to_target(run, demonstrator) for run in own.values()]
        episodes, harms = ([run[-1][column] for run in own.values()] for column in ("episodes", "harms"))
        then = [
            next((row for row in run if row["answers"] >= needed), run[-1])
            for run, needed in zip(own.values(), to_target, strict=True)
        ]
        early = sum(row["episodes"] for row in then), sum(row["harms"] for row in then)
        cost = Cost(name, to_target, episodes, harms, early, 1.0, 1.0)
        found.append(_beside(found[0] if found else cost, cost, max(row["answers"] for row in rows)))
    return found


def _beside(first: Cost, cost: Cost, most: float) -> Cost:
    """Return a cost with how likely chance alone makes it differ so much from the first contestant's."""
    fewer = [min(one, most) - min(own, most) for one, own in zip(first.to_target, cost.to_target, strict=True)]
    more = [own - one for one, own in zip(_shares(first), _shares(cost), strict=True)]
    return cost._replace(fewer=sign_flip(fewer), more=sign_flip(more))


def _shares(cost: Cost) -> list[float]:
    """Return the share of unsafe episodes for each seed; 0 where no episode ended."""
    return [harms / max(1, episodes) for harms, episodes in zip(cost.harms, cost.episodes, strict=True)]
