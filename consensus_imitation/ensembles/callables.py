"""Members that are arbitrary Python functions. They run on the host, once a step, in the shell only."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from consensus_imitation.core._observations import lent
from consensus_imitation.core._validation import check_integer
from consensus_imitation.core.members import Carry, Context, FixedMembers
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.errors import ConfigurationError


class Callables(FixedMembers):
    """See `callables`."""

    def __init__(
        self, functions: Sequence[Callable[[Any], ArrayLike]], num_actions: int, prior: ArrayLike | None
    ) -> None:
        """Use `callables`, which documents the arguments."""
        if not functions:
            raise ConfigurationError("an ensemble needs at least one member; got an empty sequence of functions")
        for i, function in enumerate(functions):
            if not callable(function):
                raise ConfigurationError(f"member {i} must be a function observation -> probs, got {function!r}")
        self.functions = tuple(functions)
        self.num_actions = check_integer("num_actions", num_actions, 1)
        self.prior = jnp.asarray(normalise_prior(prior, len(self.functions)), jnp.float32)

    @property
    def pure(self) -> bool:
        """False: Python code cannot be traced."""
        return False

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return len(self.functions)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Call every function: [N, A], with a NaN row for each one that fails or does not return a distribution."""
        del carry, context
        rows = [_row(function, lent(observation), self.num_actions) for function in self.functions]
        return jnp.asarray(np.stack(rows))


def callables(
    functions: Sequence[Callable[[Any], ArrayLike]], num_actions: int, prior: ArrayLike | None = None
) -> Callables:
    """Return an ensemble of Python functions ``observation -> probs [A]``.

    A function that raises, or returns anything but A non-negative numbers that sum to at most one, is an invalid member
    for that step: it counts as the zero vector, so that the demonstrator is asked. It is not dropped. A function that
    hangs or crashes takes this process with it: `isolated` runs each in its own.

    Args:
        functions: one per member; anything that takes an observation.
        num_actions: A.
        prior: [N], uniform if None.

    Raises:
        ConfigurationError: if there are no functions, if one of them is not a function, if ``num_actions`` is not
            positive, or if the prior does not fit.

    Example:
        >>> from consensus_imitation import ensembles
        >>> careful = lambda observation: [0.5, 0.5]
        >>> bold = lambda observation: [0.9, 0.1] if observation > 3 else [0.5, 0.5]
        >>> ensembles.callables([careful, bold], num_actions=2).num_members
        2
    """
    return Callables(functions, num_actions, prior)


def log_row(probs: Any, num_actions: int) -> np.ndarray:
    """Return what a member said, as log-probabilities, float32 [A]; all NaN if it is not A non-negative numbers."""
    invalid = np.full(num_actions, np.nan, np.float32)
    try:
        if np.ma.is_masked(probs):
            return invalid
        values = np.asarray(probs)
        if values.dtype.kind not in "fiub":
            return invalid
        values = values.astype(np.float64)
    except Exception:  # noqa: BLE001 - whatever a member says, it becomes an invalid prediction, hence a query
        return invalid
    if values.shape != (num_actions,) or not np.all(values >= 0):
        return invalid
    with np.errstate(divide="ignore", over="ignore"):
        return np.log(values).astype(np.float32)


def _row(function: Callable[[Any], ArrayLike], observation: Any, num_actions: int) -> np.ndarray:
    try:
        probs = function(observation)
    except Exception:  # noqa: BLE001 - whatever a member does, it becomes an invalid prediction, hence a query
        probs = None
    return log_row(probs, num_actions)
