"""Journals of actions that cannot be listed: what is kept of them, shown, verified and refused; -0.0 in any journal."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core._packing import pack, unpack
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError
from consensus_imitation.journal._new_file import write_new
from consensus_imitation.journal.audit import replay
from consensus_imitation.journal.export import FORMATS, export
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import ROW, Record, Shapes, from_row, link, to_values
from consensus_imitation.journal.recovery import examine
from consensus_imitation.journal.show import CALL_COLUMNS, last_calls, summary
from consensus_imitation.journal.store import Store
from tests.imitator.any_action.journals import B, again, kept, make
from tests.imitator.any_action.test_imitator import until_query

from .test_export import outcome_of

N = 3
META = {"num_members": N, "actions": "any", "num_envs": None, "prior": [0.5, 0.25, 0.25]}
ANY = Shapes(N, None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    kept(path, B)
    return path


@pytest.fixture
def run_dir(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


# --- -0.0, which SQLite does not keep in a column of numbers ---


def test_sqlite_itself_forgets_the_sign_of_zero(tmp_path: Path) -> None:
    """Why: were it kept, nothing would have to be done about it."""
    connection = sqlite3.connect(tmp_path / "some.sqlite")
    connection.execute("CREATE TABLE some (number REAL, bytes BLOB)")
    connection.execute("INSERT INTO some VALUES (?, ?)", (-0.0, np.float32(-0.0).tobytes()))
    ((number, data),) = connection.execute("SELECT * FROM some").fetchall()
    assert not np.signbit(number)
    assert np.signbit(np.frombuffer(data, np.float32)[0])
    connection.close()


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("column", ["query_prob", "draw", "latency", "time"])
def test_a_record_with_negative_zero_can_be_read_again(column: str, listed: bool, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    store = Store.create(path, {**META, **({"num_actions": 2, "actions": "numbered"} if listed else {})})
    store.append([Record(kind="begin", **{column: -0.0})])
    store.append([Record(kind="begin")])
    assert next(getattr(entry.record, column) for entry in store.entries()) == 0.0
    store.close()
    assert examine(path).sound


def test_a_run_whose_probability_of_asking_is_negative_zero_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of numbered actions: whatever the rule gives, its journal is whole."""
    from consensus_imitation.imitator import _records

    real = _records.unpack
    monkeypatch.setattr(_records, "unpack", lambda *packed: real(*packed)._replace(query_prob=np.float32(-0.0)))
    members = ensembles.tabular(np.full((2, 1, 2), 0.5))
    with ConsensusImitator(members, lambda seen: 0, selection=TopK(2), seed=0, journal=tmp_path / "run") as one:
        for _ in range(5):
            one.act(0)
    monkeypatch.undo()
    with ConsensusImitator.resume(tmp_path / "run", members, selection=TopK(2)) as two:
        assert two.num_steps == 5
    assert examine(tmp_path / "run" / "journal.sqlite").sound


def test_in_arrays_and_actions_every_bit_is_kept(tmp_path: Path) -> None:
    payload = np.array([0x80000000, 0x7FC01234, 0xFF800000], np.uint32).view(np.float32)
    action = {"a": np.float64(-0.0), "b": payload[:2], "c": np.array(-0.0, np.float16)}
    path = tmp_path / "journal.sqlite"
    store = Store.create(path, META)
    store.append([Record(kind="act", log_probs=payload, action=pack(action, "the action"))])
    store.close()
    with reading(path) as reader:
        (entry,) = reader.entries()
    assert entry.record.log_probs.tobytes() == payload.tobytes()
    back = unpack(entry.record.action)
    for name, part in action.items():
        assert np.asarray(back[name]).tobytes() == np.asarray(part).tobytes()
    assert np.signbit(back["a"])


# --- what a record of such a run may hold ---


@pytest.mark.parametrize("action", [1, np.int64(2), 0.5, "left"])
def test_a_number_is_no_action_of_such_a_run(action: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"record\.action must be the bytes"):
        to_values(Record(kind="act", action=action), ANY)


