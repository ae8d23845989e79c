"""Calls go in, and come out as they were; nothing is ever changed."""

import os
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation.core._packing import digest
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError, JournalError, JournalWriteError
from consensus_imitation.journal import store as store_module
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import COLUMNS, Record
from consensus_imitation.journal.recovery import examine
from consensus_imitation.journal.store import Store

from .runs import META, A, N, fill, observation, small, step, told


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "j", META)
    record = step(
        3, "answer", env=1, query=0, latency=1.5, note="Grüße\0\n", packed=np.arange(7 + A + 3 * N, dtype="f4")
    )
    assert store.append([record, Record(kind="begin")]) == 1
    assert store.append([step(4)], observation(4)) == 2
    entries = list(store.entries())
    assert [(entry.seq, entry.call, entry.size) for entry in entries] == [(1, 1, 2), (2, 1, 2), (3, 2, 1)]
    back = entries[0].record
    for field in fields(Record):
        was, now = getattr(record, field.name), getattr(back, field.name)
        if isinstance(was, np.ndarray):
            assert (now.dtype, now.shape, now.tobytes()) == (was.dtype, was.shape, was.tobytes())
        else:
            assert (type(now), now) == (type(was), was), field.name
    assert entries[1].record.log_probs is None
    assert (store.last_call, store.num_entries, store.last_query) == (2, 3, 0)
    store.close()
    again = Store.open(tmp_path / "j")
    assert [told(entry) for entry in again.entries()] == [told(entry) for entry in entries]
    assert again.meta == META
    assert [entry.call for entry in again.entries(after_call=1)] == [2]
    assert list(again.entries(after_call=2)) == []
    again.close()


def test_a_table_has_a_column_for_every_field_of_a_record() -> None:
    # What is legal is a word of the note.
    assert list(COLUMNS) == [field.name for field in fields(Record) if field.name not in ("action_mask", "source")]


def test_the_command_line_of_sqlite_reads_it(tmp_path: Path) -> None:
    """Scalars as scalars, arrays as little-endian bytes; by a connection that knows nothing of this library."""
    path = small(tmp_path / "j")
    connection = sqlite3.connect(path)
    row = connection.execute(
        "SELECT kind, step, who, action, draw, min_probs, alarms FROM entries WHERE seq = 2"
    ).fetchone()
    record = step(0)
    assert row[:5] == ("act", 0, "imitator", record.action, record.draw)
    np.testing.assert_array_equal(np.frombuffer(row[5], "<f4"), record.min_probs)
    assert row[6] == '["member 1: odd", "ß"]'
    connection.close()


def test_answers_are_found_by_their_query(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "j", META)
    fill(store, 9)
    for query in range(3):
        found = store.answered(query)
        assert found is not None
        assert (found.record.kind, found.record.query, found.record.step) == ("answer", query, 3 * query + 2)
        assert [entry.record.kind for entry in store.of_query(query)] == ["ask", "answer"]
    assert store.answered(3) is None
    with pytest.raises(JournalWriteError, match="UNIQUE"):
        store.append([step(99, "answer", query=1)])
    again = Store.open(tmp_path / "j")
    assert again.last_query == 2
    assert sum(entry.record.kind == "answer" for entry in again.entries()) == 3
    again.close()


def test_observations_are_kept_until_they_are_forgotten(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "j", META)
    calls = [store.append([step(i)], observation(i)) for i in range(6)]
    store.append([Record(kind="begin")])
    assert [store.observation_of(call) for call in calls] == [observation(i) for i in range(6)]
    assert store.observation_of(7) is None
    store.forget_observations(4, spare=(2,))
    assert [store.observation_of(call) is None for call in calls] == [True, False, True, True, False, False]
    assert [entry.kept for entry in store.entries()] == [*(digest(observation(i)) for i in range(6)), ""]
    store.close()
    assert examine(tmp_path / "j").sound


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "acted"}, "record.kind must be one of"),
        ({"query_prob": float("nan")}, "record.query_prob must be a finite number"),
        ({"draw": float("inf")}, "record.draw"),
        ({"log_probs": np.zeros((N, A + 1))}, r"record.log_probs must have the shape \(3, 2\), got \(3, 3\)"),
        ({"before": np.zeros(N)}, "record.before must have the shape"),
        ({"action": 2**63}, "record.action must be an integer of 64 bits"),
    ],
)
def test_a_record_that_cannot_be_is_refused_before_anything_changes(tmp_path: Path, change: Any, said: str) -> None:
    store = Store.create(tmp_path / "j", META)
    store.append([step(0)])
    with pytest.raises(ConfigurationError, match=said):
        store.append([step(1), replace(step(1), **change)])
    assert (store.num_entries, store.last_call) == (1, 1)
    store.append([step(1)])
    assert [entry.seq for entry in store.entries()] == [1, 2]
    with pytest.raises(ConfigurationError, match="at least one"):
        store.append([])
    store.close()


