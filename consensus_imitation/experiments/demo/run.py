"""The main job: a short sweep, a short suite, and one run watched closely. `page.write` makes a page of them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.aggregation import Minimum
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.rollout import rollouts
from consensus_imitation.core.selection import TopK
from consensus_imitation.experiments.demo.config import DemoConfig
from consensus_imitation.experiments.ledger import Stages, claim_directory, identity
from consensus_imitation.experiments.redteam.run import run as run_redteam
from consensus_imitation.experiments.results import Row, read_csv, whole
from consensus_imitation.experiments.setting import Setting
from consensus_imitation.experiments.sweep.run import run as run_sweep
from consensus_imitation.journal._archives import read_arrays

#: The values of k whose runs appear side by side: one model alone, and the minimum of four.
WATCHED = (1, 4)


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
    """The results of the demo, as saved under one directory."""

    config: DemoConfig
    sweep_rows: list[Row]
    curve_rows: list[Row]
    redteam_rows: list[Row]
    watched: tuple[WatchedRun, ...]


def run(config: DemoConfig, out: Path, stage: Stages, overwrite: bool = False) -> DemoResults:
    """Run everything and save it under ``out``: ``sweep/``, ``redteam/`` and ``watched.npz``.

    An interrupted demo continues as its sweep and its suite do.

    Args:
        config: what to run.
        out: directory, made if necessary.
        stage: called with the title of each part; returns that part's progress callback.
        overwrite: replace results of another configuration in ``out``.

    Raises:
        ValueError: for an unknown world, or an ``out`` that holds another configuration's results.
    """
    sweep_config = config.sweep()
    setting = sweep_config.setting()
    # A demo that starts again starts all its parts again, also if it is interrupted between them.
    parts = ("sweep/config.json", "redteam/config.json", "watched.npz")
    claim_directory(out, identity("demo", config), overwrite, parts)
    run_sweep(sweep_config, out / "sweep", stage("query rate against k"), overwrite)
    run_redteam(config.redteam(), out / "redteam", stage("deceptive-model suite"), overwrite)
    progress = stage("one run, watched closely")
    progress(0, 1)
    runs = watch(setting, sweep_config.num_steps, sweep_config.seed)
    arrays = {f"{name}_{run.k}": value for run in runs for name, value in asdict(run).items() if name != "k"}
    with whole(out / "watched.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    progress(1, 1)
    return load_demo(out)


def load_demo(out: Path) -> DemoResults:
    """Read back what `run` saved.

    Raises:
        FileNotFoundError: if there is no complete demo under ``out``.
    """
    saved = json.loads((out / "config.json").read_text(encoding="utf-8"))
    arrays = read_arrays(out / "watched.npz")
    names = [name for name in WatchedRun.__dataclass_fields__ if name != "k"]
    watched = tuple(WatchedRun(k=k, **{name: arrays[f"{name}_{k}"] for name in names}) for k in WATCHED)
    return DemoResults(
        config=DemoConfig(env=saved["env"], seed=saved["seed"]),
        sweep_rows=list(read_csv(out / "sweep" / "sweep.csv")),
        curve_rows=list(read_csv(out / "sweep" / "curve.csv")),
        redteam_rows=list(read_csv(out / "redteam" / "redteam.csv")),
        watched=watched,
    )


def watch(setting: Setting, num_steps: int, seed: int) -> tuple[WatchedRun, ...]:
    """Return one run for each of the `WATCHED` values of k, on the same seed."""
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
