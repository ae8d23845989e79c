"""A run's directory: settings, checkpoints, and which of them may be gone on from."""

import shutil
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import Learner, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError, JournalError
from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.record import Record

from .runs import META, observation, step

LEARNER = Learner(ensembles.tabular(np.full((3, 4, 2), 0.5)), TopK(2))
STATE = LEARNER.init(jax.random.key(0))


def started(path: Path, calls: int = 0, **settings: Any) -> RunDirectory:
    directory = RunDirectory.create(Journal(path, **settings), META)
    act(directory, calls)
    return directory


def act(directory: RunDirectory, calls: int, first: int = 0) -> None:
    for i in range(first, first + calls):
        directory.append([step(i)], observation(i))


def state(steps: int) -> Any:
    return STATE.replace(stream=STATE.stream.replace(step=np.int32(steps)))


def test_a_run_begins_once(tmp_path: Path) -> None:
    one = started(tmp_path / "a" / "run", 2)
    one.checkpoint(STATE, {})
    assert len(one.run) == 32
    assert one.store.meta["run"] == one.run
    one.close()
    with pytest.raises(JournalError, match=r"holds a run already: go on with it by ConsensusImitator.resume\(.*run"):
        RunDirectory.create(Journal(tmp_path / "a" / "run"), META)
    again = RunDirectory.open(tmp_path / "a" / "run")
    assert again.run == one.run
    assert again.store.last_call == 2
    assert again.report.sound
    again.close()
    other = started(tmp_path / "other")
    assert other.run != one.run
    other.close()


