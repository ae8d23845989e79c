"""An observation that is in no table is the observation's fault, not the members': refused at every way in."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Learner, TopK, ensembles, envs
from consensus_imitation.core.rollout import rollout, start
from consensus_imitation.deception import time_bomb
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.errors import ObservationError

S, A = 5, 3
ROW = np.full(A, 1 / A)


def tables(num_observations: int = S, num_members: int = 2) -> Any:
    return ensembles.tabular(np.tile(ROW, (num_members, num_observations, 1)))


def functions() -> Any:
    return ensembles.callables([lambda observation: ROW], A)


def logits(row: Any, observation: Any) -> Any:
    return row + 0.0 * observation


#: Ensembles that hold a table of 5; the union is refused what its smallest table lacks.
MEMBERS: dict[str, Callable[[], Any]] = {
    "tables": tables,
    "union": lambda: ensembles.union(ensembles.stacked(logits, jnp.zeros((1, A)), A), tables()),
    "union of two tables": lambda: ensembles.union(tables(9), tables()),
    "union with functions": lambda: ensembles.union(functions(), tables()),
    "union in a union": lambda: ensembles.union(functions(), ensembles.union(tables(7), tables())),
    "planted": lambda: time_bomb(tables(9), tables(), at_step=3),
}


def make(members: str, **options: Any) -> ConsensusImitator:
    return ConsensusImitator(MEMBERS[members](), lambda observation: 0, selection=TopK(1), seed=0, **options)


WAYS: dict[str, tuple[int | None, Callable[[ConsensusImitator, int], Any]]] = {
    "act": (None, lambda imitator, seen: imitator.act(seen)),
    "decide": (None, lambda imitator, seen: imitator.decide(np.int64(seen))),
    "act_async": (None, lambda imitator, seen: asyncio.run(imitator.act_async(seen))),
    "act, lockstep": (3, lambda imitator, seen: imitator.act(np.array([0, seen, 0]))),
    "decide, lockstep": (3, lambda imitator, seen: imitator.decide([0, seen, 0])),
    "env=": (3, lambda imitator, seen: imitator.act(seen, env=2)),
    "policy": (None, lambda imitator, seen: imitator.policy().predict(seen)),
    "policy, batch": (None, lambda imitator, seen: imitator.policy(num_envs=2).predict(np.array([0, seen]))),
    "study": (None, lambda imitator, seen: imitator.pretrain([0, seen], [0, 0])),
    "study, arrays": (None, lambda imitator, seen: imitator.pretrain(np.array([0, seen]), [0, 0])),
}


@pytest.mark.quick_cases(12)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("members", MEMBERS)
def test_an_unknown_observation_is_refused_and_nobody_is_blamed(members: str, way: str) -> None:
    num_envs, step = WAYS[way]
    imitator = make(members, num_envs=num_envs)
    if way.startswith("study") and members in ("union with functions", "union in a union"):
        pytest.skip("members on the host do not study")
    state = imitator.state
    for seen in (S, -1, 2**20):
        with pytest.raises(ObservationError, match=rf"observation {seen}.* is in no table: they hold 0 .. {S - 1}"):
            step(imitator, seen)
    assert imitator.alarms == ()
    assert imitator.state is state
    assert imitator.pending == ()
    step(imitator, S - 1)  # the control


def test_a_run_that_was_taken_up_refuses_it_too(tmp_path: Path) -> None:
    make("tables", journal=tmp_path / "run").close()
    with ConsensusImitator.resume(tmp_path / "run", tables(), lambda observation: 0, selection=TopK(1)) as imitator:
        with pytest.raises(ObservationError, match="is in no table"):
            imitator.act(S)
        assert imitator.alarms == ()
        assert imitator.act(S - 1).step == 0


def test_the_core_refuses_what_is_not_traced(key: jax.Array) -> None:
    """What is traced it cannot know: there it is a query, as tests/core/test_fail_closed.py says."""
    learner = Learner(tables(), TopK(1))
    state = learner.init(key)
    for seen in (S, -1, np.int32(S), jnp.int32(S)):
        with pytest.raises(ObservationError, match="is in no table"):
            learner.decide(state, seen)
    assert bool(jax.jit(learner.decide)(state, S).queried)


def test_a_rollout_refuses_tables_that_are_too_small(key: jax.Array) -> None:
    world = envs.make("ring")
    probs = world.demonstrator_probs
    expert = TabularDemonstrator.create(probs)
    whole, short = (Learner(ensembles.tabular(table[None]), TopK(1)) for table in (probs, probs[:-1]))
    with pytest.raises(ObservationError, match=rf"has {len(probs)} observations, the tables hold {len(probs) - 1}"):
        start(short, world.env, key)
    state = start(whole, world.env, key)
    with pytest.raises(ObservationError, match="the tables hold"):
        rollout(short, world.env, expert, state, num_steps=2)
    with pytest.raises(ObservationError, match="the tables hold"):
        jax.jit(lambda state: rollout(short, world.env, expert, state, num_steps=2))(state)
    rollout(whole, world.env, expert, state, num_steps=2)


@pytest.mark.parametrize("given", [0.0, True, "0", None, [0, 1], {"place": 0}], ids=repr)
def test_what_is_no_number_of_a_row_is_refused_by_its_kind(given: Any) -> None:
    for members in ("tables", "union with functions"):
        imitator = make(members)
        with pytest.raises(ObservationError):
            imitator.decide(given)
        assert imitator.alarms == ()
