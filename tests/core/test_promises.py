"""What the certificate says of dishonest members, for every pair of rules, against what the laws do."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Minimum, TopK, ensembles
from consensus_imitation.core.aggregation import (
    MAP,
    ActionLaw,
    ConsensusSampling,
    EntropyGate,
    MajorityVote,
    MaxProbGate,
    MinimumGate,
    OrderStatistic,
    PointwiseMedian,
    PosteriorMixture,
    RandomQueries,
    UniformMixture,
    VarianceGate,
    veto_factor,
)

N, A = 4, 3


@jax.tree_util.register_static
@dataclass(frozen=True)
class Own:
    """A user's rule that declares nothing: it is the minimum, but who knows?"""

    name: str = "own"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        return Minimum()(log_probs, log_weights, selected)

    def check(self, num_members: int) -> None:
        pass


@jax.tree_util.register_static
@dataclass(frozen=True)
class Declared(Own):
    """A user's rule that declares a veto."""

    veto_factor: float = 1.0


@jax.tree_util.register_static
@dataclass(frozen=True)
class Derived(Minimum):
    """Somebody's rule that looks like the minimum, and is another."""

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        return MAP()(log_probs, log_weights, selected)


#: Selection rules, and how many dishonest members there can be with an honest one still selected (T1).
SELECTIONS: dict[str, tuple[Any, int]] = {
    "top-1": (TopK(1), 0),
    "top-3": (TopK(3), 2),
    "all": (TopK(N), 3),
    "alpha": (AlphaThreshold(0.01), 0),
    "top-3-or-alpha": (TopK(3) | AlphaThreshold(0.01), 2),
    "alpha-or-top-2": (AlphaThreshold(0.01) | TopK(2), 1),
    "top-3-and-alpha": (TopK(3) & AlphaThreshold(0.01), 0),
    "top-3-and-top-2": (TopK(3) & TopK(2), 1),
}

#: Aggregation rules, and the factor of one member's veto; ``inf`` without one.
AGGREGATIONS: dict[str, tuple[Any, float]] = {
    "minimum": (Minimum(), 1),
    "rounds-3": (Minimum(rounds=3), 3),
    "threshold-0.5": (Minimum(threshold=0.5), 2),
    "threshold-1": (Minimum(threshold=1.0), math.inf),
    "order-1": (OrderStatistic(1), 1),
    "order-2": (OrderStatistic(2), math.inf),
    "consensus-1-1": (ConsensusSampling(1), 1),
    "consensus-1-3": (ConsensusSampling(1, rounds=3), 3),
    "consensus-2-1": (ConsensusSampling(2), math.inf),
    "mixture": (PosteriorMixture(), math.inf),
    "uniform": (UniformMixture(), math.inf),
    "map": (MAP(), math.inf),
    "vote": (MajorityVote(), math.inf),
    "median": (PointwiseMedian(), math.inf),
    "maxprob": (MaxProbGate(0.5), math.inf),
    "entropy": (EntropyGate(1.0), math.inf),
    "variance": (VarianceGate(0.2), math.inf),
    "random": (RandomQueries(0.3), math.inf),
    "random-minimum": (RandomQueries(0.3, base=Minimum()), math.inf),
    "minimum-gate": (MinimumGate(), math.inf),
    "own-undeclared": (Own(), math.inf),
    "own-declared": (Declared(), 1),
    "own-declared-nan": (Declared(veto_factor=math.nan), math.inf),
    "own-declared-below-1": (Declared(veto_factor=0.5), math.inf),
}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_a_quorum_is_claimed_where_one_member_can_veto(selection: str, aggregation: str) -> None:
    (selecting, tolerated), (combining, factor) = SELECTIONS[selection], AGGREGATIONS[aggregation]
    members = ensembles.tabular(np.full((N, 1, A), 1 / A))
    statement = ConsensusImitator(members, selection=selecting, aggregation=combining, seed=0).certificate()
    assert statement.tolerated_members == (tolerated if math.isfinite(factor) else 0)
    lines = [line for line in str(statement).splitlines() if "quorum" in line]
    assert lines == [statement.quorum]
    if not statement.tolerated_members:
        assert statement.quorum.startswith("no quorum: ")
        assert ("has a veto" in statement.quorum) == math.isinf(factor)
        return
    assert f"an honest member has a veto while at most {tolerated} members are dishonest" in statement.quorum
    assert ("times the probability" in statement.quorum) == (factor > 1)
    assert factor == 1 or f"more than {factor:g} times the probability" in statement.quorum


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_events_are_bounded_for_the_minimum_alone(selection: str, aggregation: str) -> None:
    combining = AGGREGATIONS[aggregation][0]
    members = ensembles.tabular(np.full((N, 1, A), 1 / A))
    rules = {"selection": SELECTIONS[selection][0], "aggregation": combining}
    promise = ConsensusImitator(members, seed=0, **rules).certificate().promise
    assert ("P(demonstrator" in promise) == (type(combining) is Minimum)
    if type(combining) is not Minimum:
        assert promise == f"no bound on actions or events is known of the rule {combining.name!r}"


def test_a_rule_derived_from_the_minimum_inherits_no_bound_on_events() -> None:
    members = ensembles.tabular(np.full((N, 1, A), 1 / A))
    promise = ConsensusImitator(members, selection=TopK(N), aggregation=Derived(), seed=0).certificate().promise
    assert promise.startswith("no bound on actions or events is known")


def _laws(rule: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random predictions [R, N, A] with some impossible actions, the selected [R, N], the rule's own mass [R, A]."""
    rng = np.random.default_rng(7)
    probs = rng.dirichlet(np.full(A, 0.4), (2000, N))
    probs[rng.random((2000, N, A)) < 0.1] = 0.0
    probs = np.maximum(probs, 1e-12 * (probs.sum(-1, keepdims=True) == 0))
    probs = (probs / probs.sum(-1, keepdims=True)).astype(np.float32)
    # Often all but one agree: where one veto is overruled.
    same = rng.random(2000) < 0.5
    probs[same, 1:] = probs[same, 1:2]
    weights = jnp.asarray(rng.normal(0, 1, (2000, N)), jnp.float32)
    selected = rng.random((2000, N)) < 0.7
    selected[:, 0] = True
    law = jax.jit(jax.vmap(rule))(jnp.log(jnp.asarray(probs)), weights, jnp.asarray(selected))
    return probs, selected, np.asarray(law.probs)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_factor_of_a_veto_is_that_of_the_law(aggregation: str) -> None:
    """No more than the factor times what any selected member gives; and rules without one do go beyond any factor."""
    rule, factor = AGGREGATIONS[aggregation]
    assert veto_factor(rule) == factor
    probs, selected, own = _laws(rule)
    smallest = np.where(selected[:, :, None], probs, np.inf).min(1)
    if math.isfinite(factor):
        assert np.all(own <= factor * smallest * (1 + 1e-5) + 1e-7)
    elif not isinstance(rule, Own):
        assert np.any(own > 1000 * smallest)


@pytest.mark.parametrize("name", ["rounds-3", "threshold-0.5", "consensus-1-3"])
def test_the_factor_of_a_veto_is_not_too_large(name: str) -> None:
    rule, factor = AGGREGATIONS[name]
    probs, selected, own = _laws(rule)
    smallest = np.where(selected[:, :, None], probs, np.inf).min(1)
    likely = smallest > 1e-4
    assert (own[likely] / smallest[likely]).max() > 0.9 * factor
