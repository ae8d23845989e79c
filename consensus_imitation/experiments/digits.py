"""Scikit-learn's handwritten digits, of which several experiments make their problems."""

from functools import lru_cache
from typing import Any

import numpy as np

#: Kinds of digits.
NUM_CLASSES = 10


@lru_cache(maxsize=1)
def load() -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, float32 [1797, 64] in 0 .. 1, and labels, int32 [1797]; neither may be written to.

    Raises:
        ImportError: without scikit-learn; it names the extra.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise ImportError('the digits need scikit-learn: pip install "consensus_imitation[digits]"') from error
    found: Any = load_digits()
    pictures, labels = (found.data / 16).astype(np.float32), found.target.astype(np.int32)
    pictures.flags.writeable = labels.flags.writeable = False
    return pictures, labels


def turned(pictures: np.ndarray) -> np.ndarray:
    """Return pictures [., 64] turned by 90 degrees."""
    return np.rot90(pictures.reshape(-1, 8, 8), axes=(1, 2)).reshape(pictures.shape).copy()
