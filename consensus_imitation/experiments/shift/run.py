"""A world that changes in ways that the answers did not cover.

**Learning.** Members learn for T steps in the standard world, asking as the minimum asks.

**Frozen.** Then they learn no more, and meet the standard world again and changed ones. Contestants of the same kind of
members differ in when they ask and how they act. Those with a threshold have one that is exceeded on a given share of
familiar steps, every familiar episode counting the same. The demonstrator acts on what is true, also where a sensor is
wrong; it answers so, too.

**Online.** The imitators go on learning in the changed world, from the same state.

A *mistake* is a step on which the contestant's own action is not the one that the demonstrator intends, whether it is
taken or a question is asked instead.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.selection import TopK
from consensus_imitation.core.state import LearnerState
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.shift.config import ShiftConfig
from consensus_imitation.experiments.shift.contestants import (
    CONTESTANTS,
    MEMBERS,
    Panel,
    contestants_of,
    make_members,
)
from consensus_imitation.experiments.shift.playing import (
    Limit,
    Played,
    alone,
    frozen,
    independence,
    learning,
    threshold,
    total,
)
from consensus_imitation.experiments.shift.worlds import SHIFTS, STANDARD, tasks_of
from consensus_imitation.experiments.tasks import episode_seeds
from consensus_imitation.imitator import ConsensusImitator

#: Name of the rows in which the demonstrator acts alone.
DEMONSTRATOR = "demonstrator"

LEARNING, FROZEN, ONLINE = "learning", "frozen", "online"

COLUMNS = (
    *("task", "phase", "world", "contestant", "seed", "episodes", "harmed", "steps", "asked", "mistakes", "caught"),
    *("late_steps", "late_asked", "threshold", "n_eff"),
)

#: Where the seeds of a run's parts come from.
_LEARN, _CALIBRATE, _FROZEN, _ONLINE = range(4)


def run(
    config: ShiftConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Learn, change the world, and play.

    With ``out``, ``shift.csv`` grows with every part that ends. An interrupted experiment continues with the missing
    parts, and you can add seeds, contestants or worlds.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`, one for each contestant in each world, phase and seed. ``late`` counts the last tenth of
        the steps of learning; ``n_eff``, the effective number of members by their errors on familiar steps, and it are
        of learning only.

    Raises:
        ValueError: for an ``out`` that holds other results.
        ImportError: without the packages that the task needs, naming the extra.

    Example:
        >>> from consensus_imitation.experiments import ShiftConfig, run_shift
        >>> config = ShiftConfig("cartpole", num_seeds=1, num_steps=60, episodes=2, more_episodes=0, calibration=2,
        ...     contestants=("minimum",), worlds=("angle reversed",))
        >>> [(row["phase"], row["contestant"]) for row in run_shift(config)]
        [('learning', 'minimum'), ('frozen', 'demonstrator'), ('frozen', 'minimum')]
    """
    # Seeds, contestants and worlds of the tables can be added; the tables themselves must not have changed.
    about = identity("shift", config, grows=("num_seeds", "contestants", "worlds"), members=MEMBERS, made=CONTESTANTS)
    ledger = Ledger(out, about, overwrite, {"shift": COLUMNS}, _part)
    wanted, workshop = parts(config), _Workshop(config)
    for part in ledger.missing(wanted, progress):
        ledger.add([workshop.row(*part)])
    (rows,) = ledger.rows(wanted)
    return rows


def parts(config: ShiftConfig) -> list[tuple[str, str, str, int]]:
    """Return (phase, world, contestant, seed) of every row, in their order."""
    names = config.contestants or contestants_of(config.task)
    worlds = config.worlds or tuple(SHIFTS[config.task])
    found: list[tuple[str, str, str, int]] = []
    for seed in range(config.num_seeds):
        for kind in MEMBERS:
            own = [name for name in names if CONTESTANTS[name].members == kind]
            natural = [name for name in own if CONTESTANTS[name].natural]
            found += [(LEARNING, STANDARD, name, seed) for name in natural]
            if kind == "plain":
                found += [(FROZEN, world, DEMONSTRATOR, seed) for world in worlds]
            found += [(FROZEN, world, name, seed) for world in worlds for name in own]
            if config.more_episodes:
                found += [(ONLINE, world, name, seed) for world in worlds for name in natural]
    return found


