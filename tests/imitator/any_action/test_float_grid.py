"""Densities sum to one over what can be drawn: float32 numbers, or integers. Otherwise the truth is pushed out (T2)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles import Context
from consensus_imitation.ensembles.any_action import (
    DiscretisedLogistic,
    FactoredCategorical,
    Gaussian,
    GaussianMixture,
    autoregressive,
    from_functions,
    gaussian,
    gaussian_mixture,
    union,
)

from .worlds import assert_frequencies

#: Far below the spacing of float32, about as wide, and wider; and what `exp` makes of them at the extremes.
LOG_STDS = (-np.inf, -1e30, -200.0, -103.0, -87.5, -72.0, -30.0, -17.0, -15.0, -13.5, -12.0)
#: In the middle, at the borders of powers of two (where the spacing changes), at and near the bounds, and at zero.
MEANS = (
    0.3,
    0.5,
    1.0,
    np.nextafter(np.float32(1), np.float32(2)),
    -1.25,
    1.9999,
    2.0,
    -2.0,
    2.00001,
    7.0,
    0.0,
    1e-20,
    2047.9,
    4000.0,
)
BOUNDS = {"box": (-2.0, 2.0), "unbounded": (-np.inf, np.inf), "half": (-2.0, np.inf), "large": (0.0, 4096.0)}
#: What rounding in float32 adds up to, and spacings that change within a density.
EXCESS = 2e-4


STEPS = 4000

scores = jax.jit(
    jax.vmap(
        jax.vmap(lambda family, parameters, action: family.log_prob(parameters, action), (None, None, 0)),
        (None, 0, None),
    )
)


samples = jax.jit(jax.vmap(lambda family, parameters, key: family.sample(parameters, key), (None, None, 0)))


def line(bounds: tuple[float, float]) -> tuple[jax.Array, jax.Array]:
    low, high = bounds
    return jnp.array([low], jnp.float32), jnp.array([high], jnp.float32)


def around(mean: float, bounds: tuple[float, float]) -> np.ndarray:
    """The float32 numbers within some thousands of steps of a mean, or of the bound next to it: [2 STEPS + 1]."""
    middle = np.float32(np.clip(mean, *bounds))
    # Float32 numbers of one sign are ordered as their bits are.
    bits = middle.view(np.int32).astype(np.int64)
    places = (bits if bits >= 0 else -(bits & 0x7FFFFFFF)) + np.arange(-STEPS, STEPS + 1)
    signs = np.where(places < 0, np.int64(0x80000000), 0)
    return (np.abs(places) | signs).astype(np.uint32).view(np.float32)


def widths(numbers: np.ndarray, bounds: tuple[float, float] = (-np.inf, np.inf)) -> np.ndarray:
    """Length of what rounds to each number; 1 at a bound, where densities are masses, and 0 beyond."""
    below, above = (np.nextafter(numbers, np.float32(end)).astype(np.float64) for end in (-np.inf, np.inf))
    lengths = np.where(np.isin(numbers, bounds), 1.0, (above - below) / 2)
    return np.where((numbers < bounds[0]) | (numbers > bounds[1]), 0.0, lengths)


def totals(distribution: Any, parameters: Any, mean: float, bounds: tuple[float, float]) -> np.ndarray:
    """For each of P parameters the sum over the float32 numbers near the mode, and the bounds: [P]."""
    numbers = np.unique(np.append(around(mean, bounds), np.float32([bound for bound in bounds if np.isfinite(bound)])))
    padded = np.append(numbers, np.full(2 * STEPS + 3 - len(numbers), np.nan, np.float32))
    density = np.exp(np.asarray(scores(distribution, parameters, padded[:, None]), np.float64))
    return density[:, : len(numbers)] @ widths(numbers, bounds)


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS.keys())
def test_a_gaussian_sums_to_one_at_most_however_narrow_it_is_meant(bounds: tuple[float, float]) -> None:
    distribution, log_stds = Gaussian(*line(bounds)), jnp.array(LOG_STDS)[:, None]
    sums = []
    for mean in MEANS:
        sums.append(totals(distribution, (jnp.full_like(log_stds, mean), log_stds), mean, bounds))
        assert np.all(sums[-1] <= 1 + EXCESS), (mean, sums[-1])
    assert np.mean(np.array(sums) > 1 - EXCESS) > 0.25  # where the numbers looked at are all that count


def test_so_does_a_mixture_of_needles() -> None:
    bounds, log_stds = BOUNDS["box"], jnp.array(LOG_STDS)
    means = jnp.broadcast_to(jnp.array([[0.3], [0.3000001]]), (len(log_stds), 2, 1))
    parameters = (jnp.zeros((len(log_stds), 2)), means, log_stds[:, None, None] + jnp.zeros((1, 2, 1)))
    sums = totals(GaussianMixture(*line(bounds)), parameters, 0.3, bounds)
    np.testing.assert_allclose(sums, 1, atol=EXCESS)


def test_a_narrow_gaussian_is_sampled_as_it_is_scored(key: jax.Array) -> None:
    """Cells of 8 floats: a sampler that is narrower than its density would show."""
    distribution, mean = Gaussian(*line(BOUNDS["box"])), np.float32(1.3)
    parameters = (jnp.array([mean]), jnp.array([-72.0]))
    draws, numbers = np.asarray(samples(distribution, parameters, jax.random.split(key, 20_000))), around(mean, (-2, 2))
    density = np.asarray(scores(distribution, jax.tree.map(lambda own: own[None], parameters), numbers[:, None]))[0]
    masses = np.exp(density.astype(np.float64)) * widths(numbers)
    counts = np.histogram(draws, numbers[::8])[0]
    assert_frequencies(counts, np.add.reduceat(masses, np.arange(0, len(numbers), 8))[: len(counts)], 20_000)
    assert len(np.unique(draws)) > 20


@pytest.mark.parametrize("mean", [0.5, 3.49999, 3.0, -2.5, 4.5, 2**23 + 1.0, 2**23 + 2.0, 2**24 - 1.0, 2**22 + 0.5])
@pytest.mark.parametrize("log_scale", [-np.inf, -72.0, -9.0, -2.0, 0.5])
def test_logistics_over_integers_sum_to_one_and_are_sampled_as_scored(
    mean: float, log_scale: float, key: jax.Array
) -> None:
    large = mean > 100
    distribution = DiscretisedLogistic(jnp.array([-3]), jnp.array([2**24 if large else 5]))
    parameters = (jnp.array([mean], jnp.float32), jnp.array([log_scale], jnp.float32))
    middle = round(mean)
    actions = np.arange(middle - 60, min(middle + 60, 2**24) + 1) if large else np.arange(-3, 6)
    each = jax.tree.map(lambda own: own[None], parameters)
    padded = np.append(actions, np.full(121 - len(actions), -9))
    probs = np.exp(np.asarray(scores(distribution, each, padded[:, None])[0], np.float64))[: len(actions)]
    assert probs.sum() == pytest.approx(1, abs=1e-5)
    draws = np.asarray(samples(distribution, parameters, jax.random.split(key, 4000)))[:, 0]
    counts = np.array([(draws == action).sum() for action in actions])
    assert_frequencies(counts, probs / probs.sum(), 4000)


def test_members_that_compute_in_half_precision_are_scored_in_full(key: jax.Array) -> None:
    half = jnp.bfloat16
    logits = jnp.array([0.3, -2.1, 0.7, 0.01, -1.3], half)
    probs = [float(jnp.exp(FactoredCategorical((5,)).log_prob(logits, jnp.array([action])))) for action in range(5)]
    assert sum(probs) == pytest.approx(1, abs=1e-6)
    bounds = (-np.inf, np.inf)
    parameters = (jnp.array([0.3], half), jnp.array([-9.37], half))
    numbers = np.linspace(0.295, 0.305, 20_001, dtype=np.float32)
    density = jax.vmap(lambda a: Gaussian(*line(bounds)).log_prob(parameters, a[None]))(numbers)
    assert np.trapezoid(np.exp(np.asarray(density, np.float64)), numbers.astype(np.float64)) == pytest.approx(
        1, abs=1e-3
    )
    chain = autoregressive(
        lambda own, observation: ((), own), lambda own, memory, token: (memory, own), logits[None], length=1
    )
    context = Context(jnp.int32(0), jnp.zeros(1))
    score = jax.vmap(lambda token: chain.log_prob((), None, context, token[None])[0])
    expected = np.exp(np.asarray(score(jnp.arange(5)), np.float64))
    assert expected.sum() == pytest.approx(1, abs=1e-6)
    draw = jax.jit(jax.vmap(lambda own: chain.sample((), None, context, own, jnp.int32(0))[0]))
    draws = np.asarray(draw(jax.random.split(key, 20_000)))
    assert_frequencies(np.bincount(draws, minlength=5), expected, 20_000)


# --- what it is for: T2 ---

ALPHA, RUNS, ANSWERS = 0.001, 1500, 400
MEAN, STD, SHARE = 0.5, 1.2e-4, 0.02


def mixture_with(log_std: float) -> Any:
    """The truth, and a rival that hedges: nearly the truth, and a needle where the truth's mode is."""
    logits = jnp.log(jnp.array([[1.0, 0.0], [1 - SHARE, SHARE]]))
    log_stds = jnp.log(jnp.array([[[STD]], [[STD]]])) + jnp.zeros((2, 2, 1))
    log_stds = log_stds.at[1, 1].set(log_std)
    means = jnp.full((2, 2, 1), MEAN)
    return gaussian_mixture(lambda own, observation: own, (logits, means, log_stds), -2.0, 2.0)


