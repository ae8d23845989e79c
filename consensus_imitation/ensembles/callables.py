"""Members that are arbitrary Python functions. They run on the host, once a step, in the shell only."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from consensus_imitation.ensembles.base import Carry, Context, FixedMembers
from consensus_imitation.posterior import normalise_prior


class Callables(FixedMembers):
    """See `callables`."""

    def __init__(
        self, functions: Sequence[Callable[[Any], ArrayLike]], num_actions: int, prior: ArrayLike | None
    ) -> None:
        """Use `callables`, which documents the arguments."""
        if not functions:
            raise ValueError("an ensemble needs at least one member; got an empty sequence of functions")
        self.functions = tuple(functions)
        self.num_actions = num_actions
        self.prior = jnp.asarray(normalise_prior(prior, len(self.functions)), jnp.float32)

    @property
    def pure(self) -> bool:
        """False: Python code cannot be traced."""
        return False

    @property
    def num_members(self) -> int:
        """N."""
        return len(self.functions)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Call every function: [N, A], with a NaN row for each one that fails or returns no distribution."""
        del carry, context
        rows = [_row(function, observation, self.num_actions) for function in self.functions]
        return jnp.asarray(np.stack(rows))


def callables(
    functions: Sequence[Callable[[Any], ArrayLike]], num_actions: int, prior: ArrayLike | None = None
) -> Callables:
    """An ensemble of Python functions ``observation -> probs [A]``.

    A function that raises, or returns anything but A non-negative numbers that sum to at most one, is an invalid
    member for that step: it counts as the zero vector, so that the demonstrator is asked. It is not dropped.

    Args:
        functions: one per member; anything that takes an observation.
        num_actions: A.
        prior: [N], uniform if None.

    Raises:
        ValueError: if there are no functions, or the prior does not fit.

    Example:
        >>> from consensus_imitation import ensembles
        >>> careful = lambda observation: [0.5, 0.5]
        >>> bold = lambda observation: [0.9, 0.1] if observation > 3 else [0.5, 0.5]
        >>> ensembles.callables([careful, bold], num_actions=2).num_members
        2
    """
    return Callables(functions, num_actions, prior)


def _row(function: Callable[[Any], ArrayLike], observation: Any, num_actions: int) -> np.ndarray:
    invalid = np.full(num_actions, np.nan, np.float32)
    try:
        probs = np.asarray(function(observation))
        if probs.dtype.kind not in "fiub":
            return invalid
        probs = probs.astype(np.float64)
    except Exception:  # noqa: BLE001 - whatever a member does, it becomes an invalid prediction, hence a query
        return invalid
    if probs.shape != (num_actions,) or not np.all(probs >= 0):
        return invalid
    with np.errstate(divide="ignore"):
        return np.log(probs).astype(np.float32)
