"""A run that is taken up again, in every form that a step can have, ends as one that was never interrupted."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConfigurationError,
    ConsensusImitator,
    Journal,
    LockedError,
    ReplayError,
    TopK,
    ensembles,
)
from consensus_imitation.ensembles import Ensemble

PROBS = np.random.default_rng(0).dirichlet(np.ones(3), (4, 5))
RULE = TopK(2) | AlphaThreshold(0.05)
B = 3


def tabular(probs: np.ndarray = PROBS) -> Ensemble:
    return ensembles.tabular(probs)


def callables() -> Ensemble:
    return ensembles.callables([lambda seen, n=n: PROBS[n, int(seen)] for n in range(4)], 3)


def both() -> Ensemble:
    return ensembles.union(tabular(PROBS[:2]), ensembles.callables([lambda seen: PROBS[3, int(seen)]], 3))


def demonstrator(observation: Any) -> int:
    return int(observation) * 7 % 3


def step(imitator: ConsensusImitator, way: str, t: int) -> list[int]:
    """One step in one of the three ways, and what was done."""
    rng = np.random.default_rng(t)
    if way == "single":
        return [imitator.act(int(rng.integers(5))).action]
    seen = rng.integers(5, size=B)
    if way == "lockstep":
        return imitator.act(seen, np.array([True, t % 3 != 0, True])).action.tolist()
    return [imitator.act(int(seen[b]), env=b).action for b in (2, 0, 1)]


def bits(imitator: ConsensusImitator) -> list[bytes]:
    def data(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return [np.asarray(data(leaf)).tobytes() for leaf in jax.tree.leaves(imitator.state)]


@pytest.mark.parametrize("way", ["single", "lockstep", "apart"])
@pytest.mark.parametrize("make", [tabular, callables, both])
def test_it_ends_as_one_that_was_never_interrupted(make: Any, way: str, tmp_path: Path) -> None:
    num_envs = None if way == "single" else B
    never = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, num_envs=num_envs)
    settings = Journal(tmp_path / "run", checkpoint_every=9)
    broken = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, num_envs=num_envs, journal=settings)
    for t in range(24):
        if t in (4, 12, 13, 20):
            broken.close()
            broken = ConsensusImitator.resume(tmp_path / "run", make(), demonstrator, selection=RULE)
        assert step(never, way, t) == step(broken, way, t)
        if t % 5 == 4:
            for one in (never, broken):
                one.begin_episode(None if num_envs is None else t % B)
    assert bits(never) == bits(broken)
    assert (never.num_queries, never.num_steps, never.alarms) == (broken.num_queries, broken.num_steps, broken.alarms)
    assert 0 < never.num_queries < never.num_steps * (num_envs or 1)
    broken.close()


def run(path: Path, make: Any = tabular, steps: int = 12) -> None:
    """A run that ends without a last checkpoint: its steps have to be done again."""
    imitator = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, journal=Journal(path))
    for t in range(steps):
        step(imitator, "single", t)
    assert imitator._directory is not None
    imitator._directory.close()


@pytest.mark.parametrize("change", [1e-6, 0.1])
def test_other_members_are_another_run(change: float, tmp_path: Path) -> None:
    run(tmp_path / "run")
    other = (1 - change) * PROBS + change / 3
    with pytest.raises(ConfigurationError, match="members"):
        ConsensusImitator.resume(tmp_path / "run", tabular(other), demonstrator, selection=RULE)
    with ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


def scaled(by: float) -> Ensemble:
    """Members whose arrays are the same, and whose code is not."""
    return ensembles.stacked(lambda row, seen: by * jax.numpy.log(row[seen]), jax.numpy.asarray(PROBS), num_actions=3)


def test_other_code_does_not_give_what_was_written_down(tmp_path: Path) -> None:
    run(tmp_path / "run", lambda: scaled(1.0))
    with pytest.raises(ReplayError, match="predictions"):
        ConsensusImitator.resume(tmp_path / "run", scaled(1.001), demonstrator, selection=RULE)
    with ConsensusImitator.resume(tmp_path / "run", scaled(1.0), demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


def test_other_training_is_another_run(tmp_path: Path) -> None:
    """Also after a clean end, when there is nothing to do again that would come out otherwise."""

    def members(**training: Any) -> Ensemble:
        fixed, small = tabular(), {"batch_size": 4, "updates": 1, "every": 2, "capacity": 16}
        mlp = ensembles.mlp(5, 3, 2, hidden=(4,), training=ensembles.Training(**{**small, **training}))
        return ensembles.union(mlp, fixed)

    run(tmp_path / "run", members)
    for other in ({"updates": 2}, {"learning_rate": 1e-3}, {"bootstrap": "none"}, {"plateau": ensembles.Plateau()}):
        with pytest.raises(ConfigurationError, match=r"training|state"):
            ConsensusImitator.resume(tmp_path / "run", members(**other), demonstrator, selection=RULE)
    same = members(caution=20, learning_rate=np.float64(3e-3))
    with ConsensusImitator.resume(tmp_path / "run", same, demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


def test_a_rule_is_the_same_however_its_number_is_typed(tmp_path: Path) -> None:
    run(tmp_path / "run")
    typed = TopK(np.int64(2)) | AlphaThreshold(np.float32(0.05))
    ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=typed).close()


@pytest.mark.parametrize("rule", [TopK(2), TopK(2) | AlphaThreshold(0.06)], ids=["another", "another parameter"])
def test_other_rules_are_another_run(rule: Any, tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ConfigurationError, match="rules"):
        ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=rule)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with ConsensusImitator(tabular(), demonstrator, selection=RULE, journal=tmp_path / "run") as imitator:
        with pytest.raises(LockedError):
            ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE)
        imitator.act(0)
    ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE).close()
