"""Demonstrators that are plain functions, asked by somebody who waits in a thread."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from consensus_imitation.demonstrators import Demonstrator, Panel, Patience, SafeAction, _asking
from consensus_imitation.demonstrators._base import Who
from consensus_imitation.errors import ConfigurationError, DemonstratorTimeoutError

from .clock import Clock
from .people import LONG, Flaky, Person

Make = Callable[..., Person]


def in_background(function: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Runs it, and collects what it returns."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    return thread, results


def give_up(panel: Panel, observation: Any, env: int = 0) -> None:
    """Ask, and lose interest before patience is over."""

    async def main() -> None:
        await asyncio.wait_for(panel.ask_async(observation, env), 0.02)

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(main())
    assert not isinstance(caught.value, DemonstratorTimeoutError)


# --- without a timeout ---


@pytest.mark.parametrize("patience", [None, Patience(), Patience(retries=2), Patience(then="block")])
def test_without_a_timeout_the_demonstrator_runs_in_the_callers_thread(person: Make, patience: Patience | None) -> None:
    one = person()
    assert Panel(one, None, patience).ask(7) == 7
    assert one.threads == [threading.current_thread()]


def test_without_a_timeout_a_hung_demonstrator_does_block(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None)
    thread, results = in_background(lambda: panel.ask(1))
    thread.join(0.3)
    assert thread.is_alive()
    one.gate.set()
    thread.join(LONG)
    assert results == [1]


@pytest.mark.parametrize("patience", [None, Patience(timeout=LONG, retries=3), Patience(retries=3, then="block")])
@pytest.mark.parametrize(
    "error", [RuntimeError("broken"), StopIteration(3), FileNotFoundError("x"), SystemExit(2)], ids=repr
)
def test_a_broken_demonstrator_is_not_tried_again(patience: Patience | None, error: BaseException) -> None:
    one = Flaky(error)
    with pytest.raises(type(error)) as caught:
        Panel(one, None, patience).ask(0)
    assert caught.value is error
    assert one.calls == 1


# --- silence ---


def test_silence_says_who_how_long_how_often_and_what_to_do(person: Make, clock: Clock) -> None:
    panel = Panel(person(slow=[1]), 3, Patience(timeout=0.02, retries=2))
    with pytest.raises(DemonstratorTimeoutError) as caught:
        panel.ask(1, env=2)
    assert clock.waits == pytest.approx([0.02] * 3)
    said = str(caught.value)
    for part in (
        "the demonstrator of environment 2",
        "3 attempts in 0.06 s",
        "with 0.02 s for each",
        "longer timeout",
        "SafeAct",
    ):
        assert part in said
    assert caught.value.__cause__ is None


def test_a_safe_action_is_left_to_the_imitator(person: Make, clock: Clock) -> None:
    panel = Panel(person(slow=[1]), None, Patience(timeout=0.02, then=SafeAction(0)))
    with pytest.raises(DemonstratorTimeoutError, match="the demonstrator did not answer: 1 attempt in"):
        panel.ask(1)
    assert panel.patience.then == SafeAction(0)


def test_further_attempts_wait_for_the_call_that_hangs(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=0.02, retries=100_000))
    threading.Timer(0.3, one.gate.set).start()
    assert panel.ask(1) == 1
    assert one.asked == [1]


def test_one_that_blocks_goes_on_waiting(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=0.02, then="block"))
    threading.Timer(0.3, one.gate.set).start()
    assert panel.ask(1) == 1


def test_a_late_answer_is_never_given_to_another_query(person: Make, clock: Clock) -> None:
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=0.02))
    with pytest.raises(DemonstratorTimeoutError):
        panel.ask(1)
    one.leave()
    assert panel.ask(2) == 2
    assert panel.ask(1) == 1
    assert one.asked == [1, 2, 1]


def test_the_next_query_waits_until_the_demonstrator_is_free(person: Make) -> None:
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=0.02))
    with pytest.raises(DemonstratorTimeoutError):
        panel.ask(1)
    for _ in range(20):
        with pytest.raises(DemonstratorTimeoutError, match="earlier query was given up, but its call still runs"):
            panel.ask(2)
    assert one.asked == [1]
    one = person(slow=[1])
    panel = Panel(one, None, Patience(timeout=LONG))
    give_up(panel, 1)
    threading.Timer(0.2, one.gate.set).start()
    assert panel.ask(2) == 2
    assert (one.asked, one.most_at_once) == ([1, 2], 1)


def test_a_demonstrator_that_hangs_in_one_environment_answers_in_the_others(person: Make, clock: Clock) -> None:
    one = person(slow=[1])
    panel = Panel(one, 4, Patience(timeout=0.05))
    for env in range(3):
        with pytest.raises(DemonstratorTimeoutError):
            panel.ask(1, env)
    assert panel.ask(2, env=3) == 2


def test_there_is_at_most_one_thread_for_each_environment(person: Make, clock: Clock) -> None:
    before = threading.active_count()
    panel = Panel(person(slow=[1]), 3, Patience(timeout=0.002, retries=2))
    for _ in range(10):
        for env in range(3):
            with pytest.raises(DemonstratorTimeoutError):
                panel.ask(1, env)
    assert threading.active_count() - before == 3


def test_answers_go_where_they_belong_whatever_comes_late() -> None:
    """Answers come about when patience ends: each one is to the query of the moment, or there is none."""
    rng = random.Random(0)
    panel = Panel(lambda query: (time.sleep(query[1]), query)[1], 2, Patience(timeout=0.004, retries=1))
    answered = 0
    for number in range(300):
        query = number, rng.choice([0.0, 0.006, 0.012])
        try:
            assert panel.ask(query, env=number % 2) == query
            answered += 1
        except DemonstratorTimeoutError:
            pass
    assert 0 < answered < 300


# --- failures ---


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), TimeoutError("no"), BrokenPipeError("no")], ids=repr)
@pytest.mark.parametrize("timeout", [None, LONG])
@pytest.mark.usefixtures("short_pause")
def test_whoever_was_not_reached_is_asked_again(error: Exception, timeout: float | None) -> None:
    one = Flaky(error, error, error)
    assert Panel(one, None, Patience(timeout=timeout, retries=3)).ask(0) == 1
    assert one.calls == 4
    one = Flaky(error, error, error)
    with pytest.raises(DemonstratorTimeoutError, match=r"3 attempts .*; the last failed: \w+\('no'\)") as caught:
        Panel(one, None, Patience(timeout=timeout, retries=2)).ask(0)
    assert caught.value.__cause__ is error
    assert one.calls == 3


def test_by_default_a_failure_passes_through_as_it_is() -> None:
    error = ConnectionRefusedError("no")
    with pytest.raises(ConnectionRefusedError) as caught:
        Panel(Flaky(error), None).ask(0)
    assert caught.value is error


@pytest.mark.usefixtures("short_pause")
def test_one_that_blocks_goes_on_asking() -> None:
    one = Flaky(*[ConnectionResetError("no") for _ in range(20)])
    assert Panel(one, None, Patience(then="block")).ask(0) == 1
    assert one.calls == 21


@pytest.mark.parametrize(("timeout", "distance"), [(None, 0.2), (LONG, 0.2), (0.1, 0.1)])
def test_attempts_that_fail_at_once_keep_their_distance(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, timeout: float | None, distance: float
) -> None:
    monkeypatch.setattr(_asking, "PAUSE", 0.2)
    times: list[float] = []

    def answer(observation: Any) -> int:
        times.append(clock.now)
        raise ConnectionError("no")

    with pytest.raises(DemonstratorTimeoutError):
        Panel(answer, None, Patience(timeout=timeout, retries=2)).ask(0)
    assert np.diff(times) == pytest.approx([distance] * 2)


# --- what the demonstrator is told ---


class Bot(Demonstrator):
    """Has a memory, and hangs on observation 1."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entries: list[Any] = []

    def __call__(self, observation: Any) -> int:
        if observation == 1:
            self.gate.wait()
        self.entries.append(("asked", observation))
        return 0

    def reset(self) -> None:
        self.entries.append("reset")

    def observe(self, action: int, who: Who) -> None:
        self.entries.append((action, who))


