"""The draw: exhaustive over the uniform, at every boundary, for laws that are sound and laws that are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from consensus_imitation import QUERY, Learner, TopK, ensembles
from consensus_imitation.aggregation import ActionLaw
from consensus_imitation.draw import draw

draws = jax.jit(jax.vmap(draw, in_axes=(0, None)))
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def law(probs: np.ndarray | list[float], query_prob: float) -> ActionLaw:
    return ActionLaw(probs=jnp.asarray(probs, jnp.float32), query_prob=jnp.float32(query_prob))


def grid(probs: np.ndarray, query_prob: float) -> np.ndarray:
    """A fine grid over [0, 1), with both neighbours of every cumulative boundary in several roundings."""
    boundaries = np.concatenate(
        [
            query_prob + np.cumsum(probs.astype(np.float64)),
            np.float32(query_prob) + np.cumsum(probs, dtype=np.float32),
            [0.0, query_prob, 1.0],
        ]
    ).astype(np.float32)
    near = [boundaries]
    for direction in (np.float32(-1), np.float32(2)):
        neighbour = boundaries
        for _ in range(3):
            neighbour = np.nextafter(neighbour, direction)
            near.append(neighbour)
    points = np.concatenate([*near, np.linspace(0, 1, 4001, endpoint=False, dtype=np.float32)])
    return np.resize(np.unique(points[(points >= 0) & (points < 1)]), 12_000)  # one length, one compilation


def sparse(size: int, seed: int) -> np.ndarray:
    """Probabilities of which most are zero, some tiny, and whole stretches empty."""
    rng = np.random.default_rng(seed)
    probs = rng.random(size) * (rng.random(size) < 0.3)
    probs[size // 3 : size // 2] = 0.0
    probs[-1] = 0.0
    probs[rng.integers(size // 4)] = 1e-6
    return probs / probs.sum()


@pytest.mark.parametrize("query_prob", [0.0, 1e-7, 0.25, 0.999, 1.0])
@pytest.mark.parametrize("size", [8, 256, 257, 1000])
def test_an_impossible_action_is_never_drawn(size: int, query_prob: float) -> None:
    for seed in range(3):
        probs = (sparse(size, seed) * (1 - query_prob)).astype(np.float32)
        points = grid(probs, query_prob)
        actions = np.asarray(draws(points, law(probs, query_prob)))
        assert actions.min() >= QUERY
        assert actions.max() < size
        assert np.all(probs[actions[actions >= 0]] > 0)
        np.testing.assert_array_equal(actions[points < np.float32(query_prob)], QUERY)
        # Beyond theta only what lies beyond the mass is asked about; here the law is complete.
        assert np.all(actions[points >= np.float32(query_prob)] >= 0)


@pytest.mark.parametrize("size", [5, 300])
def test_everything_beyond_the_mass_is_a_query(size: int) -> None:
    """A law that sums to less than one (whatever its query probability says) never gains mass."""
    probs = sparse(size, 0) * 0.4
    points = np.linspace(0, 1, 20_001, endpoint=False, dtype=np.float32)
    actions = np.asarray(draws(points, law(probs, 0.1)))
    assert (actions >= 0).mean() == pytest.approx(0.4, abs=1e-3)
    for action in np.unique(actions[actions >= 0]):
        assert (actions == action).mean() <= probs[action] + 2e-4


@pytest.mark.parametrize("size", [4, 300])
@pytest.mark.parametrize(
    ("probs", "query_prob"),
    [
        pytest.param(np.nan, 0.0, id="nan-law"),
        pytest.param(np.nan, np.nan, id="all-nan"),
        pytest.param(None, np.nan, id="nan-theta"),
        pytest.param(None, np.inf, id="infinite-theta"),
        pytest.param(None, 1.5, id="theta-above-one"),
        pytest.param(None, 1.0, id="theta-one"),
        pytest.param(0.0, 0.0, id="all-zero"),
        pytest.param(-1.0, 0.0, id="negative"),
        pytest.param(-np.inf, 0.0, id="minus-infinity"),
    ],
)
def test_whatever_is_undefined_is_a_query(size: int, probs: float | None, query_prob: float) -> None:
    vector = np.full(size, 1 / size if probs is None else probs)
    points = np.array([0.0, 1e-8, 0.3, 0.999, BELOW_ONE], np.float32)
    np.testing.assert_array_equal(draws(points, law(vector, query_prob)), QUERY)


@pytest.mark.parametrize(("size", "where"), [(4, 0), (4, 2), (300, 0), (300, 140), (300, 299)])
def test_a_nan_in_one_probability_never_gains_that_action_mass(size: int, where: int) -> None:
    probs = np.full(size, 1 / size)
    probs[where] = np.nan
    actions = np.asarray(draws(np.linspace(0, 1, 5001, endpoint=False, dtype=np.float32), law(probs, 0.1)))
    assert not np.any(actions == where)
    for action in np.unique(actions[actions >= 0]):
        assert (actions == action).mean() <= 1 / size + 4e-4


def test_the_ends_of_the_unit_interval() -> None:
    points = np.array([0.0, BELOW_ONE], np.float32)
    assert draws(points, law([0.5, 0.5], 0.0)).tolist() == [0, 1]
    assert draws(points, law([0.0, 0.5, 0.5, 0.0], 0.0)).tolist() == [1, 2]
    assert draws(points, law([0.5, 0.4], 0.1)).tolist() == [QUERY, 1]
    assert draws(points, law([0.0, 0.0], 1.0)).tolist() == [QUERY, QUERY]
    assert int(draw(jnp.float32(jnp.nan), law([0.5, 0.5], 0.0))) == QUERY


@pytest.mark.parametrize("size", [6, 1000])
def test_the_frequencies_are_the_law(size: int) -> None:
    """Chi-square over actions and the query, at the 5 sigma level (p > 6e-7)."""
    n = 400_000
    probs = sparse(size, 5) * 0.7
    uniforms = jax.random.uniform(jax.random.key(11), (n,))
    actions = np.concatenate([np.asarray(draws(part, law(probs, 0.3))) for part in np.split(np.asarray(uniforms), 20)])
    counts = np.bincount(actions + 1, minlength=size + 1)
    expected = n * np.concatenate([[0.3], probs])
    assert counts[expected == 0].sum() == 0
    common = expected >= 5
    statistic = ((counts - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2.sf(statistic, common.sum() - 1) > 6e-7


@pytest.mark.parametrize("rest", [0.0, 0.01, 0.5, 0.9])
def test_the_query_mass_is_not_renormalised_away(rest: float) -> None:
    """Over many keys the learner asks as often as theta says, and takes each action as often as the minimum says."""
    n = 100_000
    members = ensembles.tabular(np.array([[[1 - rest, rest, 0.0]], [[1 - rest, 0.0, rest]]]))
    learner = Learner(members, TopK(2))
    decide = jax.jit(jax.vmap(lambda key: learner.decide(learner.init(key), 0)))
    decisions = decide(jax.random.split(jax.random.key(1), n))
    np.testing.assert_allclose(decisions.query_prob, rest, atol=1e-6)
    asked = float(decisions.queried.mean())
    assert abs(asked - rest) <= 5 * np.sqrt(rest * (1 - rest) / n) + 1e-6
    assert set(np.unique(decisions.action)) <= {QUERY, 0}


def test_the_steps_of_a_stream_are_independent_draws() -> None:
    """Whether a step asks says nothing about the next: correlation within 5 sigma of 0."""
    n = 20_000
    members = ensembles.tabular(np.array([[[1.0, 0.0]], [[0.5, 0.5]]]))
    learner = Learner(members, TopK(2))

    @jax.jit
    def run(key: jax.Array) -> jax.Array:
        def step(state, _):
            decision = learner.decide(state, 0)
            return learner.observe(state, 0, decision, 0)[0].replace(posterior=state.posterior), decision.queried

        return jax.lax.scan(step, learner.init(key), None, length=n)[1]

    asked = np.asarray(run(jax.random.key(4)), float)
    assert abs(asked.mean() - 0.5) < 5 * 0.5 / np.sqrt(n)
    assert abs(np.corrcoef(asked[1:], asked[:-1])[0, 1]) < 5 / np.sqrt(n)


def test_missing_mass_does_not_go_to_a_nearly_impossible_action() -> None:
    """Members may sum to one within 1e-4; an action that both give 1e-6 must stay about that unlikely."""
    members = ensembles.tabular(np.tile(np.array([0.99991, 1e-6]), (2, 1, 1)))
    learner = Learner(members, TopK(2))
    own = learner.decide(learner.init(jax.random.key(0)), 0)
    points = np.linspace(0, 1, 1_000_001, endpoint=False, dtype=np.float32)
    actions = np.asarray(draws(points, ActionLaw(probs=own.min_probs, query_prob=own.query_prob)))
    assert (actions == 1).mean() < 5e-6
