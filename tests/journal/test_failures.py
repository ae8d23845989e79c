"""A disk that fails: at every call in turn, before or after it has done its work. Nothing acknowledged is ever lost."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import Learner, TopK, ensembles
from consensus_imitation.errors import JournalError, JournalWriteError
from consensus_imitation.journal import _disk
from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.recovery import examine, mend
from consensus_imitation.journal.store import Store
from tests.stress.crash_faults import failing

from .faults import ERRORS, faults
from .runs import META, fill, observation, small, step

LEARNER = Learner(ensembles.tabular(np.full((3, 4, 2), 0.5)), TopK(2))
STATE = LEARNER.init(jax.random.key(0))


def play(path: Path, acknowledged: list[int], group: int = 1) -> None:
    """A run with queries and checkpoints; the calls that were acknowledged as on the disk are noted."""
    directory = RunDirectory.create(Journal(path, group=group), META)
    try:
        for i in range(3):
            call = directory.append([step(i)], observation(i))
            if group == 1:
                acknowledged.append(call)
            acknowledged.append(directory.append([step(i, "ask", query=i)], observation(i)))
            acknowledged.append(directory.append([step(i, "answer", query=i)]))
            directory.checkpoint(STATE, {"i": i})
    finally:
        directory.close()


def count(tmp_path: Path, group: int) -> int:
    with faults() as found:
        play(tmp_path / "whole", [], group)
    return len(found.seen)


@pytest.mark.parametrize(("group", "after"), [(1, False), (1, True), (4, True)])
def test_fail_at_every_call_that_changes_the_disk(tmp_path: Path, after: bool, group: int, monkeypatch: Any) -> None:
    _without_waiting(monkeypatch)
    number = count(tmp_path, group)
    assert number > 60
    for at in range(number):
        path = tmp_path / str(at)
        acknowledged: list[int] = []
        with failing(at, after) as found, pytest.raises((JournalError, OSError)):
            play(path, acknowledged, group)
        assert found.struck
        if not (path / "journal.sqlite").exists():
            assert acknowledged == []
            RunDirectory.create(Journal(path), META).close()
            continue
        again = RunDirectory.open(path)
        assert again.report.sound, again.report.lines()
        entries = list(again.store.entries())
        calls = [entry.call for entry in entries]
        assert sorted(set(calls)) == list(range(1, again.store.last_call + 1))
        assert set(acknowledged) <= set(calls)
        # At most the call that failed is there without having been acknowledged; in a group, those that waited with it.
        assert len(set(calls) - set(acknowledged)) <= (1 if group == 1 else 10)
        answers = [entry.record.query for entry in entries if entry.record.kind == "answer"]
        assert len(answers) == len(set(answers))
        checkpoints = list(again.checkpoints(STATE))
        assert all(one.header["call"] <= again.store.last_call for one in checkpoints)
        oldest = min((one.header["call"] for one in checkpoints), default=0) if len(checkpoints) >= 2 else 0
        for entry in entries:
            if entry.kept and entry.call > oldest:
                assert again.store.observation_of(entry.call) == observation(entry.record.step)
        again.append([step(9)])
        again.checkpoint(STATE, {"i": 9})
        again.close()


def _without_waiting(monkeypatch: Any) -> None:
    """SQLite does not wait for the disk: here nothing but the process can die."""
    from consensus_imitation.journal import _new_file

    monkeypatch.setattr(_new_file, "_PRAGMAS", ("journal_mode = PERSIST", "synchronous = OFF"))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_after_a_failure_nothing_is_written_any_more(tmp_path: Path, after: bool) -> None:
    directory = RunDirectory.create(Journal(tmp_path / "run"), META)
    directory.append([step(0)])
    with faults(0, ERRORS["full"], after), pytest.raises(JournalWriteError, match="No space left on device") as caught:
        directory.append([step(1)])
    assert isinstance(caught.value.__cause__, OSError)
    before = (tmp_path / "run" / "journal.sqlite").read_bytes()
    for attempt in (
        lambda: directory.append([step(1)]),
        lambda: directory.checkpoint(STATE, {}),
        lambda: directory.store.flush(),
        lambda: directory.store.forget_observations(1),
        lambda: directory.store.entries(),
        lambda: directory.store.answered(0),
    ):
        with pytest.raises(
            JournalWriteError, match=r"nothing is .*written or given out any more: take the run up again"
        ):
            attempt()
    assert (tmp_path / "run" / "journal.sqlite").read_bytes() == before
    directory.close()
    again = RunDirectory.open(tmp_path / "run")
    again.append([step(1)])
    again.close()


def test_an_interruption_in_the_midst_of_writing_counts_as_a_failure(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "j", META)
    with faults(1, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        store.append([step(0)])
    with pytest.raises(JournalWriteError):
        store.append([step(0)])
    store.close()
    again = Store.open(tmp_path / "j")
    assert again.num_entries == 0
    again.close()


@pytest.mark.parametrize("at", range(4))
def test_a_checkpoint_that_fails_stops_the_run_and_loses_nothing(tmp_path: Path, at: int) -> None:
    directory = RunDirectory.create(Journal(tmp_path / "run"), META)
    directory.append([step(0)])
    directory.checkpoint(STATE, {"i": 0})
    directory.append([step(1)])
    with faults(at, ERRORS["broken"]), pytest.raises(JournalWriteError):
        directory.checkpoint(STATE, {"i": 1})
    with pytest.raises(JournalWriteError):
        directory.append([step(2)])
    directory.close()
    again = RunDirectory.open(tmp_path / "run")
    assert [one.header["i"] for one in again.checkpoints(STATE)] == [0]
    assert again.store.last_call == 2
    again.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_mending_fails_at_every_call_in_turn(tmp_path: Path, after: bool, monkeypatch: Any) -> None:
    """The damaged file stays until the mended one is whole, and mending can be tried again."""
    _without_waiting(monkeypatch)

    def torn(name: str) -> Path:
        (tmp_path / name).mkdir()
        path = small(tmp_path / name / "journal.sqlite")
        _tear(path)
        return path

    path = torn("whole")
    with faults() as found:
        whole = mend(path)
    assert whole.cut == 2
    for at in range(len(found.seen)):
        path = torn(str(at))
        with faults(at, ERRORS["full"], after), pytest.raises((JournalWriteError, OSError)):
            mend(path)
        report = mend(path)
        assert (report.entries, report.sound) == (whole.entries, report.cut == 0)
        store = Store.open(path)
        assert store.num_entries == whole.entries
        store.append([step(0)])
        store.close()


def _tear(path: Path) -> None:
    """Without the last call, as after a transaction of which a part never reached the disk."""
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM entries WHERE call = (SELECT max(call) FROM entries)")
    connection.close()


def test_control_a_journal_that_is_not_synced_in_one_transaction_loses_answers(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """If each statement were its own transaction, a failure in between would leave a journal that is not sound."""
    real = _disk.execute

    def without_transactions(connection: Any, sql: str, values: Any = ()) -> Any:
        return real(connection, "SELECT 1" if sql.startswith(("BEGIN", "COMMIT")) else sql, values)

    monkeypatch.setattr(_disk, "execute", without_transactions)
    store = Store.create(tmp_path / "j", META)
    store.append([step(0)])
    with faults(2), pytest.raises(JournalWriteError):
        store.append([step(1)])
    monkeypatch.undo()
    assert not examine(tmp_path / "j").sound


def test_the_seam_sees_every_statement(tmp_path: Path) -> None:
    with faults() as found:
        store = Store.create(tmp_path / "j", META)
        fill(store)
        store.close()
    assert found.seen.count("execute") > 30
    assert {"execute_many", "create", "replace", "sync"} <= set(found.seen)
