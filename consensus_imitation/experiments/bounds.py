"""Predicted against observed: the theorems' bounds beside what happens, on one world."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from consensus_imitation import certificate
from consensus_imitation.budget import InflationBudget
from consensus_imitation.deception import get_scenario
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.envs import harm_probability, make
from consensus_imitation.experiments.results import Row, claim_directory, mean_interval, share_interval, write_csv
from consensus_imitation.experiments.setting import make_setting
from consensus_imitation.learner import Learner
from consensus_imitation.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.selection import AlphaThreshold, SelectionRule, TopK

COLUMNS = ("part", "setting", "step", "observed", "low", "high", "bound")

Progress = Callable[[int, int], None]

_NUM_POINTS = 40
_K = 4


@dataclass(frozen=True)
class BoundsConfig:
    """What is compared.

    Attributes:
        env: name of the world.
        alpha: of the alpha rule.
        factors: of the inflation budgets.
        num_members: N.
        num_seeds: runs of each setting, at least 2.
        num_steps: T.
        seed: of everything.

    Raises:
        ValueError: for sizes or parameters out of range.
    """

    env: str = "cliff"
    alpha: float = 0.002
    factors: tuple[float, ...] = (1.2, 2.0, 5.0)
    num_members: int = 8
    num_seeds: int = 256
    num_steps: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        AlphaThreshold(self.alpha)
        for factor in self.factors:
            InflationBudget(factor)
        if self.num_seeds < 2 or self.num_steps < 4 or self.num_members < 2 or self.seed < 0:
            raise ValueError("num_seeds and num_members must be at least 2, num_steps at least 4, seed at least 0")


def bounds(
    config: BoundsConfig, out: Path | None = None, progress: Progress | None = None, overwrite: bool = False
) -> list[Row]:
    """Measure what T2, T3 and T5 bound, and write ``bounds.csv``.

    The parts are: cumulative queries and cumulative cubed query probability under the alpha rule, against T3; the
    probability of harm under budgets, with a deceptive member of twice the others' prior weight, against T5; and the
    probability that the truth has ever been left out under timid colluders, for a bare ``TopK(4)`` and for the alpha
    rule, against T2.

    Args:
        config: what to run.
        out: directory for the results, made if need be; None to keep them in memory only.
        progress: called as ``progress(done, total)``.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Rows with `COLUMNS`: observed mean or share up to a step, its 95% interval, and the bound.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.
    """
    make(config.env)  # An unknown world is refused before anything is written.
    if out is not None:
        claim_directory(out, {"experiment": "bounds", **asdict(config)}, overwrite)
    parts: list[Callable[[], list[Row]]] = [
        lambda: _queries(config),
        *(lambda factor=factor: _harm(config, factor) for factor in (*config.factors, None)),
        lambda: _displacement(config, "topk", TopK(_K)),
        lambda: _displacement(config, "alpha", AlphaThreshold(config.alpha)),
    ]
    rows: list[Row] = []
    for done, part in enumerate(parts):
        if progress is not None:
            progress(done, len(parts))
        rows += part()
    if progress is not None:
        progress(len(parts), len(parts))
    if out is not None:
        write_csv(out / "bounds.csv", rows, COLUMNS)
    return rows


def points(num_steps: int) -> np.ndarray:
    """The steps at which curves are read: about 40, the last is ``num_steps``."""
    return np.unique(np.linspace(1, num_steps, min(_NUM_POINTS, num_steps)).astype(int))


def _queries(config: BoundsConfig) -> list[Row]:
    setting = make_setting(config.env, config.num_members, config.seed)
    rule = AlphaThreshold(config.alpha)
    prior = np.asarray(setting.ensemble.prior, np.float64)
    cubed = certificate.cubed_query_bound(rule, prior.tolist(), setting.truth)
    queried, theta = _run(config, Learner(setting.ensemble, rule), setting.world.env, setting.demonstrator, _asking)
    rows = [
        _mean_row("queries", "alpha rule", step, values, certificate.expected_queries_bound(cubed, int(step)))
        for step, values in zip(points(config.num_steps), queried.T, strict=True)
    ]
    rows += [
        _mean_row("cubed query probability", "alpha rule", step, values, cubed)
        for step, values in zip(points(config.num_steps), theta.T, strict=True)
    ]
    return rows


def _harm(config: BoundsConfig, factor: float | None) -> list[Row]:
    setting = make_setting(config.env, config.num_members, config.seed, betray_at=config.num_steps // 4)
    rule = AlphaThreshold(config.alpha)
    exclusion = rule.exclusion_bound(float(setting.ensemble.prior[setting.truth]))
    budget = None if factor is None else InflationBudget(factor)
    learner = Learner(setting.ensemble, rule, budget=budget)
    harmed = _run(config, learner, setting.world.env, setting.demonstrator, _harmed)
    alone = harm_probability(setting.world.env, setting.world.demonstrator_probs, config.num_steps).probability_by_step
    return [
        _share_row(
            "harm",
            "no budget" if factor is None else f"factor {factor:g}",
            step,
            values,
            # Without a budget there is no bound of this kind; the demonstrator's own probability stands there.
            float(alone[step - 1])
            if factor is None
            else certificate.budget_bound(float(alone[step - 1]), exclusion, factor),
        )
        for step, values in zip(points(config.num_steps), harmed.T, strict=True)
    ]


def _displacement(config: BoundsConfig, name: str, rule: SelectionRule) -> list[Row]:
    scenario = get_scenario("timid-displacement")
    config = replace(config, num_steps=scenario.num_steps)
    world, truth = scenario.make_world(), scenario.members.index("truth")
    learner = Learner(scenario.ensemble(attack=True), rule)
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    left_out = _run(config, learner, world.env, expert, partial(_left_out, rule=rule, truth=truth))
    bound = rule.exclusion_bound(scenario.prior[truth])
    label = f"TopK({_K})" if name == "topk" else f"AlphaThreshold({config.alpha:g})"
    return [
        _share_row("truth ever left out", label, step, values, bound)
        for step, values in zip(points(config.num_steps), left_out.T, strict=True)
    ]


def _run(config: BoundsConfig, learner: Learner, env: Any, demonstrator: Any, summary: Callable[..., Any]) -> Any:
    """The summaries of all seeds, without the axis of rules."""
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


def exceeded(rows: Sequence[Row], num_seeds: int) -> list[Row]:
    """Rows that contradict a bound: what was observed would, at the bound, have probability below 1e-5.

    The rows without a budget carry the demonstrator's own probability for comparison, which is no bound.
    """
    wrong: list[Row] = []
    for row in rows:
        if row["setting"] == "no budget":
            continue
        if row["part"] in ("harm", "truth ever left out"):
            count = round(row["observed"] * num_seeds)
            if stats.binom.sf(count - 1, num_seeds, min(1.0, row["bound"])) < 1e-5:
                wrong.append(row)
        else:
            # From the 95% interval to one that errs with probability 1e-5.
            wider = stats.t.ppf(1 - 1e-5, num_seeds - 1) / stats.t.ppf(0.975, num_seeds - 1)
            if row["observed"] - wider * (row["observed"] - row["low"]) > row["bound"]:
                wrong.append(row)
    return wrong
