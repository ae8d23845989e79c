"""Exports say what the journal says, and show fits the screen."""

import csv
import io
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core._packing import pack
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError, JournalError, ObservationError
from consensus_imitation.experiments.command import Outcome
from consensus_imitation.experiments.printing import print_table
from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.export import FORMATS, export
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import COLUMNS, Record
from consensus_imitation.journal.recovery import examine
from consensus_imitation.journal.show import CALL_COLUMNS, last_calls, summary
from tests.cli.command import outcome_of

from .runs import META, A, N, small, step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return small(tmp_path / "journal.sqlite")


def entries_of(path: Path) -> list[Any]:
    with reading(path) as reader:
        return list(reader.entries())


def test_csv_has_a_row_for_each_entry_and_a_column_for_each_number(path: Path, tmp_path: Path) -> None:
    export(path, tmp_path / "out.csv", "csv")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = entries_of(path)
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        record = entry.record
        assert (int(row["seq"]), int(row["call"]), row["kind"], row["who"]) == (
            entry.seq, entry.call, record.kind, record.who or "",
        )  # fmt: skip
        assert json.loads(row["alarms"]) == list(record.alarms)
        assert row["draw"] == ("" if record.draw is None else repr(record.draw))
        for n in range(N):
            for a in range(A):
                cell = row[f"log_probs_{n}_{a}"]
                assert cell == "" if record.log_probs is None else np.float32(cell) == record.log_probs[n, a]
            for word, name in enumerate(("log_weight", "residual")):
                cell = row[f"{name}_after_{n}"]
                assert cell == "" if record.after is None else np.float32(cell) == record.after[word, n]


def test_npz_holds_arrays_and_no_objects(path: Path, tmp_path: Path) -> None:
    export(path, tmp_path / "out.npz", "npz")
    entries = entries_of(path)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        arrays = dict(found)
    assert set(COLUMNS) - {"packed"} <= set(arrays)
    for i, entry in enumerate(entries):
        record = entry.record
        assert arrays["kind"][i] == record.kind
        assert arrays["who"][i] == (record.who or "")
        assert arrays["action"][i] == (-1 if record.action is None else record.action)
        assert arrays["observation"][i].decode() == record.observation
        np.testing.assert_array_equal(
            arrays["query_prob"][i], np.nan if record.query_prob is None else record.query_prob
        )
        np.testing.assert_array_equal(
            arrays["before"][i], np.full((2, N), np.nan) if record.before is None else record.before
        )
    alarms = {int(i): tuple(json.loads(text)) for i, text in zip(arrays["alarms_row"], arrays["alarms"], strict=True)}
    assert alarms == {i: entry.record.alarms for i, entry in enumerate(entries) if entry.record.alarms}