def test_bytes_are_no_action_of_a_run_of_numbered_ones() -> None:
    for said in (b"left", "1"):
        with pytest.raises(ConfigurationError, match="must be the number of an action"):
            to_values(Record(kind="act", action=said), Shapes(N, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("listed", [True, False])
def test_an_action_of_the_other_kind_is_not_read(listed: bool) -> None:
    shapes = Shapes(N, 2) if listed else ANY
    values = list(to_values(Record(kind="act", action=1 if listed else pack(1.0)), shapes))
    from_row((1, 1, 1, "", *values, b""), shapes)
    values[ROW.index("action") - 4] = b"x" if listed else 1
    with pytest.raises(JournalCorruptedError, match="of another kind"):
        from_row((1, 1, 1, "", *values, b""), shapes)


def test_predictions_have_one_number_a_member() -> None:
    to_values(Record(kind="act", log_probs=np.zeros(N), packed=np.zeros(3 + 2 * N)), ANY)
    for wrong in ({"log_probs": np.zeros((N, 2))}, {"packed": np.zeros(7)}, {"min_probs": np.zeros(2)}):
        with pytest.raises(ConfigurationError, match="must have the shape"):
            to_values(Record(kind="act", **wrong), ANY)


# --- the command ---


def test_verify_works_the_posterior_out_once_more(run_dir: Path) -> None:
    outcome = outcome_of("journal", "verify", run_dir)
    assert outcome.sound, outcome.lines
    assert "all of it" in outcome.lines[0]
    again_ = replay(run_dir)
    assert again_.exact
    assert again_.answers > 10


def forge(run_dir: Path, kind: str, column: str, change: Any) -> None:
    """One column of the third entry of a kind is another, with checksums that fit from there on."""
    file = run_dir / "journal.sqlite"
    with reading(file) as reader:
        head, chain, rows, seen = reader.head(), reader.first_chain, [], 0
        for row in reader.rows(0, head.seq):
            values = list(row[:-1])
            seen += values[ROW.index("kind")] == kind
            if seen == 3 and values[ROW.index("kind")] == kind:
                values[ROW.index(column)] = change(values[ROW.index(column)])
                seen += 1
            chain = link(chain, values)
            rows.append((*values, chain))
        text = reader.select("SELECT json FROM meta")[0][0]
        observations = reader.select("SELECT call, seq, data FROM observations")
    head = type(head)(head.seq, head.call, head.query, chain, head.observations)
    write_new(file, text, head, rows, observations)


def test_verify_notices_a_density_that_does_not_give_the_posterior(run_dir: Path) -> None:
    """A control: the checksums fit, and the numbers do not."""

    def higher(data: bytes) -> bytes:
        return np.add(np.frombuffer(data, "<f4"), [0, 2, 0], dtype="<f4").tobytes()

    forge(run_dir, "answer", "log_probs", higher)
    assert examine(run_dir / "journal.sqlite").sound
    outcome = outcome_of("journal", "verify", run_dir)
    assert not outcome.sound
    assert any("first differs" in line for line in outcome.lines)


def test_verify_says_what_is_damaged(run_dir: Path) -> None:
    connection = sqlite3.connect(run_dir / "journal.sqlite", isolation_level=None)
    connection.execute("UPDATE entries SET action = x'00' WHERE seq = 9")
    connection.close()
    outcome = outcome_of("journal", "verify", run_dir)
    assert not outcome.sound
    assert "entry 9" in outcome.lines[0]


def test_show_prints_the_actions(run_dir: Path) -> None:
    said = dict(summary(run_dir))
    assert said["members, actions"] == "3, not listed"
    assert said["environments"] == str(B)
    rows, alarms = last_calls(run_dir, 200)
    actions = [row[CALL_COLUMNS.index("action")] for row in rows]
    assert any(action.startswith("[") for action in actions)
    assert any("no member explains" in alarm for alarm in alarms)
    outcome = outcome_of("journal", "show", run_dir, "--last", 30)
    assert outcome.sound


def test_show_prints_nested_actions_short(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "journal.sqlite", META)
    nested = {"arm": np.float32(0.12345678), "long": np.zeros(10_000), "\x1b[31m": np.int8(3)}
    store.append([Record(kind="act", action=pack(nested))])
    store.close()
    ((*_, cell, _),), _ = last_calls(tmp_path / "journal.sqlite", 1)
    assert "0.1235" in cell or "0.12345678" in cell
    assert len(cell) <= 63
    assert "\x1b" not in cell


@pytest.mark.parametrize("name", FORMATS)
def test_export_says_that_it_cannot(name: str, run_dir: Path, tmp_path: Path) -> None:
    if name in ("minari", "parquet"):
        pytest.importorskip({"minari": "minari", "parquet": "pyarrow"}[name])
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        export(run_dir, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_mend_works_as_for_any_run(run_dir: Path) -> None:
    connection = sqlite3.connect(run_dir / "journal.sqlite", isolation_level=None)
    last = connection.execute("SELECT max(seq) FROM entries").fetchone()[0]
    connection.execute("DELETE FROM entries WHERE seq = ?", (last,))
    connection.close()
    assert outcome_of("journal", "mend", run_dir).lines[-1].startswith("it was cut back to them")
    assert examine(run_dir / "journal.sqlite").entries == last - 1


def test_a_torn_last_record_is_cut_back_and_what_it_said_is_asked_again(tmp_path: Path) -> None:
    with make(tmp_path / "run") as one:
        decision = until_query(one)
        one.answer(decision, [-1.0, -0.0])
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        checkpoint.unlink()
    connection = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
    connection.execute("DELETE FROM entries WHERE kind = 'answer'")
    connection.close()
    with again(tmp_path / "run") as two:
        assert any("is missing" in line for line in two.repairs)
        assert [waiting.query for waiting in two.pending] == [decision.query]
        assert two.num_queries == 0


def test_verify_notices_that_a_question_is_missing(run_dir: Path, tmp_path: Path) -> None:
    """The densities of the answers alone would give the same posterior, and say nothing of who asked."""
    with reading(run_dir) as journal:
        meta, records = journal.meta, [entry.record for entry in journal.entries()]

    def replayed(kept: list[Record], file: Path) -> int:
        store = Store.create(file, meta)
        for record in kept:
            store.append([record])
        store.close()
        return replay(file).answers

    assert replayed(records, tmp_path / "whole.sqlite") > 0
    with pytest.raises(JournalCorruptedError, match="an answer without its question"):
        replayed([record for record in records if record.kind != "ask"], tmp_path / "cut.sqlite")
