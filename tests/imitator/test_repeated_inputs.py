"""A run whose demonstrator contradicts itself on repeated inputs: resumed and taken over like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.ensembles import Training

from .probe import crash
from .test_resume import bits

TRAINING = Training(batch_size=8, updates=2, every=2, caution=5.0)
INPUTS = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)


def members(temperature: Any = "repeats") -> Any:
    training = Training(**{**TRAINING.__dict__, "temperature": temperature})
    return ensembles.mlp((2,), 3, 2, hidden=(4,), training=training)


def go_on(imitator: ConsensusImitator, first: int, last: int) -> list[int]:
    """Steps on which the answer is drawn by the number of the step, so that it is the same in every run."""
    done = []
    for t in range(first, last):
        rng = np.random.default_rng(t)
        decision = imitator.decide(INPUTS[rng.integers(len(INPUTS))])
        if decision.queried:
            decision = imitator.answer(decision, int(rng.integers(3)))
        done.append(int(decision.action))
    return done


@pytest.mark.slow
def test_a_resumed_run_ends_as_one_that_was_never_interrupted(tmp_path: Path) -> None:
    never = ConsensusImitator(members(), selection=TopK(2), seed=1)
    broken = ConsensusImitator(
        members(), selection=TopK(2), seed=1, journal=Journal(tmp_path / "run", checkpoint_every=17)
    )
    for first, last in ((0, 9), (9, 30), (30, 31), (31, 60)):
        assert go_on(never, first, last) == go_on(broken, first, last)
        crash(broken)
        broken = ConsensusImitator.resume(tmp_path / "run", members(), selection=TopK(2))
    assert bits(never) == bits(broken)
    assert float(never.state.learned.temperature.log.min()) > 0
    taken = ConsensusImitator.from_state(never.state, members(), selection=TopK(2))
    assert go_on(taken, 60, 80) == go_on(broken, 60, 80)
    assert bits(taken) == bits(broken)
    broken.close()


@pytest.mark.slow
def test_recordings_count_as_answers() -> None:
    which, actions = np.random.default_rng(1).integers(4, size=30), np.random.default_rng(2).integers(3, size=30)
    imitator = ConsensusImitator(members(), selection=TopK(2), seed=1)
    imitator.pretrain(INPUTS[which], actions)
    assert float(imitator.state.learned.temperature.log.min()) > 0


def test_a_run_without_it_cannot_go_on_with_it(tmp_path: Path) -> None:
    """As every run of before, whose members had no temperature unless one was asked for."""
    imitator = ConsensusImitator(members(False), selection=TopK(2), seed=1, journal=tmp_path / "run")
    go_on(imitator, 0, 3)
    imitator.close()
    with pytest.raises(ValueError, match="temperature"):
        ConsensusImitator.resume(tmp_path / "run", members(), selection=TopK(2))
    ConsensusImitator.resume(tmp_path / "run", members(False), selection=TopK(2)).close()
