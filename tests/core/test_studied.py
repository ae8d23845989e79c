"""Recordings count once (T2): what comes again is noticed, and voids the certificate for good."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, ensembles
from consensus_imitation.core import _studied
from consensus_imitation.core._voids import STUDIED_TWICE, reasons
from consensus_imitation.errors import ConsensusWarning

S, A, T = 5, 3, 40
PROBS = np.random.default_rng(0).dirichlet(np.ones(A), (4, S))
VOID = reasons(STUDIED_TWICE)[0]


def recording(seed: int, steps: int = T) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    observations = rng.integers(0, S, steps)
    return observations, [int(rng.choice(A, p=PROBS[0, o])) for o in observations]


def make(**options: Any) -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(PROBS), selection=AlphaThreshold(0.001), seed=1, **options)


def studied_again(imitator: ConsensusImitator, *again: Any) -> None:
    with pytest.warns(ConsensusWarning, match="studied twice"):
        imitator.pretrain(*again)
    assert str(imitator.certificate()).startswith(f"NOTHING IS GUARANTEED: {VOID}")


def test_a_recording_that_is_studied_once_is_fine_and_the_certificate_says_what_it_assumes() -> None:
    imitator = make()
    assert "recorded" not in str(imitator.certificate())
    for seed in range(3):
        imitator.pretrain(*recording(seed))
    statement = imitator.certificate()
    assert statement.void == ""
    assert statement.num_studied == 3 * T
    assert f"assumed of the {3 * T} recorded steps that were studied" in str(statement)
    assert "none was left out" in str(statement)


def test_the_same_recording_in_another_call() -> None:
    imitator = make()
    imitator.pretrain(*recording(0))
    imitator.pretrain(*recording(1))
    # A list, NumPy integers, another type: it is what it holds that counts.
    observations, actions = recording(0)
    studied_again(imitator, list(observations), np.array(actions))
    other = make()
    other.pretrain(observations, actions)
    studied_again(other, observations.astype(np.int16), actions)


def test_the_same_recording_over_and_over_in_one_call() -> None:
    observations, actions = recording(0)
    studied_again(make(), np.tile(observations, 10), actions * 10)
    starts = np.arange(10 * T) % T == 0
    studied_again(make(), np.tile(observations, 10), actions * 10, starts)


def test_an_episode_that_comes_again_among_others() -> None:
    (first, first_actions), (second, second_actions), (third, third_actions) = (recording(seed) for seed in range(3))
    starts = np.arange(2 * T) % T == 0
    imitator = make()
    imitator.pretrain(np.concatenate([first, second]), first_actions + second_actions, starts)
    studied_again(imitator, np.concatenate([third, second]), third_actions + second_actions, starts)
    within = make()
    starts = np.arange(3 * T) % T == 0
    studied_again(
        within, np.concatenate([first, second, first]), first_actions + second_actions + first_actions, starts
    )


def test_short_episodes_may_come_again_but_not_all_of_a_recording() -> None:
    """Episodes of two steps recur by chance; forty of them do not."""
    observations, actions = recording(0)
    starts = np.arange(T) % 2 == 0
    imitator = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        imitator.pretrain(observations, actions, starts)
        imitator.pretrain([0] * 30, [1] * 30)  # a demonstrator that is always the same
        imitator.pretrain(observations[:2], actions[:2])
        imitator.pretrain(observations[:2], actions[:2])
    assert imitator.certificate().void == ""
    studied_again(imitator, observations, actions, starts)


def test_one_other_action_is_another_recording() -> None:
    imitator = make()
    observations, actions = recording(0)
    for at in range(T):
        changed = list(actions)
        changed[at] = (changed[at] + 1) % A
        imitator.pretrain(observations, changed)
    assert imitator.certificate().void == ""


@pytest.mark.parametrize("way", ["from_state", "resume", "restore"])
@pytest.mark.parametrize("before", [True, False], ids=["void-before", "noticed-after"])
def test_every_way_of_going_on_remembers(way: str, before: bool, tmp_path: Path) -> None:
    imitator = make(journal=tmp_path / "run") if way == "resume" else make()
    imitator.pretrain(*recording(0))
    if before:
        studied_again(imitator, *recording(0))
    rules = {"selection": AlphaThreshold(0.001)}
    if way == "from_state":
        again = ConsensusImitator.from_state(imitator.state, ensembles.tabular(PROBS), **rules)
    elif way == "resume":
        imitator.close()
        again = ConsensusImitator.resume(tmp_path / "run", ensembles.tabular(PROBS), **rules)
    else:
        again = make()
        again.restore(imitator.state)
    assert (VOID in again.certificate().void) == before
    assert again.certificate().num_studied == imitator.certificate().num_studied
    if not before:
        with pytest.warns(ConsensusWarning, match="studied twice"):
            again.pretrain(*recording(0))
        assert VOID in again.certificate().void
    again.close()


def test_where_warnings_are_errors_nothing_is_learned_twice() -> None:
    imitator = make()
    imitator.pretrain(*recording(0))
    before = imitator.weights
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConsensusWarning, match="studied twice"):
            imitator.pretrain(*recording(0))
    np.testing.assert_array_equal(imitator.weights, before)
    assert imitator.certificate().void == ""


def test_of_many_recordings_a_sample_is_remembered() -> None:
    """Of 2,000 episodes 64 digests: 100 of them that come again hit one of these but with probability 4%."""
    rng = np.random.default_rng(3)
    episodes = rng.integers(0, 100, (2000, 10))

    def study(memory: Any, chosen: np.ndarray) -> tuple[np.ndarray, bool]:
        rows = episodes[chosen].reshape(-1)
        return _studied.noticed(memory, rows, np.zeros(len(rows), np.int32), np.arange(len(rows)) % 10 == 0)

    memory, again = study(_studied.nothing(), np.arange(2000))
    assert not again
    hits = [study(memory, rng.choice(2000, 100, replace=False))[1] for _ in range(60)]
    # 60 tries at 0.96 each: within 5 sigma of 58.
    assert sum(hits) >= 50
    assert study(memory, np.arange(2000))[1]
