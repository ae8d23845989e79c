"""Files that are not what was written are refused by name, or reported and not used; nothing in them is executed."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, errors
from consensus_imitation.demonstrators import recordings
from consensus_imitation.journal.checkpoint import load_checkpoint
from tests.stress.crowd_world import again, make, members

from . import bad_files as bad
from .bad_files import scripted
from .fingerprints import fingerprint, taken


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Two sound runs, and where the first one ended."""
    path = tmp_path_factory.mktemp("runs")
    ended = fingerprint(bad.run(path / "own"))
    bad.run(path / "other", seed=4)
    return path / "own", path / "other", ended


@pytest.fixture
def spoiled(runs: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A copy of the first run to which something is done; at the end, nothing may have been executed."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "copy"
    shutil.copytree(runs[0], own)
    yield lambda spoil: (spoil(own, runs[1]), own)[1]
    assert not bad.Executed.mark.exists()


@pytest.mark.parametrize("kind", bad.STRUCTURES)
def test_a_checksum_does_not_make_a_checkpoint(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "state.msgpack"
    path.write_bytes(bad.STRUCTURES[kind])
    with pytest.raises(errors.JournalCorruptedError, match=r"state\.msgpack"):
        load_checkpoint(path, like=make().state)


def goes_on(one: ConsensusImitator) -> None:
    """As one does that was never interrupted."""
    never = make(demonstrator=scripted)
    for step in range(bad.STEPS):
        never.act(step % 7)
    for observation in (3, 1, 4):
        assert taken(one.act(observation)) == taken(never.act(observation))
    assert fingerprint(one) == fingerprint(never)


@pytest.mark.parametrize("kind", bad.RUNS)
def test_runs_that_cannot_be_taken_up(kind: str, spoiled: Any, runs: tuple[Path, Path, str]) -> None:
    spoil, error, said = bad.RUNS[kind]
    own = spoiled(spoil)
    before = bad.contents(own)
    for _ in range(2):
        with pytest.raises(getattr(errors, error), match=said):
            again(own, scripted)
        assert bad.contents(own) == before

    # The sound run goes on from where it was.
    shutil.rmtree(own, ignore_errors=True)
    own.unlink(missing_ok=True)
    shutil.copytree(runs[0], own)
    with again(own, scripted) as one:
        assert one.repairs == ()
        assert fingerprint(one) == runs[2]
        goes_on(one)


@pytest.mark.parametrize("kind", bad.CHECKPOINTS)
def test_checkpoints_are_caches(kind: str, spoiled: Any, runs: tuple[Path, Path, str]) -> None:
    spoil, said = bad.CHECKPOINTS[kind]
    with again(spoiled(spoil), scripted) as one:
        assert any(said in line or any(word in line for word in said.split("|")) for line in one.repairs)
        assert fingerprint(one) == runs[2]
        goes_on(one)


@pytest.mark.parametrize("kind", [kind for kind in bad.CHECKPOINTS if kind not in ("loop", "of another run")])
def test_a_checkpoint_by_itself(kind: str, spoiled: Any) -> None:
    spoil, said = bad.CHECKPOINTS[kind]
    own = spoiled(spoil)
    with pytest.raises(errors.JournalCorruptedError, match=said):
        load_checkpoint(bad.newest(own), like=make().state)


@pytest.mark.parametrize("kind", bad.OTHERS)
def test_other_members_or_rules(kind: str, spoiled: Any, runs: tuple[Path, Path, str]) -> None:
    options, said = bad.OTHERS[kind]
    own = spoiled(lambda own, other: None)
    before = bad.contents(own)
    with pytest.raises(errors.ConfigurationError, match=said):
        ConsensusImitator.resume(own, **{"ensemble": members(), "selection": TopK(2), **options()})
    assert bad.contents(own) == before
    with again(own, scripted) as one:
        assert fingerprint(one) == runs[2]
        goes_on(one)


def test_a_second_writer_and_a_second_beginning(spoiled: Any, runs: tuple[Path, Path, str]) -> None:
    own = spoiled(lambda own, other: None)
    with again(own, scripted) as one:
        with pytest.raises(errors.LockedError):
            again(own, scripted)
        with pytest.raises(errors.JournalError):
            make(demonstrator=scripted, journal=own)
        assert fingerprint(one) == runs[2]
        goes_on(one)
    with pytest.raises(errors.JournalError, match="holds a run already: go on with it by"):
        make(demonstrator=scripted, journal=own)


@pytest.mark.parametrize("kind", bad.WALKS)
def test_demonstrations(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spoil, said = bad.WALKS[kind]
    path = bad.demonstrated(tmp_path / "walk.npz")
    spoil(path)
    with pytest.raises(ValueError, match=said):
        recordings.load(path)
    assert not bad.Executed.mark.exists()
    walk = recordings.load(bad.demonstrated(path))
    one, twin = make(), make()
    for each in (one, twin):
        each.pretrain(walk.observations, walk.actions, walk.starts)
    assert fingerprint(one) == fingerprint(twin) != fingerprint(make())


#: Recordings that cannot be studied: observations, actions, starts.
STUDIES: dict[str, tuple[Any, Any, Any, str]] = {
    "lengths": ([0, 1], [0], None, "2 observations and 1 actions"),
    "no action": (np.arange(2), [0, 3], None, "answer with an integer from 0 to 2"),
    "actions none": (np.arange(2), None, None, "actions must be a sequence"),
    "actions floats": (np.arange(2), [0.0, 1.0], None, "answer with an integer"),
    "starts too few": (np.arange(2), [0, 1], [True], r"starts needs one bool per action, 2 in all; got shape \(1,\)"),
    "starts numbers": (np.arange(2), [0, 1], [1.0, np.nan], "starts needs one bool per action.*float64"),
    "shapes": ([0, [1, 2]], [0, 1], None, "looked up by one integer"),
    "observations floats": (np.array([0.0, 1.0]), [0, 1], None, "looked up by one integer"),
}


@pytest.mark.parametrize("kind", STUDIES)
def test_recordings_that_cannot_be_studied(kind: str) -> None:
    observations, actions, starts, said = STUDIES[kind]
    one, twin = make(), make()
    before = fingerprint(one)
    with pytest.raises((errors.ObservationError, errors.InvalidAnswerError), match=said):
        one.pretrain(observations, actions, starts)
    assert fingerprint(one) == before
    for each in (one, twin):
        each.pretrain(np.arange(2), [0, 1], [True, False])
    assert fingerprint(one) == fingerprint(twin) != before


def test_the_catalogue_is_as_large_as_it_says() -> None:
    assert len(bad.RUNS) + len(bad.CHECKPOINTS) + len(bad.OTHERS) + len(bad.WALKS) >= 25
