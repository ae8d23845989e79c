"""The effective number of members with its limit: against the running estimate, and by simulation."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from consensus_imitation.core import merging
from consensus_imitation.core.independence import GROUPS, ErrorGroups, effective_members, errors_of


def test_the_estimate_is_that_of_the_running_statistics() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), (30, 4))
    answers = rng.integers(0, 3, 30)
    state = merging.init(4)
    for row, answer in zip(probs, answers, strict=True):
        state = merging.update(state, jnp.log(jnp.asarray(row, jnp.float32)), int(answer))
    errors = 1 - probs[np.arange(30), :, answers]
    assert effective_members(errors).estimate == pytest.approx(float(merging.effective_members(state)), rel=1e-4)


@pytest.mark.parametrize("shared", [0.0, 0.15, 0.5, 2.0])
def test_the_lower_limit_covers(shared: float) -> None:
    """Errors with one part in common: N / (1 + (N - 1) rho) with rho = s^2 / (1 + s^2)."""
    rng, size, runs = np.random.default_rng(1), 4, 300
    rho = shared**2 / (1 + shared**2)
    truth = size / (1 + (size - 1) * rho)
    lower = []
    for _ in range(runs):
        errors = rng.normal(size=(80, size)) + shared * rng.normal(size=(80, 1))
        lower.append(effective_members(errors).lower)
    # It is approximate: 95% asked, 92% demanded, less three standard errors; and it is not empty.
    assert np.mean(np.array(lower) <= truth) >= 0.92 - 3 * np.sqrt(0.92 * 0.08 / runs)
    assert np.median(lower) > 0.7 * truth


@pytest.mark.parametrize(("size", "answers", "rho"), [(4, 60, 0.02), (8, 100, 0.01), (2, 100, 0.05)])
def test_the_lower_limit_covers_where_the_correlation_may_come_out_negative(
    size: int, answers: int, rho: float
) -> None:
    """There the estimate sticks at N, and so would all that are made without a part of the answers."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        own, shared = rng.normal(size=(answers, size)), rng.normal(size=(answers, 1))
        wrong += effective_members(np.sqrt(rho) * shared + np.sqrt(1 - rho) * own).lower > size / (1 + (size - 1) * rho)
    assert wrong / 400 < 0.09


def test_label_noise_hides_independence_and_the_excess_shows_it() -> None:
    rng = np.random.default_rng(2)
    noise = (rng.random(600) < 0.1) * 0.9  # what the demonstrator itself gives to its answers, at most .1 or nearly 1
    errors = noise[:, None] + 0.05 * rng.normal(size=(600, 8))
    plain, excess = effective_members(errors), effective_members(errors, noise)
    assert plain.estimate < 1.3
    assert excess.lower > 6


def test_edges() -> None:
    assert effective_members(np.zeros((2, 3))) == (1.0, 1.0, 2)
    assert effective_members(np.ones((9, 3))) == (1.0, 1.0, 9)
    assert effective_members(np.arange(9.0)[:, None]) == (1.0, 1.0, 9)
    assert effective_members(np.zeros((0, 3))) == (1.0, 1.0, 0)
    same = np.repeat(np.random.default_rng(3).normal(size=(20, 1)), 3, axis=1)
    assert effective_members(same) == pytest.approx((1.0, 1.0, 20))
    for bad in (
        lambda: effective_members(np.zeros(3)),
        lambda: effective_members(np.zeros((5, 2)), np.zeros(4)),
        lambda: effective_members(np.full((5, 2), np.nan)),
        lambda: effective_members(np.zeros((5, 2)), confidence=1.0),
    ):
        with pytest.raises(ValueError, match=r"errors|own|confidence"):
            bad()


def mean_correlation(errors: np.ndarray) -> float:
    return float(np.mean(np.corrcoef(errors.T)[np.triu_indices(3, 1)]))


@pytest.mark.parametrize("answers", [4, 11, 20, 57])
def test_the_jackknife_leaves_each_group_out_once(answers: int) -> None:
    """Against the definition; with no more answers than groups it is the plain jackknife."""
    errors = np.random.default_rng(answers).random((answers, 3))
    found = effective_members(errors, confidence=0.975)
    rhos = [mean_correlation(errors)]
    rhos += [mean_correlation(errors[np.arange(answers) % GROUPS != group]) for group in range(min(answers, GROUPS))]
    count = len(rhos) - 1
    worst = rhos[0] + stats.t.ppf(0.975, count - 1) * np.sqrt((count - 1) * np.var(rhos[1:]))
    assert found.estimate == pytest.approx(3 / np.clip(1 + 2 * rhos[0], 1, 3))
    assert found.lower == pytest.approx(3 / np.clip(1 + 2 * worst, 1, 3))
    one_by_one = ErrorGroups.nothing(3)
    for row in errors:
        before = one_by_one.count.sum()
        one_by_one = one_by_one.after(row)
        assert one_by_one.count.sum() == before + 1
    assert one_by_one.effective(0.975) == pytest.approx(found, rel=1e-9)
    again = ErrorGroups.load(json.loads(json.dumps(one_by_one.saved())))
    assert again.effective() == one_by_one.effective()


def test_errors_at_an_answer() -> None:
    with np.errstate(divide="ignore"):
        said = np.log([[0.2, 0.2, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert errors_of(said, 1).tolist() == [0.5, 1.0, 1.0]
    assert errors_of(said, 2) is None
    assert errors_of(np.full((2, 3), -np.inf), 2).tolist() == [1.0, 1.0]
