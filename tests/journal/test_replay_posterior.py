"""The posterior from the journal alone: the same bits as the imitator had."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Merging, MisspecificationAlarm, Reweighting, TopK, ensembles
from consensus_imitation.errors import JournalCorruptedError
from consensus_imitation.journal import RunDirectory
from consensus_imitation.journal.audit import replay
from consensus_imitation.journal.directory import Journal
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import Record
from consensus_imitation.journal.store import Store

from .runs import step

N, S, A = 5, 6, 4
RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.full(A, 0.5), (N, S))
PROBS[4, :3] = [0.5, 0.5, 0.0, 0.0]  # ruled out by an answer


def demonstrator(observation: Any) -> int:
    return int((int(observation) * 7 + 1) % A)


def played(path: Path, steps: int = 120, members: Any = None, num_envs: int | None = None, **rules: Any) -> np.ndarray:
    """A run; its last posterior, as words."""
    members = ensembles.tabular(PROBS, prior=[5, 4, 3, 2, 1]) if members is None else members
    imitator = ConsensusImitator(
        members, demonstrator, selection=TopK(4), seed=1, num_envs=num_envs, journal=Journal(path, group=50), **rules
    )
    shape = () if num_envs is None else (num_envs,)
    for _ in range(steps):
        imitator.act(RNG.integers(S, size=shape) if shape else int(RNG.integers(S)))
    posterior = imitator.state.posterior
    words = np.stack([np.asarray(posterior.log_weights), np.asarray(posterior.residual)])
    imitator.close()
    return words


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("num_envs", [None, 3])
def test_the_same_bits_as_the_imitator_had(tmp_path: Path, num_envs: int | None) -> None:
    words = played(tmp_path / "run", 120 if num_envs is None else 40, num_envs=num_envs)
    again = replay(tmp_path / "run")
    assert again.answers > 20
    assert (again.identical, again.first, again.worst, again.restarts) == (again.answers, "", 0.0, ())
    assert again.exact
    assert again.words.tobytes() == words.tobytes()
    assert np.isneginf(words).any()  # a member was ruled out
    assert again.lines() == [f"posterior: worked out once more, {again.answers} of {again.answers} times the same bits"]


@pytest.mark.filterwarnings("ignore:member 0 gave an unusable prediction")
def test_members_whose_predictions_are_unusable_sleep(tmp_path: Path) -> None:
    def broken(observation: Any) -> Any:
        return [np.nan] * A if int(observation) % 2 else PROBS[0, int(observation)]

    members = ensembles.callables([broken, *(lambda o, n=n: PROBS[n, int(o)] for n in range(1, 4))], num_actions=A)
    words = played(tmp_path / "run", 30, members)
    again = replay(tmp_path / "run")
    assert again.exact
    assert again.answers > 10
    assert again.words.tobytes() == words.tobytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no member explains")
@pytest.mark.parametrize("measures", [False, True], ids=["plain", "alarm and merging"])
@pytest.mark.parametrize("shape", [(2, 2), (3, 7), (8, 33), (5, 300)], ids=str)
def test_members_that_withhold_are_taken_by_what_they_said(
    tmp_path: Path, shape: tuple[int, int], measures: bool
) -> None:
    """The same bits, too, from programs that sum over other numbers of actions, beside other things."""
    N, A = shape
    rng = np.random.default_rng(1)
    table = rng.dirichlet(np.ones(A), (N, S)) * rng.choice([1.0, 0.7, 0.1, 1e-3], (N, S, 1))
    members = ensembles.callables([lambda o, row=row: row[int(o)] for row in table], num_actions=A)
    rules = {"alarm": MisspecificationAlarm(1e-9), "merging": Merging()} if measures else {}
    imitator = ConsensusImitator(
        members, lambda o: int(o) % 2, selection=TopK(2), seed=1, journal=Journal(tmp_path / "run", group=50), **rules
    )
    for i in range(30):
        imitator.act(i % S)
    imitator.close()
    again = replay(tmp_path / "run")
    assert again.exact, again.lines()
    assert again.answers > 15


def test_another_rule_is_not_checked_and_that_is_said(tmp_path: Path) -> None:
    words = played(tmp_path / "run", 30, reweighting=Reweighting(temper=0.5))
    again = replay(tmp_path / "run")
    assert (again.answers, again.exact) == (0, True)
    assert again.restarts == ("the weights follow another rule than Bayes': they are not checked",)
    assert again.words.tobytes() == words.tobytes()


def test_what_was_studied_is_taken_over_and_that_is_said(tmp_path: Path) -> None:
    imitator = ConsensusImitator(
        ensembles.tabular(PROBS), demonstrator, selection=TopK(4), seed=1, journal=tmp_path / "run"
    )
    for i in range(20):
        imitator.act(i % S)
    imitator.pretrain(np.arange(S), [demonstrator(o) for o in range(S)])
    for i in range(20):
        imitator.act(i % S)
    imitator.close()
    again = replay(tmp_path / "run")
    assert again.exact
    assert again.answers > 10
    assert len(again.restarts) == 1
    assert "recordings were studied" in again.restarts[0]


def test_a_run_that_began_with_another_posterior(tmp_path: Path) -> None:
    one = ConsensusImitator(ensembles.tabular(PROBS), demonstrator, selection=TopK(4), seed=1)
    for i in range(20):
        one.act(i % S)
    other = ConsensusImitator.from_state(
        one.state, ensembles.tabular(PROBS), demonstrator, selection=TopK(4), journal=tmp_path / "run"
    )
    for i in range(20):
        other.act(i % S)
    other.close()
    again = replay(tmp_path / "run")
    assert again.exact
    assert len(again.restarts) == 1


def rewritten(path: Path, target: Path, change: Any) -> Path:
    """The same journal, with records changed, and all checksums right."""
    with reading(path) as reader:
        store = Store.create(target, reader.meta, group=1000)
        for entry in reader.entries():
            store.append([change(entry.record)])
    store.close()
    return target


@pytest.mark.slow
@pytest.mark.parametrize("what", ["action", "log_probs", "after", "lost"])
def test_a_posterior_that_does_not_follow_is_noticed(tmp_path: Path, what: str) -> None:
    """Checksums are of no use against somebody who writes a journal; Bayes' rule is."""
    played(tmp_path / "run", 60)
    count = 0

    def change(record: Record) -> Record:
        nonlocal count
        if record.kind == ("ask" if what == "log_probs" else "answer"):
            count += 1
            if count == 10:
                if what == "lost":
                    return replace(record, kind="withdraw")
                if what == "action":
                    return replace(record, action=(record.action + 1) % A)
                value = np.array(getattr(record, what))
                if what == "log_probs":
                    # Its last bits may be lost where it is scaled to sum to one.
                    value[0] = np.log(0.9 * np.exp(value[0]) + 0.1 / A)
                else:
                    value[0] = np.nextafter(value[0], np.float32(-9))
                return replace(record, **{what: value})
        return record

    again = replay(rewritten(tmp_path / "run", tmp_path / "forged", change))
    assert not again.exact or again.restarts
    if what != "lost":
        assert again.identical < again.answers
        assert again.first
        assert again.worst > 0
        assert any(again.first in line for line in again.lines())


def test_an_answer_without_a_question(tmp_path: Path) -> None:
    directory = RunDirectory.create(Journal(tmp_path / "run"), {"num_members": 3, "num_actions": 2, "prior": [1, 1, 1]})
    directory.append([step(0, "answer", query=0, log_probs=None, before=None)])
    directory.close()
    with pytest.raises(JournalCorruptedError, match="entry 1 is an answer without its question"):
        replay(tmp_path / "run")


def test_a_damaged_journal_is_not_replayed(tmp_path: Path) -> None:
    played(tmp_path / "run", 5)
    connection = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
    connection.execute("UPDATE entries SET step = 99 WHERE seq = 3")
    connection.close()
    with pytest.raises(JournalCorruptedError, match="entry 3"):
        replay(tmp_path / "run")
