"""Selection rules: prefix, ties, never empty, bounds, validation, and sweeps in one compiled program."""

import math
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, Learner, Minimum, TopK, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.core.selection import SelectionRule
from consensus_imitation.errors import ConfigurationError

from .own_rules import Own

N = 6
#: Whole nats, so that weights are either exactly tied or far from it; ruled-out members among them.
log_weights = st.lists(st.one_of(st.integers(-30, 30).map(float), st.just(-math.inf)), min_size=N, max_size=N).map(
    lambda values: np.array(values if max(values) > -math.inf else [0.0] * N, np.float32)
)
ks = st.integers(1, N)
alphas = st.sampled_from([1e-6, 0.01, 0.1, 0.2, 0.3, 0.45, 0.7, 0.99, 1.0])


@jax.jit
def masks(k: jax.Array, alpha: jax.Array, weights: jax.Array) -> tuple[jax.Array, ...]:
    top, threshold = TopK(k), AlphaThreshold(alpha)
    return top(weights), threshold(weights), (top | threshold)(weights), (top & threshold)(weights)


@settings(max_examples=300, deadline=None)
@given(log_weights, ks, alphas)
def test_every_set_is_a_prefix_with_ties_and_never_empty(weights: np.ndarray, k: int, alpha: float) -> None:
    top, threshold, both, either = (np.asarray(mask) for mask in masks(k, alpha, weights))
    np.testing.assert_array_equal(both, top | threshold)
    np.testing.assert_array_equal(either, top & threshold)
    assert either.any()
    assert either[np.argmax(weights)]
    for mask in (top, threshold):
        assert weights[mask].min() >= max(weights[~mask], default=-math.inf)
    for mask in (threshold, *((top,) if k > 1 else ())):
        assert not set(weights[mask]) & set(weights[~mask])  # ties stay together
    relative = np.exp((weights - weights.max()).astype(float))
    expected = [w >= alpha * (relative[relative > w].sum() + w) and w > 0 for w in relative]
    np.testing.assert_array_equal(threshold, expected)
    assert all(threshold[relative / relative.sum() >= alpha])
    if k == 1:
        assert top.tolist() == [n == int(np.argmax(weights)) for n in range(N)]
    else:
        assert top.sum() >= k
        np.testing.assert_array_equal(top, [np.sum(weights > w) < k for w in weights])


@settings(max_examples=100, deadline=None)
@given(log_weights, ks, st.permutations(range(N)), alphas)
def test_the_order_of_the_members_does_not_matter(weights: np.ndarray, k: int, order: list[int], alpha: float) -> None:
    before, after = masks(k, alpha, weights), masks(k, alpha, weights[order])
    for rule in (1,) if k == 1 else range(4):  # TopK(1) prefers the first of tied members
        np.testing.assert_array_equal(np.asarray(before[rule])[order], after[rule])


def test_members_tied_far_below_the_top_stay_tied() -> None:
    """The same likelihoods in another order: what float32 makes of the sums must not split the two."""
    rng = np.random.default_rng(3)
    for steps in (10, 100, 400):
        likelihoods = np.log(rng.uniform(0.1, 0.6, steps)).astype(np.float32)
        rows = np.stack([np.zeros(steps, np.float32), likelihoods, rng.permutation(likelihoods)], axis=-1)
        state = jax.lax.scan(lambda s, x: (posterior.update(s, x)[0], None), posterior.init(np.ones(3)), rows)[0]
        assert TopK(2)(state.log_weights).all()


def test_alpha_one_with_a_strict_leader_is_the_leader() -> None:
    assert AlphaThreshold(1.0)(jnp.array([0.0, 0.01, -1.0])).tolist() == [False, True, False]


def test_an_integer_alpha_threshold_is_never_larger_than_its_inverse() -> None:
    rng = np.random.default_rng(0)
    for alpha in (0.07, 0.2, 0.34, 0.6):
        weights = jnp.asarray(rng.normal(size=(200, 40)) * rng.uniform(0, 3, (200, 1)), jnp.float32)
        sizes = jax.vmap(AlphaThreshold(alpha))(weights).sum(-1)
        assert int(sizes.max()) <= math.floor(1 / alpha)


