"""One file holds all that was learned: what goes on from it does what would have been done, and forgets nothing."""

import os
import pickle
import stat
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    InflationBudget,
    Merging,
    MisspecificationAlarm,
    TopK,
    ensembles,
)
from consensus_imitation.core import _voids
from consensus_imitation.errors import ConfigurationError, ConsensusWarning, JournalCorruptedError
from consensus_imitation.imitator import SamplingImitator, _saving
from consensus_imitation.journal import _disk
from consensus_imitation.journal.checkpoint import load_header, save_checkpoint

from .any_action.test_imitator import ENSEMBLE, RULE, expert
from .any_action.test_imitator import observations as vectors

A = 3
PROBS = np.random.default_rng(0).dirichlet(np.ones(A), (3, 6))
TABLES = ensembles.tabular(PROBS)


def answer(observation: Any) -> int:
    return int(np.sum(np.abs(observation))) % A


def numbers(count: int) -> list[Any]:
    return [np.int32(s) for s in np.random.default_rng(1).integers(6, size=count)]


def pictures(count: int) -> list[Any]:
    return list(np.random.default_rng(1).normal(size=(count, 4)).astype(np.float32))


def rows(count: int) -> list[Any]:
    return list(np.random.default_rng(1).integers(6, size=(count, 2)).astype(np.int32))


def networks() -> Any:
    return ensembles.mlp((4,), A, num_members=2)


def wary() -> Any:
    return ensembles.mlp((4,), A, num_members=2, training=ensembles.Training(capacity=64, local_caution=0.1))


def compared() -> Any:
    training = ensembles.Training(every=2, decorrelate=1.0, minimum_withholds=0.3, minimum_explains=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        return ensembles.mlp((4,), A, num_members=2, training=training)


def remembering() -> Any:
    return ensembles.recurrent((4,), A, num_members=2)


def python_member(observation: Any) -> list[float]:
    return [0.5, 0.2, 0.1] if observation % 2 else [0.1, 0.5, 0.2]


EVERYTHING: dict[str, Any] = {
    "inflation_budget": InflationBudget(10.0),
    "alarm": MisspecificationAlarm(0.01),
    "merging": Merging(),
}
#: Members, rules, number of environments, observations.
KINDS: dict[str, tuple[Callable[[], Any], dict[str, Any], int | None, Callable[[int], list[Any]]]] = {
    "tables": (lambda: TABLES, {}, None, numbers),
    "tables, a batch": (lambda: TABLES, {}, 2, rows),
    "tables, every rule": (lambda: TABLES, EVERYTHING, None, numbers),
    "networks": (networks, {}, None, pictures),
    "networks with local caution": (wary, {}, None, pictures),
    "networks that are compared": (compared, {}, None, pictures),
    "networks with memory": (remembering, {}, None, pictures),
    "members in Python": (lambda: ensembles.callables([python_member] * 2, A), {}, None, numbers),
}


def make(kind: str = "tables", **more: Any) -> ConsensusImitator:
    members, rules, num_envs, _ = KINDS[kind]
    return ConsensusImitator(
        members(), answer, **{"selection": TopK(2), "seed": 3, "num_envs": num_envs, **rules, **more}
    )


def loaded(path: Any, kind: str = "tables", **more: Any) -> ConsensusImitator:
    members, rules, _, _ = KINDS[kind]
    return ConsensusImitator.load(path, members(), answer, **{"selection": TopK(2), **rules, **more})


def steps(imitator: Any, observations: list[Any]) -> list[Any]:
    return [(one.action, one.queried) for one in map(imitator.act, observations)]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_goes_on_as_what_was_saved(kind: str, tmp_path: Path) -> None:
    seen = KINDS[kind][3](24)
    imitator = make(kind)
    steps(imitator, seen[:12])
    imitator.save(tmp_path / "learned")
    assert os.listdir(tmp_path) == ["learned"]
    again = loaded(tmp_path / "learned", kind)
    assert (again.num_envs, again.num_steps, again.num_queries) == (imitator.num_envs, 12, imitator.num_queries)
    queries = again.num_queries
    np.testing.assert_equal(steps(again, seen[12:]), steps(imitator, seen[12:]))
    np.testing.assert_array_equal(again.weights, imitator.weights)
    assert again.num_queries > 0
    # How independently members err is measured at the answers that this imitator has got itself.
    stated, whole = again.certificate(), imitator.certificate()
    assert str(replace(stated, effective=None)) == str(replace(whole, effective=None))
    if stated.effective is not None:
        assert f"at {again.num_queries - queries} answers" in str(stated)
        assert f"at {imitator.num_queries} answers" in str(whole)


def test_actions_of_any_kind_go_on_too(tmp_path: Path) -> None:
    seen = vectors(40)
    for num_envs in (None, 2):
        more = {} if num_envs is None else {"env": 1}
        imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=1, num_envs=num_envs)
        done = [imitator.act(one, **more) for one in seen[:20]]
        assert any(one.queried for one in done)
        path = tmp_path / f"learned{num_envs}"
        imitator.save(path)
        again = SamplingImitator.load(path, ENSEMBLE, expert, selection=RULE)
        assert again.num_envs == num_envs
        for one in seen[20:]:
            mine, theirs = (each.act(one, **more) for each in (again, imitator))
            np.testing.assert_array_equal(mine.action, theirs.action)
            assert mine.queried == theirs.queried
        np.testing.assert_array_equal(again.weights, imitator.weights)


