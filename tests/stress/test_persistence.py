"""Every call that changes the disk fails once: nothing is given out, nothing changes, and the run can be taken up."""

import itertools
import os
import resource
import shutil
import sqlite3
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import ConsensusWarning, JournalError, JournalWriteError
from consensus_imitation.journal import _disk
from tests.imitator.probe import drop
from tests.journal.faults import faults

from .crash_runs import Place, Plan, Player, fingerprint, leaves, place_of, read, resend, tables, told

CALLS = 16
PLANS = {
    "single": tables("single", CALLS, checkpoint_every=5),
    "apart": tables("apart", CALLS, checkpoint_every=4),
    "lockstep": tables("lockstep", CALLS, checkpoint_every=5),
    "grouped": tables("apart", CALLS, checkpoint_every=6, group=3),
}
FULL, BROKEN = OSError(28, "No space left on device"), OSError(5, "Input/output error")
SQL_FULL, SQL_BROKEN = sqlite3.OperationalError("database or disk is full"), sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def place(tmp_path: Path) -> Generator[Path, None, None]:
    """Where waiting for the disk takes no time, if there is such a place: hundreds of runs are made."""
    memory = Path("/dev/shm")
    path = (memory if os.access(memory, os.W_OK) else tmp_path) / f"persistence-{os.getpid()}-{tmp_path.name}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


class Handed:
    """What was handed out and acknowledged."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def __call__(self, *said: Any) -> None:
        self.said.append(said)

    def check(self, path: Path, forgotten: int = 0) -> None:
        """All of it is in the journal, once; but for so many steps at the end, which waited for their group."""
        records = [entry.record for entry in read(path)]
        answers = [(one.query, one.env, one.action) for one in records if one.kind == "answer"]
        assert len({answer[:2] for answer in answers}) == len(answers)
        acted = {("act", one.step, one.env, one.action) for one in records if one.kind == "act"}
        for i, said in enumerate(self.said):
            if said[0] == "answer":
                assert said[1:] in answers
            else:
                assert said in acted or i >= len(self.said) - forgotten


def state_of(imitator: ConsensusImitator, but_questions: bool = False) -> list[bytes]:
    """Every leaf; or every one that an open question leaves as it is."""
    marked = ("asking", "ledger") if but_questions else ()
    return [leaf.tobytes() for path, leaf in leaves(imitator) if not str(path[-1]).endswith(marked or ("no leaf",))]


_references: dict[str, tuple[Any, Any, list[str], int]] = {}


def reference(name: str, path: Path) -> tuple[Any, Any, list[str], int]:
    """Of the run that nothing stopped: entries, end, the seam's calls, and how many of those made the beginning."""
    if name not in _references:
        plan = PLANS[name]
        with faults() as seen:
            imitator = plan.begin(path / "reference")
            beginning = len(seen.seen)
            Player(plan, imitator, place_of([], plan)).play()
            found = fingerprint(imitator)
            imitator.close()
        _references[name] = told(read(path / "reference")), found, seen.seen, beginning
    return _references[name]


def kinds_of_error(name: str) -> list[Exception]:
    return [SQL_FULL, SQL_BROKEN] if name.startswith("execute") else [FULL, BROKEN]


def refuses(call: Callable[[], Any]) -> None:
    """It fails, and says that it cannot go on."""
    with pytest.raises(JournalWriteError):
        call()


def gives_nothing_more(imitator: ConsensusImitator, plan: Plan, place: Place) -> None:
    """Whatever is asked of an imitator that has failed, it does nothing."""
    before, pending = state_of(imitator), [one.query for one in imitator.pending]
    rows = np.array([plan.observe(bytes([b]) * 32) for b in range(plan.num_envs or 1)])
    observation, envs = (rows[0], [None]) if plan.way == "single" else (rows, [None, 0, 1, 2])
    for env in envs:
        here = observation if env is None else rows[env]
        blocked = any(one.env in (None, env) or env is None for one in imitator.pending)
        if not blocked:
            refuses(lambda here=here, env=env: imitator.decide(here, env=env))
            refuses(lambda here=here, env=env: imitator.act(here, env=env))
            refuses(lambda env=env: imitator.begin_episode(env=env))
    for one in imitator.pending:
        answer = 1 if np.ndim(one.queried) == 0 else np.ones(plan.num_envs or 1, np.int32)
        refuses(lambda one=one, answer=answer: imitator.answer(one, answer))
    refuses(imitator.clear_alarm)
    assert state_of(imitator) == before
    assert [one.query for one in imitator.pending] == pending