@pytest.mark.parametrize(
    "meta", [{}, {"num_members": 2}, {**META, "num_actions": 0}, {**META, "rules": object()}, {**META, "x": np.nan}]
)
def test_a_run_has_to_be_described(tmp_path: Path, meta: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Store.create(tmp_path / "j", meta)
    assert list(tmp_path.iterdir()) == []


def test_text_that_utf8_cannot_hold_is_written_out(tmp_path: Path) -> None:
    """A hostile member's message may end up in an alarm."""
    store = Store.create(tmp_path / "j", META)
    store.append([step(0, alarms=("member 0: \udc80",), note="\ud800")])
    assert next(store.entries()).record.note == "\\ud800"
    store.close()


def test_a_journal_is_not_started_over_another(tmp_path: Path) -> None:
    path = small(tmp_path / "j")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="already"):
        Store.create(path, META)
    assert path.read_bytes() == before
    with pytest.raises(JournalError, match="no journal at"):
        Store.open(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_file_that_was_left_by_a_start_that_failed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "j.new").write_bytes(b"half of it")
    (tmp_path / "j.new-journal").write_bytes(b"half of it")
    assert examine(small(tmp_path / "j")).sound
    assert {file.name for file in tmp_path.iterdir()} == {"j", "j-journal"}


@pytest.mark.parametrize("content", [b"", b"not a database, for certain" * 100, b"SQLite format 3\0"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(JournalError):
        Store.open(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == content


def test_another_format_is_named(tmp_path: Path) -> None:
    path = small(tmp_path / "j")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(JournalError, match="in format 7, this version of the library reads format 2"):
        Store.open(path)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = Store.create(tmp_path / "j", META)
        store.append([step(0)])
    finally:
        os.umask(old)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    store.close()


# --- in groups ---


def at_once(store: Store, i: int) -> int:
    return store.append([step(i)], observation(i))


def later(store: Store, i: int) -> int:
    return store.append_later(lambda: ([step(i)], observation(i)))


@pytest.mark.parametrize("append", [at_once, later])
def test_steps_wait_for_their_group_and_anything_else_takes_them_along(
    append: Callable[[Store, int], int], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(store_module, "GROUP_SECONDS", 1000.0)
    store = Store.create(tmp_path / "j", META, group=4)

    def on_disk() -> int:
        with reading(tmp_path / "j") as reader:
            return reader.head().seq

    seen: list[int] = []
    for i in range(5):
        append(store, i)
        seen.append(on_disk())
    assert seen == [0, 0, 0, 4, 4]
    assert (store.num_entries, store.last_call) == (5, 5)
    store.append([step(5, "ask", query=0)])
    assert on_disk() == 6
    append(store, 6)
    assert on_disk() == 6
    store.flush()
    assert on_disk() == 7
    append(store, 7)
    assert [entry.record.step for entry in store.entries()] == [0, 1, 2, 3, 4, 5, 6, 7]  # reading takes them along
    append(store, 8)
    store.close()
    assert on_disk() == 9
    assert examine(tmp_path / "j").sound


def test_a_group_that_is_old_does_not_wait_for_more(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(store_module, "GROUP_SECONDS", 0.0)
    store = Store.create(tmp_path / "j", META, group=100)
    store.append([step(0)])
    with reading(tmp_path / "j") as reader:
        assert reader.head().seq == 1
    store.close()


def test_groups_and_single_calls_write_the_same(tmp_path: Path) -> None:
    def written(name: str, group: int) -> list[Any]:
        store = Store.create(tmp_path / name, META, group)
        fill(store)
        found = [told(entry) for entry in store.entries()]
        store.close()
        return found

    assert written("one", 1) == written("other", 5)


@pytest.mark.parametrize("group", [1, 5, 50])
def test_records_that_are_made_later_are_the_same_in_the_same_order(tmp_path: Path, group: int) -> None:
    """More of them than are made at a time, between calls that do not wait and calls that are made at once."""

    def written(name: str, append: Callable[[Store, int], int]) -> list[Any]:
        store = Store.create(tmp_path / name, META, group)
        calls = [append(store, i) for i in range(40)]
        calls.append(store.append([step(40)], observation(40)))
        calls += [append(store, i) for i in range(41, 44)]
        calls.append(store.append([step(44, "ask", query=0)], observation(44)))
        calls += [append(store, i) for i in range(45, 48)]
        assert calls == list(range(1, 49))
        assert (store.last_call, store.num_entries) == (48, 48)
        chain = store.chain
        store.close()
        assert examine(tmp_path / name).sound
        with reading(tmp_path / name) as reader:
            assert reader.head().chain == chain
            return [(told(entry), reader.observation_of(entry.call)) for entry in reader.entries()]

    assert written("later", later) == written("at once", at_once)


def test_a_record_that_cannot_be_made_later_stops_the_journal(tmp_path: Path) -> None:
    """Its action may be given out already, so that nothing else is: as after a write that failed."""
    store = Store.create(tmp_path / "j", META, group=4)
    later(store, 0)
    store.append_later(lambda: ([replace(step(1), draw=float("nan"))], None))
    with pytest.raises(JournalWriteError, match="must be a finite number"):
        store.flush()
    with pytest.raises(JournalWriteError):
        later(store, 2)
    with pytest.raises(JournalWriteError):
        store.append([step(2)])
    store.close()
    again = Store.open(tmp_path / "j")
    assert again.num_entries == 0
    again.close()


# --- readers ---


def test_who_reads_does_not_keep_the_imitator_from_writing(tmp_path: Path, monkeypatch: Any) -> None:
    """A reader in the midst of a long journal, and no waiting for it."""
    monkeypatch.setattr("consensus_imitation.journal.reader.PATIENCE", 0.0)
    store = Store.create(tmp_path / "j", META, group=1000)
    for i in range(600):
        store.append([step(0, time=float(i))])
    store.flush()
    with reading(tmp_path / "j") as reader:
        entries = reader.entries()
        assert next(entries).seq == 1
        store.append([Record(kind="begin")])
        assert sum(1 for _ in entries) == 599  # up to where it ended then
        assert sum(1 for _ in reader.entries()) == 601
        assert [entry.seq for entry in reader.last(3)] == [599, 600, 601]
    store.close()


def test_rows_that_somebody_changed_are_noticed_while_reading(tmp_path: Path) -> None:
    """Each kind of change, by SQLite itself, so that the file is in order otherwise."""
    changes = {
        "entry 3 .* is damaged": "UPDATE entries SET action = 1 - action WHERE seq = 3",
        "entry 4 .* is missing": "DELETE FROM entries WHERE seq = 4",
        "ends with entry 10, but 11": "DELETE FROM entries WHERE seq = 11",
        "entry 1 .* is damaged": "UPDATE meta SET json = replace(json, '0.5', '0.7')",
        "entry 5 .* is damaged": "UPDATE entries SET draw = cast(draw AS TEXT) || 'x' WHERE seq = 5",
    }
    for number, (said, change) in enumerate(changes.items()):
        path = small(tmp_path / f"j{number}")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(change)
        connection.close()
        with reading(path) as reader, pytest.raises(JournalCorruptedError, match=said):
            list(reader.entries())
        if "missing" in said or "ends" in said:
            continue
        with pytest.raises(JournalCorruptedError):
            examine(path)


def test_an_answer_and_an_observation_that_somebody_changed_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path / "j")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE entries SET action = 1 - action WHERE kind = 'answer'")
    connection.execute("UPDATE observations SET data = CAST(data || x'00' AS BLOB) WHERE call = 2")
    connection.close()
    with reading(path) as reader:
        with pytest.raises(JournalCorruptedError, match="damaged"):
            reader.answered(0)
        with pytest.raises(JournalCorruptedError, match="kept with call 2"):
            reader.observation_of(2)


def test_a_second_writer_cannot_write_over_the_first(tmp_path: Path) -> None:
    """The lock of the directory keeps it away; if that fails, the head does."""
    path = small(tmp_path / "j")
    one, other = Store.open(path), Store.open(path)
    one.append([step(7)])
    with pytest.raises(JournalWriteError, match="somebody else writes it"):
        other.append([step(8)])
    one.append([step(9)])
    one.close()
    other.close()
    assert examine(path).sound


def test_what_makes_it_durable_is_switched_on(tmp_path: Path) -> None:
    """PERSIST empties the rollback journal, and waits for that; EXTRA is what DELETE would need."""
    path = small(tmp_path / "j")
    store = Store.open(path)
    connection = store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("persist",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (3,)
    store.close()


def test_schema_is_one_that_an_old_sqlite_reads(tmp_path: Path) -> None:
    """No STRICT tables, generated columns or other novelties: SQLite 3.37 opens it."""
    path = small(tmp_path / "j")
    connection = sqlite3.connect(path)
    text = " ".join(row[0] for row in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"))
    connection.close()
    for novelty in ("STRICT", "GENERATED", "RETURNING", "WITHOUT ROWID"):
        assert novelty not in text.upper()
    assert int.from_bytes(path.read_bytes()[44:48], "big") <= 4  # schema format
