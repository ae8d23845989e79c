"""The law of the rejection draw is the pointwise minimum: P(act a) = min pi_n(a), P(query) = theta."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from consensus_imitation import AlphaThreshold, Minimum, TopK
from consensus_imitation.core.draw import from_float
from consensus_imitation.core.rejection import heaviest, rejection_draw
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles import Context
from consensus_imitation.ensembles.any_action import discretised_logistic, from_functions, gaussian_mixture

from .worlds import assert_frequencies, atoms, decide_many, factored, fixed_gaussian, markov, normal_pdf

N_DRAWS = 50_000
PRIOR = [0.3, 0.1, 0.4, 0.2]
RULES = {"all": TopK(4), "top2": TopK(2), "alpha": AlphaThreshold(0.25)}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("kind", ["factored", "sequences"])
def test_law_over_listable_actions(kind: str, rule: TopK | AlphaThreshold, key: jax.Array) -> None:
    if kind == "factored":
        ensemble, probs = factored(key, 4, (2, 3, 2), PRIOR)
        shape = (2, 3, 2)
    else:
        ensemble, probs = markov(key, 4, 3, 3, PRIOR)
        shape = (3, 3, 3)
    learner = SamplingLearner(ensemble, rule)
    state = learner.init(key)
    decisions = decide_many(learner, state, None, key, N_DRAWS)
    selected = np.asarray(rule(state.posterior.log_weights))
    assert (decisions.selected == selected).all()

    minimum = probs[selected].min(0)
    theta = 1 - minimum.sum()
    assert 0.2 < theta < 0.98  # a test that could not fail says nothing
    acted = decisions.action[~decisions.queried]
    counts = np.bincount(np.ravel_multi_index(tuple(acted.T), shape), minlength=len(minimum))
    assert_frequencies(counts, minimum, N_DRAWS)
    assert_frequencies(decisions.queried.sum(), theta, N_DRAWS)
    assert (decisions.action[decisions.queried] == -1).all()

    # The same distributions through the rule for listable actions.
    law = Minimum()(jnp.log(jnp.asarray(probs, jnp.float32)), state.posterior.log_weights, jnp.asarray(selected))
    np.testing.assert_allclose(law.probs, minimum, atol=1e-6)
    assert float(law.query_prob) == pytest.approx(theta, abs=1e-5)
    # The estimate of theta is unbiased, bounded, and not constant.
    estimate = decisions.query_prob_estimate
    assert estimate.min() >= 0
    assert estimate.max() <= 1
    assert abs(estimate.mean() - theta) < 5 * estimate.std() / np.sqrt(N_DRAWS)
    # Given the proposal it is the probability of asking.
    gap = decisions.queried - estimate
    assert abs(gap.mean()) < 5 * gap.std() / np.sqrt(N_DRAWS)


def test_law_over_integers(key: jax.Array) -> None:
    means, log_scales = np.array([[1.0], [2.5]]), np.array([[0.0], [0.5]])
    params = (jnp.asarray(means, jnp.float32), jnp.asarray(log_scales, jnp.float32))
    ensemble = discretised_logistic(lambda own, observation: own, params, low=-2, high=4)
    edges = np.arange(-2, 4) + 0.5
    cdf = 1 / (1 + np.exp(-(edges[None] - means) / np.exp(log_scales)))
    probs = np.diff(np.concatenate([np.zeros((2, 1)), cdf, np.ones((2, 1))], axis=1))
    learner = SamplingLearner(ensemble, TopK(2))
    decisions = decide_many(learner, learner.init(key), None, key, N_DRAWS)
    counts = np.bincount(decisions.action[~decisions.queried][:, 0] + 2, minlength=7)
    assert_frequencies(counts, probs.min(0), N_DRAWS)


# Exact float32 numbers, so that "at the bound" means the same in both precisions.
BOUNDS = {"unbounded": (-np.inf, np.inf), "box": (-0.25, 0.375), "half": (-np.inf, 0.125)}


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS.keys())
def test_law_of_gaussians_is_the_integral_of_the_minimum(bounds: tuple[float, float], key: jax.Array) -> None:
    low, high = bounds
    means, stds = [0.08, -0.1, 0.15], [0.2, 0.28, 0.17]  # densities above one
    ensemble = fixed_gaussian(np.array(means)[:, None], np.log(stds)[:, None], low, high, prior=[0.2, 0.5, 0.3])
    learner = SamplingLearner(ensemble, TopK(3))
    decisions = decide_many(learner, learner.init(key), None, key, N_DRAWS)

    def density(x: float) -> float:
        return min(normal_pdf(x, m, s) for m, s in zip(means, stds, strict=True))

    edges = np.linspace(max(low, -1.0), min(high, 1.0), 15)
    masses = [integrate.quad(density, a, b, limit=200)[0] for a, b in pairwise(edges)]
    at_bounds = np.min([atoms(m, s, low, high) for m, s in zip(means, stds, strict=True)], axis=0)
    acted = decisions.action[~decisions.queried][:, 0]
    inside = acted[(acted != low) & (acted != high)]
    assert_frequencies(np.histogram(inside, edges)[0], np.array(masses), N_DRAWS)
    assert_frequencies(np.array([(acted == low).sum(), (acted == high).sum()]), at_bounds, N_DRAWS)
    tails = [integrate.quad(density, a, b)[0] for a, b in ((-3, -1), (1, 3)) if low <= a and b <= high]
    theta = 1 - sum(masses) - sum(at_bounds) - sum(tails)
    assert_frequencies(decisions.queried.sum(), theta, N_DRAWS)
    estimate = decisions.query_prob_estimate
    assert abs(estimate.mean() - theta) < 5 * estimate.std() / np.sqrt(N_DRAWS)
    assert np.isnan(decisions.action[decisions.queried]).all()


def test_theta_of_gaussians_in_two_dimensions(key: jax.Array) -> None:
    means, stds = np.array([[0.0, 0.0], [0.5, -0.7]]), np.array([[1.0, 0.5], [0.8, 0.9]])
    learner = SamplingLearner(fixed_gaussian(means, np.log(stds), [-np.inf] * 2, [np.inf] * 2), TopK(2))
    grid = np.linspace(-8, 8, 1601)
    per_axis = [[normal_pdf(grid, m, s) for m, s in zip(*row, strict=True)] for row in zip(means, stds, strict=True)]
    densities = np.array([np.outer(x, y) for x, y in per_axis])
    theta = 1 - integrate.trapezoid(integrate.trapezoid(densities.min(0), grid), grid)
    decisions = decide_many(learner, learner.init(key), None, key, N_DRAWS)
    assert_frequencies(decisions.queried.sum(), theta, N_DRAWS)


def test_law_of_mixtures_is_the_integral_of_the_minimum(key: jax.Array) -> None:
    logits = np.array([[0.0, 1.0], [0.5, -0.5]])
    means = np.array([[-1.0, 1.0], [-0.8, 1.3]])
    params = (jnp.asarray(logits, jnp.float32), jnp.asarray(means, jnp.float32)[..., None])
    ensemble = gaussian_mixture(
        lambda own, observation: (*own, jnp.full((2, 1), jnp.log(0.5))), params, -jnp.inf, jnp.inf
    )
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def density(x: float) -> float:
        return min(
            sum(w * normal_pdf(x, m, 0.5) for w, m in zip(*row, strict=True)) for row in zip(shares, means, strict=True)
        )

    learner = SamplingLearner(ensemble, TopK(2))
    decisions = decide_many(learner, learner.init(key), None, key, N_DRAWS)
    edges = np.linspace(-3, 3.5, 12)
    masses = [integrate.quad(density, a, b, limit=200)[0] for a, b in pairwise(edges)]
    acted = decisions.action[~decisions.queried][:, 0]
    assert_frequencies(np.histogram(acted, edges)[0], np.array(masses), N_DRAWS)


@pytest.mark.slow
def test_the_law_does_not_depend_on_the_proposer(key: jax.Array) -> None:
    ensemble, probs = markov(key, 4, 3, 3)
    learner = SamplingLearner(ensemble, TopK(4))
    state = learner.init(key)
    by_proposer = jax.jit(jax.vmap(lambda member: learner.estimate_query_prob(state, None, key, 20_000, member)))
    thetas, errors = by_proposer(jnp.arange(4))
    assert np.all((errors > 0) & (errors < 0.01))
    assert np.all(np.abs(thetas - (1 - probs.min(0).sum())) < 5 * errors)
    alone, _ = learner.estimate_query_prob(state, None, key, 20_000)  # the heaviest: here a tie, hence the first
    assert float(alone) == pytest.approx(float(thetas[0]), abs=1e-5)


def test_acceptance_is_exactly_the_minimum_over_the_proposers_density(key: jax.Array) -> None:
    """Without sampling: for every proposer and proposal, density times acceptance is the minimum."""
    log_densities = 2 * jax.random.normal(key, (200, 5)) + 1.0
    selected = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.7, (200, 5)).at[:, 0].set(True)
    uniforms = from_float(np.linspace(0, 1, 400, endpoint=False))
    run = jax.vmap(jax.vmap(rejection_draw, in_axes=(0, None, None, None, None)), in_axes=(None, None, 0, None, 0))
    run = jax.jit(run)
    for proposer in range(5):
        drawn = run(uniforms, jnp.float32(0.5), log_densities, jnp.int32(proposer), selected)
        has_say = np.asarray(selected[:, proposer])
        assert np.asarray(drawn.queried)[~has_say].all()
        lowest = np.where(selected, np.exp(np.asarray(log_densities, np.float64)), np.inf).min(-1)
        own = np.exp(np.asarray(log_densities, np.float64))[:, proposer]
        accepted = 1 - np.asarray(drawn.query_prob_estimate)[:, 0]
        np.testing.assert_allclose(accepted[has_say], (lowest / own)[has_say], rtol=1e-6, atol=1e-6)
        # The share of uniforms that act is the acceptance, to within the grid.
        share = 1 - np.asarray(drawn.queried).mean(-1)
        assert np.abs(share - accepted)[has_say].max() <= 1 / 400 + 1e-6
        dissenter = np.asarray(drawn.dissenter)[:, 0]
        expected = np.where(selected, np.asarray(log_densities), np.inf).argmin(-1)
        np.testing.assert_array_equal(dissenter[has_say], np.where(expected == proposer, -1, expected)[has_say])


def test_t1_no_set_of_actions_gets_more_than_any_selected_member_gives_it(key: jax.Array) -> None:
    """One honest member beside two that want a certain region; on every cell the honest one's mass is the ceiling."""
    means, stds = [0.0, 2.0, 2.1], [1.0, 0.05, 0.2]
    ensemble = fixed_gaussian(np.array(means)[:, None], np.log(stds)[:, None], -3.0, 3.0, prior=[0.01, 0.5, 0.49])
    learner = SamplingLearner(ensemble, TopK(3))
    decisions = decide_many(learner, learner.init(key), None, key, N_DRAWS)
    acted = decisions.action[~decisions.queried][:, 0]
    edges = np.linspace(-3, 3, 61)
    counts = np.histogram(acted, edges)[0]
    cdf = np.array([[float(_normal_cdf(x, m, s)) for x in edges] for m, s in zip(means, stds, strict=True)])
    ceiling = np.diff(cdf, axis=1).min(0)
    assert np.all(counts <= N_DRAWS * ceiling + 5 * np.sqrt(N_DRAWS * ceiling) + 1)
    assert counts.sum() > 500


