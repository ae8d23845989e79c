"""Predicted against observed: the theorems' bounds beside what happens, on one world."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from consensus_imitation.core.bounds import budget_bound, cubed_query_bound, cubed_query_limit, expected_queries_bound
from consensus_imitation.core.budget import InflationBudget
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.core.selection import AlphaThreshold, SelectionRule, TopK
from consensus_imitation.deception import get_scenario
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.envs import harm_probability, make
from consensus_imitation.experiments.bounds.config import BoundsConfig
from consensus_imitation.experiments.curves import even_steps
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.setting import make_setting
from consensus_imitation.experiments.statistics import mean_interval, share_interval

COLUMNS = ("part", "setting", "step", "observed", "low", "high", "bound")


#: Level of the limit that holds with high probability.
DELTA = 0.05
#: The run with the largest sum; in place of an interval it has the sum that too many runs for chance would exceed.
LARGEST = "largest of the runs"
_NUM_POINTS = 40
_K = 4


def run(
    config: BoundsConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Measure what T2, T3 and T5 bound, and write ``bounds.csv``.

    The parts are: cumulative queries and cumulative cubed query probability under the alpha rule, against T3 (and the
    latter's largest of all runs, against the limit with high probability); the probability of harm under budgets, with
    a deceptive member of twice the others' prior weight, against T5; and the probability that the truth has ever been
    left out under timid colluders, for a bare ``TopK(4)`` and for the alpha rule, against T2.

    With ``out``, the file grows with every finished setting, and an interrupted run continues with the missing ones.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`: observed mean or share up to a step, its 95% interval, and the bound.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
    """
    make(config.env)  # Refuse an unknown world before anything is written.
    ledger = Ledger(out, identity("bounds", config), overwrite, {"bounds": COLUMNS}, _measured)
    measure: dict[str, Callable[[str], list[Row]]] = {
        "alpha rule": partial(_queries, config),
        **{f"factor {factor:g}": partial(_harm, config, factor) for factor in config.factors},
        "no budget": partial(_harm, config, None),
        f"TopK({_K})": partial(_displacement, config, TopK(_K)),
        f"AlphaThreshold({config.alpha:g})": partial(_displacement, config, AlphaThreshold(config.alpha)),
    }
    settings = tuple(measure)
    for label in ledger.missing(settings, progress):
        ledger.add(measure[label](label))
    (rows,) = ledger.rows(settings)
    return rows


def _measured(row: Row) -> str:
    """Return the setting in which a row was measured."""
    return "alpha rule" if row["setting"] == LARGEST else row["setting"]


def points(num_steps: int) -> np.ndarray:
    """Return the steps at which curves are read: about 40, the last is ``num_steps``."""
    return even_steps(num_steps, _NUM_POINTS)


def _queries(config: BoundsConfig, label: str) -> list[Row]:
    setting = make_setting(config.env, config.num_members, config.seed)
    rule = AlphaThreshold(config.alpha)
    prior = np.asarray(setting.ensemble.prior, np.float64)
    cubed = cubed_query_bound(rule, prior.tolist(), setting.truth)
    queried, theta = _measure(config, Learner(setting.ensemble, rule), setting.world.env, setting.demonstrator, _asking)
    rows = [
        _mean_row("queries", label, step, values, expected_queries_bound(cubed, int(step)))
        for step, values in zip(points(config.num_steps), queried.T, strict=True)
    ]
    rows += [
        _mean_row("cubed query probability", label, step, values, cubed)
        for step, values in zip(points(config.num_steps), theta.T, strict=True)
    ]
    # Of all runs, that which has asked most; the limit is one that 19 of 20 runs never exceed.
    limit = cubed_query_limit(rule, prior.tolist(), setting.truth, DELTA)
    # So many of the runs above it would have probability below 1e-5.
    too_many = min(config.num_seeds, 1 + int(stats.binom.isf(1e-5, config.num_seeds, DELTA)))
    for step, values in zip(points(config.num_steps), theta.T, strict=True):
        most, low = float(values.max()), float(np.sort(values)[-too_many])
        found = ("cubed query probability", LARGEST, int(step), most, low, most, limit)
        rows.append(dict(zip(COLUMNS, found, strict=True)))
    return rows


def _harm(config: BoundsConfig, factor: float | None, label: str) -> list[Row]:
    setting = make_setting(config.env, config.num_members, config.seed, betray_at=config.num_steps // 4)
    rule = AlphaThreshold(config.alpha)
    exclusion = rule.exclusion_bound(float(setting.ensemble.prior[setting.truth]), setting.ensemble.num_members)
    budget = None if factor is None else InflationBudget(factor)
    learner = Learner(setting.ensemble, rule, budget=budget)
    harmed = _measure(config, learner, setting.world.env, setting.demonstrator, _harmed)
    alone = harm_probability(setting.world.env, setting.world.demonstrator_probs, config.num_steps).probability_by_step
    return [
        _share_row(
            "harm",
            label,
            step,
            values,
            # Without a budget there is no bound of this kind; the demonstrator's own probability takes its place.
            float(alone[step - 1]) if factor is None else budget_bound(float(alone[step - 1]), exclusion, factor),
        )
        for step, values in zip(points(config.num_steps), harmed.T, strict=True)
    ]


def _displacement(config: BoundsConfig, rule: SelectionRule, label: str) -> list[Row]:
    scenario = get_scenario("timid-displacement")
    config = replace(config, num_steps=scenario.num_steps)
    world, truth = scenario.make_world(), scenario.members.index("truth")
    learner = Learner(scenario.ensemble(attack=True), rule)
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    left_out = _measure(config, learner, world.env, expert, partial(_left_out, rule=rule, truth=truth))
    bound = rule.exclusion_bound(scenario.prior[truth], len(scenario.members))
    return [
        _share_row("truth ever left out", label, step, values, bound)
        for step, values in zip(points(config.num_steps), left_out.T, strict=True)
    ]


def _measure(config: BoundsConfig, learner: Learner, env: Any, demonstrator: Any, summary: Callable[..., Any]) -> Any:
    """Return the summaries of all seeds, without the axis of rules."""
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    rules = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], learner.selection)
    found = rollouts(learner, env, demonstrator, keys, config.num_steps, rules, summary)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], found)


def _asking(state: RolloutState, trajectory: Trajectory) -> tuple[jax.Array, jax.Array]:
    del state
    at = points(trajectory.queried.shape[0]) - 1
    return jnp.cumsum(trajectory.queried)[at], jnp.cumsum(trajectory.query_prob**3)[at]


def _harmed(state: RolloutState, trajectory: Trajectory) -> jax.Array:
    del state
    return (jnp.cumsum(trajectory.harm) > 0)[points(trajectory.harm.shape[0]) - 1]


def _left_out(state: RolloutState, trajectory: Trajectory, rule: SelectionRule, truth: int) -> jax.Array:
    del state
    selected = jax.vmap(rule)(trajectory.log_weights)[:, truth]
    return (jnp.cumsum(~selected) > 0)[points(trajectory.harm.shape[0]) - 1]


def _mean_row(part: str, setting: str, step: int, values: np.ndarray, bound: float) -> Row:
    mean, low, high = mean_interval(values.tolist())
    return dict(zip(COLUMNS, (part, setting, int(step), mean, low, high, bound), strict=True))


def _share_row(part: str, setting: str, step: int, values: np.ndarray, bound: float) -> Row:
    share, low, high = share_interval(int(values.sum()), len(values))
    return dict(zip(COLUMNS, (part, setting, int(step), share, low, high, bound), strict=True))