def trusted_needle() -> Any:
    """A control: user-supplied densities are trusted, and one that sums to more than one pushes the truth out."""

    def log_prob(std: jax.Array, observation: Any, action: jax.Array) -> jax.Array:
        normal = jax.scipy.stats.norm.logpdf
        parts = jnp.log(1 - SHARE) + normal(action, MEAN, STD), jnp.log(SHARE) + normal(action, MEAN, std)
        hedge = jnp.logaddexp(*parts)
        return jnp.where(std < STD, hedge, normal(action, MEAN, STD))[0]

    def sample(std: jax.Array, observation: Any, key: jax.Array) -> jax.Array:
        return MEAN + STD * jax.random.normal(key, (1,))

    return from_functions(sample, log_prob, jnp.array([STD, 1e-18]))


def share_out(ensemble: Any) -> int:
    """Runs of ``RUNS`` in which the truth (member 0) is left out at some time, if every step is asked about."""
    # An oracle of its own: NumPy's normal numbers in float64, rounded to float32.
    answers = np.float32(MEAN + STD * np.random.default_rng(3).normal(size=(RUNS, ANSWERS, 1)))
    learner = SamplingLearner(ensemble, AlphaThreshold(ALPHA))

    def run(answers: jax.Array) -> jax.Array:
        def step(state: Any, answer: jax.Array) -> Any:
            decision = learner.decide(state, None)._replace(queried=jnp.array(True))
            after, _ = learner.observe(state, None, decision, answer)
            return after, learner.selection(after.posterior.log_weights)[0]

        return ~jnp.all(jax.lax.scan(step, learner.init(jax.random.key(0)), answers)[1])

    return int(jax.jit(jax.vmap(run))(answers).sum())


#: P(ever out) is at most alpha / w = 0.2%; five standard deviations on top.
MOST = RUNS * ALPHA / 0.5 + 5 * np.sqrt(RUNS * ALPHA / 0.5)


@pytest.mark.parametrize("log_std", [-72.0, -14.0])
def test_a_needle_does_not_push_the_truth_out(log_std: float) -> None:
    assert share_out(mixture_with(log_std)) <= MOST


def test_a_needle_of_a_trusted_density_does() -> None:
    assert share_out(trusted_needle()) > 3 * MOST


def test_nor_does_a_needle_within_a_union() -> None:
    truth = gaussian(lambda own, observation: own, (jnp.full((1, 1), MEAN), jnp.log(jnp.full((1, 1), STD))), -2.0, 2.0)
    rival = mixture_with(-72.0)
    rival = rival.replace(params=jax.tree.map(lambda leaf: leaf[1:], rival.params), prior=jnp.ones(1))
    assert share_out(union(truth, rival)) <= MOST