def _normal_cdf(x: float, mean: float, std: float) -> float:
    return 1 - atoms(mean, std, -np.inf, x)[1]


@pytest.mark.slow
def test_identical_members_never_query(key: jax.Array) -> None:
    for ensemble in (
        fixed_gaussian(np.full((5, 7), 0.3), np.full((5, 7), -6.0), [-1.0] * 7, [1.0] * 7),
        factored(key, 1, (3, 4))[0].replace(params=jnp.tile(jnp.arange(7.0), (6, 1)), prior=jnp.full(6, 1 / 6)),
        markov(key, 1, 3, 2)[0].replace(
            params=jnp.tile(jax.random.normal(key, (1, 3, 3)), (7, 1, 1)), prior=jnp.full(7, 1 / 7), length=40
        ),
    ):
        learner = SamplingLearner(ensemble, TopK(5))
        decisions = decide_many(learner, learner.init(key), None, key, 500)
        assert not decisions.queried.any()
        assert (decisions.query_prob_estimate == 0).all()
        assert (decisions.dissenter == -1).all()


def test_disjoint_supports_always_query(key: jax.Array) -> None:
    unit = from_functions(
        sample=lambda start, observation, key: start + jax.random.uniform(key),
        log_prob=lambda start, observation, x: jnp.where((x >= start) & (x < start + 1), 0.0, -jnp.inf),
        params=jnp.array([0.0, 2.0]),
    )
    ensemble, _ = factored(key, 2, (2, 2))
    apart = ensemble.replace(params=jnp.array([[0.0, -jnp.inf, 0.0, 0.0], [-jnp.inf, 0.0, 0.0, 0.0]]))
    for members in (unit, apart):
        learner = SamplingLearner(members, TopK(2))
        decisions = decide_many(learner, learner.init(key), None, key, 5000)
        assert decisions.queried.all()
        assert (decisions.query_prob_estimate == 1).all()
        assert (decisions.dissenter == 1).all()


