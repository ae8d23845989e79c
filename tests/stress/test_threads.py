"""Threads, and calls from within calls: no acknowledged answer is lost, and no draw decides twice."""

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.errors import ReentrantCallError

THREADS = 8
PROBS = np.array([[[0.9, 0.1]], [[0.1, 0.9]]])
MEMBERS = ensembles.tabular(PROBS)


def make(demonstrator: Any = None, members: Any = MEMBERS, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(members, demonstrator, **{"selection": TopK(2), "seed": 0, **more})


def at_once(do: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Do it for 0 .. count - 1 in threads that begin together."""
    barrier = threading.Barrier(count)

    def one(b: int) -> Any:
        barrier.wait()
        return do(b)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def answering(answers: int, journal: Path | None, by_act: bool) -> None:
    """Every thread answers for its own environment; each answer that was acknowledged counts, once."""
    imitator = make([lambda observation: 1] * THREADS if by_act else None, num_envs=THREADS, journal=journal)

    def live(b: int) -> int:
        acknowledged = 0
        while acknowledged < answers:
            decision = imitator.act(0, env=b) if by_act else imitator.decide(0, env=b)
            if decision.queried and not by_act:
                assert imitator.answer(decision, 1).action == 1
            acknowledged += bool(decision.queried)
        return acknowledged

    acknowledged = at_once(live)
    assert acknowledged == [answers] * THREADS
    assert np.asarray(imitator.state.stream.queries).tolist() == acknowledged
    assert imitator.num_queries == THREADS * answers
    assert imitator.pending == ()
    # What was learned: after n answers "1" the odds are 9**n, which float32 log-weights hold to 1e-3 here.
    log_weights = np.asarray(imitator.state.posterior.log_weights)
    expected = THREADS * answers * np.log(9)
    assert log_weights[1] - log_weights[0] == pytest.approx(expected, rel=1e-4)
    imitator.close()
    if journal is not None:
        resumed = ConsensusImitator.resume(journal, MEMBERS, selection=TopK(2))
        assert resumed.num_queries == THREADS * answers
        resumed.close()


@pytest.mark.parametrize("by_act", [False, True])
@pytest.mark.parametrize("journal", [False, True])
def test_no_answer_is_lost(tmp_path: Path, journal: bool, by_act: bool) -> None:
    answering(40, tmp_path / "run" if journal else None, by_act)


@pytest.mark.long
@pytest.mark.parametrize("journal", [False, True])
def test_no_answer_of_thousands_is_lost(tmp_path: Path, journal: bool) -> None:
    answering(1000, tmp_path / "run" if journal else None, False)


def test_the_draws_are_those_of_one_thread() -> None:
    """Each environment's numbers are its own, whoever comes first."""
    fixed = ensembles.tabular(np.array([[[0.6, 0.3, 0.1]], [[0.6, 0.3, 0.1]]]))

    def actions(imitator: ConsensusImitator, b: int) -> list[int]:
        return [imitator.decide(0, env=b).action for _ in range(100)]

    together, alone = (make(members=fixed, num_envs=THREADS) for _ in range(2))
    assert at_once(lambda b: actions(together, b)) == [actions(alone, b) for b in range(THREADS)]


def test_other_threads_do_not_wait_for_a_demonstrator_who_thinks() -> None:
    asked, done = threading.Event(), threading.Event()

    def thinks(observation: Any) -> int:
        asked.set()
        assert done.wait(60)
        return 1

    imitator = make([thinks, lambda observation: 1], num_envs=2)

    def slow() -> Any:
        while not (decision := imitator.act(0, env=0)).queried:
            pass
        return decision

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow)
        assert asked.wait(60)
        while not imitator.act(0, env=1).queried:
            pass
        assert not first.done()
        done.set()
        assert first.result(60).action == 1
    assert imitator.num_queries == 2


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_journal_may_be_used_by_any_thread(tmp_path: Path, num_envs: int | None) -> None:
    def elsewhere(do: Callable[[], Any]) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(do).result(60)

    env = None if num_envs is None else 0
    path = tmp_path / "run"
    imitator = elsewhere(lambda: make(lambda observation: 1, num_envs=num_envs, journal=path))
    for do in (
        lambda: imitator.act(0, env=env), imitator.begin_episode, imitator.clear_alarm,
        lambda: imitator.pretrain([0], [1]) if num_envs is None else None,
    ):  # fmt: skip
        do()
        elsewhere(do)
    steps = imitator.num_steps
    elsewhere(imitator.close)
    resumed = elsewhere(lambda: ConsensusImitator.resume(path, MEMBERS, lambda observation: 1, selection=TopK(2)))
    assert resumed.num_steps == steps
    resumed.act(0, env=env)
    resumed.close()


# --- calls from within calls ---

#: Everything that changes an imitator.
CALLS: dict[str, Callable[[ConsensusImitator], Any]] = {
    "act": lambda imitator: imitator.act(0),
    "act_async": lambda imitator: imitator.act_async(0).send(None),
    "decide": lambda imitator: imitator.decide(0),
    "answer": lambda imitator: imitator.answer(imitator.pending[0] if imitator.pending else None, 1),  # type: ignore[arg-type]
    "withdraw": lambda imitator: imitator.withdraw(imitator.pending[0] if imitator.pending else None),  # type: ignore[arg-type]
    "begin_episode": lambda imitator: imitator.begin_episode(),
    "clear_alarm": lambda imitator: imitator.clear_alarm(),
    "study": lambda imitator: imitator.pretrain([0], [1]),
    "restore": lambda imitator: imitator.restore(imitator.state),
    "aggregation": lambda imitator: setattr(imitator, "aggregation", imitator.aggregation),
    "close": lambda imitator: imitator.close(),
}


class Meddler(Demonstrator):
    """Calls the imitator when it is told of a step, and when an episode begins."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __call__(self, observation: Any) -> int:
        return 1

    def observe(self, action: int, who: str) -> None:
        self.call()

    def reset(self) -> None:
        self.call()


@pytest.mark.parametrize("call", CALLS)
def test_who_is_told_may_not_call(call: str) -> None:
    imitator: Any = None
    imitator = make(Meddler(lambda: CALLS[call](imitator)))
    for do in (lambda: imitator.act(0), imitator.begin_episode):
        with pytest.raises(ReentrantCallError):
            do()
    assert imitator.num_steps == 0


@pytest.mark.parametrize("call", CALLS)
def test_a_member_that_calls_gives_no_prediction(call: str) -> None:
    """To the imitator it is a member whose code fails: it vetoes, and is named."""
    refused: list[BaseException] = []
    imitator: Any = None

    def member(observation: Any) -> list[float]:
        try:
            CALLS[call](imitator)
        except ReentrantCallError as error:
            refused.append(error)
            raise
        return [0.5, 0.5]

    imitator = make(lambda observation: 1, ensembles.callables([member, lambda observation: [0.5, 0.5]], 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decision = imitator.act(0)
    assert refused
    assert decision.queried
    assert decision.invalid.tolist() == [True, False]
    assert imitator.num_steps == 1


def test_a_demonstrator_that_is_asked_may_act_for_another_environment() -> None:
    imitator: Any = None
    imitator = make([lambda observation: imitator.act(0, env=1).action, lambda observation: 0], num_envs=2)
    while not imitator.act(0, env=0).queried:
        pass
    assert np.asarray(imitator.state.stream.step).tolist()[1] >= 1


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_turn_that_was_not_let_go_of_stops_nobody(elsewhere: bool) -> None:
    """As an interrupt between the end of a call and letting go of its turn would leave it."""
    imitator = make(lambda observation: 1)
    imitator._turn.acquire()
    imitator.act(0)
    if elsewhere:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(imitator.act, 0).result(60)
    assert imitator.num_steps == 1 + elsewhere
