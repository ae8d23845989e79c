"""Whatever a member in its own process does: the step is a query in time, the member is named, and comes back."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, ConsensusWarning, ObservationError

from . import members
from .clock import GIVE_UP, Clock, clocked, until, until_ready
from .members import FAULTS, GOOD

DEADLINE = 0.6
MEMORY = 4 * 2**30
#: Reasons after which nothing is known of the process, so that another one has to take its place.
REPLACED = ("no answer within", "process ended", "MemoryError", "not a reply")
#: Faults on which the member says nothing.
SILENT = ("hang", "hang-in-c", "stopped")


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
def clock() -> Iterator[Clock]:
    with clocked() as clock:
        clock.hang("faulty", *map(fault_number, SILENT))
        clock.hang("hangs_on", 1, np.int64(1))
        yield clock


@pytest.fixture(scope="module")
def pair(clock: Clock) -> Iterator[ensembles.Isolated]:
    with ensembles.isolated([members.good, members.faulty], 2, deadline=DEADLINE, memory=MEMORY) as ensemble:
        with pytest.warns(ConsensusWarning):
            make(ensemble).act(fault_number("raises"))  # compiles
        yield ensemble


@pytest.mark.parametrize("fault", range(1, len(FAULTS)), ids=[name for name, _, _ in FAULTS[1:]])
def test_a_fault_is_a_query_in_time_and_the_member_comes_back(
    pair: ensembles.Isolated, clock: Clock, fault: int
) -> None:
    until_ready(pair, clock)
    imitator = make(pair)
    before = imitator.act(0)
    assert not before.queried
    assert before.invalid.tolist() == [False, False]
    weights, starts = imitator.weights, pair.starts[1]
    started = clock.now
    with pytest.warns(ConsensusWarning, match="member 1 "):
        decision = imitator.act(fault)
    assert clock.now - started == pytest.approx(DEADLINE if FAULTS[fault][0] in SILENT else 0.0)
    assert decision.queried
    assert decision.action == 1
    assert decision.invalid.tolist() == [False, True]
    assert any(line.startswith("member 1 ") for line in imitator.alarms)
    np.testing.assert_allclose(imitator.weights, weights)
    reason = FAULTS[fault][2]
    if reason:
        assert re.search(reason, pair.failures[1])
        assert pair.failures[1].isprintable()
        assert len(pair.failures[1]) <= 1000
    assert pair.failures[0] == ""
    until_ready(pair, clock)
    assert pair.starts[1] - starts == (reason in REPLACED)
    after = imitator.act(0)
    assert not after.queried
    assert after.invalid.tolist() == [False, False]


@pytest.mark.parametrize("case", range(len(members.SOUND)), ids=[name for name, _ in members.SOUND])
def test_what_is_no_fault_is_none(case: int) -> None:
    with ensembles.isolated([members.sound], 2, deadline=GIVE_UP) as ensemble:
        assert predictions(ensemble, case).sum() == pytest.approx(1.0)
        assert ensemble.failures == ("",)


#: A member that crashes on 1, and does not start while there is the file that its folder's name ends in.
LATCHED = """
import os, time
while os.path.exists(__file__ + ".latch"):
    time.sleep(0.01)
def act(observation):
    return os._exit(1) if observation else [0.6, 0.4]
"""


@pytest.fixture
def latched(tmp_path: Path) -> tuple[str, Path]:
    """A member's name, and a file: while that is there the member starts and starts."""
    file = tmp_path / "latched.py"
    file.write_text(LATCHED, encoding="utf-8")
    return f"{file}:act", Path(f"{file}.latch")


def test_a_member_that_starts_again_is_invalid_and_waited_for_by_nobody(
    clock: Clock, latched: tuple[str, Path]
) -> None:
    name, latch = latched
    with ensembles.isolated([members.good, name], 2, deadline=DEADLINE) as ensemble:
        latch.touch()
        assert np.isnan(predictions(ensemble, 1)[1]).all()
        clock.waited.clear()
        before = clock.now
        for _ in range(3):
            np.testing.assert_allclose(predictions(ensemble, 0), [GOOD, [np.nan] * 2], rtol=1e-6)
        assert set(clock.waited) <= {1}
        assert clock.now == before
        latch.unlink()
        until_ready(ensemble, clock)
        np.testing.assert_allclose(predictions(ensemble, 0), [GOOD, GOOD], rtol=1e-6)
        assert ensemble.starts == (1, 2)


