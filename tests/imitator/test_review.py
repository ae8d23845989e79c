"""Runs with a journal in corners: nobody active, other types, another working directory, and after the end."""

import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.core.members import FixedMembers, PureEnsemble
from consensus_imitation.demonstrators import Demonstrator
from consensus_imitation.errors import ConfigurationError, JournalError, JournalWriteError
from consensus_imitation.journal.store import Store

from .probe import directory_of

PROBS = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6))
TABLES = ensembles.tabular(PROBS)
RULES: dict[str, Any] = {"selection": TopK(2)}


def expert(observation: Any) -> int:
    return int(observation) % 3


def resumed_copy(run: Path, ensemble: Any, demonstrator: Any = expert) -> ConsensusImitator:
    """The run as it is on the disk now, taken up by somebody else."""
    copy = run.with_name(f"{run.name}-copy-{len(list(run.parent.iterdir()))}")
    shutil.copytree(run, copy)
    return ConsensusImitator.resume(copy, ensemble, demonstrator, **RULES)


def leaves(imitator: ConsensusImitator) -> list[tuple[Any, bytes]]:
    found = jax.tree.leaves(imitator.state.replace(stream=imitator.state.stream.replace(key=None)))
    return [(leaf.dtype, np.asarray(leaf).tobytes()) for leaf in found]


@pytest.mark.parametrize("num_envs", [1, 3])
def test_a_step_on_which_every_environment_is_set_aside_is_written_down_too(tmp_path: Path, num_envs: int) -> None:
    """All environments of a vector environment may be reset on the same step; of one environment, always."""
    alone = ConsensusImitator(TABLES, expert, seed=0, num_envs=num_envs, **RULES)
    run = tmp_path / "run"
    imitator = ConsensusImitator(TABLES, expert, seed=0, num_envs=num_envs, journal=run, **RULES)
    for step in range(12):
        active = np.full(num_envs, step % 4 != 3)
        decisions = [one.act(np.full(num_envs, step % 6), active) for one in (alone, imitator)]
        np.testing.assert_array_equal(decisions[0].action, decisions[1].action)
    with resumed_copy(run, TABLES) as again:
        assert again.num_steps == imitator.num_steps == alone.num_steps == 12
        assert leaves(again) == leaves(imitator) == leaves(alone)
        for step in range(6):
            rows = np.full(num_envs, step)
            np.testing.assert_array_equal(again.act(rows).query_prob, imitator.act(rows).query_prob)
    imitator.close()


class _Remembering(FixedMembers):
    """On the host, with memory and learning in NumPy's own types, of 64 bits."""

    pure = False
    num_members = 2
    num_actions = 2
    learns = True
    prior = jnp.array([0.5, 0.5])

    def init_carry(self) -> Any:
        return np.zeros(2)

    def init_learned(self, key: jax.Array) -> Any:
        return {"count": np.zeros(2, np.int64), "level": np.ones(2)}

    def begin_episode(self, carry: Any) -> Any:
        return np.zeros(2)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        weights = np.exp(np.sin(7 * (np.asarray(context.learned["level"]) + np.asarray(carry))))
        probs = weights / weights.sum()
        return jnp.asarray(np.log([probs, probs[::-1]]), jnp.float32)

    def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
        return np.asarray(carry, np.float64) * 0.9 + 0.1 * int(action)

    def learn(self, learned: Any, carry: Any, observation: Any, answer: Any, log_probs: Any) -> Any:
        level = np.asarray(learned["level"], np.float64) * 1.01 + 0.1 * int(answer)
        return {"count": np.asarray(learned["count"], np.int64) + 1, "level": level}


@pytest.mark.parametrize("num_envs", [None, 2])
def test_what_members_on_the_host_hold_in_64_bits_comes_back_and_can_be_taken_up_again(
    tmp_path: Path, num_envs: int | None
) -> None:
    def act(imitator: ConsensusImitator, step: int) -> Any:
        return imitator.act(step % 2 if num_envs is None else np.array([step % 2, 1 - step % 2])).query_prob

    run = tmp_path / "run"
    journal = Journal(run, checkpoint_every=7)
    imitator = ConsensusImitator(_Remembering(), expert, seed=0, num_envs=num_envs, journal=journal, **RULES)
    for step in range(20):
        act(imitator, step)
        if step % 8 == 7:
            imitator.begin_episode()
    again = resumed_copy(run, _Remembering())
    assert leaves(again) == leaves(imitator)
    for step in range(20, 30):
        np.testing.assert_array_equal(act(again, step), act(imitator, step))
    imitator.close()
    again.close()
    with ConsensusImitator.resume(run, _Remembering(), expert, **RULES) as third:
        assert leaves(third) == leaves(again)


class _InOrder(PureEnsemble):
    """Depends on the order of a dict, and on whether a number brings its own precision."""

    prior: jax.Array
    num_members = 2
    num_actions = 2

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        parts = [jnp.ravel(jnp.array([0.1, 0.7], jnp.bfloat16) * part) for part in observation.values()]
        flat = jnp.concatenate(parts).astype(jnp.float32)
        return jax.nn.log_softmax(jnp.stack([flat[:2], flat[-2:]]))


