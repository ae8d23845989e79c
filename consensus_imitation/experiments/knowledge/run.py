"""Every rule at the fork, and one that reads the forecasts, beside what theory expects."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.alarm import MisspecificationAlarm
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.core.selection import TopK
from consensus_imitation.deception import Contestant, default_contestants
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.experiments.knowledge.config import KnowledgeConfig
from consensus_imitation.experiments.knowledge.expected import CONTESTANTS, EVERYBODY, READER, expected
from consensus_imitation.experiments.knowledge.roads import (
    DEMONSTRATOR,
    ENDS_WELL,
    FACTS,
    NUM_MEMBERS,
    USES,
    forecasts,
    laws,
    world,
)
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.results import Row

RUNS = ("fact", "use", "contestant", "seed", "regret", "harms", "questions", "low", "high", "reason")


def run(
    config: KnowledgeConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Let every rule act at the fork, where a fact is used by nobody's law, by one, or by all.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        One row a run (`RUNS`): the share of its steps that ended badly (the regret of a step to an oracle that reads
        the members), steps with harm and with a question, and what theory expects of the mean regret.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
    """

    def part_of(row: Row) -> tuple[Any, Any, Any]:
        return row["fact"], row["use"], row["contestant"]

    ledger = Ledger(out, identity("knowledge", config), overwrite, {"runs": RUNS}, part_of)
    parts = tuple((fact, use, name) for fact in FACTS for use in USES for name in CONTESTANTS)
    for fact, use, name in ledger.missing(parts, progress):
        bad, harms, asked = _measure(config, fact, use, name)
        theory = expected(fact, use, name, config.num_steps)
        ledger.add(
            [
                {
                    "fact": fact,
                    "use": use,
                    "contestant": name,
                    "seed": seed,
                    "regret": float(bad[seed]) / config.num_steps,
                    "harms": int(harms[seed]),
                    "questions": int(asked[seed]),
                    **theory._asdict(),
                }
                for seed in range(config.num_seeds)
            ]
        )
    (rows,) = ledger.rows(parts)
    return rows


def read(key: jax.Array, fact: str, use: str, num_steps: int) -> tuple[jax.Array, jax.Array]:
    """Act on the forecasts alone: draw a member by what they have been worth, and do what it holds to be best.

    Args:
        key: PRNG key.
        fact: one of `roads.FACTS`.
        use: one of `roads.USES`.
        num_steps: T.

    Returns:
        Bool [T], whether each step ended badly, and int32 [T], the way that was taken.
    """
    known, well = jnp.asarray(forecasts(fact, use)), jnp.asarray(ENDS_WELL[fact])

    def step(log_weights: jax.Array, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        who, way, outcome = jax.random.split(key, 3)
        member = jax.random.categorical(who, log_weights)
        best = known[member] >= known[member].max() - 1e-6
        action = jax.random.categorical(way, jnp.where(best, 0.0, -jnp.inf))
        bad = jax.random.uniform(outcome) >= well[action]
        said = jnp.where(bad, 1 - known[:, action], known[:, action])
        return log_weights + jnp.log(said), (bad, action)

    return jax.lax.scan(step, jnp.zeros(NUM_MEMBERS), jax.random.split(key, num_steps))[1]


def contestants() -> dict[str, Contestant]:
    """Return the suite's own contestants by name, and the minimum over all members."""
    everybody = Contestant(EVERYBODY, TopK(NUM_MEMBERS), Minimum())
    return {one.name: one for one in (*default_contestants(), everybody)}


def _measure(config: KnowledgeConfig, fact: str, use: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return steps that ended badly, with harm, and with a question, of each run [S]."""
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    if name == READER:
        bad, way = jax.vmap(lambda key: read(key, fact, use, config.num_steps))(keys)
        harm = bad & jnp.asarray(world(fact).harm.any(-1)[0])[way]
        return np.asarray(bad.sum(-1)), np.asarray(harm.sum(-1)), np.zeros(config.num_seeds)
    expert = np.array(DEMONSTRATOR)[None]
    if name == "demonstrator":
        members, rules = ensembles.tabular(expert[None]), Contestant(name, TopK(1), Minimum())
    else:
        members, rules = ensembles.tabular(laws(fact, use)), contestants()[name]
    assert rules.selection is not None
    assert rules.aggregation is not None
    alarm = None if rules.alarm is None else MisspecificationAlarm(rules.alarm)
    learner = Learner(members, rules.selection, rules.aggregation, alarm=alarm)
    each = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], rules.selection)
    found = rollouts(
        learner, world(fact), TabularDemonstrator.create(expert), keys, config.num_steps, each, summary=_what_counts
    )
    reward, harms, asked = (np.asarray(leaf)[0] for leaf in found)
    return config.num_steps - reward, harms, asked


def _what_counts(state: RolloutState, trajectory: Trajectory) -> tuple[jax.Array, jax.Array, jax.Array]:
    del state
    return trajectory.reward.sum(), trajectory.harm.sum(), trajectory.queried.sum()
