"""A replay in rows is one in arrays for whoever looks, and members learn the same from both, to the bit."""

import copy
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium import spaces

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Context, Plateau, Training
from consensus_imitation.ensembles.neural import _on_host, _rounds
from consensus_imitation.ensembles.neural.replay import Elsewhere, Replay, joined, parted
from consensus_imitation.errors import ConfigurationError

A = 3
PLAIN = Training(capacity=10, batch_size=8, updates=3, every=3)
EVERYTHING = replace(
    PLAIN, temperature=True, averaging=3.0, prior_scale=1.0, bootstrap="bernoulli", label_smoothing=0.1,
    plateau=Plateau(patience=1, factor=0.1, smallest=0.5, stop=True), optimizer=optax.sgd,
)  # fmt: skip


def vector(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=4).astype(np.float32)


def picture(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)


def perceptrons(training: Training) -> Any:
    return ensembles.mlp((4,), A, 2, hidden=(4,), training=training)


def convolutions(training: Training) -> Any:
    space = spaces.Box(0, 255, (6, 6, 3), np.uint8)
    return ensembles.cnn(space, A, 2, channels=(2,), hidden=(4,), training=training, kind="image")


def windows(training: Training) -> Any:
    return ensembles.recurrent((4,), A, 2, hidden=3, window=3, training=training)


