"""Semi-informative priors: the published table, the beta law behind them, and weights by a simulated search."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from consensus_imitation import AlphaThreshold, ConsensusImitator, ensembles, priors
from consensus_imitation.errors import ConfigurationError


@pytest.mark.parametrize(
    ("first", "percent"), [(1 / 300, 4.2), (1 / 100, 8.9), (1 / 50, 12.4), (1 / 1000, 1.5), (1 / 3000, 0.5)]
)
def test_the_hazard_of_the_published_table(first: float, percent: float) -> None:
    found = priors.semi_informative(first).after(clean=64).hazard(16)
    assert found == pytest.approx(16 / (1 / first - 1 + 64 + 16))
    assert round(100 * found, 1) == percent


@pytest.mark.parametrize("happened", [0, 3])
def test_the_hazard_is_that_of_a_beta_law(happened: int) -> None:
    """v virtual successes and v/f - v virtual failures are a beta prior on the rate."""
    v, f, n, m = 2.0, 0.05, 30, 10
    posterior = stats.beta(v + happened, v / f - v + n)
    wanted = posterior.expect(lambda p: 1 - (1 - p) ** m)
    belief = priors.semi_informative(f, virtual_successes=v).after(clean=n, happened=happened)
    assert belief.hazard(m) == pytest.approx(wanted, rel=1e-6)
    assert belief == priors.semi_informative(f, v).after(happened=happened).after(clean=10).after(clean=20)
    assert belief.hazard(0) == 0
    assert priors.semi_informative(f, v).hazard() == pytest.approx(f)


def test_a_tiny_hazard_is_not_lost_to_rounding() -> None:
    assert priors.semi_informative(1e-12).after(clean=5).hazard(2) == pytest.approx(2e-12, rel=1e-9)


def test_weights_by_length_are_how_often_a_search_ends_there() -> None:
    """Draw a rate from the beta law, and try lengths one after another until the first success."""
    f, v, runs = 0.2, 1.5, 400_000
    rng = np.random.default_rng(0)
    length = rng.geometric(rng.beta(v, v / f - v, runs)) - 1
    lengths = [0, 2, 2, 7, 7, 7, 20]
    counts = np.array([np.sum(length == one) / lengths.count(one) for one in lengths])
    found = priors.semi_informative(f, v).weights(lengths)
    assert found.sum() == pytest.approx(1)
    # Five standard deviations of a count.
    np.testing.assert_allclose(found, counts / counts.sum(), atol=5 * np.sqrt(counts.max()) / counts.sum())
    # A power law: a length ten times as long costs about 10^-(1 + v), not 2^-9000.
    far = priors.semi_informative(f, v).weights([1000, 10_000])
    assert far[1] / far[0] == pytest.approx(10 ** -(1 + v), rel=0.05)


def test_a_certificate_says_what_is_believed_and_that_it_is_no_bound() -> None:
    members = ensembles.tabular(np.full((2, 1, 2), 0.5))
    imitator = ConsensusImitator(members, lambda observation: 0, selection=AlphaThreshold(0.01), seed=0)
    belief = priors.semi_informative(1 / 300).after(clean=64)
    said = str(imitator.certificate(belief=belief))
    assert "believed, and no bound: harm has probability 0.00275 in the next" in said
    assert "64 trials, all clean (a belief)" in said
    assert "believed, and no bound" not in str(imitator.certificate())
    with pytest.raises(ConfigurationError, match="semi_informative"):
        imitator.certificate(belief=0.01)  # pyright: ignore[reportArgumentType]
    assert "65 trials, 1 with harm" in str(belief.after(happened=1))


@pytest.mark.parametrize(
    "bad", [{"first_trial_prob": 0.0}, {"first_trial_prob": 1.0}, {"virtual_successes": 0.0}, {"clean": -1}]
)
def test_what_is_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        priors.SemiInformative(**{"first_trial_prob": 0.1, **bad})
    for lengths in ([], [-1], [1.5], 3):
        with pytest.raises(ConfigurationError, match="lengths"):
            priors.semi_informative(0.1).weights(lengths)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="coming"):
        priors.semi_informative(0.1).hazard(-1)
