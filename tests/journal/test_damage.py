"""Damaged files: every byte in turn, torn tails, missing ends. Accepted as a reported clean prefix, or refused."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import Learner, MisspecificationAlarm, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError, JournalError
from consensus_imitation.journal import _disk, _new_file
from consensus_imitation.journal.checkpoint import load_checkpoint, load_header, save_checkpoint
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.recovery import examine, mend
from consensus_imitation.journal.store import Store

from .runs import META, N, observation, small, step, tiny, told


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the disk: here files are damaged by hand."""
    monkeypatch.setattr(_new_file, "_PRAGMAS", ("journal_mode = PERSIST", "synchronous = OFF"))
    monkeypatch.setattr(_disk, "sync", lambda descriptor: None)


def content(path: Path) -> tuple[Any, list[Any], list[Any]]:
    """All that a journal says, each entry checked against the chain."""
    with reading(path) as reader:
        kept = reader.select("SELECT call, seq, data FROM observations ORDER BY call")
        return reader.meta, [told(entry) for entry in reader.entries()], kept


def sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def judge(path: Path, whole: tuple[Any, list[Any], list[Any]]) -> str:
    """What became of a damaged journal; AssertionError if something else was accepted than a reported clean prefix."""
    try:
        report = mend(path)
    except JournalError as error:
        return "refused" if str(path) in str(error) else "refused without saying where"
    meta, entries, kept = content(path)
    assert meta == whole[0]
    assert entries == whole[1][: len(entries)]
    assert kept == [row for row in whole[2] if row[1] <= len(entries)]
    if report.sound:
        assert entries == whole[1]
        return "unharmed"
    assert report.reason
    assert report.damaged is not None
    assert report.damaged.exists()
    assert any(report.reason in line for line in report.lines())
    if len(entries) == len(whole[1]):
        return "rewritten"
    assert (report.cut, report.entries) == (len(whole[1]) - len(entries), len(entries))
    assert whole[1][len(entries)][1] == entries[-1][1] + 1  # whole calls
    return "cut"


def damaged_copies(path: Path, directory: Path, patterns: Callable[[int], list[int]]) -> Iterator[Path]:
    """The journal with one byte damaged, for every byte and pattern."""
    data = path.read_bytes()
    directory.mkdir()
    copy = directory / "journal.sqlite"
    for at in range(len(data)):
        for pattern in patterns(at):
            for left in directory.iterdir():
                if left != copy:
                    left.unlink()
            copy.write_bytes(data[:at] + bytes([data[at] ^ pattern]) + data[at + 1 :])
            yield copy


def outcomes(tmp_path: Path, path: Path, patterns: Callable[[int], list[int]]) -> Counter[str]:
    whole = content(path)
    return Counter(judge(copy, whole) for copy in damaged_copies(path, tmp_path / "copy", patterns))


@pytest.mark.slow
def test_every_byte_of_a_small_journal(tmp_path: Path) -> None:
    path = tiny(tmp_path / "journal.sqlite")
    found = outcomes(tmp_path, path, lambda at: [0xFF if at % 2 else 1 << at % 7])
    assert sum(found.values()) == path.stat().st_size
    assert set(found) == {"refused", "unharmed", "cut", "rewritten"}
    assert min(found["refused"], found["unharmed"], found["cut"]) > 100, found