def test_an_exception_does_not_cost_the_process(pair: ensembles.Isolated, clock: Clock) -> None:
    until_ready(pair, clock)
    pids = pair.pids
    assert np.isnan(predictions(pair, fault_number("raises"))[1]).all()
    assert pair.pids == pids
    assert pair.ready.all()


def test_all_members_share_one_deadline_and_are_asked_at_once(clock: Clock) -> None:
    with ensembles.isolated([members.hangs_on] * 4, 2, deadline=DEADLINE) as ensemble:
        clock.waited.clear()
        started = clock.now
        assert np.isnan(predictions(ensemble, 1)).all()
        assert clock.waited == [4]  # all were asked before anybody was waited for
        assert clock.now - started == pytest.approx(DEADLINE)
        assert ensemble.failures == (f"no answer within {DEADLINE} s",) * 4


def test_what_some_take_is_not_there_for_the_others(clock: Clock) -> None:
    """Time passes while three answer; the fourth has what is left of the one deadline."""
    clock.tick = DEADLINE / 10
    try:
        with ensembles.isolated([members.by_sum] * 3 + [members.hangs_on], 2, deadline=DEADLINE) as ensemble:
            started = clock.now
            assert np.isnan(predictions(ensemble, 1)[3]).all()
            assert clock.now - started == pytest.approx(DEADLINE)
            assert ensemble.failures == ("", "", "", f"no answer within {DEADLINE} s")
    finally:
        clock.tick = 0.0


def test_control_members_in_this_process_are_asked_one_after_another() -> None:
    events: list[str] = []

    def member(name: str) -> Callable[[object], list[float]]:
        def act(observation: object) -> list[float]:
            events.append(f"{name} is asked")
            events.append(f"{name} answers")
            return GOOD

        return act

    ensemble = ensembles.callables([member("one"), member("two")], 2)
    ensemble.log_probs((), 1, None)  # type: ignore[arg-type]
    assert events == ["one is asked", "one answers", "two is asked", "two answers"]


