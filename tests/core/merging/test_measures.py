"""What the answered queries say of the members: against NumPy in float64, and in the cases that are known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import Merging
from consensus_imitation.core import aggregation, merging
from consensus_imitation.core.merging import DiversityState


@jax.jit
def see(log_probs: jax.Array, answers: jax.Array) -> DiversityState:
    """The state after predictions [T, N, A] and answers [T]."""

    def step(state: DiversityState, seen: tuple[jax.Array, jax.Array]) -> tuple[DiversityState, None]:
        return merging.update(state, *seen), None

    return jax.lax.scan(step, merging.init(log_probs.shape[1]), (log_probs, answers))[0]


def effective_oracle(errors: np.ndarray) -> float:
    """From errors [T, N]: pair by pair, from the definition."""
    num_members = errors.shape[1]
    correlations = []
    for n in range(num_members):
        for m in range(n):
            constant = min(errors[:, n].std(), errors[:, m].std()) <= 1e-6
            correlations.append(1.0 if constant else float(np.corrcoef(errors[:, n], errors[:, m])[0, 1]))
    rho = float(np.mean(correlations))
    return num_members / min(max(1 + (num_members - 1) * rho, 1.0), num_members)


def predictions(seed: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Random predictions [T, N, A], with impossible actions, of members that share some of their errors."""
    rng = np.random.default_rng(seed)
    T, _, A = shape
    logits = rng.normal(size=shape) + 1.5 * rng.normal(size=(T, 1, A))
    logits[rng.random(shape) < 0.1] = -40.0
    probs = np.exp(logits)
    return (probs / probs.sum(-1, keepdims=True)).astype(np.float32), rng.integers(A, size=T)


@pytest.mark.parametrize(("seed", "num_actions"), [*((seed, 4) for seed in range(5)), (5, 16), (6, 17)])
def test_moments_distances_and_effective_number_equal_the_oracle(seed: int, num_actions: int) -> None:
    """Of few actions distances are added up in another way than of many."""
    probs, answers = predictions(seed, (200, 6, num_actions))
    state = see(jnp.log(probs), answers)
    errors = 1 - np.take_along_axis(probs.astype(float), answers[:, None, None], axis=-1)[..., 0]
    assert int(state.count) == 200
    np.testing.assert_allclose(state.mean, errors.mean(0), atol=1e-5)
    np.testing.assert_allclose(state.covariance, np.cov(errors.T, bias=True), atol=1e-5)
    wide = probs.astype(float)
    distance = 0.5 * np.abs(wide[:, :, None] - wide[:, None]).sum(-1).max(0)
    np.testing.assert_allclose(state.distance, distance, atol=1e-6)
    np.testing.assert_allclose(merging.effective_members(state), effective_oracle(errors), rtol=1e-4)
    some = np.array([True, False, True, True, False, True])
    found = merging.effective_members(state, jnp.asarray(some))
    np.testing.assert_allclose(found, effective_oracle(errors[:, some]), rtol=1e-4)


def test_a_long_run_keeps_its_precision() -> None:
    probs, answers = predictions(7, (2000, 4, 3))
    state = see(jnp.tile(jnp.log(probs), (50, 1, 1)), jnp.tile(answers, 50))
    errors = 1 - np.take_along_axis(probs.astype(float), answers[:, None, None], axis=-1)[..., 0]
    np.testing.assert_allclose(state.covariance, np.cov(errors.T, bias=True), atol=1e-4)
    np.testing.assert_allclose(merging.effective_members(state), effective_oracle(errors), rtol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 9]))
def test_identical_members_count_as_exactly_one(seed: int, num_members: int) -> None:
    probs, answers = predictions(seed, (50, 1, 4))
    state = see(jnp.repeat(jnp.log(probs), num_members, axis=1), answers)
    assert float(merging.effective_members(state)) == 1.0
    assert bool(merging.near_duplicates(state, 0.0).all())


def test_independent_members_count_in_full() -> None:
    """Members that each call the answer likely or unlikely by a coin of their own."""
    T, N = 4000, 8
    right = np.random.default_rng(0).random((T, N)) < 0.5
    first = np.where(right, 0.9, 0.1)
    state = see(jnp.log(np.stack([first, 1 - first], -1)), jnp.zeros(T, int))
    # The N(N-1)/2 sample correlations are uncorrelated, each of variance 1/T.
    sigma = math.sqrt(2 / (N * (N - 1) * T))
    lowest = N / (1 + (N - 1) * 5 * sigma)
    assert lowest <= float(merging.effective_members(state)) <= N
    assert lowest > 0.9 * N


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_shared_part_is_counted_as_shared(share: float) -> None:
    """Each member follows one common coin with probability sqrt(share), so that rho = share."""
    T, N = 20000, 5
    rng = np.random.default_rng(1)
    common = rng.random((T, 1)) < 0.5
    follows = rng.random((T, N)) < math.sqrt(share)
    first = np.where(np.where(follows, common, rng.random((T, N)) < 0.5), 0.9, 0.1)
    state = see(jnp.log(np.stack([first, 1 - first], -1)), jnp.zeros(T, int))
    expected = N / (1 + (N - 1) * share)
    # A correlation's standard error is at most 1 / sqrt(T), and so is that of their mean.
    np.testing.assert_allclose(merging.effective_members(state), expected, rtol=5 * (N - 1) / math.sqrt(T))


