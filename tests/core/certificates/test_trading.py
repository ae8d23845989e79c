"""T6: trading queries for inflation, by more rounds or by a threshold, against what the definitions say."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, Learner, Minimum
from consensus_imitation.core import bounds
from consensus_imitation.core.aggregation import ActionLaw, ConsensusSampling
from tests.core.families import answered_by, ensemble, run
from tests.core.test_theorems import distributions

N, A = 5, 4
ULPS = 1e-6  # float32 rounding of exp(log p), relative to 1
ROUNDS = [1, 2, 3, 7, 20]
THRESHOLDS = [0.05, 0.2, 0.5, 0.9, 1.0]


def law(rule: Any, probs: np.ndarray, selected: Any) -> ActionLaw:
    """The rule's law in float64 NumPy."""
    found = _laws[rule](probs, np.asarray(selected))
    return ActionLaw(*(np.asarray(part, np.float64) for part in found))


def _compiled(rule: Any) -> Any:
    return jax.jit(lambda probs, selected: rule(jnp.log(probs), jnp.zeros(N), selected))


RULES = [
    *(Minimum(rounds=R) for R in ROUNDS),
    *(Minimum(threshold=tau) for tau in THRESHOLDS),
    *(ConsensusSampling(s=1, rounds=R) for R in ROUNDS),
]
_laws = {rule: _compiled(rule) for rule in RULES}

members = distributions(N)
subsets = st.lists(st.booleans(), min_size=N, max_size=N).filter(any)


@settings(max_examples=60, deadline=None)
@given(members, subsets)
def test_rounds_query_with_theta_to_the_r(probs: np.ndarray, selected: list[bool]) -> None:
    lowest = probs[selected].min(0)
    theta = 1 - lowest.sum()
    for R in ROUNDS:
        found = law(Minimum(rounds=R), probs, selected)
        assert found.query_prob == pytest.approx(theta**R, abs=A * ULPS * R)
        assert found.query_prob == pytest.approx(bounds.rounds_query_prob(max(theta, 0.0), R), abs=A * ULPS * R)
        np.testing.assert_allclose(found.probs, lowest * sum(theta**i for i in range(R)), atol=A * ULPS * R)
        same = law(ConsensusSampling(s=1, rounds=R), probs, selected)
        # Consensus sampling divides by Z: where that is small, float32 loses digits of 1 - (1-Z)^R.
        np.testing.assert_allclose(found.probs, same.probs, atol=2 * A * ULPS * R)
        assert found.query_prob == pytest.approx(same.query_prob, abs=2 * A * ULPS * R)


@settings(max_examples=60, deadline=None)
@given(members, subsets)
def test_rounds_inflate_at_most_by_the_geometric_sum(probs: np.ndarray, selected: list[bool]) -> None:
    theta = 1 - probs[selected].min(0).sum()
    for R in ROUNDS:
        found = law(Minimum(rounds=R), probs, selected)
        bound = sum(theta**i for i in range(R + 1))
        assert bound == pytest.approx(bounds.rounds_inflation(max(theta, 0.0), R), abs=1e-9)
        for demonstrator in probs[selected]:
            whole = found.probs + found.query_prob * demonstrator
            assert np.all(whole <= bound * demonstrator + 4 * A * ULPS * R)
        charged = 0.0 if probs[selected].min(0).max() == 0 else math.log(bound)
        assert found.log_inflation == pytest.approx(charged, abs=A * ULPS * R)


@settings(max_examples=60, deadline=None)
@given(members, subsets)
def test_a_threshold_asks_if_and_only_if_theta_reaches_it(probs: np.ndarray, selected: list[bool]) -> None:
    lowest = probs[selected].min(0)
    theta = 1 - lowest.sum()
    for tau in THRESHOLDS:
        found = law(Minimum(threshold=tau), probs, selected)
        if abs(theta - tau) > A * ULPS:
            assert found.query_prob == (theta >= tau)
        if found.query_prob == 1:
            assert np.all(found.probs == 0)
            assert found.log_inflation == 0
            continue
        assert found.query_prob == 0
        # The minimum is scaled by 1 / (1 - theta), and so is its rounding.
        room = 2 * A * ULPS / (1 - theta)
        np.testing.assert_allclose(found.probs, lowest / lowest.sum(), atol=room)
        bound = min(bounds.threshold_inflation(tau), 1 / (1 - theta))
        for demonstrator in probs[selected]:
            assert np.all(found.probs <= bound * demonstrator + room)
        assert math.exp(found.log_inflation) == pytest.approx(1 / (1 - theta), rel=2 * room)
        assert math.exp(found.log_inflation) <= bounds.threshold_inflation(tau) * (1 + 2 * room)


def test_at_the_threshold_it_asks() -> None:
    """``>=``, where float32 holds theta and tau exactly."""
    probs = np.full((N, A), 0.25)
    probs[1] = [0.5, 0.5, 0.0, 0.0]
    selected = np.arange(N) < 2
    assert law(Minimum(threshold=0.5), probs, selected).query_prob == 1
    probs[1] = [0.5, 0.25, 0.25, 0.0]
    assert law(Minimum(threshold=0.5), probs, selected).query_prob == 0


def test_a_threshold_of_one_asks_only_if_nothing_is_agreed_on() -> None:
    probs = np.zeros((N, A))
    probs[:, 0] = 1
    probs[1] = [0.01, 0.99, 0.0, 0.0]
    found = law(Minimum(threshold=1.0), probs, np.arange(N) < 2)
    assert found.query_prob == 0
    np.testing.assert_allclose(found.probs, [1, 0, 0, 0], atol=1e-4)
    probs[1] = [0.0, 1.0, 0.0, 0.0]
    found = law(Minimum(threshold=1.0), probs, np.arange(N) < 2)
    assert found.query_prob == 1
    assert found.log_inflation == 0


