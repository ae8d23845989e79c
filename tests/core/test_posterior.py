"""The posterior against float64, over short and very long runs, with impossible answers and sleeping members."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

from consensus_imitation.core import posterior
from consensus_imitation.core.posterior import PosteriorInfo, PosteriorState

UPDATES = 1_000_000

update = jax.jit(posterior.update)


@jax.jit
def absorb(state: PosteriorState, log_likelihoods: jax.Array) -> tuple[PosteriorState, PosteriorInfo]:
    return jax.lax.scan(posterior.update, state, log_likelihoods)


@jax.jit
def absorb_last(state: PosteriorState, log_likelihoods: jax.Array) -> PosteriorState:
    return jax.lax.scan(lambda s, x: (posterior.update(s, x)[0], None), state, log_likelihoods)[0]


def exact_log_weights(state: PosteriorState) -> np.ndarray:
    """Both words of the sum, in float64, the heaviest at 0."""
    values = np.asarray(state.log_weights, np.float64) + np.asarray(state.residual, np.float64)
    return values - values.max()


@pytest.mark.parametrize(
    "probs",
    [
        pytest.param([[0.5, 0.5], [0.52, 0.48], [0.48, 0.52], [0.3, 0.7]], id="close-race"),
        pytest.param([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9], [0.7, 0.3]], id="one-runs-away"),
    ],
)
def test_a_million_updates_agree_with_float64(probs: list[list[float]]) -> None:
    rng = np.random.default_rng(0)
    log_probs = np.log(np.array(probs)).astype(np.float32)
    answers = (rng.random(UPDATES) < 0.5).astype(int)
    state = absorb_last(posterior.init(np.ones(4)), jnp.asarray(log_probs.T[answers]))
    counts = np.bincount(answers, minlength=2)
    expected = log_probs.astype(np.float64) @ counts
    # A plain float32 sum is off by several nats here.
    np.testing.assert_allclose(exact_log_weights(state), expected - expected.max(), atol=1e-3)
    assert np.argmax(state.log_weights) == np.argmax(expected)


def test_rounding_does_not_break_a_tie_over_a_million_updates() -> None:
    """Two members that gave the same probabilities in another order stay within the selection's tolerance of a tie."""
    rng = np.random.default_rng(1)
    half = np.log(rng.uniform(0.2, 0.8, UPDATES // 2)).astype(np.float32)
    one, other = np.concatenate([half, half[::-1]]), np.concatenate([half[::-1], half])
    state = absorb_last(posterior.init(np.ones(2)), jnp.stack([jnp.asarray(one), jnp.asarray(other)], axis=-1))
    assert abs(float(state.log_weights[0] - state.log_weights[1])) < 1e-5


likelihoods = st.lists(
    st.lists(st.sampled_from([0.0, 1e-30, 1e-6, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=4, max_size=4),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(likelihoods, st.lists(st.sampled_from([0.0, 1e-9, 1.0, 3.0]), min_size=4, max_size=4).filter(any))
def test_bayes_rule_with_impossible_answers_and_zero_priors(rows: list[list[float]], prior: list[float]) -> None:
    """An answer that no member explains changes nothing and says so; otherwise it is Bayes' rule."""
    state = posterior.init(prior)
    weights = np.log(np.array(prior) / sum(prior), where=np.array(prior) > 0, out=np.full(4, -np.inf))
    for row in rows:
        log_row = np.log(row, where=np.array(row) > 0, out=np.full(4, -np.inf))
        state, info = update(state, jnp.asarray(log_row, jnp.float32))
        explained = bool(np.any(np.isfinite(weights + log_row)))
        assert bool(info.explained) == explained
        if explained:
            assert float(info.evidence) == pytest.approx(logsumexp(weights + log_row), abs=1e-3)
            weights = weights + log_row - logsumexp(weights + log_row)
        else:
            assert float(info.evidence) == -np.inf
        np.testing.assert_allclose(posterior.weights(state), np.exp(weights), atol=1e-5)
        assert np.all(np.isfinite(state.residual))
        np.testing.assert_array_equal(np.isneginf(state.log_weights), np.isneginf(weights))
        assert abs(float(jnp.max(state.log_weights))) < 1e-5


def test_the_state_is_bit_identical_after_an_answer_that_nobody_explains() -> None:
    before, _ = update(posterior.init([1.0, 2.0, 3.0]), jnp.log(jnp.array([0.3, 0.2, 0.7])))
    after, info = update(before, jnp.full(3, -jnp.inf))
    assert not bool(info.explained)
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_evidence_adds_up_to_the_log_marginal_likelihood() -> None:
    rng = np.random.default_rng(2)
    steps, prior = 2000, np.array([0.1, 0.2, 0.7])
    log_likelihoods = np.log(rng.uniform(0.05, 0.95, (steps, 3))).astype(np.float32)
    _, info = absorb(posterior.init(prior), jnp.asarray(log_likelihoods))
    expected = logsumexp(np.log(prior) + log_likelihoods.astype(np.float64).sum(0))
    # Each of the increments, of size about 1, is rounded to float32: 2000 * 2e-7 at the very most.
    assert np.asarray(info.evidence, np.float64).sum() == pytest.approx(expected, abs=4e-4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 0.05, 0.5, 1.0]), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.sampled_from([np.nan, np.inf, 0.0]),
)
def test_a_sleeping_member_keeps_its_share(
    prior: list[float], probs: list[float], asleep: list[bool], nonsense: float
) -> None:
    """NaN and +inf put a member to sleep, as the mask does; the waking ones follow Bayes' rule among themselves."""
    before = np.array(prior) / sum(prior)
    sleeping, awake = np.array(asleep), ~np.array(asleep)
    log_likelihood = np.log(probs, where=np.array(probs) > 0, out=np.full(4, -np.inf)).astype(np.float32)
    log_likelihood[sleeping] = nonsense
    mask = None if nonsense != 0.0 else jnp.asarray(sleeping)
    state, info = update(posterior.init(prior), jnp.asarray(log_likelihood), mask)
    after = np.asarray(posterior.weights(state))
    learned = np.where(awake, before * probs, 0.0)
    if awake.any() and learned.sum() == 0:
        assert not bool(info.explained)
        np.testing.assert_allclose(after, before, atol=1e-6)
        return
    assert bool(info.explained)
    np.testing.assert_allclose(after[sleeping], before[sleeping], atol=1e-6)
    if awake.any():
        np.testing.assert_allclose(after[awake], (learned / learned.sum() * before[awake].sum())[awake], atol=1e-6)


@pytest.mark.parametrize(
    ("prior", "num_members", "message"),
    [
        pytest.param([], None, "non-empty vector", id="empty"),
        pytest.param([[1.0, 2.0]], None, "non-empty vector", id="matrix"),
        pytest.param(1.0, None, "non-empty vector", id="scalar"),
        pytest.param([0.0, 0.0], None, "not all zero", id="all-zero"),
        pytest.param([0.5, -0.5], None, "non-negative", id="negative"),
        pytest.param([0.5, np.nan], None, "finite", id="nan"),
        pytest.param([0.5, np.inf], None, "finite", id="inf"),
        pytest.param([0.5, 0.5], 3, "2 entries for 3 members", id="wrong-length"),
        pytest.param(None, None, "needs num_members", id="nothing-known"),
    ],
)
def test_a_bad_prior_is_refused(prior: object, num_members: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        posterior.normalise_prior(prior, num_members)  # type: ignore[arg-type]


def test_a_prior_is_normalised() -> None:
    assert posterior.normalise_prior([1.0, 3.0]).tolist() == [0.25, 0.75]
    assert posterior.normalise_prior(None, 4).tolist() == [0.25] * 4
    np.testing.assert_allclose(posterior.weights(posterior.init([1.0, 0.0, 3.0])), [0.25, 0.0, 0.75], atol=1e-7)


def test_a_positive_prior_below_the_range_of_float32_is_not_taken_for_zero() -> None:
    """Either it is kept or refused: a member must not be ruled out in silence (say, a prior of 2^-K)."""
    try:
        state = posterior.init([1.0, 1e-50])
    except ValueError:
        return
    assert np.all(np.isfinite(state.log_weights))
