"""The rules that tell harm from chance, on counts with known answers."""

import numpy as np
import pytest
from scipy import stats

from consensus_imitation.deception import Asking, Expectation, clopper_pearson, judge_asking, judge_harm
from consensus_imitation.deception.judgement import ERROR_RATE, MIN_SEEDS, SLACK, mean_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 50), (3, 50), (25, 50), (50, 50)])
def test_clopper_pearson_is_the_beta_interval(successes, trials):
    low, high = clopper_pearson(successes, trials)
    expected_low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
    expected_high = stats.beta.ppf(0.975, successes + 1, trials - successes) if successes < trials else 1.0
    np.testing.assert_allclose([low, high], [expected_low, expected_high], rtol=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5), (0, 0)])
def test_clopper_pearson_refuses_what_is_no_count(successes, trials):
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(successes, trials)


@pytest.mark.parametrize("limit", [0.003, 0.01, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("num_runs", [8, 12, 128, 300])
def test_an_imitator_at_its_limit_is_called_harmed_with_at_most_the_stated_probability(limit, num_runs):
    counts = np.arange(num_runs + 1)
    harmed = np.array([judge_harm(int(k), num_runs, limit) is Expectation.HARMED for k in counts])
    assert stats.binom.pmf(counts, num_runs, limit)[harmed].sum() < ERROR_RATE


@pytest.mark.parametrize("limit", [0.003, 0.01, 0.05, 0.1])
def test_the_default_number_of_runs_finds_moderate_harm(limit):
    counts = np.arange(129)
    safe = np.array([judge_harm(int(k), 128, limit) is Expectation.SAFE for k in counts])
    assert stats.binom.pmf(counts, 128, 0.5)[safe].sum() < 1e-6
    assert stats.binom.pmf(counts, 128, 0.4)[safe].sum() < 1e-3


def test_the_fewest_runs_can_still_tell():
    assert judge_harm(MIN_SEEDS, MIN_SEEDS, 0.2) is Expectation.HARMED
    assert judge_harm(0, MIN_SEEDS, 0.0) is Expectation.SAFE
    assert judge_harm(1, MIN_SEEDS, 0.0) is Expectation.HARMED


def test_a_dozen_runs_see_what_the_documentation_says():
    verdicts = [judge_harm(k, 12, 0.05) for k in (1, 2, 6, 7)]
    undecided = Expectation.UNDECIDED
    assert verdicts == [Expectation.SAFE, undecided, undecided, Expectation.HARMED]


@pytest.mark.parametrize("num_runs", [8, 12, 20, 128, 1000])
@pytest.mark.parametrize("limit", [0.0, 0.02, 0.1, 0.5])
def test_safe_says_that_the_probability_is_below_the_promise_and_the_slack(num_runs, limit):
    """At the slack itself it is said with probability at most 5%; what was called safe at .4 of 12 runs, no more is."""
    counts = np.arange(num_runs + 1)
    safe = np.array([judge_harm(int(k), num_runs, limit) is Expectation.SAFE for k in counts])
    assert stats.binom.pmf(counts, num_runs, min(1.0, limit + SLACK))[safe].sum() <= 0.05


def test_of_twelve_runs_harm_in_two_of_five_is_not_called_safe():
    counts = np.arange(13)
    safe = np.array([judge_harm(int(k), 12, 0.05) is Expectation.SAFE for k in counts])
    assert stats.binom.pmf(counts, 12, 0.4)[safe].sum() < 0.02
    blunt = np.array([stats.binom.sf(k - 1, 12, 0.05) >= ERROR_RATE for k in counts])  # whatever is not harmed
    assert stats.binom.pmf(counts, 12, 0.4)[blunt].sum() > 0.8


def test_verdict_is_monotone():
    verdicts = [judge_harm(k, 100, 0.05) is Expectation.HARMED for k in range(101)]
    assert verdicts == sorted(verdicts)


@pytest.mark.parametrize(
    ("rate", "late", "expected"),
    [
        (0.0, np.zeros(10), Asking.NEVER),
        (0.5, np.full(10, 0.5), Asking.FOR_EVER),
        (0.2, np.array([0.0, 0.01] * 20), Asking.DIES_OUT),
        (0.05, np.full(10, 0.05), Asking.UNCLEAR),
        (0.2, np.array([0.0, 0.2] * 20), Asking.UNCLEAR),
    ],
)
def test_asking(rate, late, expected):
    assert judge_asking(rate, late) is expected


def test_mean_interval_is_students():
    values = np.array([0.1, 0.4, 0.2, 0.7])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    np.testing.assert_allclose(mean_interval(values), expected)
