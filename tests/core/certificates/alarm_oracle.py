"""The misspecification alarm in float64 NumPy, from its description; nothing of the library is imported."""

import math

import numpy as np

SHARES = (0.5, 0.1, 0.01)
FLOOR = -20.0
SILENCE = 20


class AlarmOracle:
    """E-processes of six predictors against each of N members.

    Attributes:
        log_e: [6, N]: universal, average, geometric mean, and the member mixed with uniform shares.
    """

    def __init__(self, num_members: int, num_actions: int, num_contexts: int = 1) -> None:
        self.log_e = np.zeros((3 + len(SHARES), num_members))
        self.counts = np.zeros((num_contexts, num_actions))
        self.silent = np.zeros(num_members, int)

    def predictors(self, context: int, probs: np.ndarray, asleep: np.ndarray) -> np.ndarray:
        """What each predictor gives to every action: [6, N, A]; of rows that withhold, what is said counts as all."""
        N, A = probs.shape
        probs = said(probs)
        awake = probs[~asleep]
        universal = (self.counts[context] + 0.5) / (self.counts[context].sum() + A / 2)
        if len(awake):
            average = awake.mean(0)
            with np.errstate(divide="ignore"):
                logs = np.maximum(np.log(awake), FLOOR).mean(0)
            geometric = np.exp(logs) / np.exp(logs).sum()
        else:
            average = geometric = np.full(A, 1 / A)
        shared = [np.broadcast_to(q, (N, A)) for q in (universal, average, geometric)]
        return np.stack([*shared, *((1 - share) * probs + share / A for share in SHARES)])

    def update(self, context: int, probs: np.ndarray, answer: int, asleep: np.ndarray) -> None:
        predicted = self.predictors(context, probs, asleep)[..., answer]
        for n in np.flatnonzero(~asleep):
            for q in range(len(predicted)):
                bet, given = predicted[q, n], said(probs)[n, answer]
                if bet == 0 or self.log_e[q, n] == -math.inf:
                    self.log_e[q, n] = -math.inf  # lost, also as 0 / 0
                elif given == 0:
                    self.log_e[q, n] = math.inf
                else:
                    self.log_e[q, n] += math.log(bet) - math.log(given)
        self.counts[context, answer] += 1
        self.silent = np.where(asleep, self.silent + 1, 0)

    @property
    def log_evidence(self) -> np.ndarray:
        """Log of the mean over the predictors: [N]."""
        return np.logaddexp.reduce(self.log_e, axis=0) - math.log(len(self.log_e))

    def raised(self, prior: np.ndarray, delta: float) -> bool:
        refuted = (self.log_evidence >= -math.log(delta)) & (prior > 0)
        return bool(refuted.any() and all(refuted | (prior == 0) | (self.silent >= SILENCE)))


def said(probs: np.ndarray) -> np.ndarray:
    """Rows scaled up to sum to one, but for zero vectors."""
    mass = probs.sum(-1, keepdims=True)
    return probs / np.where(mass > 0, mass, 1.0)
