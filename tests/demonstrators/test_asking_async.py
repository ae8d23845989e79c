"""Many environments ask at the same time in one event loop; nobody holds up anybody else."""

import asyncio
import contextvars
import random
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from consensus_imitation.demonstrators import Panel, Patience
from consensus_imitation.demonstrators._calls import ThreadCall, wait, wait_async
from consensus_imitation.errors import DemonstratorTimeoutError

from .clock import Clock
from .people import LONG, AsyncPerson, Flaky, Person

Make = Callable[..., Person]


def run(main: Callable[[], Awaitable[None]]) -> list[dict[str, Any]]:
    """Runs it in a fresh event loop; returns what the loop complains about."""
    complaints: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        await asyncio.wait_for(main(), LONG)

    asyncio.run(watched())
    return complaints


@pytest.mark.parametrize("stuck", [[3], list(range(63))], ids=["one stuck", "all but one stuck"])
def test_those_who_are_stuck_hold_up_nobody_else(person: Make, stuck: list[int]) -> None:
    """More are stuck than the event loop's own thread pool has threads."""
    one = person(slow=stuck)
    panel = Panel(one, 64)

    async def main() -> None:
        tasks = [asyncio.create_task(panel.ask_async(env, env)) for env in range(64)]
        others = [task for env, task in enumerate(tasks) if env not in stuck]
        await asyncio.wait(others)
        assert [task.result() for task in others] == [env for env in range(64) if env not in stuck]
        assert sum(task.done() for task in tasks) == len(others)
        one.gate.set()
        assert await asyncio.gather(*tasks) == list(range(64))

    assert run(main) == []


def test_the_loops_own_threads_would_run_out(person: Make) -> None:
    """The control of the test above."""
    one = person(slow=range(63))

    async def main() -> None:
        tasks = [asyncio.create_task(asyncio.to_thread(one, env)) for env in range(64)]
        done, _ = await asyncio.wait(tasks[63:], timeout=0.3)
        assert not done
        one.gate.set()
        await asyncio.gather(*tasks)

    assert run(main) == []


@pytest.mark.parametrize("is_async", [True, False])
def test_only_the_one_that_is_stuck_is_given_up(person: Make, clock: Clock, is_async: bool) -> None:
    async def main() -> None:
        one: Any = AsyncPerson(slow=[3]) if is_async else person(slow=[3])
        panel = Panel(one, 16, Patience(timeout=0.5))
        answers = await asyncio.gather(*(panel.ask_async(env, env) for env in range(16)), return_exceptions=True)
        assert isinstance(answers[3], DemonstratorTimeoutError)
        assert "environment 3" in str(answers[3])
        assert [answer for env, answer in enumerate(answers) if env != 3] == [env for env in range(16) if env != 3]

    assert run(main) == []


def test_the_event_loop_goes_on_meanwhile(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None)

    async def main() -> None:
        asked = asyncio.create_task(panel.ask_async(1))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not asked.done()
        one.gate.set()
        assert await asked == 1

    assert run(main) == []
    assert one.threads[0] is not threading.main_thread()


# --- async demonstrators ---


def test_a_coroutine_is_cancelled_when_its_time_is_over_and_asked_again(clock: Clock) -> None:
    async def main() -> None:
        one = AsyncPerson(slow=[1])
        panel = Panel(one, None, Patience(timeout=0.05, retries=2))
        with pytest.raises(DemonstratorTimeoutError, match="3 attempts"):
            await panel.ask_async(1)
        await asyncio.sleep(0)
        assert (one.asked, one.cancelled, one.most_at_once) == ([1, 1, 1], [1, 1, 1], 1)
        assert await panel.ask_async(2) == 2

    assert run(main) == []


def test_a_coroutine_that_will_not_be_cancelled_is_not_run_twice() -> None:
    async def main() -> None:
        one = AsyncPerson(slow=[1], stubborn=True)
        panel = Panel(one, None, Patience(timeout=0.05, retries=1))
        with pytest.raises(DemonstratorTimeoutError):
            await panel.ask_async(1)
        with pytest.raises(DemonstratorTimeoutError, match="earlier query was given up"):
            await panel.ask_async(2)
        assert one.asked == [1]
        one.gate.set()
        assert await panel.ask_async(3) == 3
        assert one.most_at_once == 1

        one = AsyncPerson(slow=[1], stubborn=True)
        panel = Panel(one, None, Patience(timeout=0.02, then="block"))
        asyncio.get_running_loop().call_later(0.2, one.gate.set)
        assert await panel.ask_async(1) == 1
        assert one.asked == [1]

    assert run(main) == []


def test_who_is_not_waited_for_any_more_is_cancelled() -> None:
    async def main() -> None:
        one = AsyncPerson(slow=[1])
        panel = Panel(one, None)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(panel.ask_async(1), 0.02)
        await asyncio.sleep(0)
        assert one.cancelled == [1]
        assert await panel.ask_async(2) == 2

    assert run(main) == []


@pytest.mark.usefixtures("short_pause")
def test_a_failure_on_being_cancelled_is_no_answer_to_the_next_attempt(clock: Clock) -> None:
    """As where the library that reaches out turns being cancelled into an exception of its own."""
    asked: list[int] = []

    async def answer(observation: int) -> int:
        asked.append(observation)
        if len(asked) == 2:
            return 5
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionAbortedError("gone") from None
        return 0

    async def main() -> None:
        assert await Panel(answer, None, Patience(timeout=0.5, retries=1)).ask_async(1) == 5
        asked.clear()
        with pytest.raises(DemonstratorTimeoutError):
            await Panel(answer, None, Patience(timeout=0.05)).ask_async(1)
        await asyncio.sleep(0.01)

    assert run(main) == []


