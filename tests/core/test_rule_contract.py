"""What every selection rule and every aggregation rule owes: one that is added is listed here, and nowhere else."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import aggregation, selection
from consensus_imitation.core._rule_checks import check_aggregation, check_selection

N, A = 5, 3

SELECTION: dict[type, Any] = {
    selection.TopK: selection.TopK(2),
    selection.AlphaThreshold: selection.AlphaThreshold(0.1),
    selection.Union: selection.TopK(2) | selection.AlphaThreshold(0.1),
    selection.Intersection: selection.TopK(3) & selection.AlphaThreshold(0.1),
}

AGGREGATION: dict[type, Any] = {
    aggregation.Minimum: aggregation.Minimum(),
    aggregation.PosteriorMixture: aggregation.PosteriorMixture(),
    aggregation.UniformMixture: aggregation.UniformMixture(),
    aggregation.MAP: aggregation.MAP(),
    aggregation.MajorityVote: aggregation.MajorityVote(),
    aggregation.PointwiseMedian: aggregation.PointwiseMedian(),
    aggregation.OrderStatistic: aggregation.OrderStatistic(2),
    aggregation.ConsensusSampling: aggregation.ConsensusSampling(3, rounds=2),
    aggregation.MaxProbGate: aggregation.MaxProbGate(0.6),
    aggregation.EntropyGate: aggregation.EntropyGate(0.8),
    aggregation.VarianceGate: aggregation.VarianceGate(0.01),
    aggregation.RandomQueries: aggregation.RandomQueries(0.3),
    aggregation.MinimumGate: aggregation.MinimumGate(),
}


def of(module: Any, method: str) -> set[type]:
    """The public rules of a module: classes that can be called and have a method of their kind."""
    return {
        value
        for name, value in vars(module).items()
        if inspect.isclass(value) and not name.startswith("_") and hasattr(value, method) and not is_protocol(value)
    }


def is_protocol(value: type) -> bool:
    return getattr(value, "_is_protocol", False)


def test_every_rule_is_listed() -> None:
    assert of(selection, "exclusion_bound") == set(SELECTION)
    assert {one for one in of(aggregation, "check") if one is not aggregation.ActionLaw} == set(AGGREGATION)


def weights(seed: int) -> jax.Array:
    """Log-weights with ties and somebody far behind."""
    drawn = np.random.default_rng(seed).normal(size=N) * 3
    drawn[1], drawn[4] = drawn[0], -60.0
    return jnp.asarray(drawn, jnp.float32)


@pytest.mark.parametrize("rule", SELECTION.values(), ids=lambda rule: type(rule).__name__)
class TestSelection:
    def test_it_passes_the_checks_of_an_imitator(self, rule: Any) -> None:
        check_selection(rule, N)

    @pytest.mark.parametrize("seed", range(5))
    def test_it_selects_the_heaviest_whatever_their_order_and_the_scale(self, rule: Any, seed: int) -> None:
        """A mask with the leader in it, with all or none of those that are tied, in any order, at any common factor."""
        log_weights = weights(seed)
        mask = np.asarray(rule(log_weights))
        assert mask.shape == (N,)
        assert mask.dtype == bool
        assert mask[int(jnp.argmax(log_weights))]
        assert mask[0] == mask[1]
        order = np.random.default_rng(seed).permutation(N)
        np.testing.assert_array_equal(rule(log_weights[order]), mask[order])
        np.testing.assert_array_equal(rule(log_weights - 7.0), mask)
        lightest_in = np.asarray(log_weights)[mask].min()
        np.testing.assert_array_equal(mask, np.asarray(log_weights) >= lightest_in)

    def test_it_is_a_pytree_that_can_be_traced(self, rule: Any) -> None:
        rows = jnp.stack([weights(seed) for seed in range(4)])
        many = jax.jit(lambda rule, rows: jax.vmap(rule)(rows))(rule, rows)
        np.testing.assert_array_equal(many, jnp.stack([rule(row) for row in rows]))

    def test_its_margins_say_how_far_a_weight_can_fall(self, rule: Any) -> None:
        log_weights = weights(0)
        margins, mask = np.asarray(rule.margins(log_weights)), np.asarray(rule(log_weights))
        for n in np.flatnonzero(mask & np.isfinite(margins)):
            assert rule(log_weights.at[n].add(-max(0.0, margins[n] - 1e-3)))[n]
            assert not rule(log_weights.at[n].add(-margins[n] - 1e-3))[n]

    def test_what_it_promises_is_a_probability_and_a_quorum(self, rule: Any) -> None:
        bounds = [rule.exclusion_bound(prior, N) for prior in (0.01, 0.2, 1.0)]
        assert all(0.0 <= bound <= 1.0 for bound in bounds)
        assert bounds == sorted(bounds, reverse=True)
        assert 0 <= rule.tolerated_members < N


@pytest.mark.parametrize("rule", AGGREGATION.values(), ids=lambda rule: type(rule).__name__)
class TestAggregation:
    def test_it_passes_the_checks_of_an_imitator(self, rule: Any) -> None:
        check_aggregation(rule, N, A)

    @pytest.mark.parametrize("seed", range(5))
    def test_it_gives_a_law(self, rule: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        law = rule(
            jnp.log(rng.dirichlet(np.ones(A), N)), weights(seed), jnp.asarray(rng.random(N) < 0.7).at[0].set(True)
        )
        assert float(law.probs.min()) >= 0.0
        assert 0.0 <= float(law.query_prob) <= 1.0
        assert float(jnp.sum(law.probs) + law.query_prob) == pytest.approx(1.0, abs=1e-5)
        assert float(law.log_inflation) >= 0.0

    @pytest.mark.parametrize("how", ["nobody is selected", "a member has no prediction"])
    def test_it_fails_closed(self, rule: Any, how: str) -> None:
        """Where each member has a veto, nobody acts without one of them; nor do gates beside an unusable member."""
        log_probs = jnp.log(jnp.full((N, A), 1 / A))
        nobody = how == "nobody is selected"
        log_probs = log_probs if nobody else log_probs.at[2].set(-jnp.inf)
        law = rule(log_probs, weights(0), jnp.full(N, not nobody))
        gate = type(rule).__module__.endswith("gates")
        if aggregation.veto_factor(rule) < np.inf or (gate and not nobody):
            assert float(law.query_prob) == 1.0
            assert float(jnp.sum(law.probs)) == 0.0

    def test_it_is_a_pytree_that_can_be_traced(self, rule: Any) -> None:
        rng = np.random.default_rng(0)
        rows = jnp.log(jnp.asarray(rng.dirichlet(np.ones(A), (4, N)), jnp.float32))
        many = jax.jit(lambda rule, rows: jax.vmap(lambda row: rule(row, weights(0), jnp.ones(N, bool)))(rows))(
            rule, rows
        )
        for i, row in enumerate(rows):
            alone = rule(row, weights(0), jnp.ones(N, bool))
            np.testing.assert_allclose(many.probs[i], alone.probs, atol=1e-6)
            np.testing.assert_allclose(many.query_prob[i], alone.query_prob, atol=1e-6)

    def test_its_veto_is_as_strong_as_it_says(self, rule: Any) -> None:
        """No action gets more than the factor times what any selected member gives it."""
        factor = aggregation.veto_factor(rule)
        for seed in range(20):
            probs = np.random.default_rng(seed).dirichlet(np.full(A, 0.5), N)
            law = rule(jnp.log(jnp.asarray(probs, jnp.float32)), weights(seed), jnp.ones(N, bool))
            if np.isfinite(factor):
                assert np.all(np.asarray(law.probs) <= factor * probs.min(axis=0) + 1e-5)
