"""How often the imitator asks, and how often it does harm, against k and alpha."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.core.selection import AlphaThreshold, TopK
from consensus_imitation.envs import harm_probability
from consensus_imitation.experiments.ledger import Ledger, Progress, identity
from consensus_imitation.experiments.results import Row
from consensus_imitation.experiments.setting import Setting
from consensus_imitation.experiments.sweep.config import SweepConfig

COLUMNS = (
    "env",
    "rule",
    "k",
    "alpha",
    "seed",
    "steps",
    "queries",
    "query_rate",
    "harms",
    "harms_unasked",
    "harm_rate",
    "mean_return",
    "planted_weight",
    "demonstrator_harm",
)
CURVE_COLUMNS = ("env", "rule", "k", "alpha", "seed", "step", "query_rate")

#: Points of the curve "query rate over time".
NUM_BINS = 40

#: Seeds run in one call: enough to fill the vector units, few enough for a progress bar that moves.
SEEDS_PER_CALL = 16


def run(
    config: SweepConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> tuple[list[Row], list[Row]]:
    """Run every setting on every seed; all values of k share one compiled program.

    With ``out``, ``sweep.csv`` and ``curve.csv`` grow with every few seeds, and an interrupted sweep continues with the
    missing seeds.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in parts: 16 seeds of all values of k, or of all values of alpha.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Tidy rows of runs, with `COLUMNS`, and of query rates over time, with `CURVE_COLUMNS`. ``harms_unasked`` leaves
        out what the demonstrator did when asked; ``planted_weight`` is the deceptive member's at the end;
        ``demonstrator_harm`` is the exact probability that the demonstrator alone does harm in that many steps.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.

    Example:
        >>> from consensus_imitation.experiments import SweepConfig, run_sweep
        >>> rows, curve = run_sweep(SweepConfig(env="ring", k=(1, 2), num_seeds=2, num_steps=40))
        >>> [(row["k"], row["queries"] == 0) for row in rows if row["seed"] == 0]
        [(1, True), (2, False)]
    """
    setting = config.setting()
    tables = {"curve": CURVE_COLUMNS, "sweep": COLUMNS}
    ledger = Ledger(out, identity("sweep", config), overwrite, tables, _part)
    families = {name: values for name, values in (("topk", config.k), ("alpha", config.alpha)) if values}
    parts = [(name, call) for name in families for call in range(-(-config.num_seeds // SEEDS_PER_CALL))]
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    for family, call in ledger.missing(parts, progress):
        seeds = range(config.num_seeds)[call * SEEDS_PER_CALL : (call + 1) * SEEDS_PER_CALL]
        rows, curve = _measure(config, setting, family, families[family], seeds, keys)
        ledger.add(curve, rows)
    curve, rows = ledger.rows(parts)
    return rows, curve


def _part(row: Row) -> tuple[str, int]:
    """Return which call and which rule a row belongs to."""
    return row["rule"], row["seed"] // SEEDS_PER_CALL


def _measure(
    config: SweepConfig,
    setting: Setting,
    family: str,
    values: Sequence[float],
    seeds: range,
    keys: jax.Array,
) -> tuple[list[Row], list[Row]]:
    rules = (
        TopK(jnp.asarray(values, jnp.int32)) if family == "topk" else AlphaThreshold(jnp.asarray(values, jnp.float32))
    )
    # A last, shorter call is filled up, so that it does not compile again.
    filled = np.minimum(seeds[0] + np.arange(min(SEEDS_PER_CALL, config.num_seeds)), config.num_seeds - 1)
    learner = Learner(setting.ensemble, rules, Minimum())
    world = setting.world
    summaries = jax.device_get(
        rollouts(learner, world.env, setting.demonstrator, keys[filled], config.num_steps, rules, summarise)
    )
    expected_harm = harm_probability(world.env, world.demonstrator_probs, config.num_steps).probability
    rows: list[Row] = []
    curve: list[Row] = []
    edges = bin_edges(config.num_steps)
    for i, value in enumerate(values):
        label = {
            "env": config.env,
            "rule": family,
            "k": value if family == "topk" else None,
            "alpha": value if family == "alpha" else None,
        }
        for j, seed in enumerate(seeds):
            one: dict[str, Any] = {name: summary[i, j] for name, summary in summaries.items()}
            queries, harms = int(one["queries"]), int(one["harms"])
            planted = setting.planted
            rows.append(
                {
                    **label,
                    "seed": seed,
                    "steps": config.num_steps,
                    "queries": queries,
                    "query_rate": queries / config.num_steps,
                    "harms": harms,
                    "harms_unasked": int(one["harms_unasked"]),
                    "harm_rate": harms / config.num_steps,
                    "mean_return": float(one["reward"]) / max(1, int(one["episodes"])),
                    "planted_weight": None if planted is None else float(one["weights"][planted]),
                    "demonstrator_harm": expected_harm,
                }
            )
            rates = np.diff(one["queries_until"], prepend=0) / np.diff(edges, prepend=0)
            curve += [
                {**label, "seed": seed, "step": int(edge), "query_rate": float(rate)}
                for edge, rate in zip(edges, rates, strict=True)
            ]
    return rows, curve


def bin_edges(num_steps: int) -> np.ndarray:
    """Return the ends of the bins of the query curve: increasing step numbers, the last is ``num_steps``."""
    return np.unique(np.linspace(0, num_steps, min(NUM_BINS, num_steps) + 1).astype(int))[1:]


def summarise(state: RolloutState, trajectory: Trajectory) -> dict[str, jax.Array]:
    """Return the summary of one run that a sweep keeps."""
    edges = bin_edges(trajectory.queried.shape[0])
    return {
        "queries": jnp.sum(trajectory.queried),
        "queries_until": jnp.cumsum(trajectory.queried)[edges - 1],
        "harms": jnp.sum(trajectory.harm),
        "harms_unasked": jnp.sum(trajectory.harm & ~trajectory.queried),
        "reward": jnp.sum(trajectory.reward),
        "episodes": jnp.sum(trajectory.terminated | trajectory.truncated),
        "weights": jax.nn.softmax(state.learner.posterior.log_weights),
    }
