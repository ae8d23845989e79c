"""Degenerate equivalences: in its limits one rule must be another."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import QUERY, AlphaThreshold, Learner, Minimum, TopK, ensembles
from consensus_imitation.core.aggregation import (
    MAP,
    ActionLaw,
    Aggregation,
    ConsensusSampling,
    MajorityVote,
    OrderStatistic,
    PointwiseMedian,
    PosteriorMixture,
    UniformMixture,
)
from consensus_imitation.core.draw import draw, from_float

N, A = 5, 4
ULPS = 1e-6

probabilities = st.lists(st.integers(0, 9), min_size=N * A, max_size=N * A).map(
    lambda flat: (lambda c: c / c.sum(-1, keepdims=True))(
        np.where(np.sum(np.reshape(flat, (N, A)), -1, keepdims=True) > 0, np.reshape(flat, (N, A)), 1.0)
    )
)
masks = st.lists(st.booleans(), min_size=N, max_size=N).filter(any).map(np.array)
log_weights = st.lists(st.integers(-9, 0), min_size=N, max_size=N).map(lambda w: np.array(w, np.float32))


def law_of(rule: Aggregation) -> Callable[..., ActionLaw]:
    """The rule, compiled."""
    return jax.jit(lambda probs, weights, selected: rule(jnp.log(probs), weights, selected))


minimum = law_of(Minimum())


def assert_same_law(one: ActionLaw, other: ActionLaw, atol: float = ULPS) -> None:
    np.testing.assert_allclose(one.probs, other.probs, atol=atol)
    np.testing.assert_allclose(one.query_prob, other.query_prob, atol=4 * atol)


@pytest.mark.parametrize("rule", [OrderStatistic(1), ConsensusSampling(1, 1)], ids=lambda rule: rule.name)
def test_is_the_minimum(rule: Aggregation) -> None:
    compiled = law_of(rule)

    @settings(max_examples=150, deadline=None)
    @given(probabilities, masks)
    def check(probs: np.ndarray, selected: np.ndarray) -> None:
        assert_same_law(compiled(probs, np.zeros(N), selected), minimum(probs, np.zeros(N), selected))

    check()


@settings(max_examples=150, deadline=None)
@given(probabilities, log_weights)
def test_one_member_selected_is_map_and_never_asks(probs: np.ndarray, weights: np.ndarray) -> None:
    """k = 1, ties included, is the first heaviest member."""
    selected = TopK(1)(jnp.asarray(weights))
    law = minimum(probs, weights, selected)
    assert_same_law(law, map_law(probs, weights, selected))
    np.testing.assert_allclose(law.probs, probs[np.argmax(weights)], atol=ULPS)
    assert float(law.query_prob) == 0.0


map_law = law_of(MAP())


@settings(max_examples=100, deadline=None)
@given(probabilities, st.permutations([-4.0, -3.0, -2.0, -1.0, 0.0]))
def test_alpha_one_with_a_strict_leader_is_map(probs: np.ndarray, weights: list[float]) -> None:
    selected = AlphaThreshold(1.0)(jnp.array(weights))
    assert_same_law(minimum(probs, np.array(weights), selected), map_law(probs, np.array(weights), selected))


RULES: list[Aggregation] = [
    Minimum(),
    PosteriorMixture(),
    UniformMixture(),
    MAP(),
    MajorityVote(),
    PointwiseMedian(),
    OrderStatistic(2),
    OrderStatistic(N),
    ConsensusSampling(1, 4),
    ConsensusSampling(2, 3),
    ConsensusSampling(N, 1),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_gives_a_law(rule: Aggregation) -> None:
    """Non-negative, and together with the query probability one; NaN never."""
    compiled = law_of(rule)

    @settings(max_examples=60, deadline=None)
    @given(probabilities, masks, log_weights, st.sets(st.integers(0, N - 1)))
    def check(probs: np.ndarray, selected: np.ndarray, weights: np.ndarray, zero: set[int]) -> None:
        probs = probs.copy()
        probs[list(zero)] = 0.0  # what becomes of an invalid prediction
        law = compiled(probs, weights, selected)
        assert np.all(np.asarray(law.probs) >= 0)
        assert 0 <= float(law.query_prob) <= 1
        assert float(law.probs.sum() + law.query_prob) == pytest.approx(1, abs=2e-4)

    check()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_single_member_acts_always(rule: Aggregation) -> None:
    """One member, or N identical ones: every rule but the vote gives its distribution, and none ever asks."""
    probs = np.tile([0.1, 0.2, 0.3, 0.4], (N, 1))
    for selected in (np.arange(N) == 2, np.ones(N, bool)):
        law = law_of(rule)(probs, np.zeros(N), selected)
        assert float(law.query_prob) <= ULPS
        if rule != MajorityVote():
            np.testing.assert_allclose(law.probs, probs[0], atol=ULPS)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [2, 1000, 5003])
def test_identical_members_never_query(size: int) -> None:
    """Also with the float32 rounding of many actions: theta is exactly 0 and no draw out of thousands is a query."""
    rng = np.random.default_rng(size)
    logits = jnp.asarray(rng.normal(size=size) * 3, jnp.float32)
    params = jnp.tile(logits, (4, 1))
    learner = Learner(ensembles.stacked(lambda row, observation: row, params, size), TopK(4))

    @jax.jit
    def decide(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        decisions = jax.vmap(lambda key: learner.decide(learner.init(key), 0))(keys)
        return decisions.queried, decisions.query_prob

    queried, theta = decide(jax.random.split(jax.random.key(0), 8_000 if size < 2000 else 1_000))
    assert not queried.any()
    assert float(theta.max()) == 0.0
    law = Minimum()(jax.nn.log_softmax(params), jnp.zeros(4), jnp.ones(4, bool))
    numbers = jnp.asarray(from_float([0.0, 0.5, 1 - 2.0**-48]))
    assert int(jax.vmap(draw, in_axes=(0, None))(numbers, law).min()) >= 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=6, max_size=6))
def test_disjoint_supports_always_query(counts: list[int]) -> None:
    probs = np.zeros((2, 6))
    probs[0, :3], probs[1, 3:] = np.array(counts[:3]) / sum(counts[:3]), np.array(counts[3:]) / sum(counts[3:])
    law = disjoint(probs, np.zeros(2), np.ones(2, bool))
    assert not law.probs.any()
    assert float(law.query_prob) == pytest.approx(1.0, abs=ULPS)
    # With no mass to act on, rounding in theta cannot let a draw through.
    assert int(draw(jnp.asarray(from_float(1 - 2.0**-48)), law)) == QUERY


disjoint = law_of(Minimum())


@pytest.mark.parametrize(("s", "rounds"), [(1, 1), (1, 4), (2, 1), (2, 3), (4, 2)])
def test_consensus_sampling_is_its_rejection_loop(s: int, rounds: int) -> None:
    """The closed form against the loop of Kalai, Kalai and Zamir, drawn literally."""
    rng = np.random.default_rng([s, rounds])
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.0, 0.5, 0.5]])
    draws = 200_000
    outcome = np.full(draws, -1)
    for _ in range(rounds):
        member = rng.integers(4, size=draws)
        proposal = (np.cumsum(probs, axis=-1)[member] < rng.random(draws)[:, None]).sum(-1)
        ascending = np.sort(probs, axis=0)
        accept = rng.random(draws) < (ascending[:s].mean(0) / probs.mean(0))[proposal]
        outcome = np.where((outcome < 0) & accept, proposal, outcome)
    law = law_of(ConsensusSampling(s, rounds))(probs, np.zeros(4), np.ones(4, bool))
    for value, p in [(-1, float(law.query_prob)), *enumerate(np.asarray(law.probs).tolist())]:
        # A frequency over n draws has standard deviation sqrt(p (1 - p) / n); 1 / n for the grain.
        assert abs((outcome == value).mean() - p) < 5 * math.sqrt(p * (1 - p) / draws) + 1 / draws


def test_rules_refuse_impossible_parameters(key: jax.Array) -> None:
    members = ensembles.tabular(np.full((3, 1, 2), 0.5))
    for make in (lambda: OrderStatistic(0), lambda: ConsensusSampling(0), lambda: ConsensusSampling(1, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            make()
    for rule in (OrderStatistic(4), ConsensusSampling(4)):
        with pytest.raises(ValueError, match="s <= 3"):
            Learner(members, TopK(2), rule).init(key)
