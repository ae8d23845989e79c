"""Many environments in one event loop: answers that come late, from elsewhere or never."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator
from consensus_imitation.demonstrators import Demonstrator, Patience, SafeAction
from consensus_imitation.errors import (
    DemonstratorTimeoutError,
    InvalidAnswerError,
    PendingQueryError,
    StaleAnswerError,
    WrongQueryError,
)
from tests.demonstrators.clock import Clock

from .crowd_network import ENVS
from .crowd_world import S, again, asked, make, query_of

SAFE = Patience(timeout=0.02, then=SafeAction(2))


def run(main: Callable[[], Awaitable[None]]) -> list[Any]:
    """In a fresh event loop; what the loop complains about."""
    complaints: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        await asyncio.wait_for(main(), 60.0)

    asyncio.run(watched())
    return complaints


def leaves(imitator: ConsensusImitator, *without: str) -> list[Any]:
    stream = imitator.state.stream.replace(key=None, **dict.fromkeys(without))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(imitator.state.replace(stream=stream))]


# --- one event loop ---


@pytest.mark.parametrize("how", ["the same again", "another observation", "the answer comes late"])
def test_after_cancelling_the_question_stays_open(how: str) -> None:
    gates: dict[int, asyncio.Future[int]] = {}

    async def far_away(observation: int) -> int:
        gates[observation] = asyncio.get_running_loop().create_future()
        return await gates[observation]

    imitator = make(3, far_away)

    async def main() -> None:
        # Until all three wait.
        tasks = {b: asyncio.create_task(until_asked(b)) for b in range(3)}
        while len(imitator.pending) < 3:
            await asyncio.sleep(0)
        queries = {query_of(one).env: query_of(one) for one in imitator.pending}
        before = leaves(imitator)
        tasks[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[1]
        assert sorted(query_of(one).env or 0 for one in imitator.pending) == [0, 1, 2]
        assert leaves(imitator) == before
        if how == "the answer comes late":
            assert imitator.answer(queries[1], 1).action == 1
        else:
            same = how == "the same again"
            seen = 1 if same else 0
            tasks[1] = asyncio.create_task(imitator.act_async(seen, env=1))
            gates.pop(seen, None)
            while seen not in gates:
                await asyncio.sleep(0)
            (asked_again,) = (query_of(one) for one in imitator.pending if one.env == 1)
            # About another observation it is another question, at the same step.
            assert (asked_again == queries[1]) == same
            assert asked_again.step == queries[1].step
            if not same:
                with pytest.raises(StaleAnswerError, match="withdrawn"):
                    imitator.answer(queries[1], 1)
            gates[seen].set_result(1)
            closed = await tasks[1]
            assert (closed.action, closed.queried) == (1, True)
            assert same or closed.query_prob == 1.0
        for b in (0, 2):
            tasks[b].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks[b]

    async def until_asked(b: int) -> Any:
        while not (decision := await imitator.act_async(b, env=b)).queried:
            await asyncio.sleep(0)
        return decision

    assert run(main) == []
    assert imitator.num_queries == 1


@pytest.mark.parametrize("second", [1, 2])
def test_who_answers_while_a_demonstrator_thinks_answers_for_it(second: int) -> None:
    """The first answer stands; the step is closed, and learned from, once."""
    gate = asyncio.Event()

    async def slow(observation: int) -> int:
        await gate.wait()
        return second

    imitator, twin = make(2, slow), make(2)

    async def main() -> None:
        task = asyncio.create_task(until_asked())
        while not imitator.pending:
            await asyncio.sleep(0)
        closed = imitator.answer(query_of(imitator.pending[0]), 1)
        after = leaves(imitator)
        gate.set()
        assert await task is closed
        assert leaves(imitator) == after

    async def until_asked() -> Any:
        while not (decision := await imitator.act_async(1, env=1)).queried:
            pass
        return decision

    assert run(main) == []
    twin.answer(asked(twin, 1, env=1), 1)
    assert leaves(imitator) == leaves(twin)
    assert imitator.num_queries == 1


def test_going_back_to_a_state_withdraws_what_a_demonstrator_thinks_about() -> None:
    gate = asyncio.Event()

    async def slow(observation: int) -> int:
        await gate.wait()
        return 1

    imitator = make(demonstrator=slow)
    fresh = imitator.state

    async def main() -> None:
        task = asyncio.create_task(until_asked())
        while not imitator.pending:
            await asyncio.sleep(0)
        imitator.restore(fresh)
        before = leaves(imitator)
        gate.set()
        with pytest.raises(StaleAnswerError, match="withdrawn"):
            await task
        assert leaves(imitator) == before

    async def until_asked() -> Any:
        while not (decision := await imitator.act_async(1)).queried:
            pass
        return decision

    assert run(main) == []


def test_two_tasks_cannot_share_an_environment(tmp_path: Path) -> None:
    calls: list[int] = []

    async def slow(observation: int) -> int:
        calls.append(observation)
        await asyncio.sleep(0.01)
        return 1

    imitator = make(2, journal=tmp_path / "run")
    query = query_of(asked(imitator, 1, env=1))
    imitator.close()
    imitator = again(tmp_path / "run", slow)
    twin = make(2)
    twin.answer(asked(twin, 1, env=1), 1)

    async def main() -> None:
        # A restored query may be asked for again, by one; it blocks its environment then, as any other does.
        one, other = await asyncio.gather(
            imitator.act_async(1, env=1), imitator.act_async(1, env=1), return_exceptions=True
        )
        assert isinstance(other, PendingQueryError)
        assert not isinstance(one, BaseException)
        assert (one.query, one.action, calls) == (query, 1, [1])
        assert leaves(imitator) == leaves(twin)
        while True:
            results = await asyncio.gather(
                imitator.act_async(1, env=1), imitator.act_async(1, env=1), return_exceptions=True
            )
            if isinstance(results[1], PendingQueryError):
                assert not isinstance(results[0], BaseException)
                return

    assert run(main) == []
    imitator.close()


@pytest.mark.parametrize("how", ["raises", "no action", "cancelled"])
def test_in_lockstep_whoever_has_been_asked_is_not_asked_again_when_one_fails(how: str) -> None:
    """The others may still think when one fails; only being cancelled from outside ends their thinking."""
    asked, gates = [0, 0, 0], dict[int, asyncio.Future[int]]()

    def one(b: int) -> Any:
        async def ask(observation: int) -> Any:
            asked[b] += 1
            if b == 0 and asked[0] == 1 and how != "cancelled":
                if how == "raises":
                    raise ValueError("out of order")
                return 0.5
            if asked[b] == 1:
                gates[b] = asyncio.get_running_loop().create_future()
                return await gates[b]
            return 1

        return ask

    imitator = make(3, [one(b) for b in range(3)])

    async def main() -> None:
        observations = np.array([1, 1, 1])
        for _ in range(200):
            decision = imitator.decide(observations)
            if decision.queried.all():
                break
            if np.any(decision.queried):
                imitator.answer(decision, np.ones(3, int))
        imitator.restore(imitator.state)
        before, state = imitator.num_steps, leaves(imitator, "asking", "ledger")
        task = asyncio.create_task(imitator.act_async(observations))
        while len(gates) < (3 if how == "cancelled" else 2):
            await asyncio.sleep(0)
        if how == "cancelled":
            gates[1].set_result(1)
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert gates[2].cancelled()
        else:
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
            gates[1].set_result(1)
            gates[2].set_result(1)
            with pytest.raises(ValueError, match=r"out of order|0\.5"):
                await task
        assert (imitator.num_steps, leaves(imitator, "asking", "ledger")) == (before, state)
        assert len(imitator.pending) == 1
        assert (await imitator.act_async(observations)).action.tolist() == [1, 1, 1]
        assert asked == ([2, 1, 2] if how == "cancelled" else [2, 1, 1])

    assert run(main) == []


# --- nobody answers ---


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which patience is measured: it is over when nobody does anything any more, and not before."""
    clock = Clock([])
    clock.install(monkeypatch)
    return clock


