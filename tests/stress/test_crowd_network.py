"""Over a bad network, and in one event loop, no answer reaches another question; and the crowd would notice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation.demonstrators import Panel
from consensus_imitation.imitator._live import Live
from consensus_imitation.imitator._queries import Queries
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._step import settled
from consensus_imitation.journal.directory import Journal

from . import crowd_network
from .crowd_network import STUCK, Figures


def check(figures: Figures, queries: int) -> None:
    assert figures.queries >= queries
    assert figures.crossed == 0
    assert figures.resent > 0
    assert figures.error < 1e-3
    others = [steps for env, steps in enumerate(figures.steps) if env != STUCK]
    assert figures.steps[STUCK] < 3 < np.mean(others)
    assert min(others) > 0


def test_over_a_bad_network_no_answer_reaches_another_question() -> None:
    figures = crowd_network.tell(1000)
    check(figures, 1000)
    assert figures.repeated > 100
    errors = {what.split(": ")[0]: what.split(": ")[1] for what in figures.refused}
    assert errors["another run"] == errors["another id"] == errors["another observation"] == "WrongQueryError"
    assert errors["another env"] == errors["another step"] == errors["all but the observation"] == "WrongQueryError"
    assert errors["another answer, later"] == "StaleAnswerError"
    assert "no action" in errors


@pytest.mark.slow
def test_nor_when_the_run_is_broken_off_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consensus_imitation.imitator._queries.REMEMBERED", 100)
    figures = crowd_network.tell(400, Journal(tmp_path / "run", group=50, checkpoint_every=300), restarts=2, seed=1)
    check(figures, 400)
    assert figures.restarts == 2
    assert not any("long after" in what for what in figures.refused)  # the journal knows


def test_in_one_event_loop_nobody_gets_anothers_answer() -> None:
    figures = crowd_network.act(800)
    check(figures, 800)


def to_the_neighbour(find: Any) -> Any:
    """Delivers to another environment's question, now and then."""

    def found(self: Queries, given: Any, recall: Any = None) -> Any:
        own = find(self, given, recall)
        others = [step for step in self.by_env.values() if step is not own]
        return others[0] if others and self.next_id % 10 == 0 else own

    return found


def unchecked(self: Queries, known: Any, given: Any, found: Any) -> Any:
    return found


def twice(self: Live[Run], waiting: Any, reply: Any) -> Any:
    closed = SETTLE(self, waiting, reply)
    if waiting.query.id == 100:
        run = self.run
        twice_learned = settled(run.setup, run.state, run.rows, waiting, reply, 0)[0].posterior
        self.run = replace(run, state=run.state.replace(posterior=twice_learned))
    return closed


SETTLE = Live.settle


def test_the_network_finds_answers_to_the_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queries, "find", to_the_neighbour(Queries.find))
    assert crowd_network.tell(300).crossed > 0


def test_the_network_finds_out_if_observations_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Queries, "_same", unchecked)
    assert crowd_network.tell(300).crossed > 0


def test_the_network_finds_an_answer_that_is_learned_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Live, "settle", twice)
    assert crowd_network.tell(300).error > 1e-3


def test_the_network_finds_questions_put_to_the_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Panel.ask_async

    async def ask_the_neighbour(self: Panel, observation: Any, env: int, *more: Any) -> Any:
        return await ask(self, observation, {20: 21, 21: 20}.get(env, env), *more)

    monkeypatch.setattr(Panel, "ask_async", ask_the_neighbour)
    assert crowd_network.act(300).crossed > 0
