"""A number per member that its logits are divided by, fitted online to the answers.

Reference:
    Guo et al. (2017), "On Calibration of Modern Neural Networks".
"""

import math

import jax
import jax.numpy as jnp
from flax import struct

#: A temperature stays within a factor of this of 1.
_LARGEST_TEMPERATURE = 10.0

#: An answer counts for the temperature as at most so many.
_LARGEST_WEIGHT = 50.0

#: The log-probability of what is not legal: finite, so that its probability of 0 times it is 0.
_FORBIDDEN = -1e9


class Temperature(struct.PyTreeNode):
    """A number per member that its logits are divided by.

    Attributes:
        log: float32 [N], its logarithm.
        curvature: float32 [N], sum of the log-loss's second derivatives so far.
    """

    log: jax.Array  # [N]
    curvature: jax.Array  # [N]

    def step(self, log_probs: jax.Array, answer: jax.Array) -> "Temperature":
        """Return one step of online Newton on the log-loss of an answer, as predicted before it was learned from.

        With b the logarithm of the inverse temperature, the loss's derivative is ``E_p[log p] - log p(answer)`` and its
        second derivative about ``Var_p[log p]``, both functions of the prediction alone. Old answers count less and
        less, over some 200 of them, since the networks keep changing.

        Answers that were asked for are hard ones. So each counts by one over the probability of asking for it (of the
        minimum of all these members), up to `_LARGEST_WEIGHT`: as often as steps like it were met. Otherwise members
        that are sure and disagree would be taken for members that are sure of noise, and their disagreement would be
        tempered away.

        Args:
            log_probs: [N, A], of members that learn from the answer.
            answer: int32 [].
        """
        asked = 1 - jnp.sum(jnp.exp(jnp.min(log_probs, axis=0)))
        weight = 1 / jnp.clip(asked, 1 / _LARGEST_WEIGHT, 1.0)
        # Without what caution withheld; and finite, so that what is not legal, of probability 0, counts for 0.
        log_probs = jnp.maximum(jax.nn.log_softmax(log_probs), _FORBIDDEN)
        probs = jnp.exp(log_probs)
        expected = jnp.sum(probs * log_probs, axis=-1)
        variance = weight * jnp.sum(probs * (log_probs - expected[:, None]) ** 2, axis=-1)
        slope = weight * (expected - log_probs[:, answer])
        curvature = self.curvature * (1 - 1 / 200) + variance
        limit = math.log(_LARGEST_TEMPERATURE)
        log = jnp.clip(self.log + jnp.clip(slope / curvature, -0.1, 0.1), -limit, limit)
        usable = jnp.isfinite(log)
        return Temperature(log=jnp.where(usable, log, self.log), curvature=jnp.where(usable, curvature, self.curvature))