# --- what voids a promise ---


def test_recordings_are_remembered(tmp_path: Path) -> None:
    recording = (np.arange(20) % 6, np.arange(20) % A)
    imitator = make()
    imitator.pretrain(*recording)
    imitator.save(tmp_path / "learned")
    again = loaded(tmp_path / "learned")
    with pytest.warns(ConsensusWarning, match="studied twice"):
        again.pretrain(*recording)


def test_other_rules_and_another_prior_are_noticed(tmp_path: Path) -> None:
    imitator = make()
    steps(imitator, numbers(20))
    imitator.save(tmp_path / "learned")
    assert not int(loaded(tmp_path / "learned").state.voids)
    other = loaded(tmp_path / "learned", selection=AlphaThreshold(0.1))
    assert int(other.state.voids) == _voids.OTHER_RULES
    prior = ensembles.tabular(PROBS, prior=[0.5, 0.3, 0.2])
    assert int(ConsensusImitator.load(tmp_path / "learned", prior, selection=TopK(2)).state.voids) == _voids.OTHER_RULES
    sampling = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=1)
    [sampling.act(one) for one in vectors(5)]
    sampling.save(tmp_path / "any")
    assert SamplingImitator.load(tmp_path / "any", ENSEMBLE, selection=TopK(2)).void


def test_a_question_stays_a_question(tmp_path: Path) -> None:
    imitator = make()
    while not imitator.decide(0).queried:
        pass
    imitator.save(tmp_path / "learned")
    again = loaded(tmp_path / "learned")
    assert again.pending == ()
    decision = again.decide(0)
    assert (decision.queried, decision.query_prob) == (True, 1.0)
    assert make().decide(0).query_prob < 1  # the control: it was asked by chance


def test_it_may_begin_a_journal(tmp_path: Path) -> None:
    imitator = make()
    steps(imitator, numbers(20))
    imitator.save(tmp_path / "learned")
    with loaded(tmp_path / "learned", journal=tmp_path / "run") as again:
        steps(again, numbers(5))
    resumed = ConsensusImitator.resume(tmp_path / "run", TABLES, answer, selection=TopK(2))
    assert resumed.num_steps == 25
    resumed.save(tmp_path / "more")
    resumed.close()
    assert loaded(tmp_path / "more").num_steps == 25


# --- the file ---


def test_a_file_that_is_there_stays_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "learned"
    path.write_text("mine")
    with pytest.raises(ConfigurationError, match="is there already: choose another path, or pass overwrite=True"):
        make().save(path)
    assert path.read_text() == "mine"
    make().save(str(path), overwrite=True)
    assert loaded(path).num_steps == 0
    assert os.listdir(tmp_path) == ["learned"]


def test_a_file_that_comes_while_it_is_saved_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, link = tmp_path / "learned", _disk.link

    def late(source: Path, target: Path) -> None:
        path.write_text("theirs")
        link(source, target)

    monkeypatch.setattr(_disk, "link", late)
    with pytest.raises(ConfigurationError, match="is there already"):
        make().save(path)
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["learned"]


