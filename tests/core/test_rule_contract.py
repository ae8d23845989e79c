"""What every selection rule and every aggregation rule owes: one that is added is listed here, and nowhere else."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import aggregation, selection
from consensus_imitation.core.rule_contract import check_aggregation_rule, check_selection_rule

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
    selecting, combining = of(selection, "exclusion_bound"), of(aggregation, "check") - {aggregation.ActionLaw}
    for name, found, listed in (("SELECTION", selecting, SELECTION), ("AGGREGATION", combining, AGGREGATION)):
        unlisted = sorted(rule.__name__ for rule in found - set(listed))
        assert not unlisted, f"nothing tests {unlisted}: give each a line in {name}, at the top of this file"
        gone = sorted(rule.__name__ for rule in set(listed) - found)
        assert not gone, f"{name} lists {gone}, which the library does not export: export them, or take the lines out"


def weights(seed: int) -> jax.Array:
    """Log-weights with ties and somebody far behind."""
    drawn = np.random.default_rng(seed).normal(size=N) * 3
    drawn[1], drawn[4] = drawn[0], -60.0
    return jnp.asarray(drawn, jnp.float32)


@pytest.mark.parametrize("rule", SELECTION.values(), ids=lambda rule: type(rule).__name__)
class TestSelection:
    @pytest.mark.parametrize("num_members", [4, pytest.param(N, marks=pytest.mark.slow)])
    def test_it_passes_the_checks_that_users_call(self, rule: Any, num_members: int) -> None:
        check_selection_rule(rule, num_members)

    @pytest.mark.parametrize("seed", range(5))
    def test_those_that_are_tied_are_in_or_out_together(self, rule: Any, seed: int) -> None:
        """What is ours only: rules of users may break ties."""
        log_weights = weights(seed)
        mask = np.asarray(rule(log_weights))
        assert mask[0] == mask[1]
        order = np.random.default_rng(seed).permutation(N)
        np.testing.assert_array_equal(rule(log_weights[order]), mask[order])


@pytest.mark.parametrize("rule", AGGREGATION.values(), ids=lambda rule: type(rule).__name__)
class TestAggregation:
    @pytest.mark.parametrize("num_actions", [2, pytest.param(A, marks=pytest.mark.slow)])
    def test_it_passes_the_checks_that_users_call(self, rule: Any, num_actions: int) -> None:
        check_aggregation_rule(rule, N, num_actions)

    def test_gates_ask_beside_an_unusable_member(self, rule: Any) -> None:
        """What is ours only: of rules of users, those with a veto do."""
        log_probs = jnp.log(jnp.full((N, A), 1 / A)).at[2].set(-jnp.inf)
        law = rule(log_probs, weights(0), jnp.ones(N, bool))
        if type(rule).__module__.endswith("gates"):
            assert float(law.query_prob) == 1.0
            assert float(jnp.sum(law.probs)) == 0.0
