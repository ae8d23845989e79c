"""The second shell asks as the first does: with patience, and without holding up an event loop."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from consensus_imitation import Patience, SafeAction
from consensus_imitation.errors import ConfigurationError, DemonstratorTimeoutError
from consensus_imitation.imitator import SamplingImitator

from .test_imitator import ENSEMBLE, RULE, expert
from .test_turns import asking

X = np.full(2, 1.5, np.float32)


def make(demonstrator: Any, patience: Patience | None = None) -> SamplingImitator:
    """One whose next step is a query."""
    return SamplingImitator.from_state(asking().state, ENSEMBLE, demonstrator, selection=RULE, patience=patience)


def test_who_is_not_reached_is_asked_again() -> None:
    calls: list[Any] = []

    def line(observation: Any) -> Any:
        calls.append(observation)
        if len(calls) < 3:
            raise ConnectionError("down")
        return expert(observation)

    imitator = make(line, Patience(timeout=0.05, retries=5))
    decision = imitator.act(X)
    assert (decision.queried, len(calls), imitator.num_queries) == (True, 3, 1)


def test_whoever_hangs_is_given_up_and_the_next_step_asks_for_certain() -> None:
    free = threading.Event()

    def hangs(observation: Any) -> Any:
        assert free.wait(60)
        return expert(observation)

    imitator = make(hangs, Patience(timeout=0.05))
    before = imitator.state
    with pytest.raises(DemonstratorTimeoutError, match="did not answer"):
        imitator.act(X)
    free.set()
    assert (imitator.num_steps, len(imitator.pending)) == (0, 1)
    np.testing.assert_array_equal(imitator.state.posterior.log_weights, before.posterior.log_weights)
    assert imitator.act(np.zeros(2, np.float32)).query_prob_estimate == 1


def test_a_safe_action_is_a_number_and_refused() -> None:
    with pytest.raises(ConfigurationError, match="these actions have none"):
        make(expert, Patience(timeout=1.0, then=SafeAction(0)))


def test_a_coroutine_is_waited_for_by_act_async_alone() -> None:
    async def later(observation: Any) -> Any:
        await asyncio.sleep(0)
        return expert(observation)

    imitator = make(later)
    with pytest.raises(ConfigurationError, match="act_async"):
        imitator.act(X)
    decision = asyncio.run(make(later).act_async(X))
    np.testing.assert_array_equal(decision.action, make(expert).act(X).action)
    assert decision.queried


def test_while_it_thinks_others_work_and_cancelling_leaves_a_query() -> None:
    async def never(observation: Any) -> Any:
        await asyncio.Event().wait()

    imitator = make(never)

    async def cancelled() -> None:
        task = asyncio.ensure_future(imitator.act_async(X))
        while not imitator.pending:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert (imitator.num_steps, len(imitator.pending)) == (0, 1)
    assert imitator.decide(np.zeros(2, np.float32)).query_prob_estimate == 1
