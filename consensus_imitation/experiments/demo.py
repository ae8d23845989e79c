"""The main job: a short sweep, a short suite, and one run watched closely. `report.write_demo` makes a page of them."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation import deception
from consensus_imitation.aggregation import Minimum
from consensus_imitation.experiments.redteam import RedteamConfig, redteam
from consensus_imitation.experiments.results import Row, claim_directory, read_csv
from consensus_imitation.experiments.setting import Setting
from consensus_imitation.experiments.sweep import SweepConfig, sweep
from consensus_imitation.learner import Learner
from consensus_imitation.rollout import rollouts
from consensus_imitation.selection import TopK

Progress = Callable[[int, int], None]
Stages = Callable[[str], Progress]

#: The values of k whose runs are watched side by side: one model alone, and the minimum of four.
WATCHED = (1, 4)


@dataclass(frozen=True)
class DemoConfig:
    """What the demo runs.

    Attributes:
        env: name of the world.
        seed: of everything.
    """

    env: str = "cliff"
    seed: int = 0

    def sweep(self) -> SweepConfig:
        """The short sweep."""
        return SweepConfig(env=self.env, k=(1, 2, 4, 8), alpha=(0.001,), num_seeds=128, num_steps=2000, seed=self.seed)

    def redteam(self) -> RedteamConfig:
        """The short suite."""
        return RedteamConfig(scenarios=deception.SHORT, num_seeds=128, seed=self.seed)


@dataclass(frozen=True)
class WatchedRun:
    """One run, step by step.

    Attributes:
        k: of ``TopK(k)``.
        observation: int [T].
        queried: bool [T].
        query_prob: float [T].
        harm: bool [T].
        weights: float [T, N], posterior before each step.
    """

    k: int
    observation: np.ndarray
    queried: np.ndarray
    query_prob: np.ndarray
    harm: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class DemoResults:
    """What the demo found, as saved under one directory."""

    config: DemoConfig
    sweep_rows: list[Row]
    curve_rows: list[Row]
    redteam_rows: list[Row]
    watched: tuple[WatchedRun, ...]


def demo(config: DemoConfig, out: Path, stage: Stages, overwrite: bool = False) -> DemoResults:
    """Run everything and save it under ``out``: ``sweep/``, ``redteam/`` and ``watched.npz``.

    Args:
        config: what to run.
        out: directory, made if need be.
        stage: called with the title of each part; returns that part's progress callback.
        overwrite: replace results of another configuration in ``out``.

    Raises:
        ValueError: for an unknown world, or an ``out`` that holds another configuration's results.
    """
    sweep_config = config.sweep()
    setting = sweep_config.setting()
    claim_directory(out, {"experiment": "demo", **asdict(config)}, overwrite)
    sweep(sweep_config, out / "sweep", stage("query rate against k"), overwrite)
    redteam(config.redteam(), out / "redteam", stage("deceptive-model suite"), overwrite)
    progress = stage("one run, watched closely")
    progress(0, 1)
    runs = watch(setting, sweep_config.num_steps, sweep_config.seed)
    arrays = {f"{name}_{run.k}": value for run in runs for name, value in asdict(run).items() if name != "k"}
    np.savez_compressed(out / "watched.npz", **arrays)
    progress(1, 1)
    return load_demo(out)


def load_demo(out: Path) -> DemoResults:
    """Read back what `demo` saved.

    Raises:
        FileNotFoundError: if there is no complete demo under ``out``.
    """
    saved = json.loads((out / "config.json").read_text(encoding="utf-8"))
    with np.load(out / "watched.npz", allow_pickle=False) as file:
        names = [name for name in WatchedRun.__dataclass_fields__ if name != "k"]
        watched = tuple(WatchedRun(k=k, **{name: file[f"{name}_{k}"] for name in names}) for k in WATCHED)
    return DemoResults(
        config=DemoConfig(env=saved["env"], seed=saved["seed"]),
        sweep_rows=list(read_csv(out / "sweep" / "sweep.csv")),
        curve_rows=list(read_csv(out / "sweep" / "curve.csv")),
        redteam_rows=list(read_csv(out / "redteam" / "redteam.csv")),
        watched=watched,
    )


def watch(setting: Setting, num_steps: int, seed: int) -> tuple[WatchedRun, ...]:
    """One run for each of the `WATCHED` values of k, on the same seed."""
    rules = TopK(jnp.array(WATCHED))
    learner = Learner(setting.ensemble, rules, Minimum())
    keys = jax.random.split(jax.random.key(seed), 1)
    _, runs = jax.device_get(rollouts(learner, setting.world.env, setting.demonstrator, keys, num_steps, rules))
    log_weights = runs.log_weights
    weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return tuple(
        WatchedRun(
            k=k,
            observation=runs.observation[i, 0],
            queried=runs.queried[i, 0],
            query_prob=runs.query_prob[i, 0],
            harm=runs.harm[i, 0],
            weights=weights[i, 0],
        )
        for i, k in enumerate(WATCHED)
    )