def test_one_member_alone_acts_as_it_would(key: jax.Array) -> None:
    """TopK(1) is acting on the most likely member: no questions, and its own law."""
    ensemble, probs = markov(key, 4, 3, 2, PRIOR)
    learner = SamplingLearner(ensemble, TopK(1))
    decisions = decide_many(learner, learner.init(key), None, key, N_DRAWS)
    assert not decisions.queried.any()
    counts = np.bincount(np.ravel_multi_index(tuple(decisions.action.T), (3, 3)), minlength=9)
    assert_frequencies(counts, probs[2], N_DRAWS)


def test_tiny_acceptances_are_what_they_are() -> None:
    """An acceptance of 1e-9 must not become one of 1e-7, which is as fine as a float32 in [0, 1) is, nor nothing."""
    for acceptance in (0.3, 1e-7, 1.1e-7, 1e-9, 3e-13):
        # Just within, and just beyond: to within 2^-48 (what `from_float` resolves) and the rounding of a logarithm.
        within, beyond = 1 - acceptance * (1 - 1e-5) + 2.0**-48, 1 - acceptance * (1 + 1e-5) - 2.0**-47
        acts = []
        for place in (within, beyond):
            densities = jnp.log(jnp.array([1.0, acceptance]))
            drawn = rejection_draw(from_float(place), 1.0, densities, jnp.int32(0), jnp.ones(2, bool))
            acts.append(not bool(drawn.queried))
        assert acts == [True, False], acceptance