class Silent(Demonstrator):
    """Answers with 1, but not in the environments ``silent``; keeps what it is told."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent
        self.told: list[tuple[int, str]] = []

    async def __call__(self, observation: Any) -> int:
        if self.silent:
            await asyncio.sleep(30)
        return 1

    def observe(self, action: int, who: str) -> None:
        self.told.append((action, who))


class SilentNow(Silent):
    """The same for those who do not wait."""

    def __call__(self, observation: Any) -> int:  # type: ignore[override]
        if self.silent:
            raise TimeoutError("not now")
        return 1


def act_once(imitator: ConsensusImitator, observation: Any, env: int | None, in_loop: bool) -> Any:
    if in_loop:
        return asyncio.run(imitator.act_async(observation, env=env))
    return imitator.act(observation, env=env)


@pytest.mark.parametrize("in_loop", [False, True])
@pytest.mark.parametrize("num_envs", [None, 2])
def test_after_silence_the_question_stays_open(clock: Clock, num_envs: int | None, in_loop: bool) -> None:
    kind = Silent if in_loop else SilentNow
    demonstrators = [kind(True) for _ in range(num_envs or 1)]
    imitator = make(
        num_envs, demonstrators if num_envs else demonstrators[0], patience=Patience(timeout=0.02, retries=1)
    )
    env = None if num_envs is None else 1
    query = None
    while query is None:
        before = leaves(imitator, "asking", "ledger"), imitator.num_steps
        try:
            act_once(imitator, 1, env, in_loop)
        except DemonstratorTimeoutError:
            query = query_of(imitator.pending[0])
    assert (leaves(imitator, "asking", "ledger"), imitator.num_steps) == before
    assert (len(imitator.pending), imitator.alarms, imitator.certificate().void) == (1, (), "")
    demonstrators[-1].silent = False
    closed = act_once(imitator, 1, env, in_loop)
    assert (closed.action, query_of(closed)) == (1, query)


@pytest.mark.parametrize("in_loop", [False, True])
@pytest.mark.parametrize("num_envs", [None, 2])
def test_the_safe_action_teaches_nothing_and_is_said_everywhere(
    clock: Clock, tmp_path: Path, num_envs: int | None, in_loop: bool
) -> None:
    kind = Silent if in_loop else SilentNow
    demonstrators = [kind(True) for _ in range(num_envs or 1)]
    given = demonstrators if num_envs else demonstrators[0]
    imitator = make(num_envs, given, patience=SAFE, journal=tmp_path / "run")
    env = None if num_envs is None else 1
    while True:
        before, steps = leaves(imitator, "step"), imitator.num_steps
        decision = act_once(imitator, 1, env, in_loop)
        if decision.queried:
            break
    assert (decision.action, decision.unanswered) == (2, True)
    assert leaves(imitator, "step")[:3] == before[:3]  # the posterior, and whether it is explained
    assert (imitator.num_steps, imitator.num_queries, imitator.query_rate) == (steps + 1, 0, 0.0)
    assert int(np.sum(imitator.state.stream.queries)) == 0
    assert demonstrators[-1].told[-1] == (2, "safe action")
    # The answer comes after all: the action was taken.
    for action in (1, 2):
        with pytest.raises(StaleAnswerError, match="too late"):
            imitator.answer(query_of(decision), action)
    said = imitator.alarms
    assert "1 queries were not answered" in said[0]
    assert "nobody answered" in imitator.certificate().void
    imitator.close()
    imitator = again(tmp_path / "run", given, patience=SAFE)
    assert imitator.alarms == said
    assert "nobody answered" in imitator.certificate().void
    with pytest.raises(StaleAnswerError, match="too late"):
        imitator.answer(query_of(decision), 2)
    demonstrators[-1].silent = False
    while not (closed := act_once(imitator, 1, env, in_loop)).queried:
        pass
    assert (closed.action, closed.unanswered, imitator.num_queries) == (1, False, 1)
    assert demonstrators[-1].told[-1] == (1, "demonstrator")
    imitator.close()


@pytest.mark.parametrize("in_loop", [False, True])
def test_in_lockstep_some_answer_and_some_do_not(clock: Clock, in_loop: bool) -> None:
    kind = Silent if in_loop else SilentNow
    demonstrators = [kind(b == 1) for b in range(3)]
    imitator, twin = make(3, demonstrators, patience=SAFE), make(3)
    observations = np.array([1, 1, 1])
    unanswered = answers = 0
    for _ in range(12):
        decision = act_once(imitator, observations, None, in_loop)
        late = decision.queried & (np.arange(3) == 1)
        np.testing.assert_array_equal(decision.unanswered, late)
        expected = np.where(late, 2, np.where(decision.queried, 1, decision.action))
        np.testing.assert_array_equal(decision.action, expected)
        unanswered += late.sum()
        answers += (decision.queried & ~late).sum()
        for b, one in enumerate(demonstrators):
            who = "safe action" if late[b] else "demonstrator" if decision.queried[b] else "imitator"
            assert one.told[-1] == (decision.action[b], who)
    assert unanswered > 0
    assert answers > 0
    assert imitator.num_queries == answers
    assert imitator.alarms[0].startswith(f"{unanswered} queries were not answered")
    # As if the row that was silent had not been asked: the same answers, one after another.
    for _ in range(answers):
        twin.answer(asked(twin, 1, env=0), 1)
    np.testing.assert_allclose(imitator.state.posterior.log_weights, twin.state.posterior.log_weights, atol=1e-4)


def test_those_who_hang_hold_up_nobody_else() -> None:
    """All but one of 64 demonstrators hang."""

    def one(b: int) -> Any:
        async def ask(observation: int) -> int:
            if b != 5:
                await asyncio.Event().wait()
            return 1

        return ask

    imitator = make(ENVS, [one(b) for b in range(ENVS)])

    async def main() -> None:
        async def live(b: int) -> None:
            for _ in range(100 if b == 5 else 10_000):
                await imitator.act_async(b % S, env=b)
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(live(b)) for b in range(ENVS)]
        await tasks[5]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    assert run(main) == []
    assert int(imitator.state.stream.step[5]) == 100
    assert sorted(one.env or 0 for one in imitator.pending) == [b for b in range(ENVS) if b != 5]


def test_the_errors_of_answers_are_of_one_family() -> None:
    assert issubclass(WrongQueryError, InvalidAnswerError)
    assert issubclass(StaleAnswerError, InvalidAnswerError)