def test_without_hard_links_it_is_saved_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Any, target: Any) -> None:
        if Path(target).exists():
            raise FileExistsError(target)
        raise PermissionError("one name for each file")

    monkeypatch.setattr(os, "link", refused)
    make().save(tmp_path / "learned")
    assert loaded(tmp_path / "learned").num_steps == 0
    with pytest.raises(ConfigurationError, match="is there already"):
        make().save(tmp_path / "learned")
    assert os.listdir(tmp_path) == ["learned"]


@pytest.mark.parametrize("fails", ["create", "write", "sync", "replace"])
def test_a_disk_that_fails_leaves_what_was_there(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imitator = make()
    imitator.save(tmp_path / "learned")
    before = (tmp_path / "learned").read_bytes()
    steps(imitator, numbers(5))

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_disk, fails, full)
        with pytest.raises(OSError, match="No space left"):
            imitator.save(tmp_path / "learned", overwrite=True)
    assert (tmp_path / "learned").read_bytes() == before
    assert os.listdir(tmp_path) == ["learned"]
    imitator.save(tmp_path / "learned", overwrite=True)  # the imitator goes on
    assert loaded(tmp_path / "learned").num_steps == 5


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    make().save(tmp_path / "learned")
    assert stat.S_IMODE((tmp_path / "learned").stat().st_mode) == 0o600


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    make().save(tmp_path / "learned")
    whole = (tmp_path / "learned").read_bytes()
    torn = tmp_path / "torn"
    for end in (0, 1, 27, 40, len(whole) // 2, len(whole) - 1):
        torn.write_bytes(whole[:end])
        with pytest.raises(JournalCorruptedError):
            loaded(torn)
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        torn.write_bytes(bytes(changed))
        with pytest.raises(JournalCorruptedError, match=r"is no checkpoint of this library|is damaged"):
            loaded(torn)


class Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("executed",))


def test_a_foreign_file_is_refused_and_nothing_in_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pickle").write_bytes(pickle.dumps(Bomb()))
    np.savez("archive.npz", weights=np.ones(3))
    for name in ("pickle", "archive.npz"):
        with pytest.raises(JournalCorruptedError, match="is no checkpoint of this library"):
            loaded(name)
    assert not Path("executed").exists()
    with pytest.raises(FileNotFoundError):
        loaded("nowhere")


def test_a_checkpoint_of_a_run_is_none(tmp_path: Path) -> None:
    imitator = make()
    save_checkpoint(tmp_path / "state", imitator.state, {"step": 0, "episodes": 0})
    with pytest.raises(ConfigurationError, match=r"is a checkpoint of a run.*ConsensusImitator.resume"):
        loaded(tmp_path / "state")


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    make().save(tmp_path / "learned")
    four = ensembles.tabular(np.full((4, 6, A), 1 / A))
    with pytest.raises(ConfigurationError, match="does not fit: it holds 3 weights, the ensemble has 4 members"):
        ConsensusImitator.load(tmp_path / "learned", four, selection=TopK(2))
    with pytest.raises(ConfigurationError, match="does not fit"):
        loaded(tmp_path / "learned", merging=Merging())
    make("networks").save(tmp_path / "networks")
    with pytest.raises(ConfigurationError, match="does not fit"):
        loaded(tmp_path / "networks", "networks with memory")
    with pytest.raises(ConfigurationError, match=r"by a ConsensusImitator: load it by ConsensusImitator.load\("):
        SamplingImitator.load(tmp_path / "learned", ENSEMBLE, selection=RULE)
    SamplingImitator(ENSEMBLE, expert, selection=RULE).save(tmp_path / "any")
    with pytest.raises(ConfigurationError, match=r"by a SamplingImitator: load it by SamplingImitator.load\("):
        loaded(tmp_path / "any")


def test_its_format_is_versioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imitator = make()
    imitator.save(tmp_path / "learned")
    said = load_header(tmp_path / "learned")["saved"]
    assert (said["format"], said["by"], said["num_envs"], said["num_members"]) == (1, "ConsensusImitator", None, 3)
    monkeypatch.setattr(_saving, "FORMAT", 2)
    imitator.save(tmp_path / "newer")
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match=r"by another version.*reads format 1"):
        loaded(tmp_path / "newer")
    for num_envs in (0, True, "2", 1.0):
        header = {"saved": {**said, "num_envs": num_envs}}
        save_checkpoint(tmp_path / "claims", imitator.state, header)
        with pytest.raises(JournalCorruptedError, match="claims to be of"):
            loaded(tmp_path / "claims")
