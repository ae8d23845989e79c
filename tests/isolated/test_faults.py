"""Whatever a member in its own process does: the step is a query in time, the member is named, and comes back."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, ConsensusWarning, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, ObservationError

from . import members
from .members import FAULTS, GOOD

DEADLINE = 0.6
#: For ending and starting processes, on a machine that has other things to do.
SLACK = 0.5
MEMORY = 4 * 2**30
#: Reasons after which nothing is known of the process, so that another one has to take its place.
REPLACED = ("no answer within", "process ended", "MemoryError", "no reply")


def until_ready(ensemble: ensembles.Isolated, seconds: float = 15.0) -> None:
    """Wait for members that are starting again."""
    end = time.monotonic() + seconds
    while not ensemble.ready.all():
        assert time.monotonic() < end, ensemble.failures
        time.sleep(0.01)


def predictions(ensemble: ensembles.Isolated, observation: object) -> np.ndarray:
    """[N, A], NaN where a member is invalid."""
    return np.exp(np.asarray(ensemble.log_probs((), observation, None)))  # type: ignore[arg-type]


def make(ensemble: ensembles.Ensemble, num_envs: int | None = None) -> ConsensusImitator:
    return ConsensusImitator(
        ensemble, demonstrator=lambda observation: 1, selection=TopK(ensemble.num_members), seed=0, num_envs=num_envs
    )


def fault_number(name: str) -> int:
    return [name for name, _, _ in FAULTS].index(name)


@pytest.fixture(scope="module")
def pair() -> Iterator[ensembles.Isolated]:
    with ensembles.isolated([members.good, members.faulty], 2, deadline=DEADLINE, memory=MEMORY) as ensemble:
        with pytest.warns(ConsensusWarning):
            make(ensemble).act(fault_number("raises"))  # compiles
        yield ensemble


@pytest.mark.parametrize("fault", range(1, len(FAULTS)), ids=[name for name, _, _ in FAULTS[1:]])
def test_a_fault_is_a_query_in_time_and_the_member_comes_back(pair: ensembles.Isolated, fault: int) -> None:
    until_ready(pair)
    imitator = make(pair)
    before = imitator.act(0)
    assert not before.queried
    assert before.invalid.tolist() == [False, False]
    weights, starts = imitator.weights, pair.starts[1]
    started = time.monotonic()
    with pytest.warns(ConsensusWarning, match="member 1 "):
        decision = imitator.act(fault)
    took = time.monotonic() - started
    assert decision.queried
    assert decision.action == 1
    assert decision.invalid.tolist() == [False, True]
    assert took < DEADLINE + SLACK
    assert any(line.startswith("member 1 ") for line in imitator.alarms)
    np.testing.assert_allclose(imitator.weights, weights)
    reason = FAULTS[fault][2]
    if reason:
        assert re.search(reason, pair.failures[1])
        assert pair.failures[1].isprintable()
        assert len(pair.failures[1]) <= 1000
    assert pair.failures[0] == ""
    until_ready(pair)
    assert pair.starts[1] - starts == (reason in REPLACED)
    after = imitator.act(0)
    assert not after.queried
    assert after.invalid.tolist() == [False, False]


@pytest.mark.parametrize("case", range(len(members.SOUND)), ids=[name for name, _ in members.SOUND])
def test_what_is_no_fault_is_none(case: int) -> None:
    with ensembles.isolated([members.sound], 2, deadline=10.0) as ensemble:
        assert predictions(ensemble, case).sum() == pytest.approx(1.0)
        assert ensemble.failures == ("",)


def test_a_member_that_starts_again_is_invalid_and_waited_for_by_nobody(pair: ensembles.Isolated) -> None:
    until_ready(pair)
    starts = pair.starts
    assert np.isnan(predictions(pair, fault_number("exit"))[1]).all()
    started = time.monotonic()
    np.testing.assert_allclose(predictions(pair, 0), [GOOD, [np.nan] * 2], rtol=1e-6)
    assert time.monotonic() - started < 0.1
    until_ready(pair)
    np.testing.assert_allclose(predictions(pair, 0), [GOOD, GOOD], rtol=1e-6)
    assert pair.starts == (starts[0], starts[1] + 1)


def test_an_exception_does_not_cost_the_process(pair: ensembles.Isolated) -> None:
    until_ready(pair)
    pids = pair.pids
    assert np.isnan(predictions(pair, fault_number("raises"))[1]).all()
    assert pair.pids == pids
    assert pair.ready.all()


def test_all_members_share_one_deadline_and_are_asked_at_once() -> None:
    with ensembles.isolated([members.hangs_on] * 4, 2, deadline=DEADLINE) as ensemble:
        started = time.monotonic()
        assert np.isnan(predictions(ensemble, 1)).all()
        assert DEADLINE <= time.monotonic() - started < DEADLINE + SLACK
        assert ensemble.failures == (f"no answer within {DEADLINE} s",) * 4


def test_control_members_in_this_process_block_it_one_after_another() -> None:
    ensemble = ensembles.callables([members.hangs_on] * 2, 2)
    started = time.monotonic()
    ensemble.log_probs((), 1, None)  # type: ignore[arg-type]
    assert time.monotonic() - started >= 2.0


def test_control_a_member_in_this_process_takes_it_along() -> None:
    code = (
        "from consensus_imitation import ensembles\nfrom tests.isolated.members import is_killed\n"
        "ensembles.callables([is_killed], 2).log_probs((), 0, None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 3
    with ensembles.isolated([members.is_killed], 2) as ensemble:
        assert np.isnan(predictions(ensemble, 0)).all()


def test_a_second_answer_is_not_taken_for_the_next_one() -> None:
    with ensembles.isolated([members.twice], 2, deadline=5.0) as ensemble:
        assert predictions(ensemble, 1)[0, 0] == pytest.approx(0.1)
        end = time.monotonic() + 30.0
        # The copy answers whenever the system lets it: it may well keep up for a while, and no question is to see it.
        while ensemble.starts == (1,):
            assert time.monotonic() < end, "the second answer was never noticed"
            for observation in (3, 4, 5):
                row = predictions(ensemble, observation)[0, 0]
                assert np.isnan(row) or row == pytest.approx(observation / 10)
        until_ready(ensemble)
        assert predictions(ensemble, 7)[0, 0] == pytest.approx(0.7)


def test_an_interrupted_question_is_not_answered_later() -> None:
    def interrupt(number: int, at: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with ensembles.isolated([members.hangs_on], 2, deadline=5.0) as ensemble:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                predictions(ensemble, 1)
            until_ready(ensemble)
            np.testing.assert_allclose(predictions(ensemble, 0)[0], GOOD, rtol=1e-6)
            assert ensemble.starts == (2,)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_an_observation_that_cannot_be_sent_changes_nothing(pair: ensembles.Isolated) -> None:
    until_ready(pair)
    imitator = make(pair)
    before = imitator.state
    for observation in (object(), np.array([object()]), {"a": {1: 2}}):
        with pytest.raises(ObservationError):
            imitator.act(observation)
    assert imitator.state is before
    assert not imitator.act(0).queried
    assert imitator.alarms == ()


def test_a_large_observation_arrives_whole() -> None:
    with ensembles.isolated([members.by_sum, members.by_sum], 2, deadline=10.0) as ensemble:
        image = np.random.default_rng(0).integers(1, 4, (2000, 2000), np.uint8)
        for seen in (image, np.asarray(image, np.float64), jax.numpy.asarray(image), image[::2, ::3]):
            np.testing.assert_allclose(predictions(ensemble, seen)[:, 0], 1 / float(np.sum(seen)), rtol=1e-5)


def test_in_a_union_the_member_is_named_by_its_place(pair: ensembles.Isolated) -> None:
    until_ready(pair)
    tables = ensembles.tabular(np.tile(np.array(GOOD), (3, len(FAULTS), 1)))
    imitator = make(ensembles.union(tables, pair))
    assert not imitator.act(0).queried
    with pytest.warns(ConsensusWarning, match="member 4 "):
        assert imitator.act(1).invalid.tolist() == [False] * 4 + [True]
    until_ready(pair)
    assert not imitator.act(0).queried


def test_in_a_batch_each_environment_is_a_question() -> None:
    with ensembles.isolated([members.hangs_on, members.good], 2, deadline=DEADLINE) as ensemble:
        imitator = make(ensemble, num_envs=3)
        assert not imitator.act(np.array([0, 0, 0])).queried.any()
        with pytest.warns(ConsensusWarning, match="member 0 "):
            imitator.act(np.array([0, 1, 0]))  # compiles
        until_ready(ensemble)
        started = time.monotonic()
        decision = imitator.act(np.array([0, 1, 0]))
        assert time.monotonic() - started < DEADLINE + SLACK
        assert decision.invalid[:2].tolist() == [[False, False], [True, False]]
        assert decision.queried[1]
        until_ready(ensemble)
        assert not imitator.act(np.array([0, 0, 0])).queried.any()


def test_a_member_that_fails_in_a_row_pauses_longer_and_is_never_given_up(tmp_path: Path) -> None:
    file = tmp_path / "fragile.py"
    text = "import os\ndef act(observation):\n    return os._exit(1) if observation else [0.6, 0.4]\n"
    file.write_text(text, encoding="utf-8")
    with ensembles.isolated([f"{file}:act"], 2) as ensemble:
        file.write_text("raise RuntimeError('not today')", encoding="utf-8")
        assert np.isnan(predictions(ensemble, 1)).all()
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert not ensemble.ready.any()
            assert np.isnan(predictions(ensemble, 0)).all()
            time.sleep(0.01)
        # Starts take 0.2 s and more each; with pauses of 0.1, 0.2, 0.4, 0.8 in between there is room for few.
        assert 3 <= ensemble.starts[0] <= 6
        assert ensemble.failures == ("RuntimeError: not today",)
        file.write_text(text, encoding="utf-8")
        until_ready(ensemble)
        np.testing.assert_allclose(predictions(ensemble, 0)[0], GOOD, rtol=1e-6)


def test_a_restart_that_takes_too_long_is_ended_and_tried_again(tmp_path: Path) -> None:
    file, flag = tmp_path / "slow.py", tmp_path / "flag"
    file.write_text(
        f"import os, time\nif os.path.exists({str(flag)!r}):\n    time.sleep(1000)\n"
        "def act(observation):\n    return os._exit(1) if observation else [0.6, 0.4]\n",
        encoding="utf-8",
    )
    with ensembles.isolated([f"{file}:act"], 2, start_deadline=1.5) as ensemble:
        flag.touch()
        assert np.isnan(predictions(ensemble, 1)).all()
        started = time.monotonic()
        while "not ready 1.5 s after" not in ensemble.failures[0]:
            assert time.monotonic() - started < 10
            assert np.isnan(predictions(ensemble, 0)).all()
            time.sleep(0.01)
        assert time.monotonic() - started >= 1.4
        flag.unlink()
        until_ready(ensemble)
        np.testing.assert_allclose(predictions(ensemble, 0)[0], GOOD, rtol=1e-6)


def test_a_process_that_cannot_be_started_is_an_invalid_member(
    pair: ensembles.Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_ready(pair)

    def fails(*arguments: object, **options: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", fails)
        assert np.isnan(predictions(pair, fault_number("exit"))[1]).all()
        assert np.isnan(predictions(pair, 0)[1]).all()
        assert "Too many open files" in pair.failures[1]
        assert pair.pids[1] is None
    until_ready(pair)
    np.testing.assert_allclose(predictions(pair, 0), [GOOD, GOOD], rtol=1e-6)


def test_closed_members_cannot_be_asked() -> None:
    ensemble = ensembles.isolated([members.good], 2)
    ensemble.close()
    ensemble.close()
    assert not ensemble.ready.any()
    assert ensemble.pids == (None,)
    with pytest.raises(ConfigurationError, match="closed"):
        predictions(ensemble, 0)