def test_a_coroutine_that_cancels_itself_is_not_asked_in_a_loop() -> None:
    async def answer(observation: int) -> int:
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await Panel(answer, None, Patience(timeout=LONG, retries=5)).ask_async(1)

    assert run(main) == []


def test_a_coroutine_that_fails_after_it_was_given_up_disturbs_nobody(clock: Clock) -> None:
    async def answer(observation: int) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("broken")

    async def main() -> None:
        with pytest.raises(DemonstratorTimeoutError):
            await Panel(answer, None, Patience(timeout=0.02)).ask_async(1)
        await asyncio.sleep(0.01)

    assert run(main) == []


@pytest.mark.usefixtures("short_pause")
def test_failures_and_other_exceptions_are_as_without_a_loop() -> None:
    async def main() -> None:
        one = Flaky(ConnectionError("no"), TimeoutError("no"))
        assert await Panel(one, None, Patience(retries=2)).ask_async(0) == 1
        broken = RuntimeError("broken")
        for patience in (None, Patience(timeout=LONG, retries=2)):
            one = Flaky(broken)
            with pytest.raises(RuntimeError) as caught:
                await Panel(one, None, patience).ask_async(0)
            assert caught.value is broken
            assert one.calls == 1
        with pytest.raises(ConnectionError):
            await Panel(Flaky(ConnectionError("no")), None).ask_async(0)
        # No coroutine can raise it: it becomes a RuntimeError, and nobody waits for ever.
        with pytest.raises(RuntimeError, match="StopIteration"):
            await Panel(Flaky(StopIteration()), None).ask_async(0)

    assert run(main) == []


# --- plain functions in threads ---


def test_a_late_answer_is_dropped_even_in_another_event_loop(person: Make, clock: Clock) -> None:
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=0.3))

    async def silent(observation: int) -> None:
        with pytest.raises(DemonstratorTimeoutError):
            await panel.ask_async(observation)

    assert run(lambda: silent(1)) == []
    assert run(lambda: silent(2)) == []
    with pytest.raises(DemonstratorTimeoutError):
        panel.ask(3)
    assert one.asked == [1]
    clock.people = []  # nobody hangs any more: the gate will open

    async def answered() -> None:
        asyncio.get_running_loop().call_later(0.02, one.gate.set)
        assert await panel.ask_async(4) == 4

    assert run(answered) == []
    assert one.asked == [1, 4]


def test_a_call_of_another_event_loop_is_noticed_when_it_ends(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(panel.ask_async(1), 0.02)

    async def answered() -> None:
        asyncio.get_running_loop().call_later(0.05, one.gate.set)
        assert await panel.ask_async(2) == 2

    assert run(cancelled) == []
    assert run(answered) == []
    assert (one.asked, one.most_at_once) == ([1, 2], 1)


def test_a_call_that_is_over_already_is_not_waited_for() -> None:
    """Not for a moment: not even a turn of the event loop."""

    async def main() -> None:
        call = ThreadCall(lambda: 1, "quick")
        wait(call, LONG)
        assert call.done()
        wait(call, 0.0)
        turns: list[int] = []
        asyncio.get_running_loop().call_later(LONG / 2, turns.append, 1)
        await wait_async(call, LONG)
        assert turns == []

    assert run(main) == []


def test_it_may_return_after_the_event_loop_was_closed(
    person: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=0.02))

    async def silent() -> None:
        with pytest.raises(DemonstratorTimeoutError):
            await panel.ask_async(1)

    assert run(silent) == []
    one.leave()
    assert panel.ask(2) == 2
    assert caplog.records == []


def test_a_query_that_was_cancelled_is_waited_for_by_the_next_one_without_a_loop(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None)

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(panel.ask_async(1), 0.02)

    assert run(cancelled) == []
    threading.Timer(0.2, one.gate.set).start()
    assert panel.ask(2) == 2
    assert (one.asked, one.most_at_once) == ([1, 2], 1)


def test_what_holds_in_the_caller_holds_in_the_thread() -> None:
    mood: contextvars.ContextVar[str] = contextvars.ContextVar("mood")

    async def main() -> None:
        mood.set("fine")
        assert await Panel(lambda observation: mood.get(), None).ask_async(0) == "fine"

    assert run(main) == []


@pytest.mark.parametrize("is_async", [True, False])
def test_no_answer_goes_astray_among_many(is_async: bool) -> None:
    """Answers come about when patience ends, in 16 environments at once."""
    rng = random.Random(0)
    running = [0] * 16

    def begin(query: tuple[int, int, float]) -> None:
        running[query[0]] += 1
        assert running[query[0]] == 1

    def plain(query: tuple[int, int, float]) -> Any:
        begin(query)
        time.sleep(query[2])
        running[query[0]] -= 1
        return query

    async def in_loop(query: tuple[int, int, float]) -> Any:
        begin(query)
        try:
            await asyncio.sleep(query[2])
        finally:
            running[query[0]] -= 1
        return query

    answered: list[bool] = []

    async def one_env(panel: Panel, env: int) -> None:
        for number in range(25):
            query = env, number, rng.choice([0.0, 0.03, 0.06])
            try:
                assert await panel.ask_async(query, env) == query
                answered.append(True)
            except DemonstratorTimeoutError:
                answered.append(False)

    async def main() -> None:
        panel = Panel(in_loop if is_async else plain, 16, Patience(timeout=0.03))
        await asyncio.gather(*(one_env(panel, env) for env in range(16)))

    assert run(main) == []
    assert len(answered) == 400
    assert 0 < sum(answered) < 400
