"""Measures of calibration, against their definitions written out."""

import math

import numpy as np
import pytest

from consensus_imitation.core.calibration import calibration


def test_against_loops() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), size=(200, 2))
    answers = rng.integers(3, size=200)
    found = calibration(np.log(probs), answers, bins=5)
    for n in range(2):
        loss = brier = 0.0
        bins: dict[int, list[tuple[float, bool]]] = {}
        for t in range(200):
            loss -= math.log(probs[t, n, answers[t]])
            brier += sum((probs[t, n, a] - (a == answers[t])) ** 2 for a in range(3))
            best = int(np.argmax(probs[t, n]))
            bins.setdefault(int(probs[t, n, best] * 5), []).append((probs[t, n, best], best == answers[t]))
        error = sum(
            abs(np.mean([p for p, _ in own]) - np.mean([r for _, r in own])) * len(own) for own in bins.values()
        )
        assert found.log_loss[n] == pytest.approx(loss / 200)  # type: ignore[index]
        assert found.brier[n] == pytest.approx(brier / 200)  # type: ignore[index]
        assert found.expected_calibration_error[n] == pytest.approx(error / 200)  # type: ignore[index]
        alone = calibration(np.log(probs[:, n]), answers, bins=5)
        assert alone.log_loss == pytest.approx(loss / 200)


def test_the_truth_is_calibrated_and_overconfidence_is_not() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    probs = rng.dirichlet(np.ones(4), size=n)
    answers = (rng.random((n, 1)) > probs.cumsum(-1)).sum(-1).clip(0, 3)
    truth = calibration(np.log(probs), answers)
    assert truth.expected_calibration_error < 5 * math.sqrt(15 / n)
    sharper = probs**3 / (probs**3).sum(-1, keepdims=True)
    overconfident = calibration(np.log(sharper), answers)
    assert overconfident.expected_calibration_error > 0.1
    assert overconfident.log_loss > truth.log_loss
    assert overconfident.brier > truth.brier


def test_certainty_at_the_edges() -> None:
    with np.errstate(divide="ignore"):
        sure = np.log(np.array([[1.0, 0.0]]))
    right, wrong = calibration(sure, [0]), calibration(sure, [1])
    assert (right.log_loss, right.brier, right.expected_calibration_error) == (0, 0, 0)
    assert (wrong.log_loss, wrong.brier, wrong.expected_calibration_error) == (math.inf, 2, 1)


@pytest.mark.parametrize(
    ("log_probs", "answers"),
    [
        (np.zeros(3), [0]),
        (np.zeros((2, 3)), [0]),
        (np.zeros((0, 3)), []),
        (np.zeros((1, 3)), [3]),
        (np.zeros((1, 3)), [-1]),
        (np.zeros((1, 3)), [0.5]),
        (np.full((1, 3), np.nan), [0]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(log_probs: np.ndarray, answers: list[float]) -> None:
    with pytest.raises(ValueError, match=r"need log_probs|answers must be|log_probs must not"):
        calibration(log_probs, answers)
