"""What is given out cannot be written to, what was passed in may be overwritten; and the copies themselves."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.core._observations import given, lent, private
from consensus_imitation.errors import ObservationError, StaleAnswerError

from .vandals import MEMBERS, STEPS, A, B, World, plain, spoil


def arrays_of(decision: Any) -> dict[str, np.ndarray]:
    fields = {name: getattr(decision, name) for name in type(decision).__slots__}
    return {name: field for name, field in fields.items() if isinstance(field, np.ndarray)}


def decisions(num_envs: int | None, env: int | None, run_dir: Path | None = None) -> list[Any]:
    """One of each sort: acted on, waiting, pending, answered, answered again, and taken up from the journal."""
    world = World(spoils=False, batch=num_envs is not None and env is None)
    one = ConsensusImitator(plain(world), None, selection=TopK(2), seed=4, num_envs=num_envs, journal=run_dir)
    found: list[Any] = []
    answer: Any = 1 if num_envs is None or env is not None else [1] * B
    for _ in range(STEPS):
        decision = one.decide(world.observation(), env=env)
        found.append(decision)
        if np.any(decision.queried):
            found += [*one.pending, one.answer(decision, answer), one.answer(decision, answer)]
    last = next(decision for decision in reversed(found) if np.any(decision.queried))
    while not np.any(one.decide(world.observation(), env=env).queried):
        pass
    one.close()
    if run_dir is not None:
        again = ConsensusImitator.resume(run_dir, plain(world), selection=TopK(2))
        found += [*again.pending, again.answer(last.query, answer)]
        again.close()
    return found


@pytest.mark.parametrize("journal", [False, True])
@pytest.mark.parametrize(("num_envs", "env"), [(None, None), (B, None), (B, 1)])
def test_decisions_cannot_be_written_to(num_envs: int | None, env: int | None, journal: bool, tmp_path: Path) -> None:
    for decision in decisions(num_envs, env, tmp_path / "run" if journal else None):
        arrays = arrays_of(decision)
        assert len(arrays) >= 4
        for name, array in arrays.items():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.setflags(write=True)
            assert name


def test_a_true_repeat_is_accepted_and_a_false_one_refused_whatever_the_holder_tries() -> None:
    world = World(spoils=False, batch=True)
    one = ConsensusImitator(plain(world), None, selection=TopK(2), seed=4, num_envs=B)
    while not (decision := one.decide(world.observation())).queried.all():
        if decision.queried.any():
            one.answer(decision, [1] * B)
    closed = one.answer(decision, [1, 2])
    for array in arrays_of(closed).values():
        spoil(array)
    assert one.answer(decision, [1, 2]).action.tolist() == [1, 2]
    with pytest.raises(StaleAnswerError):
        one.answer(decision, [2, 2])


def test_answers_in_an_array_may_be_overwritten() -> None:
    world = World(spoils=False, batch=True)
    one = ConsensusImitator(plain(world), None, selection=TopK(2), seed=4, num_envs=B)
    while not (decision := one.decide(world.observation())).queried.all():
        if decision.queried.any():
            one.answer(decision, [1] * B)
    answers = np.array([1, 2])
    closed = one.answer(decision, answers)
    answers[:] = 0
    assert closed.action.tolist() == [1, 2]
    assert one.answer(decision, [1, 2]).action.tolist() == [1, 2]


def test_what_an_imitator_shows_of_itself_cannot_be_written_to() -> None:
    world = World(spoils=False, batch=True)
    one = ConsensusImitator(
        MEMBERS["that remember and learn"](world), world.answer, selection=TopK(2), seed=4, num_envs=B
    )
    for _ in range(4):
        one.act(world.observation())
    before = one.weights.tobytes(), one.ledger.tobytes()
    for shown in (one.weights, one.ledger):
        with pytest.raises(ValueError, match="read-only"):
            shown[...] = 0
    for leaf in jax.tree.leaves(one.state):
        assert isinstance(leaf, jax.Array)
    assert (one.weights.tobytes(), one.ledger.tobytes()) == before
    while not np.any(one.decide(world.observation()).queried):
        pass
    predictions = one.predictions
    spoil(predictions)
    assert (one.predictions >= 0).all()


def test_a_state_and_tables_that_were_passed_in_may_be_overwritten() -> None:
    probs = np.random.default_rng(0).dirichlet(np.ones(A), (2, 4)).astype(np.float32)
    prior = np.array([0.5, 0.5], np.float32)
    members = ensembles.tabular(probs, prior=prior)
    before = jax.tree.map(np.array, ConsensusImitator(members, seed=0).state.posterior)
    state = ConsensusImitator(members, seed=0).state
    state = state.replace(posterior=jax.tree.map(np.array, state.posterior))
    ways = [
        ConsensusImitator.from_state(state, members, selection=TopK(2)),
        ConsensusImitator(members, selection=TopK(2), seed=0),
    ]
    ways[1].restore(state)
    expected = np.asarray(members.log_probs((), 1, None)).tobytes()  # type: ignore[arg-type]
    for leaf in (*jax.tree.leaves(state.posterior), probs, prior):
        leaf[...] = 5
    assert np.asarray(members.log_probs((), 1, None)).tobytes() == expected  # type: ignore[arg-type]
    assert np.asarray(members.prior).tolist() == [0.5, 0.5]
    for one in ways:
        jax.tree.map(np.testing.assert_array_equal, one.state.posterior, before)


# --- the copies themselves ---

PARTS: dict[str, Any] = {
    "array": np.arange(6.0).reshape(2, 3),
    "backwards": np.arange(6)[::-2],
    "columns first": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "no axis": np.array(3),
    "empty": np.zeros((0, 2)),
    "text": np.array(["go", "stop"]),
    "time": np.array(["2020-01-01"], "M8[D]"),
    "small floats": np.asarray(jnp.ones(2, jnp.bfloat16)),
    "record": np.zeros(2, [("x", "f4"), ("y", "i4")]),
    "list": [1, [np.zeros(2)], "three"],
    "tuple": (1, (np.zeros(2),), [4]),
    "dict": {"b": np.zeros(1), "a": {"c": [np.ones(1)]}},
    "scalar": np.float32(2),
    "number": 7,
    "jax": jnp.arange(3),
    "nothing": None,
    "objects": np.array([[1], None], object),
    "set": {1, 2},
    "bytes": bytearray(b"ab"),
    "void": np.zeros(1, [("x", "f4")])[0],
    "masked": np.ma.array([1, 2], mask=[True, False]),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray | jax.Array):
        return type(one) is type(other) and one.dtype == other.dtype and bool(np.array_equal(one, other))
    return type(one) is type(other) and bool(one == other)


def parts_of(value: Any) -> list[Any]:
    """What lists, tuples and dicts hold."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [inner for part in value for inner in parts_of(part)]
    return [value]


