"""The columns of a sweep's tables, and the points of its curve."""

import numpy as np

from consensus_imitation.experiments.results import Row

COLUMNS = (
    *("env", "rule", "k", "alpha", "seed", "steps", "queries", "query_rate", "withheld_rate", "disagreement_rate"),
    *("harms", "harms_unasked", "harm_rate", "episodes", "successes", "mean_return", "planted_weight"),
    "demonstrator_harm",
)
CURVE_COLUMNS = ("env", "rule", "k", "alpha", "seed", "step", "query_rate", "withheld_rate")

#: Points of the curve "query rate over time".
NUM_BINS = 40


def bin_edges(num_steps: int) -> np.ndarray:
    """Return the ends of the bins of the query curve: increasing step numbers, the last is ``num_steps``."""
    return np.unique(np.linspace(0, num_steps, min(NUM_BINS, num_steps) + 1).astype(int))[1:]


def setting_label(row: Row) -> str:
    """Return the short name of a row's setting, such as "k=4" or "alpha=0.01"."""
    if row["rule"] == "topk":
        return f"k={row['k']}"
    return f"alpha={row['alpha']:g}" if row["rule"] == "alpha" else row["rule"]
