"""What an ensemble is: N members, each a distribution over actions given the whole history.

Members predict before they learn: ``log_probs`` is asked for before the demonstrator's answer is known, and those very
numbers are acted on and scored.
"""

from typing import Any, NamedTuple, Protocol

import jax
from flax import struct

#: What the members of one stream remember: any pytree of arrays, ``()`` for members without memory.
Carry = Any


class Context(NamedTuple):
    """The part of the history that an ensemble need not track itself.

    The sampling key is not here: no guarantee survives a member that can foresee the draw.

    Attributes:
        step: int32 [], steps taken so far in this stream.
        log_weights: float32 [M], unnormalised posterior of the whole ensemble. (It is a function of the history, so
            a member may depend on it; a deceptive one will.)
        first: index within ``log_weights`` of the first member of the ensemble being asked.
    """

    step: jax.Array
    log_weights: jax.Array  # [M]
    first: int = 0


class Ensemble(Protocol):
    """N members.

    With ``pure`` True the methods are pure JAX, and the object is a pytree whose arrays are leaves: it runs inside
    ``jit``, ``scan`` and ``vmap``. With ``pure`` False they run Python code once a step, in the `ConsensusImitator`
    shell only.
    """

    @property
    def pure(self) -> bool:
        """Whether the methods may be traced by JAX."""
        ...

    @property
    def num_members(self) -> int:
        """N."""
        ...

    @property
    def num_actions(self) -> int:
        """A."""
        ...

    @property
    def prior(self) -> jax.Array:
        """Prior weights [N], non-negative, sum to one."""
        ...

    def init_carry(self) -> Carry:
        """Memory of one stream before its first observation."""
        ...

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Log-probabilities [N, A] of every member for one observation."""
        ...

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Memory after a step: the action that was taken, and whether the demonstrator chose it."""
        ...


class PureEnsemble(struct.PyTreeNode):
    """Base of ensembles in pure JAX; without memory unless a subclass adds it."""

    @property
    def pure(self) -> bool:
        """True: may be traced."""
        return True

    def init_carry(self) -> Carry:
        """Nothing to remember."""
        return ()

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Nothing to remember."""
        del observation, context, action, queried
        return carry
