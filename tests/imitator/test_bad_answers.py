"""What is no answer to the query that waits is refused; the query goes on waiting, and nothing else has changed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, errors
from consensus_imitation.errors import InvalidAnswerError, StaleAnswerError, WrongQueryError
from tests.stress.crowd_world import A, asked, make

from . import bad_answers as bad
from .fingerprints import fingerprint, taken

SAID = f"which is no action: answer with an integer from 0 to {A - 1}"


def pair(num_envs: int | None = None) -> list[Any]:
    """Two imitators that wait for the answer to the same question, with it."""
    both = [make(num_envs) for _ in range(2)]
    seen = 1 if num_envs is None else np.array([1, 2, 3])
    return [(one, asked(one, seen)) for one in both]


def good(num_envs: int | None) -> Any:
    return 1 if num_envs is None else np.ones(num_envs, int)


def asks_next(one: ConsensusImitator) -> bool:
    """Whether the next step is a question: found out on a copy."""
    copy = make()
    copy.restore(one.state)
    return bool(copy.decide(1).queried)


def goes_on(one: ConsensusImitator, query: Any, twin: ConsensusImitator, its: Any, num_envs: int | None = None) -> None:
    """The good answer counts, once, as if nothing had been before it."""
    before = one.num_queries
    assert taken(one.answer(query, good(num_envs))) == taken(twin.answer(its, good(num_envs)))
    assert one.num_queries > before
    assert fingerprint(one) == fingerprint(twin)
    assert one.pending == twin.pending == ()


@pytest.mark.parametrize("kind", bad.VALUES)
def test_values(kind: str) -> None:
    (one, query), (twin, its) = pair()
    before = fingerprint(one)
    for reference in (query, query.query):
        with pytest.raises(InvalidAnswerError, match=SAID):
            one.answer(reference, bad.VALUES[kind]())
        assert fingerprint(one) == before
        assert [each.action for each in one.pending] == [None]
    goes_on(one, query, twin, its)


@pytest.mark.parametrize("kind", bad.VALUES)
def test_values_that_the_demonstrator_gives(kind: str) -> None:
    answers: list[Callable[[], Any]] = [bad.VALUES[kind]]
    one, twin = make(demonstrator=lambda seen: answers[-1]()), make(demonstrator=lambda seen: 1)
    while not asks_next(one):
        assert taken(one.act(1)) == taken(twin.act(1))
    before = one.num_steps, one.num_queries, one.weights.tolist()
    with pytest.raises(InvalidAnswerError, match=SAID):
        one.act(1)
    assert (one.num_steps, one.num_queries, one.weights.tolist()) == before
    # The question stays open.
    assert [each.action for each in one.pending] == [None]
    answers.append(lambda: 1)
    for _ in range(10):
        assert taken(one.act(1)) == taken(twin.act(1))
    assert fingerprint(one) == fingerprint(twin)


@pytest.mark.parametrize("kind", bad.ROWS)
def test_values_for_a_batch(kind: str) -> None:
    (one, query), (twin, its) = pair(3)
    before = fingerprint(one)
    with pytest.raises(InvalidAnswerError, match=f"expected 3 answers, one per environment|{SAID}"):
        one.answer(query, bad.ROWS[kind]())
    assert fingerprint(one) == before
    goes_on(one, query, twin, its, 3)


@pytest.mark.parametrize("kind", bad.REFERENCES)
def test_references(kind: str) -> None:
    refer, error, said = bad.REFERENCES[kind]
    (one, query), (twin, its) = pair()
    before = fingerprint(one)
    with pytest.raises(getattr(errors, error), match=said):
        one.answer(refer(query), 1)
    assert fingerprint(one) == before
    goes_on(one, query, twin, its)


def test_another_imitators_decision() -> None:
    (one, query), (twin, its) = pair()
    before = fingerprint(one)
    with pytest.raises(WrongQueryError, match="another imitator"):
        one.answer(its, 1)
    assert fingerprint(one) == before
    goes_on(one, query, twin, its)


def test_a_decision_that_asked_nothing() -> None:
    one = make()
    decision = one.decide(1)
    while decision.queried:
        one.answer(decision, 1)
        decision = one.decide(1)
    before = fingerprint(one)
    with pytest.raises(InvalidAnswerError, match="nothing was asked"):
        one.answer(decision, 1)
    assert fingerprint(one) == before


def test_the_same_again_changes_nothing_and_another_is_refused() -> None:
    (one, query), (twin, its) = pair()
    goes_on(one, query, twin, its)
    before = fingerprint(one)
    assert one.answer(query, 1).action == 1
    assert fingerprint(one) == before
    for other in (0, 2):
        with pytest.raises(StaleAnswerError, match="answered with 1 before, and that stands"):
            one.answer(query, other)
        assert fingerprint(one) == before
    with pytest.raises(InvalidAnswerError, match=SAID):
        one.answer(query, 1.0)
    assert taken(asked(one)) == taken(asked(twin))


def test_an_answer_that_comes_after_the_query_was_withdrawn() -> None:
    (one, query), (twin, _) = pair()
    for each in (one, twin):
        each.restore(each.state)
    before = fingerprint(one)
    with pytest.raises(StaleAnswerError, match=r"withdrawn.*changes nothing"):
        one.answer(query, 1)
    assert fingerprint(one) == before
    assert taken(asked(one)) == taken(asked(twin))
    assert fingerprint(one) != before


def test_the_catalogue_is_as_large_as_it_says() -> None:
    assert len(bad.VALUES) + len(bad.ROWS) + len(bad.REFERENCES) >= 35