@pytest.mark.long
def test_every_byte_of_a_journal_as_it_is_written_by_every_pattern_of_some(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite", calls=6)
    print(outcomes(tmp_path, path, lambda at: [0xFF, 0x01, 0x80]))  # noqa: T201


def test_control_without_the_chain_a_damaged_byte_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above would see of a journal that checked nothing."""
    path = tiny(tmp_path / "journal.sqlite")
    monkeypatch.setattr("consensus_imitation.journal.reader.fits", lambda row, chain: True)
    monkeypatch.setattr("consensus_imitation.journal.recovery.fits", lambda row, chain: True)
    with pytest.raises(AssertionError):
        outcomes(tmp_path, path, lambda at: [0xFF] if at % 16 == 0 else [])


def test_every_length_of_a_truncated_file(tmp_path: Path) -> None:
    path = tiny(tmp_path / "journal.sqlite")
    data, whole = path.read_bytes(), content(path)
    found = Counter[str]()
    for length in range(0, len(data), 64):
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        (tmp_path / "copy").mkdir()
        copy = tmp_path / "copy" / "journal.sqlite"
        copy.write_bytes(data[:length])
        found[judge(copy, whole)] += 1
    assert found["refused"] > 0
    assert found["unharmed"] == 0, found


@pytest.mark.parametrize("lost", [1, 3])
def test_a_torn_tail_is_cut_back_and_reported(tmp_path: Path, lost: int) -> None:
    """The last transaction, of one call or a group, reached the disk in part: rows are missing, the head has moved."""
    path = small(tmp_path / "journal.sqlite", meta={**META, "settings": {"group": lost}})
    whole = content(path)[1]
    kept = whole[-1][1] - lost
    sql(path, f"DELETE FROM entries WHERE call > {kept}", f"DELETE FROM observations WHERE call > {kept}")
    assert not examine(path).sound
    report = mend(path)
    assert (report.calls, report.sound) == (kept, False)
    assert f"entry {report.entries + 1} of" in report.reason
    assert content(path)[1] == [entry for entry in whole if entry[1] <= kept]
    assert report.lines()[0] == f"{path}: {report.entries} entries of {report.calls} calls are whole"
    assert f"{report.cut} entries after them are lost" in report.lines()
    assert (tmp_path / "journal.sqlite.damaged-1").exists()
    assert not (tmp_path / "journal.sqlite.new").exists()
    store = Store.open(path)
    store.append([step(50)], observation(50))
    store.close()
    assert examine(path).sound


def test_half_of_a_call_is_cut_as_a_whole(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite")
    whole = content(path)[1]
    sql(path, f"DELETE FROM entries WHERE seq = {len(whole)}")
    report = mend(path)
    assert (report.entries, report.calls, report.cut) == (len(whole) - 2, whole[-3][1], 2)


def test_rows_without_their_head_are_kept(tmp_path: Path) -> None:
    """The head did not reach the disk: what is whole is kept, be it more than was acknowledged."""
    path = small(tmp_path / "journal.sqlite")
    whole = content(path)
    sql(path, "UPDATE head SET seq = 5, call = 5, query = 0, chain = (SELECT chain FROM entries WHERE seq = 5)")
    report = mend(path)
    assert (report.sound, report.cut, report.entries) == (False, 0, len(whole[1]))
    assert content(path) == whole
    for change in (
        "UPDATE head SET chain = x'00'",
        "UPDATE head SET query = 40",
        "DELETE FROM head",
        "UPDATE head SET seq = 'x'",
    ):
        sql(path, change)
        assert not examine(path).sound, change
        assert mend(path).cut == 0
        assert content(path) == whole


def test_more_than_a_crash_can_tear_is_refused_until_a_person_gives_it_up(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite")
    whole = content(path)[1]
    sql(path, "DELETE FROM entries WHERE call > 5")
    before = path.read_bytes()
    with pytest.raises(
        JournalCorruptedError, match="The 5 calls after call 5 are missing, more than a crash can tear off"
    ) as caught:
        mend(path)
    assert "mend --lose 5" in str(caught.value)
    assert path.read_bytes() == before
    with pytest.raises(JournalCorruptedError):
        mend(path, lose=4)
    report = mend(path, lose=5)
    assert report.calls == 5
    assert content(path)[1] == [entry for entry in whole if entry[1] <= 5]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE entries SET action = 1 - action WHERE seq = 5", "entry 5 .* is damaged.* but entry 6 after it is"),
        ("DELETE FROM entries WHERE seq = 5", "entry 5 .* is missing.* but entry 7 after it is whole"),
        ("UPDATE entries SET chain = x'00' WHERE seq = 5", "entry 5 .* but entry 7"),
        ("UPDATE entries SET call = 17 WHERE seq = 5", "entry 5 .* but entry 6"),
        ("UPDATE observations SET data = x'00' WHERE call = 4", "kept with call 4 .* but entry 5"),
        ("DELETE FROM observations WHERE call = 4", "of 7 observations that are kept, 1 are missing"),
        ("UPDATE meta SET json = replace(json, '0.25', '0.26')", "entry 1 .* is damaged.*Nothing can be relied on"),
        ("UPDATE entries SET draw = 0.5 WHERE seq = 1", "Nothing can be relied on"),
        ("DELETE FROM entries", "Nothing can be relied on"),
        ("DROP TABLE head", "entries may be missing"),
        ("DROP TABLE entries", "no such table"),
        ("DROP TABLE meta", "no such table"),
        ("DELETE FROM meta", "description of the run"),
        ("UPDATE meta SET json = '[1]'", "description of the run"),
    ],
)  # fmt: skip
def test_damage_in_the_middle_is_refused_with_the_place_named(tmp_path: Path, change: str, said: str) -> None:
    path = small(tmp_path / "journal.sqlite")
    sql(path, change)
    before = path.read_bytes()
    if "head" in change:
        assert said in examine(path).reason
        return
    for look in (examine, mend):
        with pytest.raises(JournalCorruptedError, match=said):
            look(path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir() if "damaged" in file.name) == []


def test_an_empty_journal_has_its_description_protected(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Store.create(path, META).close()
    assert examine(path).sound
    sql(path, "UPDATE meta SET json = replace(json, '0.25', '0.26')")
    with pytest.raises(JournalCorruptedError, match="Nothing can be relied on"):
        mend(path)


def test_a_damaged_index_is_rebuilt(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite")
    whole = content(path)
    with sqlite3.connect(path) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'settled'").fetchall()
    connection.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = bytes(4096)
    path.write_bytes(data)
    report = mend(path)
    assert "no entry is missing, but the file's own structure is damaged" in report.reason
    assert content(path) == whole
    with reading(path) as reader:
        assert reader.answered(0) is not None


def test_a_rollback_journal_of_the_damaged_file_is_not_applied_to_the_mended_one(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite")
    sql(path, "DELETE FROM entries WHERE call = (SELECT max(call) FROM entries)")
    (tmp_path / "journal.sqlite-journal").write_bytes(b"\0" * 512 + b"what was there" * 300)
    mend(path)
    assert not (tmp_path / "journal.sqlite-journal").exists()
    assert (tmp_path / "journal.sqlite.damaged-1-journal").exists()


def test_each_damaged_file_is_kept(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite")
    for number in (1, 2):
        sql(path, "DELETE FROM entries WHERE call = (SELECT max(call) FROM entries)")
        assert mend(path).damaged == tmp_path / f"journal.sqlite.damaged-{number}"


# --- checkpoints ---

LEARNER = Learner(ensembles.tabular(np.full((N, 4, 2), 0.5)), TopK(2))
STATE = LEARNER.init(jax.random.key(7))


def test_every_byte_of_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.msgpack"
    save_checkpoint(path, STATE, {"call": 3})
    data = path.read_bytes()
    for at in range(len(data)):
        for pattern in (0x01, 0xFF)[at % 2 :]:
            path.write_bytes(data[:at] + bytes([data[at] ^ pattern]) + data[at + 1 :])
            with pytest.raises(JournalCorruptedError, match=r"state\.msgpack"):
                load_header(path)
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(JournalCorruptedError):
            load_checkpoint(path, STATE)
    path.write_bytes(data + b"\0")
    with pytest.raises(JournalCorruptedError):
        load_checkpoint(path, STATE)
    path.write_bytes(data)
    assert load_checkpoint(path, STATE).header == {"call": 3}


def test_a_checkpoint_of_the_older_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b'\x82\xa4json\xd9\x20{"format": "consensus-imitation-state-1"}')
    with pytest.raises(JournalCorruptedError, match="older format: start the run anew"):
        load_checkpoint(tmp_path / "old", STATE)


def test_a_checkpoint_of_other_members_does_not_fit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "state", STATE, {})
    other = Learner(ensembles.tabular(np.full((N + 1, 4, 2), 0.5)), TopK(2)).init(jax.random.key(0))
    with pytest.raises(ConfigurationError, match="does not fit"):
        load_checkpoint(tmp_path / "state", other)


def test_all_of_a_state_comes_back_bit_by_bit(tmp_path: Path) -> None:
    learner = Learner(ensembles.tabular(np.full((N, 4, 2), 0.5)), TopK(2), alarm=MisspecificationAlarm())
    state = learner.init(jax.random.key(1), 3)
    save_checkpoint(tmp_path / "state", state, {"text": "ß", "n": None})
    like = learner.init(jax.random.key(2), 3)
    back = load_checkpoint(tmp_path / "state", like)
    assert back.header == {"text": "ß", "n": None}

    def plain(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    assert jax.tree.structure(back.state) == jax.tree.structure(state)
    for now, was in zip(jax.tree.leaves(back.state), jax.tree.leaves(state), strict=True):
        assert (now.dtype, now.shape) == (was.dtype, was.shape)
        assert np.asarray(plain(now)).tobytes() == np.asarray(plain(was)).tobytes()


def test_nothing_is_executed_when_files_are_read() -> None:
    """No module here can read pickles."""
    import consensus_imitation.journal

    for file in Path(consensus_imitation.journal.__file__).parent.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not any(word in text for word in ("pickle", "eval(", "exec(", "marshal")), file
