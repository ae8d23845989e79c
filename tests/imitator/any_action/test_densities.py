"""Every family: the density is a density, and the sampler draws from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from consensus_imitation.ensembles.any_action import DiscretisedLogistic, FactoredCategorical, Gaussian, GaussianMixture

from .worlds import assert_frequencies

N_DRAWS = 50_000
BOUNDS = {"unbounded": (-np.inf, np.inf), "box": (-1.0, 1.0), "half": (-0.5, np.inf)}

GAUSSIANS = {
    "plain": (0.2, -0.3),
    "narrow": (0.9, -4.0),
    "beyond_the_bound": (1.7, -1.0),
    "far_below": (-6.0, 0.0),
}

log_probs = jax.jit(jax.vmap(lambda family, parameters, action: family.log_prob(parameters, action), (None, None, 0)))
samples = jax.jit(jax.vmap(lambda family, parameters, key: family.sample(parameters, key), (None, None, 0)))


def one_dimensional(bounds: tuple[float, float]) -> dict[str, tuple[object, object]]:
    low, high = jnp.array([bounds[0]], jnp.float32), jnp.array([bounds[1]], jnp.float32)
    cases: dict[str, tuple[object, object]] = {
        name: (Gaussian(low, high), (jnp.array([mean]), jnp.array([log_std])))
        for name, (mean, log_std) in GAUSSIANS.items()
    }
    mixture = (jnp.array([0.0, 1.0]), jnp.array([[-0.7], [0.8]]), jnp.array([[-1.5], [-0.5]]))
    cases["mixture"] = (GaussianMixture(low, high), mixture)
    return cases


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS.keys())
@pytest.mark.parametrize("case", [*GAUSSIANS, "mixture"])
def test_gaussian_density_and_sampler(case: str, bounds: tuple[float, float], key: jax.Array) -> None:
    distribution, parameters = one_dimensional(bounds)[case]
    low, high = bounds
    grid = np.linspace(max(low, -14.0), min(high, 14.0), 200_001).astype(np.float32)
    within = (grid > low) & (grid < high)
    inner = grid[within]
    density = np.exp(np.asarray(log_probs(distribution, parameters, grid[:, None]), np.float64))[within]
    cumulative = integrate.cumulative_trapezoid(density, inner.astype(np.float64), initial=0)
    at = [
        np.exp(float(log_probs(distribution, parameters, np.float32([[bound]]))[0])) if np.isfinite(bound) else 0.0
        for bound in bounds
    ]
    assert cumulative[-1] + sum(at) == pytest.approx(1.0, abs=1e-3)
    beyond = np.float32([[low - 0.1], [high + 0.1], [np.nan], [np.inf], [-np.inf]])
    assert (np.asarray(log_probs(distribution, parameters, beyond)) == -np.inf).all()

    draws = np.asarray(samples(distribution, parameters, jax.random.split(key, N_DRAWS)))[:, 0]
    assert draws.dtype == np.float32
    assert_frequencies(np.array([(draws == low).sum(), (draws == high).sum()]), np.array(at), N_DRAWS)
    free = draws[(draws > low) & (draws < high)]
    if len(free) > 100:
        distance = stats.kstest(free, lambda x: np.interp(x, inner, cumulative / cumulative[-1])).statistic
        assert distance < 2.3 / np.sqrt(len(free)) + 1e-3  # P(beyond) < 1e-4 for Kolmogorov's law, and the grid


def test_gaussian_log_density_against_scipy() -> None:
    low, high = jnp.array([-1.0, -jnp.inf]), jnp.array([1.0, jnp.inf])
    mean, log_std = jnp.array([0.3, -2.0]), jnp.array([-5.0, 2.0])
    got = float(Gaussian(low, high).log_prob((mean, log_std), jnp.array([0.31, 4.0])))
    want = stats.norm.logpdf(np.float32(0.31), np.float32(0.3), np.exp(-5.0)) + stats.norm.logpdf(4, -2, np.exp(2.0))
    assert got == pytest.approx(want, abs=1e-3)
    far = float(Gaussian(low, high).log_prob((jnp.array([-9.0, 0.0]), jnp.array([-1.0, 0.0])), jnp.array([1.0, 0.0])))
    want = stats.norm.logsf(1, -9, np.exp(-1.0)) + stats.norm.logpdf(0)
    assert far == pytest.approx(want, rel=1e-4)  # a mass of 1e-163 that float32 only holds as a logarithm


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("mean", [-9.0, 0.4, 3.5, 50.0])
def test_discretised_logistic(mean: float, scale: float, key: jax.Array) -> None:
    distribution = DiscretisedLogistic(jnp.array([-3]), jnp.array([5]))
    parameters = (jnp.array([mean]), jnp.log(jnp.array([scale])))
    actions = jnp.arange(-4, 7)[:, None]
    probs = np.exp(np.asarray(log_probs(distribution, parameters, actions), np.float64))
    assert probs[0] == probs[-1] == 0  # outside
    assert probs.sum() == pytest.approx(1.0, abs=1e-5)
    draws = np.asarray(samples(distribution, parameters, jax.random.split(key, N_DRAWS)))[:, 0]
    assert_frequencies(np.bincount(draws + 3, minlength=9), probs[1:-1] / probs.sum(), N_DRAWS)


def test_factored_categorical(key: jax.Array) -> None:
    distribution = FactoredCategorical((3, 1, 2))
    logits = jnp.array([0.0, 1.0, -jnp.inf, 0.7, 0.2, -0.4])
    actions = np.array(np.unravel_index(np.arange(6), (3, 1, 2))).T
    probs = np.exp(np.asarray(log_probs(distribution, logits, jnp.asarray(actions)), np.float64))
    assert probs.sum() == pytest.approx(1.0, abs=1e-6)
    draws = np.asarray(samples(distribution, logits, jax.random.split(key, N_DRAWS)))
    counts = np.bincount(np.ravel_multi_index(tuple(draws.T), (3, 1, 2)), minlength=6)
    assert_frequencies(counts, probs, N_DRAWS)
    for bad in ([3, 0, 0], [0, 1, 0], [0, 0, -1]):
        assert float(distribution.log_prob(logits, jnp.array(bad))) == -np.inf


@pytest.mark.parametrize("position", range(3))
def test_unusable_parameters_never_give_a_usable_density(position: int, key: jax.Array) -> None:
    low, high = jnp.array([-1.0, -1.0]), jnp.array([1.0, 1.0])
    mixture = [jnp.zeros(2), jnp.zeros((2, 2)), jnp.zeros((2, 2))]
    mixture[position] = mixture[position].at[0].set(jnp.nan)
    draw = GaussianMixture(low, high).sample(tuple(mixture), key)
    density = GaussianMixture(low, high).log_prob(tuple(mixture), jnp.zeros(2))
    assert bool(jnp.isnan(density)) or bool(jnp.any(jnp.isnan(draw)))
    assert bool(jnp.isnan(density))
    if position < 2:
        plain = [jnp.zeros(2), jnp.zeros(2)]
        plain[position] = plain[position].at[1].set(jnp.nan)
        assert bool(jnp.isnan(Gaussian(low, high).log_prob(tuple(plain), jnp.zeros(2))))
        assert bool(jnp.isnan(Gaussian(low, high).sample(tuple(plain), key)).any())
        integers = DiscretisedLogistic(jnp.array([0, 0]), jnp.array([5, 5]))
        assert bool(jnp.isnan(integers.log_prob(tuple(plain), jnp.array([1, 1]))))
    logits = jnp.zeros(5).at[position].set(jnp.nan)
    assert bool(jnp.isnan(FactoredCategorical((2, 3)).log_prob(logits, jnp.array([1, 2]))))