def writeable(value: Any) -> list[Any]:
    """Arrays in it that can be written to."""
    return [part for part in parts_of(value) if isinstance(part, np.ndarray) and part.flags.writeable]


@pytest.mark.parametrize("kind", PARTS)
def test_copies(kind: str) -> None:
    value = PARTS[kind]
    own = private(value)
    for copied in (own, lent(own), given(own)):
        assert same(copied, value)
    # What NumPy cannot freeze is copied for each.
    deep = kind in ("objects", "masked")
    assert deep or not writeable(own)
    assert deep or not writeable(lent(own))
    assert len(writeable(given(own))) == sum(isinstance(leaf, np.ndarray) for leaf in parts_of(value))
    for array in writeable(given(own)):
        assert not any(
            np.shares_memory(array, other) for other in (*writeable(value), own) if type(other) is np.ndarray
        )
    if isinstance(value, list | dict | set | bytearray):
        assert own is not value
        assert lent(own) is not own
        assert given(own) is not own


def test_what_is_private_already_is_not_copied_again() -> None:
    own = private(np.zeros(3))
    assert private(own) is own
    assert lent({"a": own})["a"] is own
    assert given(own) is not own


def test_what_cannot_be_copied_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    one = ConsensusImitator(ensembles.callables([lambda seen: [1.0, 0, 0]], A), seed=0)
    for observation, said in (
        ((step for step in range(3)), "generator that cannot be copied"),
        (endless, "holds itself"),
    ):
        with pytest.raises(ObservationError, match=said):
            one.decide(observation)
        assert (one.num_steps, one.pending) == (0, ())
    assert one.decide({"anything": object}).action == 0
