"""An answer belongs to one query of one run, about one observation; it counts once, and never to another."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Query, ensembles
from consensus_imitation.errors import InvalidAnswerError, PendingQueryError, StaleAnswerError, WrongQueryError
from consensus_imitation.imitator._queries import REMEMBERED
from tests.stress.crowd_world import A, again, asked, make, query_of, sent


def snapshot(imitator: ConsensusImitator) -> list[Any]:
    """Everything that an answer could change."""
    state = imitator.state.replace(stream=imitator.state.stream.replace(key=None))
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    return [*leaves, imitator.num_steps, imitator.num_queries, [query_of(one) for one in imitator.pending]]


def test_a_query_survives_the_way_there_and_back() -> None:
    for num_envs, env in ((None, None), (3, 2), (3, np.int64(1))):
        imitator = make(num_envs)
        query = query_of(asked(imitator, env=env))
        assert sent(query) == query
        assert (query.run, query.env) == (imitator.run, env)
        closed = imitator.answer(sent(query), 2)
        assert (closed.action, closed.queried, closed.query) == (2, True, query)
        assert imitator.pending == ()


def test_a_query_of_a_batch_in_lockstep_survives_it_too() -> None:
    imitator = make(3)
    query = query_of(asked(imitator, np.array([0, 1, 2])))
    assert query.env is None
    closed = imitator.answer(sent(query), np.array([0, 1, 2]))
    np.testing.assert_array_equal(closed.action[closed.queried], np.arange(3)[closed.queried])


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "another run": ({"run": "0" * 32}, WrongQueryError),
    "another observation": ({"observation": "0" * 64}, WrongQueryError),
    "no observation": ({"observation": ""}, WrongQueryError),
    "an observation that is no text": ({"observation": None}, InvalidAnswerError),
    "another environment": ({"env": 0}, WrongQueryError),
    "no environment": ({"env": None}, WrongQueryError),
    "another step": ({"step": 10_000}, WrongQueryError),
    "never posed": ({"id": 10_000}, WrongQueryError),
    "a negative number": ({"id": -1}, WrongQueryError),
    "a number that is none": ({"id": "0"}, InvalidAnswerError),
    "a number that is True": ({"id": True}, InvalidAnswerError),
    "a list": ({"run": ["a"]}, InvalidAnswerError),
    "an array": ({"observation": np.array(["a", "b"])}, InvalidAnswerError),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("when", ["waiting", "closed"])
def test_an_answer_that_names_another_query_changes_nothing(name: str, when: str) -> None:
    changes, error = WRONG[name]
    imitator = make(3)
    for _ in range(2):  # number 1 has been answered, and so has number 0
        query = query_of(asked(imitator, 1, env=1))
        imitator.answer(query, 0)
    query = query if when == "closed" else query_of(asked(imitator, 2, env=1))
    before = snapshot(imitator)
    with pytest.raises(error):
        imitator.answer(sent(query, **changes), 0)
    assert snapshot(imitator) == before
    imitator.answer(sent(query), 0)


@pytest.mark.parametrize("action", [-1, A, 2**40, 1.0, True, "1", None, [1], np.array([1, 1]), float("nan")])
def test_an_answer_that_is_no_action_leaves_the_query_waiting(action: Any) -> None:
    imitator = make()
    query = query_of(asked(imitator))
    before = snapshot(imitator)
    with pytest.raises(InvalidAnswerError, match="no action"):
        imitator.answer(query, action)
    assert snapshot(imitator) == before
    assert imitator.answer(query, np.int64(A - 1)).action == A - 1


def test_an_answer_to_another_imitators_query_is_refused_though_everything_else_agrees() -> None:
    one, other = make(), make()
    query, same = query_of(asked(one)), query_of(asked(other))
    assert (query.id, query.observation, query.step) == (same.id, same.observation, same.step)
    with pytest.raises(WrongQueryError, match="another imitator"):
        one.answer(same, 1)
    assert one.pending


def test_of_two_answers_the_first_counts_and_a_repeat_says_what_it_said() -> None:
    imitator = make()
    query = query_of(asked(imitator))
    closed = imitator.answer(query, 1)
    before = snapshot(imitator)
    assert imitator.answer(query, 1) is closed
    for other in (0, 2):
        with pytest.raises(StaleAnswerError, match="that stands"):
            imitator.answer(query, other)
    with pytest.raises(InvalidAnswerError, match="no action"):
        imitator.answer(query, A)
    assert snapshot(imitator) == before
    # While the next one waits, too.
    waits = query_of(asked(imitator))
    assert imitator.answer(query, 1) is closed
    assert [query_of(one) for one in imitator.pending] == [waits]


def test_a_repeat_to_a_batch_in_lockstep_is_compared_where_it_was_asked() -> None:
    imitator = make(3)
    decision = asked(imitator, np.array([0, 1, 2]))
    while decision.queried.all():
        imitator.answer(decision, np.zeros(3, int))
        decision = asked(imitator, np.array([0, 1, 2]))
    closed = imitator.answer(decision, np.array([1, 1, 1]))
    before = snapshot(imitator)
    elsewhere = np.where(decision.queried, 1, 0)
    assert imitator.answer(query_of(decision), elsewhere) is closed
    with pytest.raises(StaleAnswerError):
        imitator.answer(query_of(decision), np.where(decision.queried, 2, 1))
    assert snapshot(imitator) == before


def test_a_repeat_is_known_after_the_run_is_taken_up_again(tmp_path: Path) -> None:
    imitator = make(journal=tmp_path / "run")
    query = query_of(asked(imitator))
    closed = imitator.answer(query, 1)
    imitator.close()
    for _ in range(2):
        imitator = again(tmp_path / "run")
        assert imitator.run == query.run
        before = snapshot(imitator)
        repeated = imitator.answer(sent(query), 1)
        assert (repeated.action, repeated.query, repeated.step) == (1, query, closed.step)
        np.testing.assert_array_equal(repeated.dissent, closed.dissent)
        with pytest.raises(StaleAnswerError):
            imitator.answer(sent(query), 2)
        with pytest.raises(WrongQueryError):
            imitator.answer(sent(query, observation="0" * 64), 1)
        assert snapshot(imitator) == before
        imitator.close()


@pytest.mark.parametrize("journal", [False, True])
def test_long_after_only_a_journal_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: bool) -> None:
    assert REMEMBERED >= 1000
    monkeypatch.setattr("consensus_imitation.imitator._queries.REMEMBERED", 5)
    imitator = make(2, journal=tmp_path / "run" if journal else None)
    answered: list[tuple[Query, int]] = []
    for i in range(12):
        query = query_of(asked(imitator, i % 7, env=i % 2))
        imitator.answer(query, i % A)
        answered.append((query, i % A))
    whole = query_of(asked(imitator, np.array([3, 4])))
    imitator.answer(whole, [2, 2])
    for i in range(5):
        imitator.answer(asked(imitator, i, env=0), 0)
    before = snapshot(imitator)
    for query, action in answered:
        if journal:
            closed = imitator.answer(sent(query), action)
            assert (closed.action, closed.query, closed.env, closed.step) == (action, query, query.env, query.step)
            with pytest.raises(WrongQueryError):
                imitator.answer(sent(query, observation="0" * 64), action)
        with pytest.raises(StaleAnswerError):
            imitator.answer(sent(query), (action + journal) % A)
    if journal:
        np.testing.assert_array_equal(imitator.answer(whole, [2, 2]).query, whole)
        with pytest.raises(StaleAnswerError):
            imitator.answer(whole, [1, 1])
    assert snapshot(imitator) == before
    imitator.close()


@pytest.mark.parametrize("journal", [False, True])
def test_a_withdrawn_query_cannot_be_answered_ever(tmp_path: Path, journal: bool) -> None:
    def fails(observation: Any) -> int:
        raise ValueError("out of order")

    imitator = make(demonstrator=fails, journal=tmp_path / "run" if journal else None)
    for _ in range(200):
        before = imitator.num_steps
        try:
            imitator.act(1)
        except ValueError:
            break
    (withdrawn,) = (query_of(one) for one in imitator.pending)
    assert (withdrawn.id, withdrawn.step) == (0, before)
    # Another question takes its place; who learned of the first answers it now.
    assert query_of(imitator.decide(0)).id == 1
    for _ in range(2):
        state = snapshot(imitator)
        with pytest.raises(StaleAnswerError, match="withdrawn"):
            imitator.answer(withdrawn, 1)
        assert snapshot(imitator) == state
        if journal:
            imitator.close()
            imitator = again(tmp_path / "run")
    imitator.close()


def test_going_back_to_a_state_withdraws_what_waits() -> None:
    imitator = make(2)
    fresh = imitator.state
    queries = [query_of(asked(imitator, 1, env=b)) for b in range(2)]
    imitator.restore(fresh)
    assert imitator.pending == ()
    for query in queries:
        with pytest.raises(StaleAnswerError, match="withdrawn"):
            imitator.answer(query, 1)


def test_a_query_that_waited_when_the_run_ended_is_asked_again_and_only_it(tmp_path: Path) -> None:
    imitator = make(journal=tmp_path / "run")
    query = query_of(asked(imitator, 1))
    imitator.close()
    seen: list[Any] = []

    def answers(observation: Any) -> int:
        seen.append(observation)
        return 2

    imitator = again(tmp_path / "run", answers)
    assert [query_of(one) for one in imitator.pending] == [query]
    with pytest.raises(PendingQueryError):
        imitator.act(2)
    with pytest.raises(PendingQueryError):
        imitator.decide(1)
    assert seen == []
    closed = imitator.act(1)
    assert (closed.query, closed.action, seen) == (query, 2, [1])
    imitator.act(2)
    imitator.close()


def test_a_restored_query_can_be_answered_from_afar(tmp_path: Path) -> None:
    imitator = make(3, journal=tmp_path / "run")
    queries = [query_of(asked(imitator, b, env=b)) for b in range(3)]
    imitator.close()
    imitator = again(tmp_path / "run")
    for query in reversed(queries):
        assert imitator.answer(sent(query), 1).env == query.env
    assert (imitator.pending, imitator.num_queries) == ((), 3)
    imitator.close()


def test_in_lockstep_a_restored_query_is_not_asked_again_for_other_rows(tmp_path: Path) -> None:
    imitator = make(3, journal=tmp_path / "run")
    observations, rows = np.array([0, 1, 2]), np.array([True, True, False])
    while not np.any((decision := imitator.decide(observations, active=rows)).queried):
        pass
    imitator.close()
    imitator = again(tmp_path / "run", lambda observation: 1)
    for others in (None, np.array([True, False, False])):
        with pytest.raises(PendingQueryError):
            imitator.act(observations, active=others)
    assert imitator.act(observations, active=rows).query == decision.query
    imitator.close()


@pytest.mark.parametrize("second", [1, 2])
def test_who_answers_while_the_demonstrator_is_asked_answers_for_it(second: int) -> None:
    """Two ways to the same query: the step is closed once, and the first answer is learned from once."""

    def interrupted(observation: Any) -> int:
        imitator.answer(imitator.pending[0], 1)
        return second

    imitator, twin = make(demonstrator=interrupted), make()
    while not (closed := imitator.act(1)).queried:
        twin.decide(1)
    twin.answer(twin.decide(1), 1)
    assert closed.action == 1
    assert snapshot(imitator) == snapshot(twin)


@pytest.mark.parametrize("num_actions", [4, 2000])
def test_of_large_predictions_what_is_remembered_keeps_none(num_actions: int) -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(num_actions), (3, 1))
    imitator = ConsensusImitator(ensembles.tabular(probs), seed=0)
    decision = imitator.decide(0)
    while not decision.queried:
        decision = imitator.decide(0)
    closed = imitator.answer(decision, 1)
    assert closed.log_probs.shape == (3, num_actions)
    again = imitator.answer(decision, 1)
    assert (again is closed) == (num_actions == 4)
    assert (again.log_probs is None) == (num_actions == 2000)
    assert again.withheld == closed.withheld == 0
