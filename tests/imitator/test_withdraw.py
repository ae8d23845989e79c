"""A query that nobody will answer is given up: its step counts for nothing, and its environment asks next."""

from pathlib import Path

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import StaleAnswerError, WrongQueryError

#: At observation 0 the members disagree, at 1 not at all.
MEMBERS = ensembles.tabular(np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]))


def make(num_envs: int | None = None, journal: Path | None = None) -> ConsensusImitator:
    return ConsensusImitator(MEMBERS, selection=TopK(2), seed=0, num_envs=num_envs, journal=journal)


@pytest.mark.parametrize("by", ["decision", "query"])
def test_the_environment_asks_next_even_where_all_agree(by: str) -> None:
    imitator = make()
    asked = imitator.decide(0)
    assert asked.query is not None
    imitator.withdraw(asked if by == "decision" else asked.query)
    assert (imitator.pending, imitator.num_steps, imitator.num_queries) == ((), 0, 0)
    again = imitator.decide(1)
    assert again.queried
    imitator.answer(again, 0)
    assert not imitator.decide(1).queried


def test_an_answer_that_comes_later_is_refused() -> None:
    imitator = make()
    asked = imitator.decide(0)
    imitator.withdraw(asked)
    with pytest.raises(StaleAnswerError):
        imitator.answer(asked, 0)


def test_what_was_answered_stays_answered() -> None:
    imitator = make()
    closed = imitator.answer(imitator.decide(0), 1)
    imitator.withdraw(closed)
    assert (imitator.num_steps, imitator.num_queries) == (1, 1)


def test_a_query_of_another_run_is_refused() -> None:
    imitator, other = make(), make()
    imitator.decide(0)
    with pytest.raises(WrongQueryError):
        imitator.withdraw(other.decide(0))
    assert len(imitator.pending) == 1


def test_the_other_environments_wait_on(tmp_path: Path) -> None:
    """With a journal, too, and after it was resumed."""
    imitator = make(2, tmp_path / "run")
    first, second = imitator.decide(0, env=0), imitator.decide(0, env=1)
    imitator.withdraw(first)
    assert [decision.env for decision in imitator.pending] == [1]
    imitator.close()
    again = ConsensusImitator.resume(tmp_path / "run", MEMBERS, selection=TopK(2))
    assert [decision.env for decision in again.pending] == [1]
    assert again.run_dir == tmp_path / "run"
    assert make().run_dir is None
    assert again.decide(1, env=0).queried
    assert second.query is not None
    again.answer(second.query, 0)
    again.close()
