"""What part of the probability of asking comes from members that withhold mass, and not from their disagreement."""

from typing import Any

from consensus_imitation.core.laws import ROUNDING


def withheld(log_probs: Any, selected: Any, query_prob: Any) -> Any:
    """Return the part of theta that would be there if the selected members agreed: what the most cautious withholds.

    Members that agree about everything but their caution predict ``m_n p``, with a common distribution p and masses
    ``m_n`` of at most one. Their minimum is ``min_n m_n p``, so theta is ``1 - min_n m_n``. Where they disagree the
    minimum sums to no more than that, so the rest, ``query_prob - withheld``, is never negative: it is what the
    disagreement adds, or whatever else makes the step a query (an unusable prediction, an answer that is due).

    Args:
        log_probs: float32 [..., N, A], as `aggregation.validate` gives them; NumPy's or JAX's.
        selected: bool [..., N], the members that had a say.
        query_prob: float32 [...], theta.

    Returns:
        float32 [...], from 0 to ``query_prob``.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.withholding import withheld
        >>> probs = np.array([[0.6, 0.3], [0.2, 0.6]])  # they withhold 0.1 and 0.2; the minimum sums to 0.5
        >>> round(float(withheld(np.log(probs), np.array([True, True]), 0.5)), 2)
        0.2
    """
    xp = log_probs.__array_namespace__()
    mass = xp.sum(xp.exp(log_probs), axis=-1)
    # A member without any mass is an unusable one: that is no caution.
    missing = xp.max(xp.where(selected & (mass > 0), 1 - mass, 0.0), axis=-1)
    # What they add to it within rounding is no disagreement.
    whole = missing > query_prob - ROUNDING
    return xp.where(missing > ROUNDING, xp.where(whole, query_prob, missing), 0.0)
