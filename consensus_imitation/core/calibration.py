"""Whether predicted probabilities match the frequencies: the probability of asking comes from them.

Give it what was predicted *before* each answer was learned from: then it is an honest, prequential measure, without a
test set. Answers that the imitator asked for are not a fair sample of all steps: it asks where its members disagree.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Calibration(NamedTuple):
    """Averages over T answers; floats, or float64 [N] for N members.

    Attributes:
        log_loss: nats per answer, lower is better; infinite if an answer had been called impossible.
        brier: mean squared distance from the answer's one-hot vector, in [0, 2].
        expected_calibration_error: mean distance between confidence and accuracy over bins of the likeliest action's
            probability, in [0, 1]. Its bias is about ``sqrt(bins / T)`` even for a perfect prediction.
    """

    log_loss: float | np.ndarray
    brier: float | np.ndarray
    expected_calibration_error: float | np.ndarray


def calibration(log_probs: ArrayLike, answers: ArrayLike, bins: int = 15) -> Calibration:
    """Return the prequential log-loss, Brier score and expected calibration error.

    Args:
        log_probs: [T, A] of one predictor, or [T, N, A] of N members: what was predicted of each answer.
        answers: int [T], in ``0 .. A-1``.
        bins: number of bins of equal width.

    Returns:
        Floats for [T, A]; float64 [N] for [T, N, A].

    Raises:
        ValueError: if the shapes do not fit, there is no answer, one is out of range, or a prediction is NaN.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.calibration import calibration
        >>> sure = np.log(np.array([[0.8, 0.2]] * 10))
        >>> found = calibration(sure, [0] * 8 + [1] * 2)
        >>> round(found.brier, 2), round(found.expected_calibration_error, 6)
        (0.32, 0.0)

    References:
        Dawid (1984), "Statistical Theory: the Prequential Approach"; Naeini, Cooper and Hauskrecht (2015), "Obtaining
        Well Calibrated Probabilities Using Bayesian Binning".
    """
    logs, taken = np.asarray(log_probs, np.float64), np.asarray(answers)
    alone = logs.ndim == 2
    if alone:
        logs = logs[:, None]
    if logs.ndim != 3 or taken.shape != logs.shape[:1] or not len(taken):
        raise ValueError(f"need log_probs [T, A] or [T, N, A] and answers [T], T > 0; got {logs.shape}, {taken.shape}")
    if taken.dtype.kind not in "iu" or taken.min() < 0 or taken.max() >= logs.shape[-1]:
        raise ValueError(f"answers must be integers in 0 .. {logs.shape[-1] - 1}")
    if np.isnan(logs).any() or bins < 1:
        raise ValueError("log_probs must not be NaN, and there must be at least one bin")
    probs = np.exp(logs)  # [T, N, A]
    steps = np.arange(len(taken))
    target = np.zeros((len(taken), 1, logs.shape[-1]))
    target[steps, 0, taken] = 1
    confidence = probs.max(-1)  # [T, N]
    gap = (logs.argmax(-1) == taken[:, None]) - confidence
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    error = sum(np.abs(np.where(place == i, gap, 0.0).sum(0)) for i in range(bins)) / len(taken)
    measures = (-logs[steps, :, taken].mean(0), ((probs - target) ** 2).sum(-1).mean(0), np.asarray(error))
    return Calibration(*(float(measure[0]) for measure in measures)) if alone else Calibration(*measures)


def said(found: Calibration) -> str:
    """Return the calibration of N members in words.

    Args:
        found: of predictions made before each answer, float64 [N] each.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.calibration import calibration, said
        >>> said(calibration(np.log(np.full((10, 2, 2), 0.5)), [0, 1] * 5))[:56]
        'before each answer the members lost 0.693 to 0.693 nats '
    """
    loss, error = np.asarray(found.log_loss), np.asarray(found.expected_calibration_error)
    return (
        f"before each answer the members lost {loss.min():.3g} to {loss.max():.3g} nats on it, with calibration errors "
        f"of {error.min():.2g} to {error.max():.2g} (answers that were asked for are the hard ones)"
    )