def _part(row: Row) -> tuple[str, str, str, int]:
    """Return which part a row belongs to."""
    return row["phase"], row["world"], row["contestant"], row["seed"]


class _Team(NamedTuple):
    """Members after learning."""

    ensemble: Any
    state: LearnerState
    played: list[Played]
    panel: Panel
    n_eff: float


class _Workshop:
    """What several parts share; each is made when it is first needed."""

    def __init__(self, config: ShiftConfig) -> None:
        self._config = config
        (self._learned, self._task), self._rule = tasks_of(config.task), TopK(config.k)
        self._made: tuple[tuple[int, str], _Team] | None = None
        self._thresholds: dict[tuple[int, str], float] = {}

    def row(self, phase: str, world: str, name: str, seed: int) -> Row:
        """Play a part."""
        config, change = self._config, SHIFTS[self._config.task][world]
        limit, late, n_eff = None, (None, None), None
        if name == DEMONSTRATOR:
            played = alone(self._task, change, config.episodes, self._seed(seed, _FROZEN))
        else:
            contestant = CONTESTANTS[name]
            team = self._team(seed, contestant.members)
            if phase == LEARNING:
                played, late = total(team.played), _late(team.played, config.num_steps)
                n_eff = team.n_eff
            elif phase == ONLINE:
                imitator = ConsensusImitator.from_state(team.state, team.ensemble, selection=self._rule)
                own = Limit(episodes=config.more_episodes)
                played = total(learning(self._task, change, imitator, self._seed(seed, _ONLINE), own))
            else:
                limit = None if contestant.natural else self._threshold(seed, name, team)
                own_seed = self._seed(seed, _FROZEN)
                played = frozen(self._task, change, team.panel, contestant, limit or 0.0, config.episodes, own_seed)
        values = (config.task, phase, world, name, seed, *played, *late, limit, n_eff)
        return dict(zip(COLUMNS, values, strict=True))

    def _seed(self, seed: int, purpose: int) -> int:
        return episode_seeds(self._config.seed, 4 * seed + purpose + 1)[-1]

    def _threshold(self, seed: int, name: str, team: _Team) -> float:
        if (seed, name) not in self._thresholds:
            config = self._config
            self._thresholds[seed, name] = threshold(
                self._task, SHIFTS[config.task][STANDARD], team.panel, CONTESTANTS[name], config.familiar,
                config.calibration, self._seed(seed, _CALIBRATE),
            )  # fmt: skip
        return self._thresholds[seed, name]

    def _team(self, seed: int, kind: str) -> _Team:
        if self._made is None or self._made[0] != (seed, kind):
            config, own_seed = self._config, self._seed(seed, _LEARN)
            env = self._learned.make_env()
            ensemble = make_members(self._learned, env, kind, config.num_members)
            env.close()
            imitator = ConsensusImitator(ensemble, selection=self._rule, seed=own_seed)
            standard = SHIFTS[config.task][STANDARD]
            played = learning(self._learned, standard, imitator, own_seed, Limit(steps=config.num_steps))
            # In arrays: the programs that judge are given them.
            state = jax.tree.map(lambda leaf: leaf, imitator.state)
            replay = state.learned.replay
            answered = jax.tree.map(lambda leaf: np.asarray(leaf)[: int(replay.size)], replay.inputs)
            panel = Panel(Learner(ensemble, self._rule, Minimum()), state, answered)
            n_eff = independence(self._task, standard, panel, config.calibration, self._seed(seed, _CALIBRATE))
            self._made = ((seed, kind), _Team(ensemble, imitator.state, played, panel, n_eff))
        return self._made[1]


def _late(played: Sequence[Played], num_steps: int) -> tuple[int, int]:
    """Return the steps of the last episodes that hold a tenth of all at least, and those asked about."""
    steps = asked = 0
    for one in reversed(played):
        if steps >= num_steps / 10:
            break
        steps, asked = steps + one.steps, asked + one.asked
    return steps, asked
