"""Demonstrators that follow a rule, with a share of uniformly random actions."""

from typing import Any

import numpy as np
import numpy.typing as npt


class ScriptedDemonstrator:
    """A rule ``observation -> action``, replaced by a uniformly random action with probability `epsilon`.

    A subclass gives the rule in `intended`. The random action may be the intended one, so that one is taken with
    probability ``1 - epsilon + epsilon / A``.

    Args:
        num_actions: A.
        epsilon: from 0 to 1.
        seed: of the random actions; None takes it from the operating system.

    Raises:
        ValueError: if ``epsilon`` lies outside [0, 1], there is no action or the seed is negative.

    Example:
        >>> from consensus_imitation.demonstrators.bots.scripted import ScriptedDemonstrator
        >>> class Right(ScriptedDemonstrator):
        ...     def intended(self, observation):
        ...         return 1
        >>> demonstrator = Right(num_actions=2, epsilon=0.1, seed=0)
        >>> demonstrator.probs(None).round(3).tolist()
        [0.05, 0.95]
    """

    def __init__(self, num_actions: int, epsilon: float = 0.0, seed: int | None = None) -> None:
        if num_actions < 1:
            raise ValueError(f"there must be at least one action, got num_actions={num_actions}")
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
        self.num_actions = num_actions
        self.epsilon = float(epsilon)
        self._rng = np.random.default_rng(seed)

    def intended(self, observation: Any) -> int:
        """Return the rule's own action, from 0 to A - 1."""
        raise NotImplementedError

    def probs(self, observation: Any) -> npt.NDArray[np.float64]:
        """Return the distribution of the answers to this observation, [A]."""
        probs = np.full(self.num_actions, self.epsilon / self.num_actions)
        probs[self.intended(observation)] += 1 - self.epsilon
        return probs

    def __call__(self, observation: Any) -> int:
        """Draw an action."""
        action = self.intended(observation)
        # Two numbers at every question, used or not: the noise does not depend on the intended action.
        noise, other = self._rng.random(), int(self._rng.integers(self.num_actions))
        return other if noise < self.epsilon else action
