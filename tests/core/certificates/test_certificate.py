"""Every bound against an independent computation, at its edges, and against exact enumeration on small trees."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, Minimum, TopK
from consensus_imitation.core import bounds as cert

from .test_inflation_budget import NO_LIMIT, enumerated, every_shape, trees
from .trees import SHAPES, Shape

probabilities = st.floats(0, 1)
positive = st.floats(1e-6, 1)
BAD_PROBABILITIES = [-1e-9, -1.0, 1.0000001, 2.0, math.inf, -math.inf, math.nan]


# --- alpha for a wanted failure probability ---


@settings(deadline=None)
@given(st.floats(1e-3, 1), st.floats(1e-3, 1))
def test_alpha_for_is_undone_by_the_exclusion_bound(delta: float, prior_weight: float) -> None:
    alpha = cert.alpha_for(delta, prior_weight)
    assert AlphaThreshold(alpha).exclusion_bound(prior_weight, 4) == pytest.approx(delta)
    # One part of a union is enough, an intersection has to keep the truth in both.
    union, both = TopK(1) | AlphaThreshold(alpha), TopK(1) & AlphaThreshold(alpha)
    assert union.exclusion_bound(prior_weight, 4) <= delta * (1 + 1e-9)
    assert both.exclusion_bound(prior_weight, 4) >= delta * (1 - 1e-9)


# --- the bound on cubed query probabilities ---


def for_one(alpha: float, ratios: Any) -> float:
    """The bound for K = 1, by a search over beta that has nothing clever about it."""
    scales = np.exp(np.linspace(-20, 1, 20_001))
    return float(np.min((1 + scales) ** 2 / 2 * sum(np.log1p(x / (scales * alpha)) for x in ratios)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=6), st.floats(0.01, 1), st.data())
def test_cubed_query_bound_from_its_formula(prior: list[float], alpha: float, data: st.DataObject) -> None:
    truth = data.draw(st.integers(0, len(prior) - 1))
    total = math.fsum(prior)
    w = prior[truth] / total
    others = [p / total for n, p in enumerate(prior) if n != truth]
    one = for_one(alpha, [other / w for other in others])
    found = cert.cubed_query_bound(AlphaThreshold(alpha), prior, truth)
    assert found == pytest.approx(len(others) * one, rel=1e-3)
    # The simpler forms of the theorem are never below it.
    logarithms = math.fsum(math.log(1 + other / (alpha * w)) for other in others)
    assert found <= 2 * len(others) * logarithms * (1 + 1e-4)
    assert found <= 2 * len(others) / alpha * (1 / w - 1) * (1 + 1e-4)
    untied = cert.cubed_query_bound(AlphaThreshold(alpha), prior, truth, ties=False)
    size = min(len(others), math.floor(1 / alpha + 1e-6))
    assert untied == pytest.approx(size * one, rel=1e-3)
    # A smaller alpha asks more, and so does a smaller weight of the truth.
    assert cert.cubed_query_bound(AlphaThreshold(alpha / 2), prior, truth) > found
    lighter = [p / 2 if n == truth else p for n, p in enumerate(prior)]
    assert cert.cubed_query_bound(AlphaThreshold(alpha), lighter, truth) > found


def test_cubed_query_bound_of_composed_rules() -> None:
    prior = [0.2, 0.3, 0.5]
    alpha = AlphaThreshold(0.2)
    assert cert.cubed_query_bound(TopK(2), prior, 0) == math.inf
    assert cert.cubed_query_bound(TopK(2) | alpha, prior, 0) == math.inf
    assert cert.cubed_query_bound(TopK(1) & alpha, prior, 0) == cert.cubed_query_bound(alpha, prior, 0)
    capped = cert.cubed_query_bound(TopK(1) & alpha, prior, 0, ties=False)
    assert capped == pytest.approx(cert.cubed_query_bound(alpha, prior, 0) / 2)
    two = AlphaThreshold(0.5) | alpha
    assert cert.cubed_query_bound(two, prior, 0) == pytest.approx(cert.cubed_query_bound(alpha, prior, 0))
    assert cert.cubed_query_bound(alpha, [0.0, 1.0], 1) == 0


@pytest.mark.parametrize("rule", [AlphaThreshold(0.5), AlphaThreshold(1.0), AlphaThreshold(0.5) & TopK(2)], ids=repr)
def test_the_bound_counts_members_that_tie(rule: Any) -> None:
    """T3 needs ``theta^2 <= K sum TV^2`` over the selected members; tied ones are all selected, whatever alpha says."""
    N, delta = 6, 0.05
    # Each member but the truth moves a little mass off an action of its own: query probabilities add up.
    probs = np.full((N, N), delta)
    probs[np.arange(1, N), np.arange(1, N)] = 0.0
    probs[:, 0] = 1 - probs[:, 1:].sum(-1)
    selected = rule(jnp.zeros(N))
    assert selected.all()
    theta = float(Minimum()(jnp.log(jnp.asarray(probs, jnp.float32)), jnp.zeros(N), selected).query_prob)
    squares = np.sum((0.5 * np.abs(probs - probs[0]).sum(-1)) ** 2)
    one = for_one(rule.smallest_share, [1.0] * (N - 1))
    prior = [1 / N] * N
    tied, untied = (cert.cubed_query_bound(rule, prior, 0, ties=ties) / one for ties in (True, False))
    assert untied * squares < theta**2 <= tied * squares * (1 + 1e-3)


def test_cubed_query_bound_refuses_what_makes_no_sense() -> None:
    alpha = AlphaThreshold(0.2)
    for truth in (-1, 2):
        with pytest.raises(ValueError, match="truth must be the index"):
            cert.cubed_query_bound(alpha, [0.5, 0.5], truth)
    with pytest.raises(ValueError, match="can never be the truth"):
        cert.cubed_query_bound(alpha, [0.0, 1.0], 0)
    for prior in ([], [-1.0, 2.0], [0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]):
        with pytest.raises(ValueError, match="prior"):
            cert.cubed_query_bound(alpha, prior, 0)


# --- expected number of queries ---


@settings(deadline=None)
@given(st.floats(0, 1e6), st.integers(0, 10**9))
def test_expected_queries(cubed: float, steps: int) -> None:
    found = cert.expected_queries_bound(cubed, steps)
    assert found == pytest.approx(min(steps, np.cbrt(cubed) * np.cbrt(float(steps)) ** 2), rel=1e-9)
    assert found <= cert.expected_queries_bound(cubed, steps + 1)
    assert found <= cert.expected_queries_bound(cubed + 1, steps)


@settings(deadline=None)
@given(st.lists(probabilities, min_size=1, max_size=30))
def test_expected_queries_is_hoelders_inequality(thetas: list[float]) -> None:
    assert sum(thetas) <= cert.expected_queries_bound(sum(t**3 for t in thetas), len(thetas)) + 1e-6


def test_expected_queries_where_nothing_is_known() -> None:
    assert cert.expected_queries_bound(math.inf, 1000) == 1000
    assert cert.expected_queries_bound(math.inf, 0) == 0
    assert cert.expected_queries_bound(0.0, 1000) == 0


# --- unlikely stays unlikely ---


def by_hand(p: float, exclusion: float, cubed: float, steps: int, c: float) -> float:
    try:
        grown = math.exp(c) * p
    except OverflowError:
        grown = math.inf if p else 0.0
    return min(1.0, exclusion + cubed * steps**2 / c**3 + grown)


cases = (st.floats(1e-200, 1), st.floats(0, 0.5), st.floats(1e-3, 1e4), st.integers(1, 1000))


@settings(max_examples=100, deadline=None)
@given(*cases)
def test_the_best_c_is_not_beaten_by_a_grid(p: float, exclusion: float, cubed: float, steps: int) -> None:
    best = cert.unlikeliness_bound(p, exclusion, cubed, steps)
    grid = np.exp(np.linspace(-15, math.log(690), 3000))
    assert best <= min(by_hand(p, exclusion, cubed, steps, c) for c in grid) * (1 + 1e-6)
    # And it is one of the bounds, not below all of them.
    around = np.exp(np.linspace(-15, math.log(700), 30000))
    assert best >= min(by_hand(p, exclusion, cubed, steps, c) for c in around) * (1 - 1e-3)


@settings(max_examples=100, deadline=None)
@given(*cases, st.floats(1e-3, 700))
def test_a_given_c(p: float, exclusion: float, cubed: float, steps: int, c: float) -> None:
    found = cert.unlikeliness_bound(p, exclusion, cubed, steps, c=c)
    assert found == pytest.approx(by_hand(p, exclusion, cubed, steps, c), rel=1e-9)
    assert cert.unlikeliness_bound(p, exclusion, cubed, steps) <= found * (1 + 1e-6)


@settings(max_examples=100, deadline=None)
@given(*cases)
def test_unlikeliness_is_monotone(p: float, exclusion: float, cubed: float, steps: int) -> None:
    found = cert.unlikeliness_bound(p, exclusion, cubed, steps)
    assert exclusion <= found <= 1
    room = 1 + 1e-6
    assert found <= cert.unlikeliness_bound(min(1.0, 2 * p), exclusion, cubed, steps) * room
    assert found <= cert.unlikeliness_bound(p, exclusion + 0.1, cubed, steps) * room
    assert found <= cert.unlikeliness_bound(p, exclusion, 2 * cubed, steps) * room
    assert found <= cert.unlikeliness_bound(p, exclusion, cubed, steps + 1) * room


def test_unlikeliness_at_its_edges() -> None:
    assert cert.unlikeliness_bound(1e-9, 0.01, math.inf, 10) == 1.0
    assert cert.unlikeliness_bound(1e-9, 0.01, math.inf, 10, c=2.0) == 1.0
    # Impossible for the demonstrator: any amount of inflation may be allowed.
    assert cert.unlikeliness_bound(0.0, 0.01, 100.0, 1000) == pytest.approx(0.01)
    assert cert.unlikeliness_bound(0.0, 0.01, 8.0, 10, c=100.0) == pytest.approx(0.01 + 8 * 100 / 1e6)
    assert cert.unlikeliness_bound(1.0, 0.0, 1.0, 10) == 1.0


def test_an_extreme_c_is_not_understated() -> None:
    """e^1000 times the smallest float is far above one."""
    assert cert.unlikeliness_bound(5e-324, 0.0, 1.0, 1, c=1000.0) == 1.0


@pytest.mark.parametrize("c", [1e-200, 1e150])
def test_an_extreme_c_is_no_error(c: float) -> None:
    assert cert.unlikeliness_bound(0.1, 0.0, 1.0, 1, c=c) == 1.0


@every_shape
@pytest.mark.parametrize("c", [0.1, 0.3, 0.7, 1.2])
def test_t4_by_exact_enumeration(shape: Shape, c: float) -> None:
    """``P(B) <= alpha/w + P(sum ln(1 + theta) > c) + e^c P_demonstrator(B)``, for the worst event, without a budget."""
    found = enumerated(shape, NO_LIMIT)
    beyond = np.where(found.spent > c + 1e-6, found.reached, 0.0).sum(-1)
    near = np.where(np.abs(found.spent - c) <= 1e-6, found.reached, 0.0).sum(-1)
    excess = found.worst_excess(math.exp(c))
    assert np.all(excess <= trees(shape).slack + beyond + near + 1e-5)
    worst = found.imitator > math.exp(c) * found.demonstrator
    own = np.where(worst, found.imitator, 0.0).sum(-1)
    theirs = np.minimum(1.0, np.where(worst, found.demonstrator, 0.0).sum(-1))
    for t, prior in enumerate(trees(shape).prior):
        rule: Any = AlphaThreshold(float(trees(shape).alpha[t]))
        truth = int(np.argmin(np.abs(prior - trees(shape).truth[t])))
        cubed = cert.cubed_query_bound(rule, prior.tolist(), truth)
        bound = cert.unlikeliness_bound(
            theirs[t], rule.exclusion_bound(prior[truth], len(prior)), cubed, shape.depth, c=c
        )
        assert own[t] <= bound + 1e-5


@pytest.mark.slow
def test_t4_is_not_trivial_on_these_trees() -> None:
    """Without the term for the inflation the inequality fails on many of them."""
    beyond = [enumerated(s, NO_LIMIT).worst_excess(math.exp(0.3)) - trees(s).slack for s in SHAPES]
    assert np.sum(np.concatenate(beyond) > 1e-3) >= 20


@every_shape
def test_t5_as_the_certificate_states_it(shape: Shape) -> None:
    found = enumerated(shape, 2.0)
    worst = found.imitator > 2 * found.demonstrator
    own = np.where(worst, found.imitator, 0.0).sum(-1)
    theirs = np.minimum(1.0, np.where(worst, found.demonstrator, 0.0).sum(-1))
    for mine, p, slack in zip(own, theirs, trees(shape).slack, strict=True):
        assert mine <= cert.budget_bound(p, exclusion=slack, factor=2.0) + 1e-5


# --- the inflation budget, rounds, thresholds, consensus sampling ---


@settings(deadline=None)
@given(probabilities, probabilities, st.floats(1, 1e6))
def test_budget_bound(p: float, exclusion: float, factor: float) -> None:
    found = cert.budget_bound(p, exclusion, factor)
    assert found == pytest.approx(min(1.0, exclusion + p * factor))
    assert found <= cert.budget_bound(p, exclusion, factor * 2)
    assert found >= max(p, exclusion) * (1 - 1e-12)


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 30))
def test_rounds(theta: float, rounds: int) -> None:
    asks = cert.rounds_query_prob(theta, rounds)
    inflation = cert.rounds_inflation(theta, rounds)
    assert asks == pytest.approx(math.prod([theta] * rounds))
    assert inflation == pytest.approx(rounds + 1 if theta == 1 else np.polyval(np.ones(rounds + 1), theta))
    assert cert.rounds_query_prob(theta, rounds + 1) <= asks
    assert cert.rounds_inflation(theta, rounds + 1) >= inflation
    if theta < 1:
        assert inflation <= 1 / (1 - theta) * (1 + 1e-9)
    assert cert.rounds_inflation(theta, 1) == pytest.approx(1 + theta)


@settings(deadline=None)
@given(st.floats(0, 1e6), st.floats(0.01, 1))
def test_threshold(cubed: float, tau: float) -> None:
    bound = cert.threshold_queries_bound(cubed, tau)
    assert bound == pytest.approx(cubed * tau**-2)
    assert bound >= cubed
    assert cert.threshold_queries_bound(math.inf, tau) == math.inf
    if tau < 0.99:
        assert cert.threshold_inflation(tau) == pytest.approx(sum(tau**i for i in range(3000)))
    assert cert.threshold_inflation(tau / 2) < cert.threshold_inflation(tau)


def test_threshold_at_its_edges() -> None:
    assert cert.threshold_inflation(1.0) == math.inf
    assert cert.threshold_inflation(0.0) == 1


@settings(deadline=None)
@given(st.lists(probabilities, min_size=1, max_size=8), st.integers(1, 8), st.integers(1, 10))
def test_consensus_risk(risks: list[float], s: int, rounds: int) -> None:
    assume(s <= len(risks))
    found = cert.consensus_risk_bound(risks, s, rounds)
    smallest = np.partition(np.array(risks), s - 1)[:s].mean()
    assert found == pytest.approx(min(1.0, rounds * smallest))
    assert found <= cert.consensus_risk_bound(risks, s, rounds + 1)
    if s < len(risks):
        assert found <= cert.consensus_risk_bound(risks, s + 1, rounds) * (1 + 1e-12)


# --- arguments out of range ---

NOT_NEGATIVE = [-1e-9, -math.inf, math.nan]
BAD_ROUNDS = [0, -3]
REFUSED: list[tuple[str, Callable[[Any], Any], list[float]]] = [
    ("delta", lambda x: cert.alpha_for(x, 0.5), [0.0, *BAD_PROBABILITIES]),
    ("prior_weight", lambda x: cert.alpha_for(0.5, x), [0.0, *BAD_PROBABILITIES]),
    ("prior_weight", lambda x: AlphaThreshold(0.1).exclusion_bound(x, 4), [0.0, *BAD_PROBABILITIES]),
    ("cubed", lambda x: cert.expected_queries_bound(x, 10), NOT_NEGATIVE),
    ("num_steps", lambda x: cert.expected_queries_bound(1.0, x), [-1, math.nan]),
    ("demonstrator_prob", lambda x: cert.unlikeliness_bound(x, 0.1, 1.0, 10), BAD_PROBABILITIES),
    ("exclusion", lambda x: cert.unlikeliness_bound(0.1, x, 1.0, 10), BAD_PROBABILITIES),
    ("cubed", lambda x: cert.unlikeliness_bound(0.1, 0.1, x, 10), NOT_NEGATIVE),
    ("num_steps", lambda x: cert.unlikeliness_bound(0.1, 0.1, 1.0, x), [0, -1]),
    ("c", lambda x: cert.unlikeliness_bound(0.1, 0.1, 1.0, 10, c=x), [0.0, -1.0, math.nan]),
    ("demonstrator_prob", lambda x: cert.budget_bound(x, 0.1, 2.0), BAD_PROBABILITIES),
    ("exclusion", lambda x: cert.budget_bound(0.1, x, 2.0), BAD_PROBABILITIES),
    ("factor", lambda x: cert.budget_bound(0.1, 0.1, x), [0.999, 0.0, -1.0, math.inf, math.nan]),
    ("query_prob", lambda x: cert.rounds_query_prob(x, 2), BAD_PROBABILITIES),
    ("rounds", lambda x: cert.rounds_query_prob(0.5, x), BAD_ROUNDS),
    ("query_prob", lambda x: cert.rounds_inflation(x, 2), BAD_PROBABILITIES),
    ("rounds", lambda x: cert.rounds_inflation(0.5, x), BAD_ROUNDS),
    ("cubed", lambda x: cert.threshold_queries_bound(x, 0.5), NOT_NEGATIVE),
    ("threshold", lambda x: cert.threshold_queries_bound(1.0, x), [0.0, *BAD_PROBABILITIES]),
    ("threshold", lambda x: cert.threshold_inflation(x), BAD_PROBABILITIES),
    ("risk", lambda x: cert.consensus_risk_bound([0.1, x], 1, 1), BAD_PROBABILITIES),
    ("s must lie", lambda x: cert.consensus_risk_bound([0.1, 0.2], x, 1), [0, 3, -1]),
    ("rounds", lambda x: cert.consensus_risk_bound([0.1], 1, x), BAD_ROUNDS),
]


@pytest.mark.parametrize(
    ("name", "call", "value"),
    [
        pytest.param(name, call, value, id=f"{i}-{name}-{value}")
        for i, (name, call, vs) in enumerate(REFUSED)
        for value in vs
    ],
)
def test_arguments_out_of_range_are_refused(name: str, call: Callable[[Any], Any], value: float) -> None:
    with pytest.raises(ValueError, match=name):
        call(value)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("rounds", lambda: cert.rounds_query_prob(0.5, math.nan)),  # type: ignore[arg-type]
        ("rounds", lambda: cert.rounds_query_prob(0.5, 2.5)),  # type: ignore[arg-type]
        ("rounds", lambda: cert.consensus_risk_bound([0.1], 1, math.nan)),  # type: ignore[arg-type]
        ("num_steps", lambda: cert.unlikeliness_bound(0.1, 0.1, 1.0, math.nan)),  # type: ignore[arg-type]
    ],
    ids=["rounds-nan", "rounds-fraction", "risk-rounds-nan", "steps-nan"],
)
def test_numbers_that_count_nothing_are_refused(name: str, call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=name):
        call()