def test_control_a_member_in_this_process_takes_it_along() -> None:
    code = (
        "from consensus_imitation import ensembles\nfrom tests.ensembles.isolated.members import is_killed\n"
        "ensembles.callables([is_killed], 2).log_probs((), 0, None)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 3
    with ensembles.isolated([members.is_killed], 2, deadline=GIVE_UP) as ensemble:
        assert np.isnan(predictions(ensemble, 0)).all()


def test_a_second_answer_is_not_taken_for_the_next_one(clock: Clock) -> None:
    with ensembles.isolated([members.twice], 2, deadline=GIVE_UP) as ensemble:
        assert predictions(ensemble, 1)[0, 0] == pytest.approx(0.1)

        # The copy answers whenever the system lets it: it may well keep up for a while, and no question is to see it.
        def noticed() -> bool:
            for observation in (3, 4, 5):
                row = predictions(ensemble, observation)[0, 0]
                assert np.isnan(row) or row == pytest.approx(observation / 10)
            return ensemble.starts != (1,)

        until(noticed)
        until_ready(ensemble, clock)
        assert predictions(ensemble, 7)[0, 0] == pytest.approx(0.7)


def test_an_interrupted_question_is_not_answered_later(clock: Clock) -> None:
    with ensembles.isolated([members.hangs_on], 2, deadline=DEADLINE) as ensemble:
        clock.interrupted = True
        with pytest.raises(KeyboardInterrupt):
            predictions(ensemble, 1)
        until_ready(ensemble, clock)
        np.testing.assert_allclose(predictions(ensemble, 0)[0], GOOD, rtol=1e-6)
        assert ensemble.starts == (2,)


def test_an_observation_that_cannot_be_sent_changes_nothing(pair: ensembles.Isolated, clock: Clock) -> None:
    until_ready(pair, clock)
    imitator = make(pair)
    before = imitator.state
    for observation in (object(), np.array([object()]), {"a": {1: 2}}):
        with pytest.raises(ObservationError):
            imitator.act(observation)
    assert imitator.state is before
    assert not imitator.act(0).queried
    assert imitator.alarms == ()


def test_a_large_observation_arrives_whole() -> None:
    with ensembles.isolated([members.by_sum, members.by_sum], 2, deadline=GIVE_UP) as ensemble:
        image = np.random.default_rng(0).integers(1, 4, (2000, 2000), np.uint8)
        for seen in (image, np.asarray(image, np.float64), jax.numpy.asarray(image), image[::2, ::3]):
            np.testing.assert_allclose(predictions(ensemble, seen)[:, 0], 1 / float(np.sum(seen)), rtol=1e-5)


def test_in_a_union_the_member_is_named_by_its_place(pair: ensembles.Isolated, clock: Clock) -> None:
    until_ready(pair, clock)
    tables = ensembles.tabular(np.tile(np.array(GOOD), (3, len(FAULTS), 1)))
    imitator = make(ensembles.union(tables, pair))
    assert not imitator.act(0).queried
    with pytest.warns(ConsensusWarning, match="member 4 "):
        assert imitator.act(1).invalid.tolist() == [False] * 4 + [True]
    until_ready(pair, clock)
    assert not imitator.act(0).queried


def test_in_a_batch_each_environment_is_a_question(clock: Clock) -> None:
    with ensembles.isolated([members.hangs_on, members.good], 2, deadline=DEADLINE) as ensemble:
        imitator = make(ensemble, num_envs=3)
        assert not imitator.act(np.array([0, 0, 0])).queried.any()
        with pytest.warns(ConsensusWarning, match="member 0 "):
            imitator.act(np.array([0, 1, 0]))  # compiles
        until_ready(ensemble, clock)
        started = clock.now
        decision = imitator.act(np.array([0, 1, 0]))
        assert clock.now - started == pytest.approx(DEADLINE)
        assert decision.invalid[:2].tolist() == [[False, False], [True, False]]
        assert decision.queried[1]
        until_ready(ensemble, clock)
        assert not imitator.act(np.array([0, 0, 0])).queried.any()


def test_a_member_that_fails_in_a_row_pauses_longer_and_is_never_given_up(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "fragile.py"
    text = "import os\ndef act(observation):\n    return os._exit(1) if observation else [0.6, 0.4]\n"
    file.write_text(text, encoding="utf-8")
    with ensembles.isolated([f"{file}:act"], 2) as ensemble:
        file.write_text("raise RuntimeError('not today')", encoding="utf-8")
        assert np.isnan(predictions(ensemble, 1)).all()
        pauses: list[float] = []
        for starts in range(2, 11):
            assert ensemble.starts == (starts,)
            until(lambda: not ensemble.ready.any() and ensemble._members[0]._state == "down")
            assert np.isnan(predictions(ensemble, 0)).all()
            failed = clock.now
            while ensemble.starts == (starts,):
                clock.now += 0.05
                assert not ensemble.ready.any()
            pauses.append(clock.now - failed)
        assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10], abs=0.051)
        assert ensemble.failures == ("RuntimeError: not today",)
        file.write_text(text, encoding="utf-8")
        until_ready(ensemble, clock)
        np.testing.assert_allclose(predictions(ensemble, 0)[0], GOOD, rtol=1e-6)


def test_a_restart_that_takes_too_long_is_ended_and_tried_again(clock: Clock, latched: tuple[str, Path]) -> None:
    name, latch = latched
    with ensembles.isolated([name], 2, start_deadline=1.5) as ensemble:
        latch.touch()
        assert np.isnan(predictions(ensemble, 1)).all()
        clock.now += 1.4
        assert np.isnan(predictions(ensemble, 0)).all()
        assert ensemble.failures == ("its process ended",)
        clock.now += 0.2
        assert np.isnan(predictions(ensemble, 0)).all()
        assert ensemble.failures == ("it was not ready 1.5 s after its start",)
        latch.unlink()
        until_ready(ensemble, clock)
        np.testing.assert_allclose(predictions(ensemble, 0)[0], GOOD, rtol=1e-6)


def test_a_process_that_cannot_be_started_is_an_invalid_member(
    pair: ensembles.Isolated, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_ready(pair, clock)

    def fails(*arguments: object, **options: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", fails)
        assert np.isnan(predictions(pair, fault_number("exit"))[1]).all()
        assert np.isnan(predictions(pair, 0)[1]).all()
        assert "Too many open files" in pair.failures[1]
        assert pair.pids[1] is None
    until_ready(pair, clock)
    np.testing.assert_allclose(predictions(pair, 0), [GOOD, GOOD], rtol=1e-6)


def test_closed_members_cannot_be_asked() -> None:
    ensemble = ensembles.isolated([members.good], 2)
    ensemble.close()
    ensemble.close()
    assert not ensemble.ready.any()
    assert ensemble.pids == (None,)
    with pytest.raises(ConfigurationError, match="closed"):
        predictions(ensemble, 0)