def test_nothing_is_known_of_how_a_rule_of_ones_own_goes_with_others() -> None:
    """Its set need be no prefix of the ranking: three members, and the three heaviest, may have nobody in common."""

    class Named(Own):
        tolerated_members = 2
        largest_set = 3.0

    own = Named()
    assert (own & TopK(3)).tolerated_members == ((own | TopK(1)) & TopK(3)).tolerated_members == 0
    assert (own | TopK(2)).largest_set == 5
    assert (own | TopK(2)).tolerated_members == 2
    assert (own & TopK(2)).largest_set == 2
    # The control: of rules whose sets are prefixes it is known.
    both = (TopK(3) & TopK(4)) | (TopK(2) & AlphaThreshold(0.1))
    assert (both.tolerated_members, both.largest_set) == (2, 3)


@pytest.mark.parametrize(
    ("rule", "num_members", "prior_weight", "bound", "tolerated"),
    [
        pytest.param(TopK(1), 9, 0.5, 1.0, 0, id="top-1"),
        pytest.param(TopK(3), 9, 0.5, 1 / 3, 2, id="top-3"),
        pytest.param(TopK(9), 10, 0.1, 1.0, 8, id="top-9-uniform-over-10"),
        pytest.param(AlphaThreshold(0.01), 9, 0.25, 0.04, 0, id="alpha"),
        pytest.param(AlphaThreshold(0.5), 9, 0.25, 1.0, 0, id="alpha-capped"),
        pytest.param(TopK(3) | AlphaThreshold(0.01), 9, 0.25, 0.04, 2, id="union"),
        pytest.param(TopK(3) & AlphaThreshold(0.01), 9, 0.5, 1 / 3 + 0.02, 0, id="intersection"),
        pytest.param(TopK(2) | AlphaThreshold(0.1) | TopK(4), 9, 0.5, 0.2, 3, id="three"),
        # Where everybody is selected, nobody is ever out.
        pytest.param(TopK(3), 3, 0.2, 0.0, 2, id="everybody"),
        pytest.param(TopK(1), 1, 1.0, 0.0, 0, id="the-only-one"),
        pytest.param(AlphaThreshold(0.5), 1, 1.0, 0.0, 0, id="alpha-the-only-one"),
        pytest.param(TopK(4) | AlphaThreshold(0.1), 4, 0.25, 0.0, 3, id="union-with-everybody"),
        pytest.param(TopK(4) | TopK(2), 4, 0.25, 0.0, 3, id="union-of-everybody-and-two"),
        pytest.param(TopK(4) & AlphaThreshold(0.1), 4, 0.25, 0.4, 0, id="everybody-who-passes-alpha"),
        pytest.param(TopK(4) & TopK(2), 4, 0.5, 0.5, 1, id="everybody-among-two"),
        pytest.param(TopK(4) & TopK(4), 4, 0.1, 0.0, 3, id="everybody-twice"),
    ],
)
def test_what_a_rule_promises(
    rule: SelectionRule, num_members: int, prior_weight: float, bound: float, tolerated: int
) -> None:
    assert rule.exclusion_bound(prior_weight, num_members) == pytest.approx(bound)
    assert rule.tolerated_members == tolerated


@pytest.mark.parametrize(
    "rule",
    [
        TopK(4),
        TopK(4) | AlphaThreshold(0.3),
        TopK(2) | TopK(4),
        TopK(4) & TopK(4),
        TopK(3),
        TopK(4) & AlphaThreshold(0.3),
        TopK(4) & TopK(3),
    ],
    ids=lambda rule: repr(rule).replace(" ", ""),
)
def test_a_bound_of_nothing_means_that_nobody_is_ever_left_out(rule: SelectionRule) -> None:
    """Whatever the weights, ruled out members included; and a bound above 0 stands only where somebody can be out."""
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 4, (300, 4))
    weights[rng.random((300, 4)) < 0.1] = -np.inf
    weights = weights[np.any(np.isfinite(weights), axis=-1)]
    everybody = bool(jnp.all(jax.vmap(rule)(jnp.asarray(weights, jnp.float32))))
    assert everybody == (rule.exclusion_bound(0.25, 4) == 0.0)