@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_rounds_equal_literally_drawing_that_often(seed: int, rounds: int) -> None:
    """Draw an action or "nothing" from the minimum, up to R times; after R failures ask."""
    rng = np.random.default_rng([5, seed])
    probs = rng.dirichlet(np.full(A, 0.8), N)
    selected = np.arange(N) < 3
    lowest = probs[selected].min(0)
    draws = 200_000
    edges = np.cumsum(lowest)
    outcome = np.full(draws, A)
    for _ in range(rounds):
        tried = np.searchsorted(edges, rng.random(draws), side="right")
        outcome = np.where(outcome == A, tried, outcome)
    frequency = np.bincount(outcome, minlength=A + 1) / draws
    found = law(_rounds(rounds), probs, selected)
    expected = np.append(found.probs, found.query_prob)
    assert np.all(np.abs(frequency - expected) <= 5 * np.sqrt(expected * (1 - expected) / draws) + 1e-5)


def _rounds(rounds: int) -> Minimum:
    rule = Minimum(rounds=rounds)
    _laws.setdefault(rule, _compiled(rule))
    return rule


@settings(max_examples=60, deadline=None)
@given(members, subsets)
def test_one_round_is_the_papers_imitator(probs: np.ndarray, selected: list[bool]) -> None:
    found = law(Minimum(rounds=1), probs, selected)
    np.testing.assert_allclose(found.probs, probs[selected].min(0), atol=ULPS)
    assert Minimum(rounds=1) == Minimum()
    theta = float(found.query_prob)
    able = probs[selected].min(0).max() > 0
    assert found.log_inflation == pytest.approx(math.log1p(theta) if able else 0.0, abs=ULPS)


@pytest.mark.parametrize("rule", RULES[:10], ids=lambda rule: rule.name)
def test_undefined_predictions_and_nobody_are_asked_about(rule: Minimum) -> None:
    probs = np.full((N, A), 0.25)
    nobody = law(rule, probs, np.zeros(N, bool))
    probs[2, 1] = np.nan
    undefined = law(rule, probs, np.ones(N, bool))
    for found in (nobody, undefined):
        assert found.query_prob == 1
        assert np.all(found.probs == 0)
        assert found.log_inflation == 0


@settings(max_examples=40, deadline=None)
@given(members, subsets, st.lists(st.floats(0.1, 0.9), min_size=N, max_size=N))
def test_mass_that_a_member_withholds_is_asked_about_and_charged(
    probs: np.ndarray, selected: list[bool], kept: list[float]
) -> None:
    withholding = probs * np.array(kept)[:, None]
    lowest = withholding[selected].min(0)
    theta = 1 - lowest.sum()
    for R in (1, 3):
        found = law(Minimum(rounds=R), withholding, selected)
        assert found.query_prob == pytest.approx(theta**R, abs=A * ULPS * R)
        bound = sum(theta**i for i in range(R + 1))
        assert found.log_inflation == pytest.approx(math.log(bound) if lowest.max() > 0 else 0.0, abs=A * ULPS * R)
    for tau in (0.5, 0.9):
        if abs(theta - tau) > 1e-4:
            assert law(Minimum(threshold=tau), withholding, selected).query_prob == (theta >= tau)


@pytest.mark.parametrize("rounds", [0, -1, -math.inf])
def test_bad_rounds_are_refused(rounds: Any) -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        Minimum(rounds=rounds)


@pytest.mark.parametrize("rounds", [math.nan, 2.5])
def test_rounds_that_are_no_number_of_rounds_are_refused(rounds: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="rounds"):
        Minimum(rounds=rounds)


@pytest.mark.parametrize("threshold", [0.0, -0.1, 1.01, math.inf, math.nan])
def test_bad_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must lie in"):
        Minimum(threshold=threshold)


def test_both_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Minimum(rounds=2, threshold=0.5)


# --- whole runs ---

TRUTH = [0.5, 0.5]
MANY = [[p / 20, 1 - p / 20] for p in (1, 3, 5, 7, 9, 12, 14, 16, 18)]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("alpha", [0.3, 0.05])
@pytest.mark.parametrize("tau", [0.1, 0.3])
def test_the_threshold_rule_asks_a_finite_number_of_times(tau: float, alpha: float) -> None:
    runs, steps = 400, 600
    learner = Learner(ensemble(TRUTH, MANY), AlphaThreshold(alpha), Minimum(threshold=tau))
    found = run(learner, answered_by(TRUTH), jax.random.split(jax.random.key(8), runs), steps)
    queries = np.asarray(found["queries"], float)
    cubed = bounds.cubed_query_bound(learner.selection, [0.1] * 10, 0)
    bound = bounds.threshold_queries_bound(cubed, tau)
    assert queries.mean() <= bound + 5 * queries.std() / math.sqrt(runs)
    assert queries.mean() > 0
    # They have stopped: nobody asks at the end who has not disagreed beyond the threshold.
    assert np.asarray(found["last_theta"]).mean() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, 4])
def test_more_rounds_ask_less(rounds: int) -> None:
    runs, steps = 400, 200
    keys = jax.random.split(jax.random.key(9), runs)
    members = ensemble(TRUTH, MANY)
    plain = np.asarray(run(Learner(members, AlphaThreshold(0.05)), answered_by(TRUTH), keys, steps)["queries"], float)
    rule = Minimum(rounds=rounds)
    fewer = np.asarray(run(Learner(members, AlphaThreshold(0.05), rule), answered_by(TRUTH), keys, steps)["queries"])
    assert fewer.mean() < plain.mean() - 5 * math.hypot(plain.std(), fewer.std()) / math.sqrt(runs)
