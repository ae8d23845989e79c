"""What was legal, in the journal: a word of the note in the table, a field of the record, a column of exports."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.demonstrators import recordings
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError
from consensus_imitation.journal import Record, Store
from consensus_imitation.journal.audit import replay
from consensus_imitation.journal.export import export
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import LOCKSTEP, Shapes, from_row, to_values

A = 10
MEMBERS = ensembles.tabular(np.random.default_rng(0).dirichlet(np.ones(A), (3, 1)))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A run with masks, and what they were."""
    path = tmp_path_factory.mktemp("masks") / "run"
    rng = np.random.default_rng(1)
    masks = rng.random((30, A)) < 0.5
    masks[:, 9] |= ~masks.any(-1)
    with ConsensusImitator(
        MEMBERS, lambda seen, action_mask: int(np.argmax(action_mask)), selection=TopK(3), seed=0,
        journal=Journal(path, observations=True),
    ) as one:  # fmt: skip
        for mask in masks:
            one.act(0, action_mask=mask)
        assert 5 < one.num_queries < 30
    return path, list(masks)


def test_each_step_says_it_and_what_is_no_step_does_not(played: Any) -> None:
    path, masks = played
    with reading(path) as reader:
        records = [entry.record for entry in reader.entries()]
        table = reader.select("SELECT note FROM entries WHERE kind IN ('act', 'ask')")
    steps = [record for record in records if record.kind in ("act", "ask")]
    np.testing.assert_array_equal([record.action_mask for record in steps], masks)
    assert all(record.note == "" for record in steps)
    assert all(record.action_mask is None for record in records if record.kind not in ("act", "ask"))
    assert {len(note) for (note,) in table} == {len("mask:") + 2 * 2}  # ten actions are two bytes


def test_the_posterior_comes_out_again(played: Any) -> None:
    assert replay(played[0]).exact


def test_csv_parquet_and_npz_have_a_column(played: Any, tmp_path: Path) -> None:
    path, masks = played
    export(path, tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] in ("act", "ask")]
    np.testing.assert_array_equal([[row[f"action_mask_{a}"] == "True" for a in range(A)] for row in rows], masks)
    export(path, tmp_path / "out.npz", "npz")
    with np.load(tmp_path / "out.npz") as arrays:
        of_steps = np.isin(arrays["kind"], ("act", "ask"))
        np.testing.assert_array_equal(arrays["action_mask"][of_steps], masks)
        assert arrays["action_mask"][~of_steps].all()
    pq = pytest.importorskip("pyarrow.parquet")
    export(path, tmp_path / "out.parquet", "parquet")
    found = [m for m in pq.read_table(tmp_path / "out.parquet")["action_mask"].to_pylist() if m is not None]
    np.testing.assert_array_equal(found, masks)


def test_minari_has_it_as_info_and_recordings_take_it_from_there(played: Any, tmp_path: Path) -> None:
    pytest.importorskip("minari")
    path, masks = played
    walk = recordings.from_minari(export(path, tmp_path / "masked-v0", "minari"))
    with reading(path) as reader:
        asked = [e.record.action_mask for e in reader.entries() if e.record.kind == "ask"]
    np.testing.assert_array_equal(walk.action_masks, asked)
    assert len(asked) < len(masks)


def test_runs_without_masks_have_no_such_column(tmp_path: Path) -> None:
    with ConsensusImitator(MEMBERS, lambda seen: 0, selection=TopK(3), seed=0, journal=tmp_path / "run") as one:
        one.act(0)
    export(tmp_path / "run", tmp_path / "out.csv", "csv")
    assert "action_mask" not in (tmp_path / "out.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("note", ["", LOCKSTEP, "two words", "mask: in the middle"])
def test_a_note_and_a_mask_come_back(note: str) -> None:
    shapes = Shapes(2, A)
    for mask in (None, np.arange(A) % 3 == 0):
        values = to_values(Record(kind="act", note=note, action_mask=mask), shapes)
        record = from_row((1, 1, 1, "", *values, b""), shapes).record
        assert record.note == note
        np.testing.assert_array_equal(record.action_mask, mask)


def test_what_is_no_mask_is_refused_or_damaged(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "journal.sqlite", {"num_members": 2, "num_actions": A})
    for wrong in (np.ones(A - 1, bool), np.ones(A, int)):
        with pytest.raises(ConfigurationError, match="action_mask"):
            store.append([Record(kind="act", action_mask=wrong)])
    with pytest.raises(ConfigurationError, match="last word"):
        store.append([Record(kind="act", note="mask:ffff")])
    store.close()
    values = list(to_values(Record(kind="act", action_mask=np.ones(A, bool)), Shapes(2, A)))
    for text in ("mask:ff", "mask:zz", "mask:"):
        values[-2] = text
        with pytest.raises(JournalCorruptedError, match="entry 1"):
            from_row((1, 1, 1, "", *values, b""), Shapes(2, A))