def test_while_it_hangs_it_is_told_nothing_and_later_everything() -> None:
    hung, free = Bot(), Bot()
    panel = Panel([hung, free], 2, Patience(timeout=LONG, then=SafeAction(3)))
    give_up(panel, 1, env=0)
    panel.observe([3, 0], [True, False], safe=[True, False])
    panel.reset()
    panel.observe([2, 0], [False, True], active=[True, False])
    assert hung.entries == []
    assert free.entries == [(0, "imitator"), "reset"]
    hung.gate.set()
    assert panel.ask(5, env=0) == 0
    assert hung.entries == [("asked", 1), (3, "safe action"), "reset", (2, "imitator"), ("asked", 5)]
    panel.observe([1, 1], [True, True])
    assert hung.entries[-1] == (1, "demonstrator")


def test_nothing_is_kept_for_those_who_need_not_be_told(person: Make, clock: Clock) -> None:
    panel = Panel(person(slow=[1]), None, Patience(timeout=0.01))
    with pytest.raises(DemonstratorTimeoutError):
        panel.ask(1)
    for _ in range(10):
        panel.observe(0, False)
        panel.reset()
    assert not panel._askers[0]._untold


# --- async ones do not belong here ---


def test_one_that_is_async_is_refused_before_it_is_called() -> None:
    async def later(observation: Any) -> int:
        return 0

    class Later:
        async def __call__(self, observation: Any) -> int:
            return 0

    class LaterBot(Bot):
        async def __call__(self, observation: Any) -> int:  # type: ignore[override]
            return 0

    for one in (later, Later(), LaterBot()):
        with pytest.raises(ConfigurationError, match=r"the demonstrator is async def, .* await act_async"):
            Panel(one, None, Patience(timeout=1.0)).ask(0)


@pytest.mark.parametrize("patience", [Patience(), Patience(timeout=LONG)])
def test_an_answer_that_would_have_to_be_awaited_is_none(patience: Patience) -> None:
    async def later(observation: Any) -> int:
        return 0

    with pytest.raises(ConfigurationError, match="answered with an awaitable"):
        Panel(lambda observation: later(observation), None, patience).ask(0)
