"""Members that are tables: action probabilities for each of S discrete observations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from consensus_imitation.ensembles.base import Carry, Context, PureEnsemble
from consensus_imitation.errors import ConfigurationError, ObservationError
from consensus_imitation.posterior import normalise_prior


class Tabular(PureEnsemble):
    """See `tabular`.

    Attributes:
        table: float32 [S, N, A], log-probabilities (observation first, so that a look-up reads one block).
        prior: float32 [N].
    """

    table: jax.Array  # [S, N, A]
    prior: jax.Array  # [N]

    @property
    def num_members(self) -> int:
        """N."""
        return self.table.shape[-2]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.table.shape[-1]

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Look up [N, A]; an observation outside the table is NaN (hence a query), never another row.

        Raises:
            ObservationError: if the observation is no integer.
        """
        del carry, context
        one = jax.tree_util.all_leaves([observation])
        if not one or jnp.shape(observation) or not jnp.issubdtype(jnp.result_type(observation), jnp.integer):
            given = (
                f"{jnp.result_type(observation)} of shape {jnp.shape(observation)}" if one else f"{observation!r:.200}"
            )
            raise ObservationError(
                f"a table is looked up by one integer in 0 .. {self.table.shape[0] - 1}; got {given}: number the "
                "observations in a wrapper, or use members that take others"
            )
        observation = jnp.asarray(observation)
        known = (observation >= 0) & (observation < self.table.shape[0])
        return jnp.where(known, self.table[observation], jnp.nan)


def tabular(probs: ArrayLike, prior: ArrayLike | None = None) -> Tabular:
    """An ensemble of fixed tables.

    Args:
        probs: [N, S, A], probability of each action for each of S observations; each row is non-negative and sums
            to one within 1e-4.
        prior: [N], uniform if None.

    Returns:
        An ensemble over integer observations ``0 .. S-1``.

    Raises:
        ConfigurationError: if a row is not a distribution (the message names member and observation) or the prior does
            not fit.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> probs = np.array([[[0.9, 0.1]], [[0.2, 0.8]]])  # two members, one observation, two actions
        >>> ensembles.tabular(probs).num_members
        2
    """
    try:
        values = np.asarray(probs, np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"probs must be numbers [N, S, A] (members, observations, actions): {error}"
        ) from error
    if values.ndim != 3 or 0 in values.shape:
        raise ConfigurationError(
            f"probs must have shape [N, S, A] (members, observations, actions); got {values.shape}"
        )
    valid = np.all(np.isfinite(values) & (values >= 0), axis=-1) & (np.abs(values.sum(-1) - 1) <= 1e-4)
    if not np.all(valid):
        member, observation = np.argwhere(~valid)[0]
        raise ConfigurationError(
            f"probs of member {member} for observation {observation} are not a distribution: "
            f"{values[member, observation].tolist()}"
        )
    # Rows that sum to one only to a few digits are made exact, so that what is missing is not asked about.
    with np.errstate(divide="ignore"):
        table = np.log(values / values.sum(-1, keepdims=True)).astype(np.float32)
    return Tabular(
        table=jnp.asarray(table.transpose(1, 0, 2)),
        prior=jnp.asarray(normalise_prior(prior, values.shape[0]), jnp.float32),
    )
