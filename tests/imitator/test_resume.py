"""A run that is taken up again, in every form that a step can have, ends as one that was never interrupted."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.ensembles import Ensemble
from consensus_imitation.errors import ConfigurationError, JournalError, LockedError, ReplayError
from consensus_imitation.imitator import _description
from consensus_imitation.imitator._numerics import numerics

from .probe import crash

PROBS = np.random.default_rng(0).dirichlet(np.ones(3), (4, 5))
RULE = TopK(2) | AlphaThreshold(0.05)
B = 3


def tabular(probs: np.ndarray = PROBS) -> Ensemble:
    return ensembles.tabular(probs)


def callables() -> Ensemble:
    return ensembles.callables([lambda seen, n=n: PROBS[n, int(seen)] for n in range(4)], 3)


def both() -> Ensemble:
    return ensembles.union(tabular(PROBS[:2]), ensembles.callables([lambda seen: PROBS[3, int(seen)]], 3))


def demonstrator(observation: Any) -> int:
    return int(observation) * 7 % 3


def step(imitator: ConsensusImitator, way: str, t: int) -> list[int]:
    """One step in one of the three ways, and what was done."""
    rng = np.random.default_rng(t)
    if way == "single":
        return [imitator.act(int(rng.integers(5))).action]
    seen = rng.integers(5, size=B)
    if way == "lockstep":
        return imitator.act(seen, np.array([True, t % 3 != 0, True])).action.tolist()
    return [imitator.act(int(seen[b]), env=b).action for b in (2, 0, 1)]


def bits(imitator: ConsensusImitator) -> list[bytes]:
    def data(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return [np.asarray(data(leaf)).tobytes() for leaf in jax.tree.leaves(imitator.state)]


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("way", ["single", "lockstep", "apart"])
@pytest.mark.parametrize("make", [tabular, callables, both])
def test_it_ends_as_one_that_was_never_interrupted(make: Any, way: str, tmp_path: Path) -> None:
    num_envs = None if way == "single" else B
    never = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, num_envs=num_envs)
    settings = Journal(tmp_path / "run", checkpoint_every=9)
    broken = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, num_envs=num_envs, journal=settings)
    for t in range(24):
        if t in (4, 12, 13, 20):
            broken.close()
            broken = ConsensusImitator.resume(tmp_path / "run", make(), demonstrator, selection=RULE)
        assert step(never, way, t) == step(broken, way, t)
        if t % 5 == 4:
            for one in (never, broken):
                one.begin_episode(None if num_envs is None else t % B)
    assert bits(never) == bits(broken)
    assert (never.num_queries, never.num_steps, never.alarms) == (broken.num_queries, broken.num_steps, broken.alarms)
    assert 0 < never.num_queries < never.num_steps * (num_envs or 1)
    broken.close()


def run(path: Path, make: Any = tabular, steps: int = 12) -> None:
    """A run that ends without a last checkpoint: its steps have to be done again."""
    imitator = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, journal=Journal(path))
    for t in range(steps):
        step(imitator, "single", t)
    crash(imitator)


def without_checkpoints(path: Path) -> list[Path]:
    """Delete what is a cache; what was deleted."""
    files = list((path / "checkpoints").iterdir())
    for file in files:
        file.unlink()
    return files


@pytest.mark.parametrize("way", ["single", "lockstep", "apart"])
@pytest.mark.parametrize("make", [tabular, callables])
def test_without_its_checkpoints_a_run_is_done_again_from_its_beginning(make: Any, way: str, tmp_path: Path) -> None:
    num_envs = None if way == "single" else B
    settings = Journal(tmp_path / "run", observations=True, checkpoint_every=7)
    one = ConsensusImitator(make(), demonstrator, selection=RULE, seed=1, num_envs=num_envs, journal=settings)
    for t in range(24):
        step(one, way, t)
        if t % 5 == 4:
            one.begin_episode(None if num_envs is None else t % B)
    one.close()
    for _ in range(2):
        assert len(without_checkpoints(tmp_path / "run")) in (1, 2)
        again = ConsensusImitator.resume(tmp_path / "run", make(), demonstrator, selection=RULE)
        assert bits(again) == bits(one)
        assert (again.num_queries, again.num_steps, again.alarms) == (one.num_queries, one.num_steps, one.alarms)
        again.close()


@pytest.mark.parametrize(("close", "goes_on"), [(1, True), (2, False)])
def test_by_default_a_run_can_begin_again_until_its_observations_are_forgotten(
    close: int, goes_on: bool, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    one = ConsensusImitator(tabular(), demonstrator, selection=RULE, seed=1, journal=path)
    for t in range(12):
        if t == 6 and close == 2:
            one.close()
            one = ConsensusImitator.resume(path, tabular(), demonstrator, selection=RULE)
        step(one, "single", t)
    one.close()
    assert (path / "beginning.msgpack").exists() == goes_on
    without_checkpoints(path)
    if goes_on:
        with ConsensusImitator.resume(path, tabular(), demonstrator, selection=RULE) as again:
            assert bits(again) == bits(one)
    else:
        with pytest.raises(JournalError, match="does not keep the observations of its "):
            ConsensusImitator.resume(path, tabular(), demonstrator, selection=RULE)


def test_what_was_studied_is_in_a_checkpoint_only(tmp_path: Path) -> None:
    settings = Journal(tmp_path / "run", observations=True)
    with ConsensusImitator(tabular(), demonstrator, selection=RULE, seed=1, journal=settings) as one:
        one.pretrain(np.array([0, 1]), [1, 1])
    without_checkpoints(tmp_path / "run")
    with pytest.raises(JournalError, match=r"what was studied in call 2 is in a checkpoint"):
        ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE)


def test_a_question_that_waits_since_the_beginning_waits_again(tmp_path: Path) -> None:
    with ConsensusImitator(tabular(), selection=TopK(4), seed=1, journal=tmp_path / "run") as one:
        while not (decision := one.decide(0)).queried:
            pass
    without_checkpoints(tmp_path / "run")
    with ConsensusImitator.resume(tmp_path / "run", tabular(), selection=TopK(4)) as again:
        assert [one.query for one in again.pending] == [decision.query]
        assert again.answer(decision.query, 2).action == 2


@pytest.mark.parametrize("change", [1e-6, 0.1])
def test_other_members_are_another_run(change: float, tmp_path: Path) -> None:
    run(tmp_path / "run")
    other = (1 - change) * PROBS + change / 3
    with pytest.raises(ConfigurationError, match="members"):
        ConsensusImitator.resume(tmp_path / "run", tabular(other), demonstrator, selection=RULE)
    with ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


def scaled(by: float) -> Ensemble:
    """Members whose arrays are the same, and whose code is not."""
    return ensembles.stacked(lambda row, seen: by * jax.numpy.log(row[seen]), jax.numpy.asarray(PROBS), num_actions=3)


def test_other_code_does_not_give_what_was_written_down(tmp_path: Path) -> None:
    run(tmp_path / "run", lambda: scaled(1.0))
    with pytest.raises(ReplayError, match="predictions"):
        ConsensusImitator.resume(tmp_path / "run", scaled(1.001), demonstrator, selection=RULE)
    with ConsensusImitator.resume(tmp_path / "run", scaled(1.0), demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


def test_other_training_is_another_run(tmp_path: Path) -> None:
    """Also after a clean end, when there is nothing to do again that would come out otherwise."""

    def members(**training: Any) -> Ensemble:
        fixed, small = tabular(), {"batch_size": 4, "updates": 1, "every": 2, "capacity": 16}
        mlp = ensembles.mlp(5, 3, 2, hidden=(4,), training=ensembles.Training(**{**small, **training}))
        return ensembles.union(mlp, fixed)

    run(tmp_path / "run", members)
    for other in ({"updates": 2}, {"learning_rate": 1e-3}, {"bootstrap": "none"}, {"plateau": ensembles.Plateau()}):
        with pytest.raises(ConfigurationError, match=r"training|state"):
            ConsensusImitator.resume(tmp_path / "run", members(**other), demonstrator, selection=RULE)
    same = members(caution=20, learning_rate=np.float64(3e-3))
    with ConsensusImitator.resume(tmp_path / "run", same, demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


def test_a_rule_is_the_same_however_its_number_is_typed(tmp_path: Path) -> None:
    run(tmp_path / "run")
    typed = TopK(np.int64(2)) | AlphaThreshold(np.float32(0.05))
    ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=typed).close()


@pytest.mark.parametrize("rule", [TopK(2), TopK(2) | AlphaThreshold(0.06)], ids=["another", "another parameter"])
def test_other_rules_are_another_run(rule: Any, tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ConfigurationError, match="rules"):
        ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=rule)


#: How JAX may be set otherwise, and words of the refusal. Of those with False nothing in the state says so.
OTHERWISE: dict[str, tuple[Any, str]] = {
    "x64": (lambda: jax.enable_x64(True), "jax_enable_x64 was False, and is True"),
    "generator": (lambda: jax.default_prng_impl("rbg"), "jax_default_prng_impl was 'threefry2x32', and is 'rbg'"),
    "partitionable": (lambda: jax.threefry_partitionable(False), "jax_threefry_partitionable was True, and is False"),
    "precision": (lambda: jax.default_matmul_precision("float32"), "matmul_precision was None, and is 'float32'"),
    "promotion": (lambda: jax.numpy_dtype_promotion("strict"), "dtype_promotion was 'standard', and is 'strict'"),
    "jit": (jax.disable_jit, "jax_disable_jit was False, and is True"),
}


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "cut off"])
@pytest.mark.parametrize("kind", OTHERWISE)
def test_another_setting_of_jax_is_another_run(kind: str, closed: bool, tmp_path: Path) -> None:
    """Also after a clean end, when there is nothing to do again that would come out otherwise."""
    path = tmp_path / "run"
    run(path)
    if closed:
        ConsensusImitator.resume(path, tabular(), demonstrator, selection=RULE).close()
    setting, said = OTHERWISE[kind]
    with setting(), pytest.raises(ConfigurationError, match=said) as caught:
        ConsensusImitator.resume(path, tabular(), demonstrator, selection=RULE)
    assert len(str(caught.value)) < 500
    with ConsensusImitator.resume(path, tabular(), demonstrator, selection=RULE) as imitator:
        assert imitator.num_steps == 12


@pytest.mark.parametrize("what", ["device", "known draw"])
def test_another_device_or_generator_is_another_run(what: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Whatever made it so: here as if it had been so when the run began."""
    with monkeypatch.context() as patch:
        patch.setattr(_description, "numerics", lambda: {**numerics(), what: "another"})
        run(tmp_path / "run")
    with pytest.raises(ConfigurationError, match=f"{what} was 'another', and is"):
        ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE)