def bits(tree: Any) -> list[bytes]:
    def data(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return [np.asarray(data(leaf)).tobytes() for leaf in jax.tree.leaves(tree)]


def taught(members: Any, seen: Any, num_answers: int, learned: Any = None, first: int = 0) -> tuple[Any, Any]:
    """What members know after these answers: learned on the host, and in programs from arrays."""
    key = jax.random.key(1)
    rows = members.init_learned(key) if learned is None else learned
    arrays = jax.tree.map(lambda leaf: leaf, rows)
    learn = jax.jit(lambda learned, *rest: members.learn(learned, *rest))
    carry = members.init_carry()
    for i in range(first, first + num_answers):
        rng = np.random.default_rng(i)
        observation, answer = seen(rng), np.int32(rng.integers(A))
        context = Context(0, np.zeros(2), learned=arrays)
        log_probs = members.log_probs(carry, observation, context)
        rows = members.learn_on_host(rows, carry, observation, answer, log_probs)
        arrays = learn(arrays, carry, observation, answer, log_probs)
        carry = members.advance(carry, observation, context, answer, np.bool_(True))
    assert rows.replay.rows is not None
    assert arrays.replay.rows is None
    return rows, arrays


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize(
    ("make", "seen", "training"),
    [
        (perceptrons, vector, replace(PLAIN, local_caution=0.1, masked=True)),
        (perceptrons, vector, PLAIN),
        (perceptrons, vector, EVERYTHING),
        (convolutions, picture, PLAIN),
        (windows, vector, PLAIN),
        (perceptrons, vector, replace(PLAIN, decorrelate=1.0, minimum_withholds=0.5, masked=True)),
        (windows, vector, replace(EVERYTHING, minimum_explains=1.0, minimum_withholds=0.5)),
    ],
    ids=["local caution", "perceptrons", "every setting", "pictures", "windows", "compared", "compared windows"],
)
@pytest.mark.filterwarnings("ignore:Training:consensus_imitation.errors.ConsensusWarning")
def test_the_same_is_learned_on_the_host_to_the_bit(make: Any, seen: Any, training: Training) -> None:
    rows, arrays = taught(make(training), seen, 25)
    assert jax.tree.structure(rows) == jax.tree.structure(arrays)
    assert bits(rows) == bits(arrays)
    assert int(rows.replay.size) == 10


@pytest.mark.parametrize("at_once", [1, 2 * 8 * 22], ids=["one minibatch", "two of three"])
def test_minibatches_that_are_looked_up_a_few_at_a_time_teach_the_same(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_on_host, "_AT_ONCE", at_once)
    rows, arrays = taught(perceptrons(PLAIN), vector, 12)
    assert rows.replay.rows.kind.row_bytes == 22
    for one, other in zip(jax.tree.leaves(rows.params), jax.tree.leaves(arrays.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    "training", [replace(EVERYTHING, bootstrap="poisson", masked=True), PLAIN], ids=["every setting", "plain"]
)
def test_large_inputs_teach_one_member_after_the_other_the_same(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = taught(perceptrons(training), vector, 12)
    monkeypatch.setattr(_rounds, "NUMBERS_AT_ONCE", 9)
    in_parts = taught(perceptrons(training), vector, 12)
    alone = [np.asarray(leaf) for leaf in jax.tree.leaves(in_parts[0].params)]
    assert all(not np.allclose(leaf[0], leaf[1]) for leaf in alone if np.any(leaf))
    for learned in in_parts:
        for name in ("params", "averages", "optimizer", "temperature"):
            parts = [jax.tree.leaves(getattr(one, name)) for one in (whole, learned)]
            for one, other in zip(*parts, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5, err_msg=name)


def test_no_more_than_a_few_minibatches_are_looked_up_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    at = _on_host.Rows.at

    def counted(self: Any, places: np.ndarray) -> Any:
        asked.append(len(places))
        return at(self, places)

    monkeypatch.setattr(_on_host.Rows, "at", counted)
    taught(perceptrons(PLAIN), vector, 3)
    assert asked == [3 * 8]
    monkeypatch.setattr(_on_host, "_AT_ONCE", 2 * 8 * 22)
    taught(perceptrons(PLAIN), vector, 3)
    assert asked[1:] == [2 * 8, 8]


@pytest.mark.parametrize("at_once", [1 << 24, 1], ids=["at once", "in parts"])
def test_a_round_that_leaves_no_numbers_is_not_taken_on_the_host_either(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_on_host, "_AT_ONCE", at_once)
    members = perceptrons(replace(PLAIN, every=1, caution=0.0, bootstrap="none"))
    before = members.init_learned(jax.random.key(0))
    log_probs = np.log(np.full((2, A), 1 / A, np.float32))
    for poison, same in ((1.0, False), (np.inf, True)):
        after = members.learn_on_host(before, (), np.full(4, poison, np.float32), 1, log_probs)
        assert (bits(after.params) == bits(before.params)) == same
        assert int(after.replay.stored) == 1


# --- what others see ---


def test_whoever_looks_finds_arrays_and_who_does_not_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    ring = _on_host.Rows.ring

    def counted(self: Any, length: int) -> Any:
        made.append(length)
        return ring(self, length)

    monkeypatch.setattr(_on_host.Rows, "ring", counted)
    rows, _ = taught(perceptrons(PLAIN), vector, 4)
    assert made == []
    replay = rows.replay
    assert (int(replay.size), replay.capacity, "rows" in repr(replay)) == (4, 10, True)
    assert replay.shaped().inputs.shape == (10, 4)
    assert made == []
    assert replay.inputs.shape == (10, 4)
    assert replay.inputs is replay.inputs
    assert made == [10]
    assert replay.trimmed().inputs.shape == (4, 4)
    assert replay.dense(3).inputs.shape == (10, 4)
    with pytest.raises(AttributeError, match="no price"):
        _ = replay.price


def test_room_is_for_what_comes_and_not_for_all_that_could() -> None:
    rows, _ = taught(perceptrons(replace(PLAIN, capacity=5000)), vector, 2)
    assert rows.replay.dense(10).answers.shape == (256,)
    assert rows.replay.dense(300).answers.shape == (512,)
    assert rows.replay.dense(9000).answers.shape == (5000,)


def test_programs_and_copies_take_it_as_arrays() -> None:
    rows, arrays = taught(perceptrons(PLAIN), vector, 4)
    doubled = jax.jit(lambda learned: jax.tree.map(lambda leaf: leaf, learned))(rows)
    assert bits(doubled) == bits(rows) == bits(arrays)
    copied = copy.copy(rows.replay)
    assert copied.rows is None
    assert bits(copied) == bits(rows.replay)
    inside = jax.jit(lambda: rows.replay.answers.sum() + rows.replay.size)()
    assert int(inside) == int(np.sum(arrays.replay.answers)) + 4
    assert isinstance(rows.replay.answers, jax.Array)
    assert not isinstance(rows.replay.answers, jax.core.Tracer)


@pytest.mark.slow
def test_an_empty_one_is_made_in_programs_and_under_vmap(key: jax.Array) -> None:
    members = perceptrons(PLAIN)
    alone = members.init_learned(key)
    assert alone.replay.rows is not None
    in_program = jax.jit(lambda key: members.init_learned(key))(key)
    assert bits(alone.replay) == bits(in_program.replay)
    many = jax.vmap(members.init_learned)(jax.random.split(key, 3))
    assert many.replay.inputs.shape == (3, 10, 4)
    huge = perceptrons(replace(PLAIN, capacity=2**30))
    assert jax.eval_shape(huge.init_learned, key).replay.inputs.shape == (2**30, 4)
    assert huge.init_learned(key).replay.rows.num_bytes == 0


def test_answers_are_parted_from_what_was_learned_and_joined_again() -> None:
    members = ensembles.union(perceptrons(PLAIN), ensembles.tabular(np.full((1, 2, A), 1 / A)), perceptrons(PLAIN))
    learned = members.init_learned(jax.random.key(0))
    light, rows = parted(learned)
    assert len(rows) == 2
    assert isinstance(light[0].replay, Elsewhere)
    whole = joined(light, rows)
    assert bits(whole) == bits(learned)
    assert whole[2].replay.rows is rows[1]
    for wrong in ((), rows[:1], (*rows, rows[0])):
        with pytest.raises(ConfigurationError, match="without their answers"):
            joined(light, wrong)
    arrays = jax.tree.map(lambda leaf: leaf, learned)
    assert bits(joined(*parted(arrays))) == bits(learned)
    assert isinstance(arrays[0].replay, Replay)
