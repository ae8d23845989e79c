"""Demonstrators in pure JAX, for rollouts."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from consensus_imitation.core._indexing import as_index
from consensus_imitation.core._tree import PyTree


class PureDemonstrator(Protocol):
    """A demonstrator in pure JAX, for `rollout`."""

    def sample(self, key: jax.Array, observation: Any) -> jax.Array:
        """Draw an action, int32 []."""
        ...


class TabularDemonstrator(PyTree):
    """A stochastic demonstrator given by its action probabilities for each discrete observation.

    Attributes:
        cumulative: float32 [S, A], running sums of each row, exactly 1 from the last possible action on.
    """

    cumulative: jax.Array  # [S, A]

    @classmethod
    def create(cls, probs: ArrayLike) -> "TabularDemonstrator":
        """Create a demonstrator from probabilities [S, A].

        Raises:
            ValueError: if a row is not a distribution (within 1e-4).

        Example:
            >>> import jax, numpy as np
            >>> from consensus_imitation.demonstrators import TabularDemonstrator
            >>> expert = TabularDemonstrator.create(np.array([[0.0, 1.0], [1.0, 0.0]]))
            >>> int(expert.sample(jax.random.key(0), 0))
            1
        """
        values = np.asarray(probs, np.float64)
        valid = values.ndim == 2 and np.all(values >= 0) and np.all(np.abs(values.sum(-1) - 1) <= 1e-4)
        if not valid:
            raise ValueError("probs must have shape [S, A], each row non-negative and summing to one")
        cumulative = np.cumsum(values / values.sum(-1, keepdims=True), axis=-1)
        # Exactly 1 from the last possible action on, and only there: rounding must not make an action (im)possible.
        last = values.shape[-1] - 1 - np.argmax(values[:, ::-1] > 0, axis=-1)
        cumulative[np.arange(values.shape[-1]) >= last[:, None]] = 1.0
        return cls(cumulative=jnp.asarray(cumulative, jnp.float32))

    def sample(self, key: jax.Array, observation: Any) -> jax.Array:
        """Draw an action, int32 []."""
        return jnp.sum(self.cumulative[as_index(observation)] <= jax.random.uniform(key)).astype(jnp.int32)
