"""A person at a page as the demonstrator of an imitator, without a browser: what windows say is said to the board."""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Patience, SafeAction, TopK, demonstrators, ensembles
from consensus_imitation.errors import DemonstratorTimeoutError

#: Two members that agree on nothing: every step asks.
APART = np.eye(4)[:2, None, :].repeat(16, 1)


class Env:
    action_space = gymnasium.spaces.Discrete(4)
    mission = "go home"


@pytest.fixture
def opened() -> Generator[Callable[..., Any], None, None]:
    pages: list[Any] = []

    def make(env: Any, **more: Any) -> Any:
        said: list[str] = []
        made = demonstrators.web(env, announce=said.append, **more)
        page = (made[0] if isinstance(made, list) else made).page
        pages.append(page)
        assert page.url in said[0]
        return made

    yield make
    for page in pages:
        page.close()


def imitator(person: Any, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(APART), person, selection=TopK(2), seed=0, **more)


def seats(page: Any) -> Any:
    import json

    return json.loads(page.board.state()[1])["seats"]


def answering(page: Any, says: Callable[[int, int], dict[str, Any]]) -> threading.Event:
    """Somebody who answers whatever is asked, until she is told to stop."""
    done, answered = threading.Event(), set[tuple[int, int]]()

    def work() -> None:
        while not done.is_set():
            for seat in seats(page):
                question = seat.get("question")
                if question and (seat["env"], question["id"]) not in answered:
                    answered.add((seat["env"], question["id"]))
                    about = {"env": seat["env"], "run": "", "query": question["id"]}
                    assert page.board.hear({**about, **says(seat["env"], question["id"])}) == ""
            time.sleep(0.005)

    threading.Thread(target=work, daemon=True).start()
    return done


def test_answers_from_the_page_are_the_demonstrators(opened: Any) -> None:
    person = opened(Env(), names=["up", "left", "down", "right"])
    done = answering(person.page, lambda env, query: {"do": "answer", "action": 0})
    one = imitator(person)
    assert [one.act(step).action for step in range(6)] == [0] * 6
    done.set()
    import json

    state = json.loads(person.page.board.state()[1])
    assert [line["what"] for line in state["run"]["history"]] == ["up"] * 6
    assert state["seats"][0]["mission"] == "go home"


def test_the_table_says_who_would_do_what_and_why(opened: Any) -> None:
    person = opened(Env())
    found: list[Any] = []

    def says(env: int, query: int) -> dict[str, Any]:
        found.append(seats(person.page)[0]["question"])
        return {"do": "answer", "action": 0}

    done = answering(person.page, says)
    imitator(person).act(0)
    done.set()
    (question,) = found
    assert question["theta"] == 1.0
    assert question["minimum"] == [0.0] * 4
    assert {one["member"]: one["probs"] for one in question["members"]} == {0: [1, 0, 0, 0], 1: [0, 1, 0, 0]}
    assert "members disagree: 100.0%" in question["why"][0]


def test_i_do_not_know_is_silence(opened: Any) -> None:
    person = opened(Env())
    done = answering(person.page, lambda env, query: {"do": "unknown"})
    with pytest.raises(DemonstratorTimeoutError, match="I don't know"):
        imitator(person).act(0)
    done.set()
    person = opened(Env())
    done = answering(person.page, lambda env, query: {"do": "unknown"})
    decision = imitator(person, patience=Patience(then=SafeAction(3))).act(0)
    done.set()
    assert (decision.action, decision.unanswered) == (3, True)


def test_several_environments_are_a_queue_at_one_page(opened: Any) -> None:
    people = opened([Env(), Env(), Env()])
    done = answering(people[0].page, lambda env, query: {"do": "answer", "action": 0})
    one = imitator(people, num_envs=3)
    assert one.act(np.array([0, 1, 2])).action.tolist() == [0, 0, 0]
    assert one.act(2, env=2).action == 0
    done.set()


def test_a_paused_run_waits(opened: Any) -> None:
    person = opened(Env())
    board = person.page.board
    assert board.hear({"do": "pause", "on": True}) == ""
    waiting = threading.Thread(target=person.observe, args=(0, "imitator"), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    board.hear({"do": "pause", "on": False})
    waiting.join(10)
    assert not waiting.is_alive()