def test_the_known_draw_depends_on_how_jax_draws() -> None:
    known = numerics()["known draw"]
    assert numerics()["known draw"] == known
    with OTHERWISE["generator"][0]():
        assert numerics()["known draw"] != known


LONG = [f"['layer_{i}'] float32 (256, 256)" for i in range(40)]


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        (LONG, [line.replace("32", "64") for line in LONG], [f"state[{i}] was {LONG[i]!r}, and is" for i in range(40)]),
        (LONG, [*LONG[:7], *LONG[8:]], ["state had ['layer_7'] float32 (256, 256), and has not now"]),
        (LONG, [*LONG, "['bias'] float32 (3,)"], ["state had no ['bias'] float32 (3,), and has it now"]),
        ([1, 2], [1, 2, 2], ["state had 2 entries, and has 3 now"]),
        ("a" * 500 + "b" + "c" * 500, "a" * 500 + "d" + "c" * 500, ["state was ..."]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["state.a.c was 2, and is 3"]),
        ({"a": 1}, {"b": None}, ["state.a was 1, and is missing", "state.b was missing, and is None"]),
        ([1.5], [2, {"a": 1}], ["state had 1.5, and", "state had no 2, and", "state had no {'a': 1}, and"]),
        (None, 3, ["state was None, and is 3"]),
        (3, 3, []),
    ],
)
def test_only_what_differs_is_said(then: Any, now: Any, said: list[str]) -> None:
    found = _description.differences(then, now, "state")
    assert len(found) == len(said)
    for line, words in zip(found, said, strict=True):
        assert line.startswith(words)
        assert len(line) < 220


def test_a_long_text_is_shown_where_it_differs() -> None:
    (line,) = _description.differences("a" * 500 + "before" + "c" * 500, "a" * 500 + "after" + "c" * 500, "rules")
    assert "abefore" in line
    assert "aafter" in line


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with ConsensusImitator(tabular(), demonstrator, selection=RULE, journal=tmp_path / "run") as imitator:
        with pytest.raises(LockedError):
            ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE)
        imitator.act(0)
    ConsensusImitator.resume(tmp_path / "run", tabular(), demonstrator, selection=RULE).close()
