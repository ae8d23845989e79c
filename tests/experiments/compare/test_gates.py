"""Gates: laws of total mass one, thresholds at their extremes, the minimum's own questions, no recompilation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import Minimum
from consensus_imitation.core.aggregation import (
    MAP,
    ActionLaw,
    EntropyGate,
    MajorityVote,
    MaxProbGate,
    MinimumGate,
    PosteriorMixture,
    RandomQueries,
    VarianceGate,
    doubt,
)

N, A = 4, 3
GATES: tuple[Any, ...] = (
    MaxProbGate(0.6),
    MaxProbGate(0.6, MAP()),
    EntropyGate(0.7),
    VarianceGate(0.02),
    VarianceGate(0.25, discrepancy=0.3),
    RandomQueries(0.3),
    MinimumGate(),
    MinimumGate(MAP()),
    MinimumGate(MajorityVote()),
)

probabilities = st.lists(st.integers(0, 9), min_size=N * A, max_size=N * A).map(
    lambda flat: (lambda c: c / c.sum(-1, keepdims=True))(
        np.where(np.sum(np.reshape(flat, (N, A)), -1, keepdims=True) > 0, np.reshape(flat, (N, A)), 1.0)
    )
)
masks = st.lists(st.booleans(), min_size=N, max_size=N).filter(any).map(np.array)
weights = st.lists(st.integers(-9, 0), min_size=N, max_size=N).map(lambda w: np.array(w, np.float32))
EVERYONE = np.ones(N, bool)


@jax.jit
def apply(rule: Any, probs: np.ndarray, log_weights: np.ndarray, selected: np.ndarray) -> ActionLaw:
    """Compiled once for each kind of rule: thresholds are leaves."""
    return rule(jnp.log(probs), log_weights, selected)


doubt_of = jax.jit(lambda probs: doubt(jnp.log(probs)))


def law_of(rule: Any) -> Callable[..., ActionLaw]:
    return partial(apply, rule)


def asked(rule: Any, probs: np.ndarray, log_weights: np.ndarray | None = None) -> float:
    weights = np.zeros(N, np.float32) if log_weights is None else log_weights
    return float(apply(rule, probs, weights, EVERYONE).query_prob)


def ids(rule: Any) -> str:
    return f"{rule.name}-{getattr(rule, 'base', rule).name}"


@pytest.mark.parametrize("rule", GATES, ids=ids)
def test_acting_and_asking_make_one(rule: Any) -> None:
    law = law_of(rule)

    @settings(max_examples=60, deadline=None)
    @given(probabilities, weights, masks)
    def check(probs: np.ndarray, log_weights: np.ndarray, selected: np.ndarray) -> None:
        out = law(probs, log_weights, selected)
        assert float(out.query_prob) == pytest.approx(1 - float(jnp.sum(out.probs)), abs=2e-6)
        assert np.all(np.asarray(out.probs) >= 0)
        assert 0 <= float(out.query_prob) <= 1

    check()


@pytest.mark.parametrize("rule", GATES, ids=ids)
@pytest.mark.parametrize("broken", [0.0, np.nan], ids=["zero vector", "NaN"])
@pytest.mark.parametrize("member", range(N))
def test_one_unusable_member_makes_a_gate_ask(rule: Any, broken: float, member: int) -> None:
    probs = np.full((N, A), 0.01)
    probs[:, 0] = 0.98
    good = law_of(rule)(probs, np.zeros(N, np.float32), EVERYONE)
    assert float(good.query_prob) < 0.5  # the control: without the broken row it acts
    probs[member] = broken
    law = law_of(rule)(probs, np.zeros(N, np.float32), EVERYONE)
    assert float(law.query_prob) == 1.0
    np.testing.assert_array_equal(law.probs, 0.0)


@settings(max_examples=60, deadline=None)
@given(probabilities, weights)
def test_max_prob_against_numpy(probs: np.ndarray, log_weights: np.ndarray) -> None:
    shares = np.exp(log_weights) / np.exp(log_weights).sum()
    largest = float((shares @ probs).max())
    for threshold in (0.0, largest - 1e-4, largest + 1e-4):
        if threshold <= 1:
            assert asked(MaxProbGate(threshold), probs, log_weights) == float(threshold > largest)


@settings(max_examples=60, deadline=None)
@given(probabilities, weights)
def test_entropy_against_numpy(probs: np.ndarray, log_weights: np.ndarray) -> None:
    mixture = np.exp(log_weights) / np.exp(log_weights).sum() @ probs
    entropy = -sum(p * np.log(p) for p in mixture if p > 0)
    for threshold, expected in ((entropy + 1e-4, 0.0), (max(0.0, entropy - 1e-4), float(entropy > 1e-4))):
        assert asked(EntropyGate(float(threshold)), probs, log_weights) == expected


@settings(max_examples=60, deadline=None)
@given(probabilities)
def test_doubt_is_numpys_variance(probs: np.ndarray) -> None:
    expected = np.var(probs, axis=0).mean()
    assert float(doubt_of(probs)) == pytest.approx(expected, abs=1e-6)
    assert asked(VarianceGate(float(expected) + 1e-4), probs) == 0.0
    if expected > 1e-4:
        assert asked(VarianceGate(float(expected) - 1e-4), probs) == 1.0


def test_discrepancy_is_the_share_of_members_with_another_favourite() -> None:
    probs = np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.4, 0.6, 0.0]])
    for limit, asks in ((0.25, 0.0), (0.24, 1.0), (1.0, 0.0)):
        assert asked(VarianceGate(1.0, discrepancy=limit), probs) == asks


@pytest.mark.parametrize(
    ("never", "always"),
    [
        (MaxProbGate(0.0), MaxProbGate(1.0)),
        (EntropyGate(float(np.log(A))), EntropyGate(0.0)),
        (VarianceGate(1.0), VarianceGate(0.0)),
        (RandomQueries(0.0), RandomQueries(1.0)),
    ],
    ids=lambda rule: rule.name,
)
@settings(max_examples=30, deadline=None)
@given(probs=probabilities)
def test_thresholds_at_their_extremes(never: Any, always: Any, probs: np.ndarray) -> None:
    probs = 0.9 * probs + 0.1 * np.eye(A)[np.arange(N) % A]  # nobody is certain, nor does everybody agree
    probs = probs * 0.99 + 0.01 / A
    mixture = probs.mean(axis=0)
    np.testing.assert_allclose(apply(never, probs, np.zeros(N, np.float32), EVERYONE).probs, mixture, atol=1e-6)
    if np.var(probs, axis=0).mean() > 1e-6:
        assert asked(always, probs) == 1.0


@pytest.mark.parametrize("base", [PosteriorMixture(), MAP(), MajorityVote()], ids=lambda base: base.name)
def test_the_minimum_gate_asks_as_the_minimum_and_acts_as_its_base(base: Any) -> None:
    gate, minimum, alone = law_of(MinimumGate(base)), law_of(Minimum()), law_of(base)

    @settings(max_examples=60, deadline=None)
    @given(probabilities, weights, masks)
    def check(probs: np.ndarray, log_weights: np.ndarray, selected: np.ndarray) -> None:
        law = gate(probs, log_weights, selected)
        theta = float(minimum(probs, log_weights, selected).query_prob)
        # They are programs of their own, which may round the last bit of one differently.
        assert float(law.query_prob) == pytest.approx(theta, rel=0, abs=2.0**-23)
        np.testing.assert_allclose(law.probs, (1 - theta) * alone(probs, log_weights, selected).probs, atol=2e-6)

    check()


def test_mass_that_members_withhold() -> None:
    """Asked about by gates on confidence, in proportion; not on top of a rate that was asked for."""
    probs = 0.8 * np.tile([0.9, 0.1, 0.0], (N, 1))
    assert asked(MaxProbGate(0.7), probs) == pytest.approx(0.2, abs=1e-6)
    assert asked(VarianceGate(0.1), probs) == pytest.approx(0.2, abs=1e-6)
    for rate in (0.0, 0.3):
        law = apply(RandomQueries(rate), probs, np.zeros(N, np.float32), EVERYONE)
        assert float(law.query_prob) == pytest.approx(rate)
        np.testing.assert_allclose(law.probs, (1 - rate) * np.array([0.9, 0.1, 0.0]), atol=1e-6)
    assert asked(MinimumGate(), probs) == asked(Minimum(), probs)


def test_the_minimum_gate_acts_against_a_veto() -> None:
    """The control of what it isolates: a vetoed action has no mass under the minimum, and has some here."""
    probs = np.array([[0.5, 0.5], [1.0, 0.0]])
    arguments = (jnp.log(probs), jnp.zeros(2), np.ones(2, bool))
    assert float(Minimum()(*arguments).probs[1]) == 0.0
    assert float(MinimumGate()(*arguments).probs[1]) > 0.1


@pytest.mark.parametrize(
    "make", [MaxProbGate, EntropyGate, VarianceGate, RandomQueries], ids=lambda make: make.__name__
)
def test_a_new_threshold_does_not_recompile(make: Callable[[float], Any]) -> None:
    @jax.jit
    @partial(chex.assert_max_traces, n=1)
    def query_prob(rule: Any, log_probs: jax.Array) -> jax.Array:
        return rule(log_probs, jnp.zeros(N), jnp.ones(N, bool)).query_prob

    log_probs = jnp.log(jnp.full((N, A), 1 / A))
    answers = [float(query_prob(make(value), log_probs)) for value in (0.0, 0.3, 0.7)]
    chex.clear_trace_counter()
    assert len(jax.tree.leaves(make(0.3))) in (1, 2)  # the threshold (and the discrepancy), nothing else
    if make is RandomQueries:
        assert answers == pytest.approx([0.0, 0.3, 0.7])


def test_thresholds_can_be_mapped_over() -> None:
    log_probs = jnp.log(jnp.tile(jnp.array([0.7, 0.2, 0.1]), (N, 1)))
    law = jax.vmap(lambda rule: rule(log_probs, jnp.zeros(N), jnp.ones(N, bool)), in_axes=0)
    assert law(MaxProbGate(jnp.array([0.6, 0.8]))).query_prob.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MaxProbGate(1.5), r"threshold must lie in \[0, 1\], got 1.5"),
        (lambda: EntropyGate(-0.1), "threshold must be at least 0, got -0.1"),
        (lambda: VarianceGate(float("nan")), "threshold must lie in"),
        (lambda: VarianceGate(0.1, discrepancy=2.0), "discrepancy must lie in"),
        (lambda: RandomQueries(-1), "rate must lie in"),
    ],
)
def test_values_out_of_range(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