def test_the_second_word_decides_within_a_granule_of_the_first() -> None:
    """Over all second words, exactly the share that the rest of the acceptance is."""
    seconds = np.arange(2**16, dtype=np.uint64) << np.uint64(16)
    for acceptance in (0.625 * 2.0**-32, (7 + 0.625) * 2.0**-32):
        first = np.full(len(seconds), 2**32 - 1 - int(acceptance * 2**32), np.uint64)
        numbers = np.stack([first, seconds], axis=-1).astype(np.uint32)
        densities = jnp.log(jnp.array([1.0, acceptance]))
        run = jax.jit(jax.vmap(lambda number, own: rejection_draw(number, 1.0, own, 0, jnp.ones(2, bool)), (0, None)))
        share = 1 - np.asarray(run(numbers, densities).queried).mean()
        assert share == pytest.approx(0.625, abs=8 * 1e-6 + 2.0**-16)


def test_the_heaviest_selected_member_proposes() -> None:
    log_weights = jnp.array([0.0, -1.0, -jnp.inf, -2.0])
    assert int(heaviest(log_weights, jnp.array([True, True, True, True]))) == 0
    assert int(heaviest(log_weights, jnp.array([False, True, True, True]))) == 1
    assert int(heaviest(log_weights, jnp.array([False, False, True, False]))) == 2


def test_rounding_is_no_disagreement_and_more_than_rounding_is() -> None:
    for size in (0.5, 300.0):
        densities = jnp.array([-size, -size * (1 - 3e-7), -size * (1 + 3e-7)])
        drawn = rejection_draw(from_float(0.0), jnp.float32(0.0), densities, jnp.int32(1), jnp.ones(3, bool))
        assert not bool(drawn.queried)
        assert float(drawn.query_prob_estimate) == 0
        assert int(drawn.dissenter) == -1
        densities = jnp.array([-size, -size * (1 + 1e-5)])
        drawn = rejection_draw(from_float(0.0), jnp.float32(0.0), densities, jnp.int32(0), jnp.ones(2, bool))
        assert bool(drawn.queried)
        assert 0 < float(drawn.query_prob_estimate) < 1e-2


def test_a_token_that_does_not_exist_is_impossible(key: jax.Array) -> None:
    ensemble, probs = markov(key, 2, 3, 2)
    log_prob = jax.jit(lambda tokens: ensemble.log_prob((), None, Context(jnp.int32(0), jnp.zeros(2)), tokens))
    np.testing.assert_allclose(jnp.exp(log_prob(jnp.array([2, 1]))), probs[:, 7], rtol=1e-4)
    for tokens in ([3, 0], [0, 3], [-1, 0], [0, -1]):
        assert np.all(log_prob(jnp.array(tokens)) == -np.inf)
    with pytest.raises(ValueError, match="shape"):
        log_prob(jnp.array([0, 1, 2]))
