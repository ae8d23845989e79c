"""Exports hold any text, refuse what their format cannot hold, and take no memory for what a forged journal claims."""

import hashlib
import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation.core._packing import pack
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError, ObservationError
from consensus_imitation.experiments import read_csv
from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.export import export
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import Record, meta_text
from consensus_imitation.journal.show import summary
from consensus_imitation.journal.store import Store

from .runs import META, A, N, step

#: Notes and alarms as a hostile member, environment or user may word them.
TEXTS = (
    "=cmd|' /C calc'!A0",
    "@x",
    "-1",
    "12",
    "'",
    "a,b\r\nc",
    "\x1b[31m",
    "\u2028",
    '"',
    "<b>",
    "\x00",
    "None",
    "[red]",
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    store = Store.create(tmp_path / "journal.sqlite", META)
    for i, text in enumerate(TEXTS):
        store.append([step(i, note=text, alarms=(text, "other"))])
    store.close()
    return tmp_path / "journal.sqlite"


def test_csv_gives_back_every_text_and_holds_no_formula(texts: Path, tmp_path: Path) -> None:
    rows = read_csv(export(texts, tmp_path / "out.csv", "csv"))
    assert [row["note"] for row in rows] == list(TEXTS)
    assert [json.loads(row["alarms"]) for row in rows] == [[text, "other"] for text in TEXTS]
    with reading(texts) as reader:
        for row, entry in zip(rows, reader.entries(), strict=True):
            for name in ("seq", "kind", "env", "query", "observation", "query_prob", "draw", "who", "action", "time"):
                value = getattr(entry, name) if name == "seq" else getattr(entry.record, name)
                assert row[name] == (None if value == "" else value), name
            assert row["log_probs_2_1"] == entry.record.log_probs[2, 1].item()
    raw = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert ",'=cmd|" in raw
    assert ",=cmd|" not in raw


@pytest.mark.parametrize("name", ["npz", "parquet"])
def test_other_formats_give_back_every_text(texts: Path, tmp_path: Path, name: str) -> None:
    out = export(texts, tmp_path / "out", name)
    if name == "npz":
        with np.load(out, allow_pickle=False) as found:
            notes = [json.loads(text) for text in found["note"]]
            alarms = [json.loads(text) for text in found["alarms"]]
    else:
        table = pytest.importorskip("pyarrow.parquet").read_table(out).to_pydict()
        notes, alarms = table["note"], table["alarms"]
    assert notes == list(TEXTS)
    assert alarms == [[text, "other"] for text in TEXTS]


def test_a_file_beside_the_export_is_not_touched(texts: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv.part").write_text("mine")
    export(texts, tmp_path / "out.csv", "csv")
    assert (tmp_path / "out.csv.part").read_text() == "mine"


def kept(path: Path, *seen: Any) -> Path:
    run = RunDirectory.create(Journal(path, observations=True), META)
    for i, one in enumerate(seen):
        run.append([step(i)], pack(one))
    run.close()
    return path


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", ".", "..", "", "a\x00b", "a\nb", "a\\b"])
def test_minari_refuses_names_that_hdf5_takes_for_paths(tmp_path: Path, name: str) -> None:
    pytest.importorskip("minari")
    run = kept(tmp_path / "run", {"a": {"b": np.zeros(2)}, "inner": {name: np.ones(2)}})
    with pytest.raises(ObservationError, match=r"cannot be the name|cannot hold"):
        export(run, tmp_path / "out", "minari")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("seen", "said"), [({"m": "a\0b"}, "with a NUL"), (np.zeros((0, 3)), "an empty array")])
def test_minari_refuses_what_hdf5_cannot_hold(tmp_path: Path, seen: Any, said: str) -> None:
    pytest.importorskip("minari")
    run = kept(tmp_path / "run", seen, seen)
    with pytest.raises(ObservationError, match=said):
        export(run, tmp_path / "out", "minari")
    assert not (tmp_path / "out").exists()


def test_minari_gives_back_texts_of_any_language_and_length(tmp_path: Path) -> None:
    minari = pytest.importorskip("minari")
    texts = ["va à l'étoile \u2028🦜", "", "x" * 70_000, "=1"]
    run = kept(tmp_path / "run", *({"mission": text, "at": np.float32([1, 2])} for text in texts))
    dataset = minari.MinariDataset(export(run, tmp_path / "out", "minari") / "data")
    (episode,) = dataset.iterate_episodes()
    assert list(episode.observations["mission"]) == [*texts, texts[-1]]
    for text in texts:
        assert dataset.observation_space.contains({"mission": text, "at": np.float32([1, 2])})


# --- Forged journals. ---


def forged(path: Path, members: int, actions: int, records: int) -> Path:
    """A journal in good order that claims sizes of arrays, and holds none."""
    store = Store.create(path, {"num_members": 1, "num_actions": 1})
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    text = meta_text({"num_members": members, "num_actions": actions})
    connection.execute("UPDATE meta SET json = ?", (text,))
    connection.execute("UPDATE head SET chain = ?", (hashlib.sha256(text.encode()).digest(),))
    connection.close()
    if records:
        store = Store.open(path)
        store.append([Record(kind="begin") for _ in range(records)])
        store.close()
    return path


def peak(call: Any) -> int:
    """Bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("members", "actions"), [(2**40, 1), (1, 2**40), (16_000, 16_000), (0, 1), (1, -1)])
def test_no_journal_is_of_sizes_that_it_cannot_hold(tmp_path: Path, members: int, actions: int) -> None:
    if min(members, actions) > 0:
        with pytest.raises(ConfigurationError, match="cannot hold the predictions"):
            Store.create(tmp_path / "new.sqlite", {"num_members": members, "num_actions": actions})
    path = forged(tmp_path / "journal.sqlite", members, actions, 0)
    for look in (summary, lambda path: export(path, tmp_path / "out", "npz")):
        with pytest.raises(JournalCorruptedError, match="cannot hold the predictions"):
            look(path)


@pytest.mark.parametrize("name", ["csv", "npz", "parquet"])
@pytest.mark.parametrize("records", [0, 50])
def test_an_export_takes_no_memory_for_arrays_that_are_not_there(tmp_path: Path, name: str, records: int) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow")
    path, out = forged(tmp_path / "journal.sqlite", 10_000, 20_000, records), tmp_path / "out"

    def tried() -> None:
        if name == "csv" or (name == "npz" and records):
            with pytest.raises(ConfigurationError, match="export to parquet"):
                export(path, out, name)
            assert not out.exists()
        else:
            export(path, out, name)

    assert peak(tried) < 30_000_000, "200 million numbers are claimed for each record"


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE observations; CREATE VIEW observations AS SELECT 1 AS call, 1 AS seq, zeroblob(1000000000) AS data",
        "DROP TABLE meta; CREATE VIEW meta AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS id, 'x' AS json FROM n",
        "CREATE TRIGGER more AFTER INSERT ON entries BEGIN DELETE FROM observations; END",
        "CREATE TABLE more (x)",
    ],
)
def test_tables_of_another_make_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "journal.sqlite"
    Store.create(path, {"num_members": N, "num_actions": A}).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(change)
    connection.close()
    for enter in (summary, Store.open, lambda path: export(path, tmp_path / "out", "csv")):
        with pytest.raises(JournalCorruptedError, match="has other tables than a journal"):
            enter(path)


def test_a_record_names_only_those_who_can_have_acted(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "journal.sqlite", META)
    with pytest.raises(ConfigurationError, match="who must be None or one of"):
        store.append([step(0, who="mallory")])
    store.close()
