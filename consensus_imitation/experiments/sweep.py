"""How often the imitator asks, and how often it does harm, against k and alpha."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.aggregation import Minimum
from consensus_imitation.envs import harm_probability
from consensus_imitation.experiments.results import Row, claim_directory, read_csv, write_csv
from consensus_imitation.experiments.setting import Setting, make_setting
from consensus_imitation.learner import Learner
from consensus_imitation.rollout import RolloutState, Trajectory, rollouts
from consensus_imitation.selection import AlphaThreshold, TopK

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

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SweepConfig:
    """What a sweep runs.

    Attributes:
        env: name of the world.
        k: values for ``TopK(k)``.
        alpha: values for ``AlphaThreshold(alpha)``.
        num_members: N, the deceptive one included.
        num_seeds: independent runs per setting.
        num_steps: T, steps per run.
        deceptive: whether one member is deceptive, betraying after a quarter of the run.
        seed: of everything.

    Raises:
        ValueError: for k > N, alpha outside (0, 1], nothing to sweep, or non-positive sizes.
    """

    env: str = "cliff"
    k: tuple[int, ...] = (1, 2, 4, 8)
    alpha: tuple[float, ...] = ()
    num_members: int = 8
    num_seeds: int = 20
    num_steps: int = 2000
    deceptive: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.k and not self.alpha:
            raise ValueError("nothing to sweep: give at least one k or one alpha")
        for name in ("num_seeds", "num_steps", "num_members"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        for k in self.k:
            TopK(k).check(self.num_members)
        for alpha in self.alpha:
            AlphaThreshold(alpha)

    @property
    def betray_at(self) -> int | None:
        """Step at which the deceptive member turns."""
        return self.num_steps // 4 if self.deceptive else None

    def setting(self) -> Setting:
        """The problem."""
        return make_setting(self.env, self.num_members, self.seed, self.betray_at)


def sweep(
    config: SweepConfig,
    out: Path | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> tuple[list[Row], list[Row]]:
    """Run every setting on every seed; all values of k share one compiled program.

    With ``out``, ``sweep.csv`` and ``curve.csv`` are rewritten after every few seeds, and a run that was interrupted
    goes on where it stood.

    Args:
        config: what to run.
        out: directory for the results, made if need be; None to keep them in memory only.
        progress: called as ``progress(done, total)``, in runs.
        overwrite: replace results of another configuration in ``out``.

    Returns:
        Tidy rows of runs, with `COLUMNS`, and of query rates over time, with `CURVE_COLUMNS`. ``harms_unasked`` leaves
        out what the demonstrator did when asked; ``planted_weight`` is the deceptive member's at the end;
        ``demonstrator_harm`` is the exact probability that the demonstrator alone does harm in that many steps.

    Raises:
        ValueError: for a bad configuration, or an ``out`` that holds another one's results.

    Example:
        >>> from consensus_imitation.experiments import SweepConfig, sweep
        >>> rows, curve = sweep(SweepConfig(env="ring", k=(1, 2), num_seeds=2, num_steps=40))
        >>> [(row["k"], row["queries"] == 0) for row in rows if row["seed"] == 0]
        [(1, True), (2, False)]
    """
    setting = config.setting()
    rows: list[Row] = []
    curve: list[Row] = []
    if out is not None and claim_directory(out, {"experiment": "sweep", **asdict(config)}, overwrite):
        rows, curve = _read_if_any(out / "sweep.csv"), _read_if_any(out / "curve.csv")
    done = {(row["rule"], row["seed"]) for row in rows}
    curve = [row for row in curve if (row["rule"], row["seed"]) in done]
    families = [(name, values) for name, values in (("topk", config.k), ("alpha", config.alpha)) if values]
    total = config.num_seeds * sum(len(values) for _, values in families)
    keys = jax.random.split(jax.random.key(config.seed), config.num_seeds)
    if progress is not None:
        progress(len(rows), total)
    for family, values in families:
        for first in range(0, config.num_seeds, SEEDS_PER_CALL):
            seeds = range(first, min(first + SEEDS_PER_CALL, config.num_seeds))
            if (family, seeds[0]) in done:
                continue
            new_rows, new_curve = _run(config, setting, family, values, seeds, keys)
            rows += new_rows
            curve += new_curve
            if out is not None:
                # The curve first: a run counts as done once its row in sweep.csv is there.
                write_csv(out / "curve.csv", curve, CURVE_COLUMNS)
                write_csv(out / "sweep.csv", rows, COLUMNS)
            if progress is not None:
                progress(len(rows), total)
    return rows, curve


def _run(
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
    # A last, shorter call is filled up, so that it does not compile anew.
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
    """Ends of the bins of the query curve: increasing step numbers, the last is ``num_steps``."""
    return np.unique(np.linspace(0, num_steps, min(NUM_BINS, num_steps) + 1).astype(int))[1:]


def summarise(state: RolloutState, trajectory: Trajectory) -> dict[str, jax.Array]:
    """What a sweep keeps of one run."""
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


def _read_if_any(path: Path) -> list[Row]:
    return list(read_csv(path)) if path.exists() else []
