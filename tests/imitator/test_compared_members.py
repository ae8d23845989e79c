"""A run whose members are compared in training: resumed, replayed, studied and taken over like any other."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.ensembles import Training
from consensus_imitation.imitator._description import description

from .probe import crash
from .test_resume import bits

pytestmark = pytest.mark.filterwarnings("ignore:Training:consensus_imitation.errors.ConsensusWarning")

COMPARED: dict[str, Any] = {
    "decorrelate": 1.0, "disagree": 0.5, "minimum_explains": 0.5, "minimum_withholds": 0.5, "minimum_of": 3,
}  # fmt: skip
TRAINING = Training(batch_size=8, updates=2, every=2, capacity=24, **COMPARED)
RULE = TopK(2)


def members(training: Training = TRAINING) -> Any:
    return ensembles.mlp((2,), 4, 3, hidden=(4,), training=training)


def demonstrator(observation: Any) -> int:
    return int(np.abs(np.asarray(observation)).sum() * 3) % 4


def act(imitator: ConsensusImitator, t: int) -> int:
    return int(imitator.act(np.random.default_rng(t).normal(size=2).astype(np.float32)).action)


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    settings = Journal(tmp_path / "run", checkpoint_every=17)
    never = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1)
    broken = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1, journal=settings)
    for t in range(40):
        if t in (9, 30):
            crash(broken)
            broken = ConsensusImitator.resume(tmp_path / "run", members(), demonstrator, selection=RULE)
        assert act(never, t) == act(broken, t)
    assert bits(never) == bits(broken)
    broken.close()
    taken = ConsensusImitator.from_state(never.state, members(), demonstrator, selection=RULE)
    assert [act(never, t) for t in range(40, 50)] == [act(taken, t) for t in range(40, 50)]
    assert bits(never) == bits(taken)


@pytest.mark.slow
def test_what_is_studied_is_learned_as_what_is_answered() -> None:
    """And neither as without the setting: no entrance goes round it."""
    observations = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    actions = np.array([demonstrator(one) for one in observations], np.int32)
    learned = []
    for training in (TRAINING, Training(batch_size=8, updates=2, every=2, capacity=24)):
        studied, told = (ConsensusImitator(members(training), selection=RULE, seed=1) for _ in range(2))
        studied.pretrain(observations, actions)
        for observation, action in zip(observations, actions, strict=True):
            told.take_over(observation, int(action), learn=True)
        one, other = (jax.tree.leaves(each.state.learned.params) for each in (studied, told))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        learned.append(np.asarray(one[0]))
    assert np.abs(learned[0] - learned[1]).max() > 1e-3


def test_a_run_of_another_loss_is_not_resumed(tmp_path: Path) -> None:
    imitator = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1, journal=tmp_path / "run")
    act(imitator, 0)
    imitator.close()
    for name in COMPARED:
        other = Training(**{**TRAINING.__dict__, name: 2 if name == "minimum_of" else 0.0})
        with pytest.raises(ValueError, match=name):
            ConsensusImitator.resume(tmp_path / "run", members(other), demonstrator, selection=RULE)


def test_runs_from_before_these_settings_are_described_as_they_were() -> None:
    plain = ConsensusImitator(members(Training()), demonstrator, selection=RULE, seed=1)
    said = description(plain._live.run.setup)["training"][0]
    assert not set(COMPARED) & set(said)
    compared = ConsensusImitator(members(), demonstrator, selection=RULE, seed=1)
    assert {name: description(compared._live.run.setup)["training"][0][name] for name in COMPARED} == COMPARED
