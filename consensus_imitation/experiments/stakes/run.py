"""Low stakes and high: the same planted member, where a harm is one bad step and where it is for ever."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.core.bounds import budget_bound, cubed_query_bound, expected_queries_bound
from consensus_imitation.core.budget import InflationBudget
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.core.selection import AlphaThreshold
from consensus_imitation.deception import time_bomb, trigger_state
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.ensembles import Ensemble
from consensus_imitation.envs import Gridworld, harm_probability, make
from consensus_imitation.experiments.curves import even_steps
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.setting import PLANTED_ADVANTAGE, make_setting
from consensus_imitation.experiments.stakes.config import StakesConfig
from consensus_imitation.experiments.stakes.online import GradientDescent, Hedge, Mixture, play

RUNS = ("world", "contestant", "seed", "harms", "reward", "questions", "labels")
CURVES = ("world", "contestant", "step", "harms", "harmed", "questions", "mistakes", "bound")

#: In the second, a step into the lava is the last that a run does; no episode is cut off.
WORLDS: dict[str, dict[str, Any]] = {"shifting_lava": {}, "shifting_lava_absorbing": {"horizon": None}}
ASKING = ("minimum", "minimum, budget")
CONTESTANTS = ("demonstrator", "gradient descent", "hedge", "mixture", *ASKING)

_NUM_POINTS = 60


class Problem(NamedTuple):
    """A world, its demonstrator, and the members.

    Attributes:
        world: the gridworld.
        ensemble: N members, the planted one first.
        demonstrator: the world's own.
        truth: index of the member that equals it.
    """

    world: Gridworld
    ensemble: Ensemble
    demonstrator: TabularDemonstrator
    truth: int


def run(
    config: StakesConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> tuple[list[Row], list[Row]]:
    """Let online learners and the minimum act in a world of low stakes and in one of high stakes.

    Members are the truth, imperfect models of it, and one of twice the others' prior weight that equals the truth until
    a quarter of the steps are over, and from then on walks into lava wherever that is near.

    - *demonstrator*: acts by itself; what everything else is compared with.
    - *gradient descent*, *hedge*, *mixture*: act at every step, and are told afterwards, free of charge and at every
      step, what the demonstrator would have done (`online`). So they have more labels than anybody would get.
    - *minimum*: the alpha rule, which asks before it acts and gets no other label; and the same with an inflation
      budget for the whole run.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        One row a run (`RUNS`), and one row a step of a curve (`CURVES`): means over the runs of what there has been up
        to that step (``harmed``: the share of runs with a harm; ``mistakes``: beyond the truth's), and the bound on it,
        if theory has one: on the mistakes of hedge (its regret), on the questions of the minimum (T3), and on the share
        of runs with a harm under a budget (T5).

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
    """

    def part_of(row: Row) -> tuple[Any, Any]:
        return row["world"], row["contestant"]

    ledger = Ledger(out, identity("stakes", config), overwrite, {"runs": RUNS, "curves": CURVES}, part_of)
    parts = tuple((world, contestant) for world in WORLDS for contestant in CONTESTANTS)
    for world, contestant in ledger.missing(parts, progress):
        measure = _ask if contestant in ASKING else _act
        ledger.add(*measure(config, problem(config, world), world, contestant))
    runs, curves = ledger.rows(parts)
    return runs, curves


def problem(config: StakesConfig, world: str) -> Problem:
    """Return the members and the demonstrator of a world.

    Args:
        config: for the numbers of members and steps.
        world: one of `WORLDS`.
    """
    grid = make(world, **WORLDS[world])
    honest = make_setting(world, config.num_members - 1, config.seed)
    truth = ensembles.tabular(grid.demonstrator_probs[None])
    harmful = ensembles.tabular(grid.harmful_probs[None])
    near = trigger_state(truth, harmful, grid.triggers["near_harm"])
    planted = time_bomb(truth, near, config.num_steps // 4)
    prior = np.r_[PLANTED_ADVANTAGE, np.ones(config.num_members - 1)]
    members = ensembles.union(planted, honest.ensemble, prior=prior)
    return Problem(grid, members, honest.demonstrator, honest.truth + 1)


def points(num_steps: int) -> np.ndarray:
    """Return the steps at which curves are read: about 60, the last is ``num_steps``."""
    return even_steps(num_steps, _NUM_POINTS)


def _keys(config: StakesConfig) -> jax.Array:
    return jax.random.split(jax.random.key(config.seed), config.num_seeds)


def _act(config: StakesConfig, given: Problem, world: str, name: str) -> tuple[list[Row], list[Row]]:
    """Play a contestant that never asks."""
    weight = float(given.ensemble.prior[given.truth])
    members, truth = given.ensemble, given.truth
    bounds = [float("nan") for _ in points(config.num_steps)]
    if name == "hedge":
        learner: Any = Hedge.tuned(weight, config.num_steps)
        bounds = [learner.bound(weight, int(step)) for step in points(config.num_steps)]
    elif name == "gradient descent":
        rate = jnp.float32(config.learning_rate)
        learner = GradientDescent(rate, *given.world.demonstrator_probs.shape)
    elif name == "mixture":
        learner = Mixture()
    else:
        # One that follows the truth and nobody else is the demonstrator.
        learner, truth = Mixture(), 0
        members = ensembles.tabular(given.world.demonstrator_probs[None])
    found = play(learner, members, truth, given.world.env, given.demonstrator, _keys(config), config.num_steps)
    none = np.zeros(found.harm.shape)
    labels = 0 if name == "demonstrator" else config.num_steps
    return (
        _runs(world, name, found.harm, found.reward, none, labels),
        _curves(config, world, name, found.harm, none, np.asarray(found.excess), bounds),
    )


def _ask(config: StakesConfig, given: Problem, world: str, name: str) -> tuple[list[Row], list[Row]]:
    """Play the minimum."""
    rule = AlphaThreshold(config.alpha)
    prior = np.asarray(given.ensemble.prior, np.float64)
    cubed = cubed_query_bound(rule, prior.tolist(), given.truth)
    bounds = [expected_queries_bound(cubed, int(step)) for step in points(config.num_steps)]
    budget = None
    if name == "minimum, budget":
        budget = InflationBudget(config.factor)
        exclusion = rule.exclusion_bound(float(prior[given.truth]), len(prior))
        alone = harm_probability(given.world.env, given.world.demonstrator_probs, config.num_steps).probability_by_step
        bounds = [budget_bound(float(p), exclusion, config.factor) for p in alone[points(config.num_steps) - 1]]
    learner = Learner(given.ensemble, rule, budget=budget)
    rules = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], rule)
    found = rollouts(
        learner, given.world.env, given.demonstrator, _keys(config), config.num_steps, rules, summary=_what_counts
    )
    harm, reward, queried = (np.asarray(leaf)[0] for leaf in found)
    unknown = np.full(harm.shape, np.nan)
    return (
        _runs(world, name, harm, reward, queried, None),
        _curves(config, world, name, harm, queried, unknown, bounds),
    )


def _what_counts(state: RolloutState, trajectory: Trajectory) -> tuple[jax.Array, jax.Array, jax.Array]:
    del state
    return trajectory.harm, trajectory.reward, trajectory.queried


def _runs(world: str, name: str, harm: Any, reward: Any, queried: Any, labels: int | None) -> list[Row]:
    harms, rewards, questions = (np.asarray(each, np.float64).sum(-1) for each in (harm, reward, queried))
    return [
        {
            "world": world,
            "contestant": name,
            "seed": seed,
            "harms": int(harms[seed]),
            "reward": float(rewards[seed]),
            "questions": int(questions[seed]),
            "labels": int(questions[seed]) if labels is None else labels,
        }
        for seed in range(len(harms))
    ]


def _curves(
    config: StakesConfig, world: str, name: str, harm: Any, queried: Any, mistakes: Any, bounds: Sequence[float]
) -> list[Row]:
    harms, questions, excess = (np.cumsum(np.asarray(each, np.float64), axis=-1) for each in (harm, queried, mistakes))
    return [
        {
            "world": world,
            "contestant": name,
            "step": int(step),
            "harms": float(harms[:, step - 1].mean()),
            "harmed": float((harms[:, step - 1] > 0).mean()),
            "questions": float(questions[:, step - 1].mean()),
            "mistakes": float(excess[:, step - 1].mean()),
            "bound": bound,
        }
        for step, bound in zip(points(config.num_steps), bounds, strict=True)
    ]