def play_until_it_fails(plan: Plan, path: Path, handed: Handed) -> None:
    """With the fault in place: the failed call gives out nothing, and leaves the state as it was."""
    imitator = plan.begin(path)
    player = Player(plan, imitator, place_of([], plan), handed)
    before, said, made = state_of(imitator, but_questions=True), 0, 0
    try:
        while player.place.calls < plan.num_calls:
            before, said, made = state_of(imitator, but_questions=True), len(handed.said), player.place.calls
            player.one()
    except JournalWriteError:
        assert len(handed.said) == said
        assert player.place.calls == made
        # `act` makes two calls: the question may have been written, and the answer not.
        assert state_of(imitator, but_questions=True) == before
        gives_nothing_more(imitator, plan, player.place)
        refuses(imitator.close)
        raise
    imitator.close()


def goes_on(plan: Plan, path: Path, handed: Handed, expected: tuple[Any, Any]) -> None:
    """Taken up, the run ends as if nothing had been."""
    imitator = plan.resume(path)
    entries = read(path)
    assert resend(imitator, entries) == 0
    assert len(read(path)) == len(entries)
    handed.check(path, plan.group - 1)
    Player(plan, imitator, place_of(entries, plan), handed).play()
    found = fingerprint(imitator)
    imitator.close()
    assert told(read(path)) == expected[0]
    assert found == expected[1]
    handed.check(path)


def strike(name: str, place: Path, at: int, after: bool, error: Exception) -> None:
    plan, (entries, found, _, beginning) = PLANS[name], reference(name, place)
    path, handed = place / f"{at}-{after}-{error}", Handed()
    with faults(at, error, after) as struck, pytest.raises(JournalError):
        play_until_it_fails(plan, path, handed)
    assert struck.struck
    if at >= beginning:
        goes_on(plan, path, handed, (entries, found))
    shutil.rmtree(path, ignore_errors=True)


def test_the_runs_are_what_they_are_meant_to_be(place: Path) -> None:
    for name in PLANS:
        entries, _, calls, _ = reference(name, place)
        kinds = [entry[0] for entry in entries]
        assert {"act", "ask", "answer"} <= set(kinds)
        assert calls.count("replace") >= 4
        shutil.rmtree(place / "reference")
        # Queries wait across checkpoints.
        assert name not in ("apart", "grouped") or "ask ask" in " ".join(kinds)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", PLANS)