def test_promises_are_monotone() -> None:
    weights = np.linspace(0.01, 1.0, 50)
    for rule in (TopK(2), AlphaThreshold(0.01), TopK(2) | AlphaThreshold(0.01), TopK(2) & AlphaThreshold(0.01)):
        bounds = [rule.exclusion_bound(float(w), 9) for w in weights]
        assert np.all(np.diff(bounds) <= 0)
        assert 0 <= min(bounds) <= max(bounds) <= 1
    assert np.all(np.diff([TopK(k).exclusion_bound(0.3, 9) for k in range(1, 9)]) <= 0)
    assert np.all(np.diff([AlphaThreshold(a).exclusion_bound(0.3, 9) for a in (0.01, 0.1, 0.2)]) > 0)


@pytest.mark.parametrize("k", [0, -1, np.int64(0)], ids=str)
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TopK(k)


@pytest.mark.parametrize("k", [2.0, True, np.float32(2)], ids=repr)
def test_k_that_is_no_integer_is_refused(k: object) -> None:
    with pytest.raises(ConfigurationError, match="integer"):
        TopK(k)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.0001, math.nan, math.inf, 2, np.float64(0)], ids=repr)
def test_alpha_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        AlphaThreshold(alpha)


@pytest.mark.parametrize(
    "rule",
    [TopK(4), TopK(4) | AlphaThreshold(0.1), AlphaThreshold(0.1) & TopK(4), TopK(1) | (TopK(2) & TopK(4))],
    ids=["bare", "union", "intersection", "nested"],
)
def test_k_above_the_number_of_members_is_refused(rule: SelectionRule, key: jax.Array) -> None:
    members = ensembles.tabular(np.full((3, 1, 2), 0.5))
    with pytest.raises(ValueError, match="k <= 3"):
        Learner(members, rule).init(key)


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.1, math.nan])
def test_a_prior_weight_outside_its_range_is_refused(weight: float) -> None:
    for rule in (TopK(2), AlphaThreshold(0.1)):
        with pytest.raises(ValueError, match="prior_weight"):
            rule.exclusion_bound(weight, 3)


@pytest.mark.parametrize("num_members", [0, -1, 2.0, True], ids=repr)
def test_a_number_of_members_that_is_none_is_refused(num_members: object) -> None:
    for rule in (TopK(2), AlphaThreshold(0.1), TopK(2) | AlphaThreshold(0.1), TopK(2) & AlphaThreshold(0.1)):
        with pytest.raises(ConfigurationError, match="num_members"):
            rule.exclusion_bound(0.5, num_members)  # type: ignore[arg-type]


def test_a_sweep_over_k_and_alpha_compiles_once() -> None:
    @jax.jit
    @chex.assert_max_traces(n=1)
    def sweep(tops: TopK, thresholds: AlphaThreshold, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        apply = jax.vmap(lambda rule, w: rule(w), in_axes=(0, None))
        return apply(tops, weights), apply(thresholds, weights)

    weights = jnp.array([0.0, -1.0, -2.0, -3.0])
    for shift in (0, 1):
        tops, thresholds = sweep(
            TopK(jnp.arange(1, 4) + shift), AlphaThreshold(jnp.array([0.01, 0.2]) + shift / 10), weights
        )
        for i, k in enumerate(range(1 + shift, 4 + shift)):
            np.testing.assert_array_equal(tops[i], TopK(k)(weights))
        for i, alpha in enumerate((0.01 + shift / 10, 0.2 + shift / 10)):
            np.testing.assert_array_equal(thresholds[i], AlphaThreshold(alpha)(weights))


def test_a_new_k_does_not_recompile_the_learner(key: jax.Array) -> None:
    members = ensembles.tabular(np.full((3, 1, 2), 0.5))
    decide = jax.jit(chex.assert_max_traces(Learner.decide, n=2))
    for k in (1, 2, 3):
        learner = Learner(members, TopK(k), Minimum())
        decide(learner, learner.init(key), 0)
    learner = Learner(members, TopK(1), MAP())
    decide(learner, learner.init(key), 0)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: TopK(jnp.array(2.5)), id="float-k"),
        pytest.param(lambda: TopK(np.array([0, 1])), id="zero-k"),
        pytest.param(lambda: AlphaThreshold(jnp.array(5.0)), id="alpha-5"),
        pytest.param(lambda: AlphaThreshold(np.array([0.1, np.nan])), id="alpha-nan"),
    ],
)
def test_concrete_arrays_are_checked_like_numbers(make: Callable[[], SelectionRule]) -> None:
    with pytest.raises(ConfigurationError):
        make()
