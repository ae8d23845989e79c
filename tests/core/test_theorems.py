"""Theorems T1 to T3: properties at one step, and frequencies over many runs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, Learner, Minimum, TopK, ensembles

from .families import TimidBettors, answered_by, ensemble, run

#: float32 rounding of exp(log p): probabilities are compared up to a few ulps of 1.
ULPS = 1e-6

N, A = 5, 4


def distributions(rows: int) -> st.SearchStrategy[np.ndarray]:
    """[rows, A], zeros included."""
    counts = st.lists(st.integers(0, 20), min_size=rows * A, max_size=rows * A).map(
        lambda flat: np.array(flat, float).reshape(rows, A)
    )
    return counts.map(lambda c: np.where(c.sum(-1, keepdims=True) > 0, c, 1.0)).map(
        lambda c: c / c.sum(-1, keepdims=True)
    )


log_weights = st.lists(
    st.one_of(st.floats(-200, 200, width=32), st.sampled_from([0.0, -1.0, -math.inf])), min_size=N, max_size=N
).map(lambda values: np.array([0.0 if all(v == -math.inf for v in values) else v for v in values], np.float32))


@jax.jit
def minimum(probs: jax.Array, selected: jax.Array) -> tuple[jax.Array, jax.Array]:
    law = Minimum()(jnp.log(probs), jnp.zeros(N), selected)
    return law.probs, law.query_prob


@jax.jit
def select(k: jax.Array, weights: jax.Array) -> jax.Array:
    return TopK(k)(weights)


@settings(max_examples=200, deadline=None)
@given(distributions(N), st.lists(st.booleans(), min_size=N, max_size=N).filter(any))
def test_t1_the_minimum_is_below_every_selected_member(probs: np.ndarray, selected: list[bool]) -> None:
    own, theta = minimum(probs, np.array(selected))
    chosen = probs[selected]
    assert np.all(np.asarray(own) <= chosen + ULPS)
    np.testing.assert_allclose(own, chosen.min(0), atol=ULPS)
    np.testing.assert_allclose(theta, 1 - chosen.min(0).sum(), atol=A * ULPS)
    for U in range(2**A):
        actions = [a for a in range(A) if U >> a & 1]
        assert np.asarray(own)[actions].sum() <= chosen[:, actions].sum(-1).min() + A * ULPS


@settings(max_examples=200, deadline=None)
@given(distributions(N), distributions(1), st.integers(0, N - 1))
def test_t1_one_member_can_only_veto(probs: np.ndarray, replacement: np.ndarray, who: int) -> None:
    changed = probs.copy()
    changed[who] = replacement[0]
    own, _ = minimum(changed, np.ones(N, bool))
    assert np.all(np.asarray(own) <= np.delete(probs, who, axis=0).min(0) + ULPS)


@settings(max_examples=300, deadline=None)
@given(distributions(N), log_weights, st.integers(1, N), st.data())
def test_t1_quorum_of_top_k_whatever_the_weights(
    probs: np.ndarray, weights: np.ndarray, k: int, data: st.DataObject
) -> None:
    dishonest = data.draw(st.sets(st.integers(0, N - 1), max_size=TopK(k).tolerated_members))
    selected = np.asarray(select(k, weights))
    honest = [n for n in range(N) if selected[n] and n not in dishonest]
    assert len(honest) >= k - len(dishonest) >= 1
    own, _ = minimum(probs, selected)
    for U in range(2**A):
        actions = [a for a in range(A) if U >> a & 1]
        assert np.asarray(own)[actions].sum() <= probs[honest][:, actions].sum(-1).min() + A * ULPS


# --- T2: the truth stays in ---

RUNS, STEPS = 1500, 200
TRUTH = [0.5, 0.5]
WRONG = [0.8, 0.2]

#: All of one size, so that they share one compiled program.
FAMILIES: dict[str, ensembles.Ensemble] = {
    "duplicates-of-one-wrong-model": ensemble(TRUTH, [WRONG] * 9),
    "near-copies-of-one-wrong-model": ensemble(TRUTH, [[0.8 + 0.002 * i, 0.2 - 0.002 * i] for i in range(9)]),
    "spread": ensemble(TRUTH, [[p / 20, 1 - p / 20] for p in (1, 3, 5, 7, 9, 12, 14, 16, 18)]),
    "duplicates-of-the-truth": ensemble(TRUTH, [TRUTH] * 4 + [WRONG] * 5),
    "small-prior": ensemble(TRUTH, [WRONG, [0.3, 0.7]] * 4 + [[0.9, 0.1]], prior=[0.05, *[0.95 / 9] * 9]),
    "timid-bettors": TimidBettors(prior=jnp.full(10, 0.1), lean=jnp.float32(0.05)),
}
ALPHAS = [0.05, 0.02, 0.01]


def upper_limit(bound: float) -> float:
    """What the frequency over RUNS runs of an event of that probability stays below: 5 sigma, and 1 for the grain."""
    return bound + 5 * math.sqrt(bound * (1 - bound) / RUNS) + 1 / RUNS


@pytest.fixture(scope="module")
def excluded() -> dict[tuple[str, float], float]:
    """Frequency with which the truth was ever out, for every family and alpha."""
    keys = jax.random.split(jax.random.key(2), RUNS)
    sweep = jax.jit(
        jax.vmap(
            lambda alpha, members: run(Learner(members, AlphaThreshold(alpha)), answered_by(TRUTH), keys, STEPS),
            in_axes=(0, None),
        )
    )
    found = {}
    for name, members in FAMILIES.items():
        rates = np.asarray(sweep(jnp.array(ALPHAS), members)["ever_out"]).mean(-1)
        found.update({(name, alpha): float(rate) for alpha, rate in zip(ALPHAS, rates, strict=True)})
    return found


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_t2_the_truth_is_excluded_at_most_as_often_as_promised(
    excluded: dict[tuple[str, float], float], family: str, alpha: float
) -> None:
    prior = float(FAMILIES[family].prior[0])
    bound = AlphaThreshold(alpha).exclusion_bound(prior, N)
    assert bound == pytest.approx(min(1.0, alpha / prior))
    assert excluded[family, alpha] <= upper_limit(bound)


def test_t2_the_bound_is_not_vacuous(excluded: dict[tuple[str, float], float]) -> None:
    """Duplicates of one wrong model come within a factor of two of it."""
    alpha = 0.02
    assert excluded["duplicates-of-one-wrong-model", alpha] > alpha / 0.1 / 2


def test_t2_fails_for_a_bare_top_k_against_colluders(excluded: dict[tuple[str, float], float]) -> None:
    keys = jax.random.split(jax.random.key(3), RUNS)
    members = FAMILIES["timid-bettors"]
    displaced = float(run(Learner(members, TopK(3)), answered_by(TRUTH), keys, STEPS)["ever_out"].mean())
    assert displaced > 0.9
    assert displaced > 5 * excluded["timid-bettors", 0.01]
    both = Learner(members, TopK(3) | AlphaThreshold(0.01))
    rate = float(run(both, answered_by(TRUTH), keys, STEPS)["ever_out"].mean())
    assert rate <= upper_limit(both.selection.exclusion_bound(0.1, 10))


# --- T3: queries die out ---


def budget(alpha: float, prior: list[float]) -> float:
    """``s = 2 floor(1/alpha) sum over the others of ln(1 + w_n / (alpha w))``, the truth first."""
    w = prior[0]
    return 2 * math.floor(1 / alpha) * sum(math.log1p(other / (alpha * w)) for other in prior[1:])


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("alpha", [0.3, 0.1])
@pytest.mark.parametrize("family", ["spread", "small-prior", "duplicates-of-one-wrong-model", "timid-bettors"])
def test_t3_queries_stay_within_the_budget(family: str, alpha: float) -> None:
    runs, steps = 500, 1000
    keys = jax.random.split(jax.random.key(4), runs)
    members = FAMILIES[family]
    found = run(Learner(members, AlphaThreshold(alpha)), answered_by(TRUTH), keys, steps)
    s = budget(alpha, np.asarray(members.prior, float).tolist())
    cubes, queries = np.asarray(found["theta3"]), np.asarray(found["queries"])
    assert cubes.mean() <= s + 5 * cubes.std() / math.sqrt(runs)
    assert queries.mean() <= s ** (1 / 3) * steps ** (2 / 3) + 5 * queries.std() / math.sqrt(runs)
    assert queries.mean() > 0


@pytest.mark.slow
def test_t3_fails_for_a_fixed_k() -> None:
    """Two models at total variation 0.4 are asked about for ever under TopK(2), hardly at all under the alpha rule."""
    members = ensemble([0.5, 0.5], [[0.9, 0.1]])
    keys = jax.random.split(jax.random.key(5), 200)
    fixed = run(Learner(members, TopK(2)), answered_by(TRUTH), keys, 2000)
    np.testing.assert_allclose(fixed["last_theta"], 0.4, atol=1e-6)
    # Queries are binomial(2000 * 200, 0.4).
    assert abs(float(fixed["queries"].mean()) / 2000 - 0.4) < 5 * math.sqrt(0.24 / (2000 * 200))
    adaptive = run(Learner(members, AlphaThreshold(0.05)), answered_by(TRUTH), keys, 2000)
    assert float(adaptive["queries"].mean()) < 60
    assert float(fixed["theta3"].mean()) > budget(0.3, [0.5, 0.5])
