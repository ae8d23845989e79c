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
from consensus_imitation.experiments.sweep import anywhere
from consensus_imitation.experiments.sweep.columns import COLUMNS, CURVE_COLUMNS, bin_edges
from consensus_imitation.experiments.sweep.config import ANYWHERE, SweepConfig

#: Seeds run in one call: enough to fill the vector units, few enough for a progress bar that moves.
SEEDS_PER_CALL = 16


def run(
    config: SweepConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> tuple[list[Row], list[Row]]:
    """Run every setting on every seed.

    In one of the library's worlds all values of k share one compiled program. Anywhere else the runs are played one
    after another, as `run_gymnasium` plays them; `sweep_environment` takes functions in place of names.

    With ``out``, ``sweep.csv`` and ``curve.csv`` grow with every few seeds, and an interrupted sweep continues with the
    missing seeds.

    Args:
        config: what to run.
        out: directory for the results, made if necessary; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in parts: 16 seeds of all values of k, or of all values of alpha;
            outside of the library's worlds in steps.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Tidy rows of runs, with `columns.COLUMNS`, and of query rates over time, with `columns.CURVE_COLUMNS`. What
        nobody can tell is None.

        - ``withheld_rate`` and ``disagreement_rate`` are means of the two parts of theta (`withholding.withheld`).
          Together they are the mean of theta, which the query rate estimates.
        - ``harms`` counts steps with harm; outside of the library's worlds, steps that made an episode unsafe.
          ``harms_unasked`` leaves out what the demonstrator did when asked.
        - ``mean_return`` is that of the episodes that ended; in the library's worlds, of all rewards.
        - ``planted_weight`` is the deceptive member's at the end.
        - ``demonstrator_harm`` is the probability that the demonstrator alone does harm in that many steps: exact in
          the library's worlds, elsewhere its share of as many runs of its own.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.

    Example:
        >>> from consensus_imitation.experiments import SweepConfig, run_sweep
        >>> rows, curve = run_sweep(SweepConfig(env="ring", k=(1, 2), num_seeds=2, num_steps=40))
        >>> [(row["k"], row["queries"] == 0) for row in rows if row["seed"] == 0]
        [(1, True), (2, False)]
    """
    if not config.in_world:
        about = {name: getattr(config, name) for name in (*ANYWHERE, "num_members")}
        return anywhere.sweep(
            config.place(), config.rules(), num_seeds=config.num_seeds, num_steps=config.num_steps, seed=config.seed,
            about=about, out=out, progress=progress, overwrite=overwrite,
        )  # fmt: skip
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
                    "withheld_rate": float(one["withheld"]) / config.num_steps,
                    "disagreement_rate": float(one["theta"] - one["withheld"]) / config.num_steps,
                    "harms": harms,
                    "harms_unasked": int(one["harms_unasked"]),
                    "harm_rate": harms / config.num_steps,
                    "episodes": int(one["episodes"]),
                    "successes": None,
                    "mean_return": float(one["reward"]) / max(1, int(one["episodes"])),
                    "planted_weight": None if planted is None else float(one["weights"][planted]),
                    "demonstrator_harm": expected_harm,
                }
            )
            widths = np.diff(edges, prepend=0)
            rates, withheld = (np.diff(one[f"{name}_until"], prepend=0) / widths for name in ("queries", "withheld"))
            curve += [
                {**label, "seed": seed, "step": int(edge), "query_rate": float(rate), "withheld_rate": float(part)}
                for edge, rate, part in zip(edges, rates, withheld, strict=True)
            ]
    return rows, curve


def summarise(state: RolloutState, trajectory: Trajectory) -> dict[str, jax.Array]:
    """Return the summary of one run that a sweep keeps."""
    edges = bin_edges(trajectory.queried.shape[0])
    return {
        "queries": jnp.sum(trajectory.queried),
        "queries_until": jnp.cumsum(trajectory.queried)[edges - 1],
        "theta": jnp.sum(trajectory.query_prob),
        "withheld": jnp.sum(trajectory.withheld),
        "withheld_until": jnp.cumsum(trajectory.withheld)[edges - 1],
        "harms": jnp.sum(trajectory.harm),
        "harms_unasked": jnp.sum(trajectory.harm & ~trajectory.queried),
        "reward": jnp.sum(trajectory.reward),
        "episodes": jnp.sum(trajectory.terminated | trajectory.truncated),
        "weights": jax.nn.softmax(state.learner.posterior.log_weights),
    }