@pytest.mark.parametrize(
    "observe",
    [
        lambda step: OrderedDict(z=np.float32([step, 1]), a=np.float32([0, 1])),
        lambda step: {"z": jnp.asarray(0.3 * step), "a": jnp.asarray(0.7)},
    ],
    ids=["ordered", "weakly typed"],
)
def test_observations_that_are_read_back_in_another_form_are_acted_on_in_that_form(
    tmp_path: Path, observe: Any
) -> None:
    members = _InOrder(jnp.array([0.5, 0.5]))
    imitator = ConsensusImitator(members, lambda observation: 0, seed=0, journal=tmp_path / "run", **RULES)
    for step in range(6):
        imitator.act(observe(step))
    with resumed_copy(tmp_path / "run", members, lambda observation: 0) as again:
        assert leaves(again) == leaves(imitator)
    imitator.close()


def test_a_run_begun_at_a_relative_path_goes_on_in_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    imitator = ConsensusImitator(TABLES, expert, seed=0, journal=Journal("run", checkpoint_every=3), **RULES)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for step in range(10):
        imitator.act(step % 6)
    imitator.close()
    with ConsensusImitator.resume(tmp_path / "run", TABLES, expert, **RULES) as again:
        assert again.num_steps == 10


def test_numbers_of_environments_may_be_numpys(tmp_path: Path) -> None:
    number: Any = np.int64(2)
    with ConsensusImitator(TABLES, expert, seed=0, num_envs=number, journal=tmp_path / "run", **RULES) as imitator:
        imitator.act([0, 1])
    with ConsensusImitator.resume(tmp_path / "run", TABLES, expert, **RULES) as again:
        assert again.num_envs == 2


def _other_types(state: Any) -> Any:
    weights = np.asarray(state.posterior.log_weights, np.float64)
    return state.replace(posterior=state.posterior.replace(log_weights=weights))


def _other_keys(state: Any) -> Any:
    return state.replace(stream=state.stream.replace(key=jax.random.key(3, impl="rbg")))


@pytest.mark.parametrize("change", [_other_types, _other_keys])
def test_a_journal_is_not_begun_from_a_state_that_could_not_be_read_back(tmp_path: Path, change: Any) -> None:
    state = ConsensusImitator(TABLES, seed=0, **RULES).state
    with pytest.raises(ConfigurationError, match="of other types"):
        ConsensusImitator.from_state(change(state), TABLES, expert, journal=tmp_path / "run", **RULES)
    assert not (tmp_path / "run").exists()
    ConsensusImitator.from_state(state, TABLES, expert, journal=tmp_path / "run", **RULES).close()


class _Attentive(Demonstrator):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, observation: Any) -> int:
        self.heard.append("asked")
        return 0

    def observe(self, action: int, who: Any) -> None:
        self.heard.append("told")

    def reset(self) -> None:
        self.heard.append("reset")


def _waiting(run: Path) -> Any:
    """A run with a query that waits for an answer."""
    with ConsensusImitator(TABLES, seed=0, selection=TopK(4), journal=run) as imitator:
        while not (decision := imitator.decide(1)).queried:
            pass
    return decision.query


@pytest.mark.parametrize("end", ["closed", "failed"])
def test_nobody_is_asked_or_told_anything_when_it_could_not_be_written_down(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = _waiting(tmp_path / "run")
    person = _Attentive()
    imitator = ConsensusImitator.resume(tmp_path / "run", TABLES, person, selection=TopK(4))
    if end == "closed":
        imitator.close()
    else:
        monkeypatch.setattr(Store, "_write", lambda self: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(JournalWriteError):
            imitator.clear_alarm()
    for call in (lambda: imitator.act(1), lambda: imitator.answer(query, 0), imitator.begin_episode):
        with pytest.raises(JournalError if end == "closed" else JournalWriteError):
            call()
    assert person.heard == []
    monkeypatch.undo()
    if end == "failed":
        with pytest.raises(JournalWriteError):
            imitator.close()
    with ConsensusImitator.resume(tmp_path / "run", TABLES, person, selection=TopK(4)) as again:
        assert not again.act(1).unanswered
    assert person.heard == ["asked", "told"]


def test_an_answer_repeated_after_the_end_is_told_that_it_is_the_end(tmp_path: Path) -> None:
    query = _waiting(tmp_path / "run")
    with ConsensusImitator.resume(tmp_path / "run", TABLES, selection=TopK(4)) as imitator:
        imitator.answer(query, 0)
    later = ConsensusImitator.resume(tmp_path / "run", TABLES, selection=TopK(4))
    assert later.answer(query, 0).action == 0
    later = ConsensusImitator.resume(_closed(later), TABLES, selection=TopK(4))
    later.close()
    with pytest.raises(JournalError, match="was closed"):
        later.answer(query, 0)


def _closed(imitator: ConsensusImitator) -> Path:
    imitator.close()
    return directory_of(imitator).path
