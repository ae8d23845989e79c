"""Temperatures fitted to repeated inputs: against a dictionary in NumPy, and to the bit where nobody contradicts."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.ensembles import Training
from consensus_imitation.ensembles.neural import _temperature
from consensus_imitation.ensembles.neural._temperature import Temperature

from .test_replay import bits, perceptrons, taught

N, A, D = 2, 3, 4
SMALL = Training(batch_size=8, updates=2, every=2, capacity=64, caution=2.0)
ALL_DIFFER, ALWAYS_ALIKE, CONTRADICTED = "all differ", "always alike", "contradicted"


def story(kind: str, total: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and what was answered: none twice; five, by a rule; or five, by chance."""
    rng = np.random.default_rng(seed)
    inputs, which = rng.normal(size=(total, D)).astype(np.float32), rng.integers(5, size=total)
    if kind == ALL_DIFFER:
        return inputs, rng.integers(A, size=total)
    return inputs[which], rng.integers(A, size=total) if kind == CONTRADICTED else which % A


def by_hand(inputs: np.ndarray, answers: np.ndarray, log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the temperatures' logarithms and curvatures become, in double precision."""
    log, curvature, answered = np.zeros(N), np.full(N, 10.0), dict[bytes, list[int]]()
    for x, answer, said in zip(inputs, answers, log_probs.astype(np.float64), strict=True):
        before = answered.setdefault(x.tobytes(), [])
        if before:
            weight = min(1 / max(1 - np.exp(said.min(axis=0)).sum(), 1e-9), 50)
            for n in range(N):
                p = np.exp(said[n] - np.log(np.exp(said[n]).sum()))
                slope = weight * ((p * np.log(p)).sum() - np.log(p[answer]))
                if set(before) == {answer}:
                    slope = min(slope, 0)
                variance = (p * np.log(p) ** 2).sum() - (p * np.log(p)).sum() ** 2
                curvature[n] = curvature[n] * 0.995 + weight * variance
                log[n] = np.clip(log[n] + np.clip(slope / curvature[n], -0.1, 0.1), 0, np.log(10))
        before.append(int(answer))
    return log, curvature


@pytest.mark.parametrize("kind", [ALL_DIFFER, ALWAYS_ALIKE, CONTRADICTED])
def test_it_is_what_a_dictionary_of_all_answers_gives(kind: str) -> None:
    inputs, answers = story(kind, 120)
    said = np.log(0.9 * np.random.default_rng(1).dirichlet(np.full(A, 0.3), (120, N)) + 1e-6).astype(np.float32)
    step = jax.jit(Temperature.after)
    found, lowest = Temperature.one(N, "repeats"), np.inf
    for x, answer, log_probs in zip(inputs, answers, said, strict=True):
        found = step(found, x, log_probs, np.int32(answer))
        lowest = min(lowest, float(found.log.min()))
    log, curvature = by_hand(inputs, answers, said)
    np.testing.assert_allclose(found.log, log, atol=1e-4)
    np.testing.assert_allclose(found.curvature, curvature, rtol=1e-4)
    assert lowest == 0.0
    assert bool(np.any(log > 0.1)) == (kind == CONTRADICTED)
    assert bool(np.any(curvature != 10)) == (kind != ALL_DIFFER)


def learned(temperature: Any, kind: str, total: int = 30) -> tuple[Any, list[bytes]]:
    """What members know after a story, and all that they said on the way."""
    ensemble = ensembles.mlp((D,), A, N, hidden=(6,), training=replace(SMALL, temperature=temperature))
    known, said = ensemble.init_learned(jax.random.key(0)), list[bytes]()
    for x, answer in zip(*story(kind, total), strict=True):
        log_probs = ensemble.log_probs((), x, ensembles.Context(0, np.zeros(N), learned=known))
        said.append(np.asarray(log_probs).tobytes())
        known = ensemble.learn_on_host(known, (), x, np.int32(answer), log_probs)
    return known, said


@pytest.mark.parametrize("kind", [ALL_DIFFER, pytest.param(ALWAYS_ALIKE, marks=pytest.mark.slow), CONTRADICTED])
def test_members_are_as_without_it_to_the_bit_unless_the_demonstrator_contradicts_itself(kind: str) -> None:
    (one, said), (other, said_without) = (learned(setting, kind) for setting in ("repeats", False))
    assert (said == said_without) == (kind != CONTRADICTED)
    assert bits(one.params) == bits(other.params), "training knows no temperature"
    assert bits((one.optimizer, one.replay)) == bits((other.optimizer, other.replay))
    assert bits(one.temperature.log) != bits(other.temperature.log) or kind != CONTRADICTED
    assert Training().temperature == "repeats"


@pytest.mark.slow
def test_the_same_is_learned_on_the_host_and_in_programs() -> None:
    few = np.random.default_rng(0).normal(size=(3, D)).astype(np.float32)
    rows, arrays = taught(perceptrons(SMALL), lambda rng: few[rng.integers(3)], 25)
    assert bits(rows) == bits(arrays)
    assert float(rows.temperature.log.max()) > 0


def test_what_is_legal_is_a_part_of_the_question() -> None:
    """The same input under another mask is not a repeated one, and nobody contradicts by another legal answer."""
    x, both = np.ones(D, np.float32), jnp.log(jnp.array([[0.9, 0.1, 0.0]]))
    other = jnp.log(jnp.array([[0.0, 0.1, 0.9]]))
    before = Temperature.one(1, "repeats").after(x, both, jnp.int32(0))
    assert float(before.after(x, other, jnp.int32(1)).curvature[0]) == 10
    assert float(before.after(x, both, jnp.int32(1)).log[0]) > 0


def test_predictions_without_numbers_move_no_temperature() -> None:
    x, said = np.ones(D, np.float32), jnp.stack([jnp.full(A, jnp.nan), jnp.log(jnp.array([0.9, 0.05, 0.05]))])
    found = Temperature.one(N, "repeats").after(x, said, jnp.int32(0)).after(x, said, jnp.int32(1))
    assert found.log.tolist() == [0, 0]
    assert found.curvature.tolist() == [10, 10]
    found = Temperature.one(1, "repeats").after(x, said[1:], jnp.int32(0)).after(x, said[1:], jnp.int32(1))
    assert float(found.log[0]) > 0


def test_an_input_that_lost_its_place_is_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_temperature, "_PLACES", 1)
    said = jnp.log(jnp.array([[0.9, 0.05, 0.05]]))
    found = Temperature.one(1, "repeats")
    for t in range(6):
        found = found.after(np.full(D, t % 2, np.float32), said, jnp.int32(t // 2))
    assert float(found.curvature[0]) == 10
    assert float(found.after(np.ones(D, np.float32), said, jnp.int32(1)).log[0]) > 0


def test_inputs_that_differ_anywhere_have_other_words() -> None:
    rng = np.random.default_rng(0)
    floats, bytes_ = rng.normal(size=30).astype(np.float32), rng.integers(0, 255, (3, 4), dtype=np.uint8)
    next_to = np.where(np.eye(30, dtype=bool), np.nextafter(floats, np.float32(9)), floats)
    trees = [(floats, bytes_), *((one, bytes_) for one in next_to)]
    trees += [(floats, bytes_ + one.reshape(3, 4)) for one in np.eye(12, dtype=np.uint8)]
    trees += [(floats[::-1], bytes_), (np.roll(floats, 1), bytes_), (floats, bytes_[::-1])]
    words = jax.jit(_temperature._hash)
    assert len({tuple(int(word) for word in words(tree)) for tree in trees}) == len(trees)
    many = jax.jit(jax.vmap(_temperature._hash))((jnp.arange(20_000, dtype=jnp.float32)[:, None],))
    assert len(np.unique(np.stack(many), axis=1).T) == 20_000
    # The low bits choose the place: as evenly as chance has it (a chi-squared variable of 4,095 degrees of freedom).
    counts = np.bincount(np.asarray(many[0]) % 4096, minlength=4096)
    chi = float(((counts - 20_000 / 4096) ** 2 / (20_000 / 4096)).sum())
    assert abs(chi - 4095) < 5 * np.sqrt(2 * 4095)


@pytest.mark.slow
def test_contradictions_in_one_share_leave_other_members_alone() -> None:
    """All shares are about the same few inputs; in one of them, they are answered by chance."""
    ensemble = ensembles.mlp((D,), A, 3, hidden=(6,), training=replace(SMALL, bootstrap="partition"))
    inputs, chance = story(CONTRADICTED, 60)
    alike = story(ALWAYS_ALIKE, 60)[1]
    np.testing.assert_array_equal(inputs, story(ALWAYS_ALIKE, 60)[0])
    found = []
    for false in (alike, np.where(np.arange(60) % 3 == 1, chance, alike)):
        imitator = ConsensusImitator(ensemble, selection=TopK(3), seed=1)
        imitator.pretrain(inputs, false)
        found.append(imitator.state.learned)
    for n, same in enumerate((True, False, True)):
        one, other = (
            bits(jax.tree.map(lambda leaf, n=n: leaf[n], (known.temperature, known.params, known.replay[n].answers)))
            for known in found
        )
        assert (one == other) == same
        assert (float(found[1].temperature.log[n]) > 0) != same


def test_replicas_of_a_training_loop_have_one() -> None:
    members: Any = ensembles.from_training_loop(
        lambda key: 0.1 * jax.random.normal(key, (D, A)),
        lambda state, x, y: state + 0.5 * x.T @ (jax.nn.one_hot(y, A) - jax.nn.softmax(x @ state)),
        lambda state, x: x @ state,
        (D,), A, N, SMALL,
    )  # fmt: skip
    known = members.init_learned(jax.random.key(0))
    for answer in (0, 0, 0, 1, 2, 1):
        x = np.ones(D, np.float32)
        said = members.log_probs((), x, ensembles.Context(0, np.zeros(N), learned=known))
        known = members.learn_on_host(known, (), x, np.int32(answer), said)
    assert float(known.temperature.log.min()) > 0