@pytest.mark.parametrize("what", ["nothing", "a file", "another directory"])
def test_where_there_is_no_run(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run"
    if what == "a file":
        path.write_text("text")
    if what == "another directory":
        path.mkdir()
    with pytest.raises(JournalError, match="holds no run"):
        RunDirectory.open(path)
    assert not path.is_dir() or list(path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(JournalError, match="cannot be made"):
        started(tmp_path / "file" / "run")


def test_a_failed_start_lets_go_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        RunDirectory.create(Journal(tmp_path / "run"), {"num_members": 0})
    started(tmp_path / "run").close()


def test_a_start_that_was_cut_off_before_the_first_checkpoint_is_made_again(tmp_path: Path) -> None:
    """Nothing was given out, and there is nothing to go on from. One step, or a damaged file, and it is left alone."""
    one = RunDirectory.create(Journal(tmp_path / "run"), META)
    one.append([Record(kind="open")])
    one.close()
    other = RunDirectory.create(Journal(tmp_path / "run"), META)
    assert other.run != one.run
    assert other.store.num_entries == 0
    act(other, 1)
    other.close()
    with pytest.raises(JournalError, match="holds a run already"):
        RunDirectory.create(Journal(tmp_path / "run"), META)
    (tmp_path / "run" / "journal.sqlite").write_bytes(b"damaged" * 1000)
    with pytest.raises(JournalError, match="holds a run already"):
        RunDirectory.create(Journal(tmp_path / "run"), META)


def test_directories_are_their_owners_alone(tmp_path: Path) -> None:
    started(tmp_path / "run").close()
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize("settings", [{"group": 0}, {"group": 1.5}, {"checkpoint_every": 0}, {"group": True}])
def test_settings_that_make_no_sense(settings: Any) -> None:
    with pytest.raises(ConfigurationError, match="of a journal must be an integer of at least 1"):
        Journal("run", **settings)


def test_settings_last_unless_others_are_given(tmp_path: Path) -> None:
    started(tmp_path / "run", group=7, checkpoint_every=11, observations=True).close()
    again = RunDirectory.open(str(tmp_path / "run"))
    assert (again.settings.group, again.settings.checkpoint_every, again.settings.observations) == (7, 11, True)
    assert again.store.group == 7
    again.close()
    again = RunDirectory.open(Journal(tmp_path / "run", group=2))
    assert (again.settings.group, again.store.group) == (2, 2)
    again.close()


def test_two_checkpoints_are_kept_with_what_is_needed_to_go_on(tmp_path: Path) -> None:
    directory = started(tmp_path / "run", checkpoint_every=3)
    due: list[bool] = []
    for i in range(4):
        act(directory, 2, 3 * i)
        due.append(directory.checkpoint_is_due)
        act(directory, 1, 3 * i + 2)
        due.append(directory.checkpoint_is_due)
        directory.checkpoint(state(i), {"i": i})
        due.append(directory.checkpoint_is_due)
    assert due == [False, True, False] * 4
    assert [one.header["i"] for one in directory.checkpoints(STATE)] == [3, 2]
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2
    kept = [call for call in range(1, 13) if directory.store.observation_of(call) is not None]
    assert kept == [10, 11, 12]
    directory.close()
    again = RunDirectory.open(tmp_path / "run")
    found = list(again.checkpoints(STATE))
    assert [(one.header["call"], int(one.state.stream.step)) for one in found] == [(12, 3), (9, 2)]
    assert again.report.skipped == ()
    again.close()


def test_before_the_second_checkpoint_nothing_is_forgotten(tmp_path: Path) -> None:
    """The only one may be damaged, and the run then goes on from its beginning."""
    directory = started(tmp_path / "run", 3)
    directory.checkpoint(STATE, {})
    assert all(directory.store.observation_of(call) for call in (1, 2, 3))
    directory.close()


def test_observations_are_kept_for_good_if_asked_for(tmp_path: Path) -> None:
    directory = started(tmp_path / "run", observations=True)
    for i in range(3):
        act(directory, 2, 2 * i)
        directory.checkpoint(STATE, {})
    assert all(directory.store.observation_of(call) == observation(call - 1) for call in range(1, 7))
    directory.close()


def test_what_a_waiting_query_is_about_is_kept(tmp_path: Path) -> None:
    directory = started(tmp_path / "run")
    asked = directory.append([step(0, "ask", query=0)], observation(0))
    for i in range(3):
        act(directory, 1, i)
        directory.checkpoint(STATE, {}, waiting=[0])
    assert directory.store.observation_of(asked) == observation(0)
    assert directory.store.observation_of(asked + 1) is None
    directory.close()
    again = RunDirectory.open(tmp_path / "run")
    act(again, 1, 5)
    again.checkpoint(STATE, {}, waiting=[0])
    act(again, 1, 6)
    again.checkpoint(STATE, {})
    act(again, 1, 7)
    assert again.store.observation_of(asked) == observation(0)  # the older of the two still needs it
    again.checkpoint(STATE, {})
    assert again.store.observation_of(asked) is None
    again.close()


def test_a_damaged_checkpoint_is_skipped_and_named(tmp_path: Path) -> None:
    directory = started(tmp_path / "run")
    for i in range(2):
        act(directory, 1, i)
        directory.checkpoint(state(i), {"i": i})
    directory.close()
    newest = tmp_path / "run" / "checkpoints" / "000000000002.msgpack"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    again = RunDirectory.open(tmp_path / "run")
    assert [one.header["i"] for one in again.checkpoints(STATE)] == [0]
    assert any("000000000002.msgpack is damaged" in line for line in again.report.lines())
    again.checkpoint(state(1), {"i": 1})  # in the place of the damaged one
    assert [one.header["i"] for one in again.checkpoints(STATE)] == [1, 0]
    again.close()


def test_a_checkpoint_of_calls_that_were_lost_is_never_used(tmp_path: Path) -> None:
    """The journal is cut back behind a checkpoint, and goes on past its number: the state is of another history."""
    directory = started(tmp_path / "run", 1)
    directory.checkpoint(state(0), {"i": 0})
    act(directory, 1, 1)
    directory.checkpoint(state(1), {"i": 1})
    directory.close()
    connection = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
    connection.execute("DELETE FROM entries WHERE call = 2")
    connection.close()
    again = RunDirectory.open(tmp_path / "run")
    assert (again.report.sound, again.report.cut) == (False, 1)
    assert [one.header["i"] for one in again.checkpoints(STATE)] == [0]
    assert any("is of call 2, which the journal does not hold" in line for line in again.report.lines())
    act(again, 3, 5)
    again.close()
    once_more = RunDirectory.open(tmp_path / "run")
    assert [one.header["i"] for one in once_more.checkpoints(STATE)] == [0]
    once_more.close()


def test_a_checkpoint_of_another_run_is_never_used(tmp_path: Path) -> None:
    for name in ("one", "other"):
        directory = started(tmp_path / name, 1)
        directory.checkpoint(STATE, {})
        directory.close()
    file = "beginning.msgpack"
    shutil.copy(tmp_path / "one" / file, tmp_path / "other" / file)
    again = RunDirectory.open(tmp_path / "other")
    assert list(again.checkpoints(STATE)) == []
    assert len(again.report.skipped) == 1
    again.close()


def test_what_was_studied_counts_once_the_journal_says_so(tmp_path: Path) -> None:
    """The checkpoint of what it taught is written first; without the record it is not used."""
    directory = started(tmp_path / "run", 1)
    directory.checkpoint(state(0), {"i": 0})
    directory.checkpoint(state(1), {"i": 1}, ahead=True)
    directory.close()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    for name, kind, found in (("run", "study", [1, 0]), ("copy", "open", [0])):
        again = RunDirectory.open(tmp_path / name)
        assert [one.header["i"] for one in again.checkpoints(STATE)] == [0]
        again.append([Record(kind=kind)])  # type: ignore[arg-type]
        again.close()
        once_more = RunDirectory.open(tmp_path / name)
        assert [one.header["i"] for one in once_more.checkpoints(STATE)] == found
        once_more.close()


def test_a_checkpoint_of_other_members_is_refused(tmp_path: Path) -> None:
    directory = started(tmp_path / "run", 1)
    directory.checkpoint(STATE, {})
    other = Learner(ensembles.tabular(np.full((4, 4, 2), 0.5)), TopK(2)).init(jax.random.key(0))
    with pytest.raises(ConfigurationError, match="does not fit"):
        next(directory.checkpoints(other))
    directory.close()


def test_damage_in_the_middle_leaves_everything_and_frees_the_lock(tmp_path: Path) -> None:
    started(tmp_path / "run", 5).close()
    connection = sqlite3.connect(tmp_path / "run" / "journal.sqlite", isolation_level=None)
    connection.execute("UPDATE entries SET action = 1 - action WHERE seq = 3")
    connection.close()
    for _ in range(2):
        with pytest.raises(JournalCorruptedError, match="entry 3"):
            RunDirectory.open(tmp_path / "run")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    directory = started(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "notes.txt").write_text("mine")
    for i in range(3):
        act(directory, 1, i)
        directory.checkpoint(STATE, {})
    directory.close()
    assert (tmp_path / "run" / "checkpoints" / "notes.txt").read_text() == "mine"
    assert replace(directory.report, cut=0) == directory.report
