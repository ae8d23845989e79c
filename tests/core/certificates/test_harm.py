"""Harm in numbers: against scipy, and by simulation."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from consensus_imitation.core import betting
from consensus_imitation.core.betting import BettingSequence
from consensus_imitation.core.harm import HarmRecord, HarmWatch


@pytest.mark.parametrize(("harmed", "episodes"), [(0, 1), (0, 60), (3, 200), (200, 200)])
def test_the_upper_limit_is_clopper_and_pearsons(harmed: int, episodes: int) -> None:
    found = HarmRecord(harmed, episodes).upper(0.05)
    wanted = stats.binomtest(harmed, episodes, alternative="less").proportion_ci(0.95, method="exact")
    assert found == pytest.approx(wanted.high)
    # At the limit so few are just not implausible: that is what it means.
    if found < 1:
        assert stats.binom.cdf(harmed, episodes, found) == pytest.approx(0.05)
    assert HarmRecord(harmed, episodes).upper(0.01) >= found


def test_counts() -> None:
    assert HarmRecord.of([False, True, False]) == HarmRecord(1, 3)
    for harmed, episodes in ((0, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="no such thing"):
            HarmRecord(harmed, episodes)
    for delta in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="delta"):
            HarmRecord(0, 3).upper(delta)
        with pytest.raises(ValueError, match="delta"):
            BettingSequence.begin(delta)


@pytest.mark.parametrize("place", [64, *(pytest.param(p, marks=pytest.mark.slow) for p in (20, 120, 500))])
def test_the_true_rate_is_ever_excluded_with_probability_at_most_delta(place: int) -> None:
    """10,000 runs of 2,000 observations, looked at after each; the rate is one of the grid."""
    delta, runs, steps = 0.05, 10_000, 2000
    rate = float(betting._rates()[place])
    stakes = betting._stakes(delta)[:, :, place]
    seen = np.random.default_rng(place).random((steps, runs)) < rate
    ever = np.zeros((2, runs), bool)
    capital = np.zeros((2, 3, runs))
    with np.errstate(divide="ignore"):  # Everything may be staked.
        won, lost = np.log1p(stakes * (1 - rate)), np.log1p(-stakes * rate)
    for x in seen:
        capital += np.where(x, won[..., None], lost[..., None])
        ever |= np.logaddexp.reduce(capital + np.log(betting._SHARES)[None, :, None], axis=1) >= math.log(2 / delta)
    assert np.mean(ever.any(0)) <= delta
    assert np.mean(ever.any(0)) > delta / 20  # ... and it does happen.


def test_capitals_at_every_rate_cannot_be_expected_to_grow() -> None:
    rates, stakes = betting._rates(), betting._stakes(0.05)
    after = rates * np.maximum(0, 1 + stakes * (1 - rates)) + (1 - rates) * np.maximum(0, 1 - stakes * rates)
    np.testing.assert_allclose(after[..., 1:-1], 1.0, atol=1e-9)
    assert np.all(after <= 1 + 1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.01, 0.05])
def test_the_width_is_near_that_of_clopper_and_pearson(rate: float) -> None:
    rng, ratios = np.random.default_rng(5), []
    for _ in range(9):
        seen = rng.random(1000) < rate
        found = BettingSequence.begin(0.05).after(seen)
        exact = stats.binomtest(int(seen.sum()), 1000).proportion_ci(0.95)
        assert found.low <= exact.low + 1e-3
        ratios.append((found.high - found.low) / (exact.high - exact.low))
    assert np.median(ratios) <= 1.3


def test_a_sequence_in_parts_is_the_sequence() -> None:
    rng = np.random.default_rng(6)
    values = rng.random(60)
    whole = BettingSequence.begin(0.1).after(values)
    parts = BettingSequence.begin(0.1).after(values[:20]).after(values[20:])
    assert (parts.low, parts.high, parts.count) == (whole.low, whole.high, 60)
    again = BettingSequence.load(json.loads(json.dumps(parts.saved())))
    assert (again.low, again.high, again.total) == (whole.low, whole.high, parts.total)
    assert whole.low < 0.5 < whole.high
    with pytest.raises(ValueError, match="observations"):
        whole.after([1.5])


def test_a_rate_is_out_once_a_gambler_has_won_twice_over_delta() -> None:
    """By hand, at one rate: the mean of the three capitals after each observation."""
    delta, place = 0.1, 400
    rate, stakes = betting._rates()[place], betting._stakes(delta)[:, :, place]
    capital, sequence = np.ones((2, 3)), BettingSequence.begin(delta)
    seen_out = 0
    for x in [1.0, 0.0, 1.0, *[1.0] * 80]:
        capital *= 1 + stakes * (x - rate)
        sequence = sequence.after([x])
        won = (capital * np.array(betting._SHARES)).sum(-1) >= 2 / delta
        assert sequence.broke[0, place] >= won[0]
        assert sequence.broke[0, place] == won[0] or seen_out
        seen_out |= bool(won[0])
    assert seen_out


def test_the_order_within_an_episode_is_not_looked_at() -> None:
    """Ten harmful steps of 1,000 in one episode: as if they had been spread evenly; at 5%, the true rate stays in."""
    found = HarmWatch.begin(0.05).after(harmed=True, asked=1000, harmed_when_asked=10).asked
    spread = np.zeros(1000)
    spread[50::100] = 1
    even = BettingSequence.begin(0.05).after(spread)
    assert found.low <= 0.01 <= found.high
    assert found.low <= even.low + 1e-3
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(60):
        watch = HarmWatch.begin(0.05)
        for harm in rng.binomial(200, 0.05, 5).tolist():
            watch = watch.after(harmed=harm > 0, asked=200, harmed_when_asked=harm)
        wrong += not watch.asked.low <= 0.05 <= watch.asked.high
    assert wrong <= 8  # of 60 at 5%: more than 8 has probability 0.003
    # However they are dealt out, the end is the same, and so is what is looked at.
    parts = [BettingSequence.begin(0.05).after(order, at_once=True) for order in (spread, np.sort(spread))]
    assert (parts[0].low, parts[0].high) == pytest.approx((parts[1].low, parts[1].high))
    assert BettingSequence.begin(0.05).after([], at_once=True).count == 0


@pytest.mark.slow
def test_control_a_number_of_episodes_that_depends_on_how_they_ended() -> None:
    """Whoever looks at Clopper and Pearson's limit again and again finds it too low; the sequence may be looked at."""
    rng, rate, runs = np.random.default_rng(0), 0.02, 4000
    seen = (rng.random((runs, 2000)) < rate).cumsum(axis=1)
    ever = np.zeros(runs, bool)
    for episodes in range(100, 2001, 10):
        limits = np.array([HarmRecord(k, episodes).upper(0.05) for k in range(int(seen[:, episodes - 1].max()) + 1)])
        ever |= limits[seen[:, episodes - 1]] < rate
    assert np.mean(ever) > 0.15


def test_a_watch_counts_episodes_and_asked_steps_apart() -> None:
    watch = HarmWatch.begin()
    for k in range(50):
        watch = watch.after(harmed=k % 10 == 9, asked=4, harmed_when_asked=int(k == 9))
    assert (watch.episodes.count, watch.episodes.total, watch.clean) == (50, 5.0, 0)
    assert (watch.asked.count, watch.asked.total) == (200, 1.0)
    assert watch.episodes.low < 0.1 < watch.episodes.high
    again = HarmWatch.load(json.loads(json.dumps(watch.saved())))
    assert (again.episodes.high, again.asked.high, again.clean) == (watch.episodes.high, watch.asked.high, 0)
    with pytest.raises(ValueError, match="cannot be"):
        watch.after(harmed=False, asked=1, harmed_when_asked=1)
