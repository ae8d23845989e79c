"""One run at a place: an imitator under given rules, and what its steps add up to."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core.aggregation import Aggregation, RandomQueries
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.selection import SelectionRule, TopK
from consensus_imitation.ensembles.neural.encoding import num_actions_of
from consensus_imitation.experiments.members import knowingly
from consensus_imitation.experiments.places import Place, Watched
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.tasks.loop import GymnasiumRun, run_gymnasium
from consensus_imitation.imitator import ConsensusImitator, Decision

#: Called after each step with its row of ``steps.csv``, the decision, and the observation that it was made on.
Watcher = Callable[[Row, Decision, Any], None]


class Seeds(NamedTuple):
    """The seeds of one run: the same for all rules, so that runs of the same number can be compared."""

    env: int
    demonstrator: int
    imitator: int

    @classmethod
    def of_run(cls, seed: int, number: int) -> "Seeds":
        """Return the seeds of a run.

        Args:
            seed: of the experiment.
            number: of the run, from 0.
        """
        return cls(*(int(word) for word in np.random.SeedSequence((seed, number)).generate_state(3)))


class Played(NamedTuple):
    """What is left of a run.

    Attributes:
        run: what the loop returned.
        weights: [N], the posterior at the end.
    """

    run: GymnasiumRun
    weights: np.ndarray


class Tally:
    """What the steps of a run add up to.

    Args:
        edges: step numbers at which the curve has a point, ascending, the last is the number of steps.
    """

    def __init__(self, edges: np.ndarray) -> None:
        self._edges = [int(edge) for edge in edges]
        self._asked: list[int] = []
        self._withheld: list[float] = []
        self.steps = self.queries = self.harms = self.harms_unasked = 0
        self.theta = self.withheld = self.reward = 0.0

    def add(self, row: Row) -> None:
        """Count a step, by its row of ``steps.csv``."""
        self.steps += 1
        self.queries += row["queried"]
        self.theta += row["query_prob"]
        self.withheld += row["withheld"]
        self.reward += row["reward"]
        self.harms += bool(row["harm"])
        self.harms_unasked += bool(row["harm"]) and not row["queried"]
        if self.steps == self._edges[len(self._asked)]:
            self._asked.append(self.queries)
            self._withheld.append(self.withheld)

    def curve(self) -> list[tuple[int, float, float]]:
        """Return (step, query rate, withheld rate) for each bin of steps."""
        widths = np.diff(self._edges, prepend=0)
        asked, withheld = (np.diff(part, prepend=0) / widths for part in (self._asked, self._withheld))
        return list(zip(self._edges, map(float, asked), map(float, withheld), strict=True))


def play(
    place: Place,
    seeds: Seeds,
    num_steps: int,
    *,
    selection: SelectionRule,
    aggregation: Aggregation | None = None,
    members: Callable[[Any, Ensemble], Ensemble] | None = None,
    watch: Watcher = lambda *_: None,
) -> Played:
    """Let an imitator act, ask and learn at a place.

    Args:
        place: where.
        seeds: of the run.
        num_steps: T.
        selection: which members have a say.
        aggregation: how they are combined; None for the minimum.
        members: ``(env, ensemble)`` -> the members to use in place of the place's own.
        watch: called after each step.

    Raises:
        KeyboardInterrupt: if Ctrl-C ended it; half a run is none.
    """
    opened = place.open(seeds.demonstrator)
    env = Watched(opened.env)
    try:
        ensemble = opened.ensemble if members is None else members(opened.env, opened.ensemble)
        imitator = ConsensusImitator(
            ensemble, opened.demonstrator, selection=selection, aggregation=aggregation, seed=seeds.imitator
        )
        with knowingly():
            run = run_gymnasium(
                env,
                imitator,
                num_steps=num_steps,
                task=env.task(place),
                seed=seeds.env,
                progress=False,
                on_step=lambda row, decision: watch(row, decision, env.seen),
            )
    finally:
        opened.env.close()
    if run.interrupted:
        raise KeyboardInterrupt
    return Played(run, imitator.weights)


def demonstrator_is_harmed(place: Place, seeds: Seeds, num_steps: int) -> bool:
    """Return whether the demonstrator does harm when it acts alone: an imitator asks it at every step."""
    tally = Tally(np.array([num_steps]))

    def nobody(env: Any, ensemble: Ensemble) -> Ensemble:
        del ensemble
        size = num_actions_of(env.action_space)
        return ensembles.callables([lambda observation: np.full(size, 1 / size)], size)  # noqa: ARG005

    always = RandomQueries(1.0)
    play(
        place, seeds, num_steps, selection=TopK(1), aggregation=always, members=nobody,
        watch=lambda row, *_: tally.add(row),
    )  # fmt: skip
    return tally.harms > 0
