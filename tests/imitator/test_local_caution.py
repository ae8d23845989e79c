"""A run whose members withhold where nothing was answered: resumed, replayed and taken over like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.ensembles import Training

from .probe import crash
from .test_resume import bits

#: A ring that is soon full, so that answers take the place of others.
TRAINING = Training(batch_size=8, updates=1, every=2, capacity=24, local_caution=0.1)
RULE = TopK(2)


def members() -> Any:
    return ensembles.union(
        ensembles.mlp((2,), 3, 2, hidden=(4,), training=TRAINING), ensembles.mlp((2,), 3, 1, hidden=(4,))
    )


def demonstrator(observation: Any) -> int:
    return int(np.abs(np.asarray(observation)).sum() * 3) % 3


def act(imitator: ConsensusImitator, num_envs: int | None, t: int) -> list[int]:
    """One step; by and by what is seen moves away from what was answered."""
    rng = np.random.default_rng(t)
    shape = (2,) if num_envs is None else (num_envs, 2)
    seen = (rng.normal(size=shape) + t // 20).astype(np.float32)
    return np.atleast_1d(imitator.act(seen).action).tolist()


@pytest.mark.slow
@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("num_envs", [None, 2])
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(num_envs: int | None, tmp_path: Path) -> None:
    settings = Journal(tmp_path / "run", checkpoint_every=17)
    never = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1, num_envs=num_envs)
    broken = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1, num_envs=num_envs, journal=settings)
    for t in range(60):
        if t in (9, 30, 31):
            # The steps since the last checkpoint are done again.
            crash(broken)
            broken = ConsensusImitator.resume(tmp_path / "run", members(), demonstrator, selection=RULE)
        assert act(never, num_envs, t) == act(broken, num_envs, t)
    assert bits(never) == bits(broken)
    wary = never.state.learned[0].answered
    assert 24 < int(wary.fitted) <= never.num_queries < 60 * (num_envs or 1)
    assert never.state.learned[1].answered == ()
    broken.close()


@pytest.mark.slow
def test_a_state_that_was_taken_goes_on_alike() -> None:
    first = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1)
    for t in range(40):
        act(first, None, t)
    second = ConsensusImitator.from_state(first.state, members(), demonstrator, selection=RULE)
    for t in range(40, 60):
        assert act(first, None, t) == act(second, None, t)
    assert bits(first) == bits(second)


@pytest.mark.slow
def test_recordings_count_as_answers() -> None:
    observations = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
    actions = np.array([demonstrator(one) for one in observations], np.int32)
    studied = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1)
    studied.pretrain(observations, actions)
    asked = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1)
    for observation, action in zip(observations, actions, strict=True):
        asked.take_over(observation, int(action), learn=True)
    one, other = (each.state.learned[0].answered for each in (studied, asked))
    for name in ("points", "fitted"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_allclose(one.scale, other.scale, rtol=1e-5)
    np.testing.assert_allclose(one.constant, other.constant, rtol=1e-2)


def test_a_run_without_it_cannot_go_on_with_it(tmp_path: Path) -> None:
    plain = Training(**{**TRAINING.__dict__, "local_caution": 0.0})
    imitator = ConsensusImitator(
        ensembles.mlp((2,), 3, 2, training=plain), demonstrator, selection=RULE, seed=1, journal=tmp_path / "run"
    )
    act(imitator, None, 0)
    imitator.close()
    with pytest.raises(ValueError, match="local_caution"):
        ConsensusImitator.resume(tmp_path / "run", ensembles.mlp((2,), 3, 2, training=TRAINING), demonstrator)
