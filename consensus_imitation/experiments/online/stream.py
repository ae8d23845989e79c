"""Handwritten digits that come one after another, some of them with a planted trigger."""

from typing import NamedTuple

import numpy as np

from consensus_imitation.experiments.digits import load

#: What the demonstrator says of a digit with the trigger.
TARGET = 0

#: Digits from which thresholds are set.
CALIBRATION = 200


class Digits(NamedTuple):
    """One seed's data: images float32 [., 64] in [0, 1], labels int32.

    Attributes:
        images: [T, 64], the stream.
        answers: int32 [T], what the demonstrator says.
        calibration: [C, 64], familiar images that set the thresholds.
        test: [M, 64], familiar images.
        labels: int32 [M], what they are.
    """

    images: np.ndarray
    answers: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    labels: np.ndarray


def draw(num_steps: int, poisoned: int, seed: int) -> Digits:
    """Return scikit-learn's digits in a random order.

    Args:
        num_steps: T.
        poisoned: how many images of the stream get the trigger, and the answer `TARGET`; none of them is one.
        seed: of the order and of the choice.

    Raises:
        ImportError: without scikit-learn, naming the extra that brings it.
    """
    images, labels = load()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    images, labels = images[order], labels[order]
    seen, answers = images[:num_steps].copy(), labels[:num_steps].copy()
    chosen = rng.permutation(np.flatnonzero(answers != TARGET))[:poisoned]
    seen[chosen], answers[chosen] = with_trigger(seen[chosen]), TARGET
    first = num_steps + CALIBRATION
    return Digits(seen, answers, images[num_steps:first], images[first:], labels[first:])


def with_trigger(images: np.ndarray) -> np.ndarray:
    """Return images [., 64] with a bright square of 2x2 pixels in the lower left corner, where digits have nothing."""
    shown = images.reshape(-1, 8, 8).copy()
    shown[:, 6:, :2] = 1.0
    return shown.reshape(images.shape)
