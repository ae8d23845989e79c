"""The draw: its law exactly, and at every boundary, for laws that are sound and laws that are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from consensus_imitation import QUERY, Learner, TopK, ensembles
from consensus_imitation.core.aggregation import ActionLaw
from consensus_imitation.core.draw import RESOLUTION, as_float, draw, from_float
from consensus_imitation.core.learner import random_words

from .exact_law import BITS, counts, probabilities, words

_draws = jax.jit(jax.vmap(draw, in_axes=(0, None)))
BELOW_ONE = 1 - RESOLUTION


def draws(points: np.ndarray, law: ActionLaw) -> np.ndarray:
    """What is drawn at numbers in [0, 1)."""
    return np.asarray(_draws(from_float(np.asarray(points, np.float64)), law))


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


@pytest.mark.quick_cases(8)
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
        # The law sums to one but for rounding, which moves every boundary by as little.
        np.testing.assert_array_equal(actions[points < query_prob * (1 - 1e-6) - RESOLUTION], QUERY)
        # Beyond theta only what lies beyond the mass is asked about; here the law is complete.
        assert np.all(actions[points >= query_prob * (1 + 1e-6) + 1e-7] >= 0)


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
        pytest.param(np.inf, 0.0, id="infinity"),
        pytest.param(None, -0.1, id="negative-theta"),
        pytest.param(None, 0.5, id="more-than-one"),
        pytest.param(0.9, 0.0, id="far-more-than-one"),
    ],
)
def test_whatever_is_undefined_is_a_query(size: int, probs: float | None, query_prob: float) -> None:
    vector = np.full(size, 1 / size if probs is None else probs)
    points = np.array([0.0, 1e-12, 0.3, 0.999, BELOW_ONE])
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
    points = np.array([0.0, BELOW_ONE])
    assert draws(points, law([0.5, 0.5], 0.0)).tolist() == [0, 1]
    assert draws(points, law([0.0, 0.5, 0.5, 0.0], 0.0)).tolist() == [1, 2]
    assert draws(points, law([0.5, 0.4], 0.1)).tolist() == [QUERY, 1]
    assert draws(points, law([0.0, 0.0], 1.0)).tolist() == [QUERY, QUERY]


@pytest.mark.parametrize("size", [6, 1000])
def test_the_frequencies_are_the_law(size: int) -> None:
    """Chi-square over actions and the query, at the 5 sigma level (p > 6e-7)."""
    n = 400_000
    probs = sparse(size, 5) * 0.7
    numbers = np.asarray(jax.random.bits(jax.random.key(11), (20, n // 20, 2), jnp.uint32))
    actions = np.concatenate([np.asarray(_draws(part, law(probs, 0.3))) for part in numbers])
    counts = np.bincount(actions + 1, minlength=size + 1)
    expected = n * np.concatenate([[0.3], probs])
    assert counts[expected == 0].sum() == 0
    common = expected >= 5
    statistic = ((counts - expected)[common] ** 2 / expected[common]).sum()
    assert stats.chi2.sf(statistic, common.sum() - 1) > 6e-7


@pytest.mark.quick_cases(2)
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


# --- the law, exactly ---


def exactly(probs: np.ndarray, query_prob: float) -> np.ndarray:
    """What the counts have to be where the law sums to exactly one: each rounded down, the likeliest takes the rest."""
    entries = np.concatenate([[query_prob], probs]).astype(np.float32).astype(np.float64)
    expected = np.floor(entries * 2.0**BITS).astype(np.int64)
    likeliest = np.argmax(entries)
    expected[likeliest] = 2**BITS - (expected.sum() - expected[likeliest])
    return expected


@pytest.mark.parametrize(
    ("probs", "query_prob"),
    [
        ([0.75, 0.25], 0.0),
        ([0.5, 2.0**-30, 0.25], 0.25),
        ([2.0**-30, 0.5, 0.25, 2.0**-31], 0.25),
        ([0.25, 1e-9, 1e-9, 0.5, 1e-9], 0.25),
        ([0.5, 1e-9, 0.5], 1e-9),
        ([1e-9, 1e-9], 1.0),
        ([1.0, 3e-10], 0.0),
        ([1.0, 2.0**-48, 2.0**-49], 0.0),
        ([2.0**-49, 1.0], 2.0**-48),
    ],
    ids=str,
)
def test_every_probability_is_exact_to_the_last_of_48_bits(probs: list[float], query_prob: float) -> None:
    np.testing.assert_array_equal(counts(law(probs, query_prob)), exactly(np.array(probs), query_prob))


@pytest.mark.parametrize("size", [2, 5, 30, 31, 127, 128, 129, 400, 17_000])
def test_rare_actions_are_as_rare_as_the_law_says(size: int) -> None:
    """Wherever they stand, among few actions or many, whatever is asked."""
    rng = np.random.default_rng(size)
    for query_prob in (0.0, 1e-9, 0.3, 1 - 1e-3) if size < 1000 else (0.3,):
        probs = rng.random(size)
        rare = rng.permutation(size)[: max(1, size // 3)]
        probs[rare] = 10.0 ** rng.uniform(-13, -6, len(rare))
        probs *= (1 - query_prob) / probs.sum()
        entries = np.concatenate([[query_prob], probs]).astype(np.float32).astype(np.float64)
        found = probabilities(law(probs, query_prob)) if size < 1000 else _some(probs, query_prob, rare[:10])
        relevant = np.arange(size + 1) if size < 1000 else rare[:10] + 1
        entries = entries[relevant]
        # Rounding to a sum of one changes all in proportion; the likeliest takes the last of it, or that of its block.
        step, share = (RESOLUTION, 2e-6) if size < 128 else (128 * RESOLUTION, 2e-5)
        rounding = np.where(entries == entries.max(), 1e-5, 0.0) if size < 1000 else 0.0
        assert np.all(np.abs(found - entries) <= share * entries + step + rounding)


def _some(probs: np.ndarray, query_prob: float, actions: np.ndarray) -> np.ndarray:
    """The exact probabilities of a few out of many actions: the boundaries are looked for where they have to be."""
    whole = law(probs, query_prob)
    edges = query_prob + np.concatenate([[0.0], np.cumsum(probs)])
    found = []
    for action in actions:
        ends = []
        for place, edge in ((action, edges[action]), (action + 1, edges[action + 1])):
            low, high = (np.clip((edge + shift) * 2.0**BITS, 0, 2**BITS) for shift in (-1e-5, 1e-5))
            low, high = int(low), int(high)
            while low < high:
                middles = np.unique(np.linspace(low, high - 1, 256).astype(np.int64))
                beyond = np.asarray(_draws(words(np.resize(middles, 256)), whole))[: len(middles)] >= place
                first = int(np.argmax(beyond)) if beyond.any() else len(middles)
                high = int(middles[first]) if first < len(middles) else high
                low = int(middles[first - 1]) + 1 if first > 0 else low
            ends.append(low)
        found.append((ends[1] - ends[0]) / 2.0**BITS)
    return np.array(found)


def test_a_law_that_falls_short_asks_about_all_that_is_missing() -> None:
    found = probabilities(law([0.25, 1e-9, 0.125], 0.25))
    np.testing.assert_allclose(found, [0.625, 0.25, 1e-9, 0.125], rtol=1e-5)


def test_numbers_and_words_stand_for_each_other() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**BITS, 1000).astype(np.uint64)
    np.testing.assert_array_equal(as_float(words(numbers)), numbers * RESOLUTION)
    np.testing.assert_array_equal(from_float(as_float(words(numbers))), words(numbers))
    # What lies below the 48 bits does not count.
    some = np.asarray(jax.random.bits(jax.random.key(1), (1000, 2), jnp.uint32))
    assert np.all(as_float(some) < 1)
    whole = law([0.3, 1e-9, 0.4], 0.3)
    np.testing.assert_array_equal(_draws(some, whole), draws(as_float(some), whole))


def test_all_48_bits_of_a_stream_are_fair_coins() -> None:
    n = 20_000
    drawn = np.asarray(jax.vmap(random_words, in_axes=(None, 0))(jax.random.key(5), jnp.arange(n)))
    assert len(np.unique(drawn[:, 0].astype(np.uint64) << np.uint64(32) | drawn[:, 1])) == n
    for word, bits in ((0, range(32)), (1, range(16, 32))):
        ones = np.array([(drawn[:, word] >> bit & 1).mean() for bit in bits])
        assert np.all(np.abs(ones - 0.5) < 5 * 0.5 / np.sqrt(n))