def test_any_call_that_changes_the_disk_may_fail(place: Path, name: str, after: bool) -> None:
    calls, beginning = reference(name, place)[2:]
    # Every fifth here, from another one on for each kind of run; all of them in the long test.
    first = (2 * list(PLANS).index(name) + after) % 5
    for at in range(beginning + first, len(calls), 5):
        strike(name, place, at, after, kinds_of_error(calls[at])[at // 5 % 2])


@pytest.mark.long
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", PLANS)
def test_every_call_that_changes_the_disk_may_fail(place: Path, name: str, after: bool) -> None:
    calls = reference(name, place)[2]
    for at, kind in itertools.product(range(len(calls)), range(2)):
        strike(name, place, at, after, kinds_of_error(calls[at])[kind])


# --- the beginning, taking up, and interruptions ---


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_beginning_that_fails_lets_go_and_can_be_repeated(place: Path, after: bool) -> None:
    plan, (_, _, calls, beginning) = PLANS["apart"], reference("apart", place)
    for at in range(after, beginning, 2):
        path, kept = place / f"{at}", []
        error = kinds_of_error(calls[at])[at // 2 % 2]
        with faults(at, error, after), pytest.raises(JournalError) as failed:
            plan.begin(path)
        # Its traceback is kept, and the lock is free all the same.
        kept.append(failed)
        imitator = taken_up_or_begun(plan, path)
        Player(plan, imitator, place_of(read(path), plan)).play(4)
        imitator.close()
        shutil.rmtree(path)


def taken_up_or_begun(plan: Plan, path: Path) -> ConsensusImitator:
    """What a script does that is started again and again."""
    try:
        return plan.resume(path)
    except JournalError as error:
        if "holds no run" not in str(error):
            raise
        return plan.begin(path)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["single", "apart"])
def test_taking_up_may_fail_and_be_tried_again(place: Path, name: str, after: bool) -> None:
    plan, (entries, found, _, _) = PLANS[name], reference(name, place)
    path, handed = place / "first", Handed()
    with faults() as seen:
        imitator = plan.begin(path)
        Player(plan, imitator, place_of([], plan), handed).play(13)
        drop(imitator)
        begun = len(seen.seen)
        plan.resume(copied(path, place / "counted")).close()
    for at in range(begun + after, len(seen.seen), 2):
        error = kinds_of_error(seen.seen[at])[at // 2 % 2]
        again = copied(path, place / f"again-{at}")
        with faults(at - begun, error, after), pytest.raises(JournalError) as failed:
            plan.resume(again).close()
        assert failed.value is not None
        goes_on(plan, again, Handed(), (entries, found))
        shutil.rmtree(again)
    goes_on(plan, path, handed, (entries, found))


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_interruption_while_writing_is_a_failure_too(place: Path, after: bool) -> None:
    plan, (entries, found, calls, beginning) = PLANS["single"], reference("single", place)
    for at in range(beginning, beginning + 12):
        path, handed = place / f"{at}", Handed()
        imitator = plan.begin(path)
        player = Player(plan, imitator, place_of([], plan), handed)
        with faults(at - beginning, KeyboardInterrupt(), after), pytest.raises((KeyboardInterrupt, JournalWriteError)):
            player.play()
        before = state_of(imitator)
        gives_nothing_more(imitator, plan, player.place)
        assert state_of(imitator) == before
        refuses(imitator.close)
        goes_on(plan, path, handed, (entries, found))
        shutil.rmtree(path)
    assert calls[beginning:]


def test_taking_up_warns_of_nothing_that_was_warned_of_before(place: Path) -> None:
    probs = np.full((3, 2, 2), 0.5)
    members = ensembles.tabular(probs)
    members = members.replace(table=members.table.at[:, 1].set(np.nan))
    path = place / "run"
    imitator = ConsensusImitator(members, int, selection=TopK(3), journal=path)
    with pytest.warns(ConsensusWarning, match="member 1 gave an unusable"):
        imitator.act(0)
    imitator.act(1)
    drop(imitator)
    # Warnings are errors here, as they may be where the library is used: the run could never be taken up again.
    again = ConsensusImitator.resume(path, members, int, selection=TopK(3))
    assert again.alarms == imitator.alarms
    again.close()


def test_what_is_closed_writes_nothing_more(place: Path) -> None:
    plan, path = PLANS["apart"], place / "run"
    imitator = plan.begin(path)
    Player(plan, imitator, place_of([], plan)).play(11)
    imitator.close()
    imitator.close()
    successor = plan.resume(path)
    Player(plan, successor, place_of(read(path), plan)).play(3)
    files = {file: file.read_bytes() for file in (path / "checkpoints").iterdir()}
    # The one that was closed must not touch what another one writes now.
    with pytest.raises(JournalError):
        imitator.clear_alarm()
    free = next(b for b in range(3) if b not in [one.env for one in imitator.pending])
    with pytest.raises(JournalError):
        imitator.decide(plan.observe(b"0"), env=free)
    imitator.close()
    assert {file: file.read_bytes() for file in (path / "checkpoints").iterdir()} == files
    Player(plan, successor, place_of(read(path), plan)).play()
    assert told(read(path)) == reference("apart", place)[0]
    assert fingerprint(successor) == reference("apart", place)[1]
    successor.close()


# --- the operating system's own errors ---


@pytest.mark.parametrize("room", [0, 1, 700, 3000])
@pytest.mark.parametrize("name", ["single", "apart"])
def test_a_file_may_not_grow_any_more(place: Path, name: str, room: int) -> None:
    plan, (entries, found, _, _) = PLANS[name], reference(name, place)
    path, handed = place / "run", Handed()
    imitator = plan.begin(path)
    player = Player(plan, imitator, place_of([], plan), handed)
    player.play(3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((path / "journal.sqlite").stat().st_size + room, hard))
    try:
        with pytest.raises(JournalWriteError):
            player.play()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    gives_nothing_more(imitator, plan, player.place)
    refuses(imitator.close)
    goes_on(plan, path, handed, (entries, found))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_checkpoint_on_a_full_device(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, (entries, found, _, _) = PLANS["apart"], reference("apart", place)
    path, handed = place / "run", Handed()
    imitator = plan.begin(path)
    player = Player(plan, imitator, place_of([], plan), handed)
    with monkeypatch.context() as patch:
        patch.setattr(_disk, "create", lambda path: os.open("/dev/full", os.O_WRONLY))
        with pytest.raises(JournalWriteError, match="No space left"):
            player.play()
    gives_nothing_more(imitator, plan, player.place)
    refuses(imitator.close)
    goes_on(plan, path, handed, (entries, found))


def test_no_more_files_may_be_opened(place: Path) -> None:
    plan, (entries, found, _, _) = PLANS["single"], reference("single", place)
    path, handed = place / "run", Handed()
    imitator = plan.begin(path)
    player = Player(plan, imitator, place_of([], plan), handed)
    player.play(2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(JournalWriteError):
            player.play()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gives_nothing_more(imitator, plan, player.place)
    refuses(imitator.close)
    goes_on(plan, path, handed, (entries, found))


def test_the_directory_is_moved_away_under_its_writer(place: Path) -> None:
    plan, (entries, found, _, _) = PLANS["single"], reference("single", place)
    path, handed = place / "run", Handed()
    imitator = plan.begin(path)
    player = Player(plan, imitator, place_of([], plan), handed)
    player.play(3)
    path.rename(place / "elsewhere")
    with pytest.raises(JournalWriteError):
        player.play()
    gives_nothing_more(imitator, plan, player.place)
    refuses(imitator.close)
    (place / "elsewhere").rename(path)
    goes_on(plan, path, handed, (entries, found))