def test_parquet_holds_the_same(path: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(path, tmp_path / "out.parquet", "parquet")
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for row, entry in zip(rows, entries_of(path), strict=True):
        record = entry.record
        for name in ("kind", "step", "query", "who", "action", "draw", "latency", "note"):
            assert row[name] == getattr(record, name), name
        assert tuple(row["alarms"]) == record.alarms
        for name in ("log_probs", "selected", "min_probs", "after"):
            value = getattr(record, name)
            assert row[name] is None if value is None else np.array_equal(np.array(row[name], value.dtype), value)


def test_an_empty_journal_is_exported(tmp_path: Path) -> None:
    directory = RunDirectory.create(Journal(tmp_path / "run"), META)
    directory.close()
    export(tmp_path / "run", tmp_path / "a.csv", "csv")
    export(tmp_path / "run", tmp_path / "a.npz", "npz")
    with np.load(tmp_path / "a.npz") as found:
        assert found["log_probs"].shape == (0, N, A)
    pytest.importorskip("minari")
    with pytest.raises(JournalError, match="nothing to export"):
        export(tmp_path / "run", tmp_path / "d", "minari")


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_journal_leaves_no_export(tmp_path: Path, name: str) -> None:
    if name in ("parquet", "minari"):
        pytest.importorskip("pyarrow" if name == "parquet" else "minari")
    path = small(tmp_path / "journal.sqlite")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE entries SET action = 1 - action WHERE seq = 9")
    connection.close()
    before = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(JournalCorruptedError, match="entry 9"):
        export(path, tmp_path / "out", name)
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_what_cannot_be_exported(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="choose one of csv, parquet, npz, minari"):
        export(path, tmp_path / "out", "xlsx")
    with pytest.raises(ConfigurationError, match="is there already"):
        export(path, path, "csv")
    with pytest.raises(JournalError, match="no journal"):
        export(tmp_path / "nowhere", tmp_path / "out", "csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"consensus_imitation\[parquet\]"):
        export(path, tmp_path / "out", "parquet")
    monkeypatch.setattr("consensus_imitation.journal.export_minari.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"consensus_imitation\[minari\]"):
        export(path, tmp_path / "out", "minari")
    assert not (tmp_path / "out").exists()


# --- Minari ---


def acted(directory: RunDirectory, env: int | None, i: int, seen: Any, kind: Any = "act", **more: Any) -> None:
    directory.append([step(i, kind, env=env, **more)], pack(seen))


def test_minari_reads_episodes_flagged_who_acted(tmp_path: Path) -> None:
    """Two environments, episodes that overlap, a query that waits, one that was withdrawn, an unanswered one."""
    minari = pytest.importorskip("minari")
    run = RunDirectory.create(Journal(tmp_path / "run", observations=True), META)

    def seen(i: int) -> Any:
        return {"at": np.array([i, 0.5], np.float32), "mission": f"go {i}", "inner": (i, np.uint8([i, i]))}

    acted(run, 0, 0, seen(0))
    acted(run, 1, 0, seen(100))
    acted(run, 0, 1, seen(1), "ask", query=0, who=None, action=None)
    acted(run, 1, 1, seen(101), "ask", query=1, who=None, action=None)
    run.append([step(1, "answer", env=1, query=1, who="demonstrator", action=1)])
    run.append([step(1, "answer", env=0, query=0, who="demonstrator", action=0)])
    run.append([Record(kind="begin", env=0)])
    acted(run, 0, 2, seen(2), "ask", query=2)
    run.append([Record(kind="withdraw", query=2)])
    acted(run, 0, 2, seen(2), "ask", query=3)
    run.append([step(2, "safe", env=0, query=3, who="safe action", action=1)])
    run.append([Record(kind="begin")])
    acted(run, 1, 2, seen(102), "ask", query=4)
    run.close()

    out = export(tmp_path / "run", tmp_path / "datasets" / "imitation-v0", "minari")
    dataset = minari.MinariDataset(out / "data")
    episodes = list(dataset.iterate_episodes())
    found = [
        [(int(mission.removeprefix("go ")), int(action)) for mission, action in zip(
            episode.observations["mission"], [*episode.actions, -1], strict=True)]
        for episode in episodes
    ]  # fmt: skip
    first, later = int(step(0).action or 0), int(step(0).action or 0)
    assert found == [[(0, first), (1, 0), (1, -1)], [(2, 1), (2, -1)], [(100, later), (101, 1), (101, -1)]]
    assert [episode.infos["who"].tolist() for episode in episodes] == [[0, 1, -1], [2, -1], [0, 1, -1]]
    assert all(np.isnan(episode.rewards).all() for episode in episodes)
    assert [episode.truncations.tolist() for episode in episodes] == [[False, True], [True], [False, True]]
    assert not any(episode.terminations.any() for episode in episodes)
    np.testing.assert_array_equal(episodes[0].observations["at"], np.float32([[0, 0.5], [1, 0.5], [1, 0.5]]))
    np.testing.assert_array_equal(episodes[0].observations["inner"][1], np.uint8([[0, 0], [1, 1], [1, 1]]))
    assert dataset.action_space.n == A
    assert "who" in dataset.storage.metadata["description"]


@pytest.mark.parametrize("num_envs", [None, 2])
def test_minari_of_a_run(tmp_path: Path, num_envs: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    probs = np.random.default_rng(0).dirichlet(np.ones(4), (3, 6))
    taken: list[Any] = []
    imitator = ConsensusImitator(
        ensembles.tabular(probs), lambda observation: int(observation) % 4, selection=TopK(2), seed=0,
        num_envs=num_envs, journal=Journal(tmp_path / "run", observations=True, group=50),
    )  # fmt: skip
    for i in range(20):
        seen = np.int32(i % 6) if num_envs is None else np.array([i % 6, (i + 1) % 6], np.int32)
        taken.append((seen, imitator.act(seen)))
        if i == 9:
            imitator.begin_episode()
    imitator.close()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    export(tmp_path / "run", tmp_path / "datasets" / "one-v0", "minari")
    dataset = minari.load_dataset("one-v0")
    episodes = list(dataset.iterate_episodes())
    assert [len(episode) for episode in episodes] == [10] * 2 * (num_envs or 1)
    rows = [()] if num_envs is None else range(num_envs)
    parts = (taken[:10], taken[10:])
    ours = [
        (int(seen[b]), int(np.asarray(one.action)[b]), bool(np.asarray(one.queried)[b]))
        for part in parts
        for b in rows
        for seen, one in part
    ]
    theirs = [
        (int(o), int(a), bool(w == 1))
        for episode in episodes
        for o, a, w in zip(episode.observations[:-1], episode.actions, episode.infos["who"][:-1], strict=True)
    ]
    assert theirs == ours
    assert 0 < sum(one[2] for one in ours) < len(ours)


def test_minari_needs_all_observations_and_of_one_kind(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    run = RunDirectory.create(Journal(tmp_path / "run"), META)
    acted(run, None, 0, 1)
    run.append([step(1)])
    run.close()
    with pytest.raises(JournalError, match=r"step 1 \(call 2\) was not kept.*observations=True"):
        export(tmp_path / "run", tmp_path / "out", "minari")
    for name, (one, other, said) in {
        "shapes": (np.zeros(2), np.zeros(3), "of one kind"),
        "none": (None, None, "which Minari does not hold"),
    }.items():
        run = RunDirectory.create(Journal(tmp_path / name), META)
        acted(run, None, 0, one)
        acted(run, None, 1, other)
        run.close()
        with pytest.raises(ObservationError, match=said):
            export(tmp_path / name, tmp_path / "out", "minari")
    assert not (tmp_path / "out").exists()


# --- show and verify ---


@pytest.mark.parametrize("name", FORMATS)
def test_a_process_that_ends_before_the_export_does_leaves_nothing_there(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name in ("parquet", "minari"):
        pytest.importorskip("pyarrow" if name == "parquet" else "minari")

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        for method in ("replace", "rename"):
            patch.setattr(Path, method, killed)
        # A process that is killed does not tidy up.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        patch.setattr("shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            export(run_dir, tmp_path / "out", name)
    assert not (tmp_path / "out").exists()
    assert export(run_dir, tmp_path / "out", name).exists()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    probs = np.random.default_rng(0).dirichlet(np.ones(4), (12, 6))

    def sometimes(observation: int) -> int:
        if observation == 3:
            raise TimeoutError("gone for lunch")
        return observation % 4

    imitator = ConsensusImitator(
        ensembles.tabular(probs), sometimes, selection=TopK(3), seed=0, journal=tmp_path / "run",
        patience=Patience(then=SafeAction(0)),
    )  # fmt: skip
    for i in range(30):
        imitator.act(i % 6)
    imitator.close()
    return tmp_path / "run"


def printed(outcome: Outcome, width: int) -> str:
    """As the program prints it."""
    file = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        for table in outcome.tables:
            print_table(table, file)
    return file.getvalue()


def test_show_says_what_happened_in_80_columns(run_dir: Path) -> None:
    said = dict(summary(run_dir))
    with reading(run_dir) as reader:
        kinds = [entry.record.kind for entry in reader.entries()]
    assert said["own steps"] == str(kinds.count("act"))
    assert said["asked"] == str(kinds.count("ask"))
    assert said["answered"] == str(kinds.count("answer")) != "0"
    assert said["safe action"] == str(kinds.count("safe")) != "0"
    assert said["queries that wait"] == "none"
    rows, _ = last_calls(run_dir, 7)
    assert [row[3] for row in rows] == kinds[-7:]
    assert all(len(row) == len(CALL_COLUMNS) for row in rows)
    outcome = outcome_of("journal", "show", run_dir, "--last", 7)
    text = printed(outcome, 80)
    assert max(map(len, text.splitlines())) <= 80
    for row in rows:  # nothing is folded
        assert any(all(cell in line for cell in row) for line in text.splitlines()), row
    with pytest.raises(ValueError, match="--last must be at least 1"):
        outcome_of("journal", "show", run_dir, "--last", 0)


def test_show_names_the_queries_that_wait(path: Path) -> None:
    assert dict(summary(path))["queries that wait"] == "none"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("DELETE FROM entries WHERE kind = 'answer' AND query = 1")
    connection.close()
    assert dict(summary(path))["queries that wait"] == "1"


def test_verify_is_content_or_says_what_is_wrong(run_dir: Path) -> None:
    outcome = outcome_of("journal", "verify", run_dir)
    assert outcome.sound
    assert "all of it" in outcome.lines[0]
    assert "times the same bits" in outcome.lines[1]
    connection = sqlite3.connect(run_dir / "journal.sqlite", isolation_level=None)
    connection.execute("DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)")
    outcome = outcome_of("journal", "verify", run_dir / "journal.sqlite")
    assert not outcome.sound
    assert any("is missing" in line for line in outcome.lines)
    assert not (run_dir / "journal.sqlite.damaged-1").exists()  # looking changes nothing
    connection.execute("UPDATE entries SET step = 77 WHERE seq = 9")
    connection.close()
    outcome = outcome_of("journal", "verify", run_dir)
    assert not outcome.sound
    assert "entry 9" in outcome.lines[0]


def test_mend_gives_up_what_it_is_told_to(run_dir: Path) -> None:
    connection = sqlite3.connect(run_dir / "journal.sqlite", isolation_level=None)
    connection.execute("DELETE FROM entries WHERE seq > 30")
    connection.execute("DELETE FROM observations WHERE seq > 30")
    connection.close()
    with pytest.raises(JournalCorruptedError, match="mend --lose"):
        outcome_of("journal", "mend", run_dir)
    assert outcome_of("journal", "mend", run_dir, "--lose", 1000).lines[-1].startswith("it was cut back to them")
    assert examine(run_dir / "journal.sqlite").entries == 30
    with pytest.raises(ValueError, match="--lose must not be negative"):
        outcome_of("journal", "mend", run_dir, "--lose", -1)


@pytest.mark.parametrize("name", ["csv", "npz"])
def test_the_command_exports(run_dir: Path, tmp_path: Path, name: str) -> None:
    outcome = outcome_of("journal", "export", run_dir, "--format", name, "--out", tmp_path / "out")
    assert outcome.lines == [f"written: {tmp_path / 'out'}"]
    assert (tmp_path / "out").stat().st_size > 1000
