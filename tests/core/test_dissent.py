"""Who is to blame for a query: against sorting, and only where somebody asks."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import Learner, TopK, aggregation, ensembles
from consensus_imitation.benchmarks.decisions import learner_of
from consensus_imitation.core._asked_rows import where_asked
from consensus_imitation.core.laws import excesses, validate
from tests.core.compiled import decide, init

#: Two ways to add up A probabilities in float32 differ by a few units in the last place.
ROUNDING = 1e-6

N, A = 4, 5
rows = st.lists(st.integers(0, 5), min_size=N * A, max_size=N * A).map(lambda flat: np.reshape(flat, (N, A)) + 1e-3)
masks = st.lists(st.booleans(), min_size=N, max_size=N).filter(any).map(np.array)


def by_definition(probs: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """The minimum with each member left out, less the minimum of all; else the distance to the average."""
    gains = np.zeros(len(probs))
    if selected.sum() > 1:
        for n in np.flatnonzero(selected):
            others = selected & (np.arange(len(probs)) != n)
            gains[n] = probs[others].min(axis=0).sum() - probs[selected].min(axis=0).sum()
    if gains.max() > 1e-12:
        return gains
    return 0.5 * np.abs(probs - probs[selected].mean(axis=0)).sum(axis=-1) * selected


dissent = jax.jit(aggregation.dissent)


@settings(max_examples=200, deadline=None)
@given(rows, masks)
def test_dissent_is_what_the_minimum_gains_without_each_member(counts: np.ndarray, selected: np.ndarray) -> None:
    probs = (counts / counts.sum(-1, keepdims=True)).astype(np.float32)
    found = dissent(jnp.log(probs), selected)
    np.testing.assert_allclose(found, by_definition(np.exp(np.log(probs)).astype(float), selected), atol=ROUNDING)


def test_dissent_names_the_member_to_blame() -> None:
    rows = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9], [0.5, 0.5], [1.0, 0.0]]))
    everyone_but_last = jnp.array([True, True, True, False])
    np.testing.assert_allclose(aggregation.dissent(rows, everyone_but_last), [0.0, 0.4, 0.0, 0.0], atol=ROUNDING)


def test_two_members_to_blame_are_told_by_their_distance_and_equal_ones_do_not_dissent() -> None:
    two = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9], [0.1, 0.9], [0.5, 0.5]]))
    assert np.all(np.asarray(aggregation.dissent(two, jnp.ones(4, bool))) > 0)
    np.testing.assert_array_equal(aggregation.dissent(two[:1].repeat(3, 0), jnp.ones(3, bool)), 0)


def test_many_actions_add_up() -> None:
    """One float32 sum over 50,000 terms of this size would be off in the sixth digit."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(3, 50_000)), jnp.float32)
    log_probs = jax.nn.log_softmax(logits)
    expected = by_definition(np.exp(np.asarray(log_probs, np.float64)), np.ones(3, bool))
    np.testing.assert_allclose(dissent(log_probs, jnp.ones(3, bool)), expected, rtol=2e-6)


def test_an_excess_is_taken_off_as_validation_does() -> None:
    raw = jnp.log(jnp.array([[0.50004, 0.5], [0.2, 0.8], [jnp.nan, 1.0], [0.9, 0.9]]))
    everyone = jnp.ones(4, bool)
    for selected in (everyone, jnp.array([True, True, False, False])):
        lazily = aggregation.dissent(raw, selected, True, excesses(raw))
        np.testing.assert_allclose(lazily, aggregation.dissent(validate(raw)[0], selected), atol=ROUNDING)


def test_only_queries_have_one(key: jax.Array) -> None:
    learner = Learner(ensembles.tabular(np.array([[[0.9, 0.1]], [[0.5, 0.5]]])), TopK(2))
    both = set()
    for own in jax.random.split(key, 20):
        decision = decide(learner, init(learner, own), 0)
        queried = bool(decision.queried)
        both.add(queried)
        assert bool(jnp.any(decision.dissent > 0)) == queried
    assert both == {True, False}


#: So many numbers in each of two arrays: a block of two rows has enough to do.
LONG = 1500

asked_sum = where_asked(lambda left, right: jnp.stack([jnp.sum(left * right), jnp.max(left)]))
one_row = jax.jit(asked_sum)


@cache
def many_rows(axes: Any) -> Any:
    return jax.jit(jax.vmap(asked_sum, in_axes=(0, *axes)))


