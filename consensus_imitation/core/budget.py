"""The inflation budget: a limit, kept at run time, on how much likelier than under the demonstrator any event gets.

While the truth is in the top set, a step makes every action at most ``1 + theta`` times as likely as the demonstrator
would (T4). The *ledger* adds up ``ln(1 + theta)`` over the steps on which the imitator could act by itself. The
demonstrator takes over a step that would take the ledger above ``ln(factor)``, so the law of that step is exactly the
demonstrator's. So for **every** event, at **every** horizon, P(imitator) <= factor * P(demonstrator) + P(the truth is
ever left out): theorem T5, with no term in the number of steps.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import check_number
from consensus_imitation.errors import ConfigurationError

#: From here on it is a float32.
_INFINITE = float(np.finfo(np.float32).max)


class InflationBudget(PyTree):
    """How much inflation a run, or each episode, may have.

    Args:
        factor: at least 1, finite; an array to ``vmap`` over. At 1 the imitator asks about every disagreement.
        per: "run", or "episode" for a fresh ledger after each `Learner.begin_episode`. The bound then holds for events
            within one episode, and compares with a demonstrator that *takes over at its start*: what was done before
            may have led there. It is for environments that reset; in one that never resets, take "run".

    Raises:
        ConfigurationError: if an argument is out of range.

    Example:
        >>> from consensus_imitation import InflationBudget
        >>> budget = InflationBudget(factor=2.0)
        >>> bool(budget.exceeded(0.5, 0.1)), bool(budget.exceeded(0.5, 0.3))
        (False, True)
    """

    factor: ArrayLike = 2.0
    per: Literal["run", "episode"] = struct.field(pytree_node=False, default="run")

    def __post_init__(self) -> None:
        self._check(lenient=True)

    def check(self) -> None:
        """Raise ConfigurationError if the factor is not a number."""
        self._check(lenient=False)

    def _check(self, lenient: bool) -> None:
        wanted = "be finite and at least 1 (1 asks at every disagreement)"
        check_number(
            "factor", self.factor, wanted, lambda factor: (factor >= 1) & (factor < _INFINITE), lenient=lenient
        )
        if self.per not in ("run", "episode"):
            raise ConfigurationError(f'per must be "run" or "episode", got {self.per!r}')

    def exceeded(self, ledger: ArrayLike, log_inflation: ArrayLike) -> jax.Array:
        """Return whether a step of that inflation would take the ledger above the budget: bool []."""
        limit = jnp.log(jnp.asarray(self.factor, jnp.float32))
        # Written so that NaN exceeds.
        return ~(enter(ledger, log_inflation) <= limit)


def enter(ledger: ArrayLike, log_inflation: ArrayLike) -> jax.Array:
    """Return the ledger after a step, rounded up: small amounts must not vanish in a long sum.

    Args:
        ledger: float32 [], so far.
        log_inflation: float32 [], of the step; 0 leaves the ledger as it is.
    """
    total = jnp.asarray(ledger, jnp.float32) + jnp.asarray(log_inflation, jnp.float32)
    return jnp.where(jnp.asarray(log_inflation) == 0, ledger, jnp.nextafter(total, jnp.inf))