def test_independence_has_to_be_shown() -> None:
    state = merging.init(3)
    assert float(merging.effective_members(state)) == 1.0
    for answer in (0, 1):
        rows = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]]))  # the first errs by 1/2, whatever the answer
        state = merging.update(state, rows, answer)
    assert float(merging.effective_members(state, jnp.array([True, True, False]))) == 1.0
    assert float(merging.effective_members(state, jnp.array([False, True, True]))) == 2.0
    assert float(merging.effective_members(state, jnp.array([True, False, False]))) == 1.0
    assert float(merging.effective_members(state, jnp.zeros(3, bool))) == 0.0
    assert float(merging.effective_members(merging.init(1))) == 1.0


def test_an_unusable_prediction_errs_and_tells_nobody_apart() -> None:
    rows, _ = aggregation.validate(jnp.log(jnp.array([[0.5, 0.5], [jnp.nan, 1.0], [2.0, 2.0], [0.9, 0.1]])))
    state = merging.update(merging.init(4), rows, 0)
    np.testing.assert_allclose(state.mean, [0.5, 1.0, 1.0, 0.1], atol=1e-6)
    expected = np.zeros((4, 4))
    expected[0, 3] = expected[3, 0] = 0.4
    np.testing.assert_allclose(state.distance, expected, atol=1e-6)


def test_mass_withheld_is_no_difference() -> None:
    state = merging.update(merging.init(2), jnp.log(jnp.array([[0.5, 0.5], [0.5, 0.3]])), 0)
    np.testing.assert_allclose(state.distance[0, 1], 0.125, atol=1e-6)  # [5/8, 3/8] against halves
    np.testing.assert_allclose(state.mean, [0.5, 0.375], atol=1e-6)


# --- near-duplicates ---


def components(distance: np.ndarray, tolerance: float) -> np.ndarray:
    """Who can be reached from whom, by search."""
    size = len(distance)
    joined = np.zeros((size, size), bool)
    for start in range(size):
        waiting, found = [start], {start}
        while waiting:
            here = waiting.pop()
            near = set(np.flatnonzero(distance[here] <= tolerance).tolist()) - found
            found |= near
            waiting += near
        joined[start, list(found)] = True
    return joined


def with_distances(distance: np.ndarray, count: int) -> DiversityState:
    size = len(distance)
    return DiversityState(
        count=jnp.int32(count),
        mean=jnp.zeros(size),
        covariance=jnp.zeros((size, size)),
        distance=jnp.asarray(distance, jnp.float32),
    )


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.0, 0.02, 0.3]))
def test_near_duplicates_are_the_connected_groups(seed: int, size: int, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    half = np.triu(rng.choice(np.array([0.0, 0.01, 0.02, 0.2, 0.5], np.float32), (size, size)), 1)
    state = with_distances(half + half.T, 20)
    found = np.asarray(merging.near_duplicates(state, tolerance, 20))
    np.testing.assert_array_equal(found, components(half + half.T, float(np.float32(tolerance))))
    assert found.diagonal().all()
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(found, found @ found)
    np.testing.assert_array_equal(merging.near_duplicates(state, tolerance, 21), np.eye(size, dtype=bool))


def test_a_chain_of_any_length_is_followed() -> None:
    for size in (1, 2, 3, 5, 6, 9, 17):
        steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / 20
        assert bool(merging.near_duplicates(with_distances(steps, 0), 0.05).all())


def test_groups_only_fall_apart() -> None:
    probs, answers = predictions(3, (40, 6, 3))
    sharp = np.sqrt(probs) / np.sqrt(probs).sum(-1, keepdims=True)
    state, before = merging.init(6), np.ones((6, 6), bool)
    advance = jax.jit(merging.update)
    for row, answer in zip(jnp.log(sharp), answers, strict=True):
        state = advance(state, row, answer)
        now = np.asarray(merging.near_duplicates(state, 0.3))
        assert not np.any(now & ~before)
        before = now
    assert not before.all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"tolerance": 1.0}, "tolerance must lie in"),
        ({"tolerance": -0.1}, "tolerance must lie in"),
        ({"tolerance": math.nan}, "tolerance must lie in"),
        ({"min_answers": -1}, "min_answers must be at least 0"),
    ],
)
def test_bad_options_are_refused(arguments: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Merging(**arguments)
