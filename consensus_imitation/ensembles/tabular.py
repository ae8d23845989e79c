"""Members that are tables: action probabilities for each of S discrete observations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpy.typing import ArrayLike

from consensus_imitation.core._indexing import as_index
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.errors import ConfigurationError, ObservationError


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
        """N, the number of members."""
        return self.table.shape[-2]

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.table.shape[-1]

    @property
    def known_observations(self) -> int:
        """S, the number of known observations."""
        return self.table.shape[0]

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Look up [N, A]; a traced observation outside the table gives NaN (hence a query), never another row.

        Raises:
            ObservationError: if the observation is not an integer, or, where it is not traced, outside the table.
        """
        del carry, context
        check_known(observation, self.table.shape[0])
        observation = as_index(observation)
        known = (observation >= 0) & (observation < self.table.shape[0])
        return jnp.where(known, self.table[observation], jnp.nan)


def check_known(observation: Any, num_observations: int, num_envs: int | None = None) -> None:
    """Raise ObservationError unless an observation, or each of B, is an integer that indexes the tables.

    If JAX traces the observation, only its type is known.

    Args:
        observation: one, or [B].
        num_observations: S.
        num_envs: B, or None for one.
    """
    one = jax.tree_util.all_leaves([observation])
    numbers = observation if isinstance(observation, Tracer) else np.asarray(observation if one else None)
    shape = () if num_envs is None else (num_envs,)
    if numbers.shape != shape or not jnp.issubdtype(numbers.dtype, jnp.integer):
        given = f"{numbers.dtype} of shape {numbers.shape}" if one else f"{observation!r:.200}"
        raise ObservationError(
            f"a table is looked up by one integer in 0 .. {num_observations - 1}; got {given}: number the observations "
            "in a wrapper, or use members that take others"
        )
    if isinstance(numbers, Tracer):
        return
    numbers = np.atleast_1d(numbers)
    outside = (numbers < 0) | (numbers >= num_observations)
    if outside.any():
        where = "" if num_envs is None else f", in row {int(np.argmax(outside))},"
        raise ObservationError(
            f"observation {numbers[outside][0]}{where} is in no table: they hold 0 .. {num_observations - 1}; number "
            "the observations as the tables do, or give tables that hold all of them"
        )


def tabular(probs: ArrayLike, prior: ArrayLike | None = None) -> Tabular:
    """Return an ensemble of fixed tables.

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
    # Rows that sum to one only to a few digits are made exact, so that the imitator does not ask about the rest.
    with np.errstate(divide="ignore"):
        table = np.log(values / values.sum(-1, keepdims=True)).astype(np.float32)
    return Tabular(
        table=jnp.asarray(table.transpose(1, 0, 2)),
        prior=jnp.asarray(normalise_prior(prior, values.shape[0]), jnp.float32),
    )