@pytest.mark.parametrize("size", [1, 9, *(pytest.param(size, marks=pytest.mark.slow) for size in (2, 7, 8, 31, 64))])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (None, None)])
@pytest.mark.parametrize("length", [3, LONG])
def test_rows_that_ask_get_what_the_function_gives(size: int, share: float, axes: Any, length: int) -> None:
    """Short rows, which are computed all or none, and long ones, of which there are several blocks."""
    rng = np.random.default_rng([size, int(share * 10)])
    asked = rng.random(size) < share
    left, right = (rng.normal(size=(size, length) if axis == 0 else length) for axis in axes)
    found = many_rows(axes)(asked, left, right)
    for row in range(size):
        one = left[row] if axes[0] == 0 else left, right[row] if axes[1] == 0 else right
        expected = [np.sum(one[0] * one[1]), np.max(one[0])] if asked[row] else [0.0, 0.0]
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6 * length)
        np.testing.assert_allclose(one_row(asked[row], *one), expected, rtol=1e-5, atol=1e-6 * length)


@pytest.mark.parametrize(("length", "branches"), [(3, 1), (LONG, 5)])
def test_of_short_rows_a_batch_is_one_block(length: int, branches: int) -> None:
    """Nine long rows are five blocks of two."""
    left = jnp.zeros((9, length))
    program = str(jax.make_jaxpr(jax.vmap(asked_sum))(jnp.zeros(9, bool), left, left))
    assert program.count("cond[") == branches


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, LONG])
def test_a_batch_of_batches_is_the_same(length: int) -> None:
    rng = np.random.default_rng(1)
    asked = rng.random((5, 9)) < 0.5
    left, right = rng.normal(size=(5, 9, length)), rng.normal(size=(5, 9, length))
    expected = np.stack([np.sum(left * right, axis=-1), np.max(left, axis=-1)], axis=-1) * asked[..., None]
    for inner in (jax.vmap(asked_sum), jax.vmap(asked_sum, in_axes=(0, 0, 0))):
        np.testing.assert_allclose(jax.vmap(inner)(asked, left, right), expected, rtol=1e-5, atol=1e-6 * length)
    swapped = jax.vmap(jax.vmap(asked_sum), in_axes=(1, 1, 1), out_axes=1)(asked, left, right)
    np.testing.assert_allclose(swapped, expected, rtol=1e-5, atol=1e-6 * length)


def test_a_batch_under_one_answer_is_the_same() -> None:
    left = right = jnp.arange(12.0).reshape(4, 3)
    for asked in (True, False):
        found = jax.vmap(asked_sum, in_axes=(None, 0, 0))(jnp.asarray(asked), left, right)
        expected = np.stack([np.sum(left * right, axis=-1), np.max(left, axis=-1)], axis=-1) * asked
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_that_do_not_ask_stay_as_they_are_whatever_is_in_them() -> None:
    asked = jnp.array([False, True, False])
    left = jnp.array([[jnp.nan] * 3, [1.0] * 3, [jnp.inf] * 3])
    np.testing.assert_array_equal(jax.vmap(asked_sum)(asked, left, left), [[0, 0], [3, 1], [0, 0]])


def test_a_batch_of_nothing_is_nothing() -> None:
    assert jax.vmap(asked_sum)(jnp.zeros(0, bool), jnp.zeros((0, 3)), jnp.zeros((0, 3))).shape == (0, 2)


def test_dissent_has_no_gradient_and_keeps_none_from_others() -> None:
    rows = jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9]]))

    def of(logits: jax.Array) -> jax.Array:
        rows = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(rows[0, 0])) + jnp.sum(aggregation.dissent(rows, jnp.ones(2, bool)))

    for derivative in (jax.grad(of), jax.jacfwd(of)):
        found = derivative(rows)
        assert np.any(np.asarray(found[0]) != 0)
        np.testing.assert_array_equal(found[1], 0)


def test_what_is_learned_from_is_validated() -> None:
    """A row that sums to just above one is scaled down to one before anybody learns from it, an invalid one is none."""
    raw = jnp.log(jnp.array([[0.50006, 0.5], [0.2, 0.8], [jnp.nan, 1.0]]))
    learner, state = learner_of(1, *raw.shape, 2, np.zeros(3, np.float32))
    decision = learner.decide_batch(state, raw[None])
    assert decision.invalid.tolist() == [[False, False, True]]
    np.testing.assert_array_equal(decision.usable[0], validate(raw)[0])
    assert np.any(np.asarray(decision.usable[0, 0]) != np.asarray(raw[0]))
