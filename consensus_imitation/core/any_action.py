"""What an ensemble over any action space is: N members with a sampler and a density.

It is the counterpart of `consensus_imitation.core.members` for actions that cannot be listed: vectors, sequences, or
any pytree of arrays. Members predict before they learn: the imitator acts on, and scores, the densities of the memory
before the step's answer.
"""

from typing import Any, Protocol

import jax

from consensus_imitation.core._tree import PyTree
from consensus_imitation.core.members import Carry, Context

#: An action: an array or any pytree of arrays, of one fixed shape.
Action = Any


class SamplingEnsemble(Protocol):
    """N members, each a distribution over actions given the whole history.

    Pure JAX; the object is a pytree whose arrays are leaves. All members' densities refer to one base measure (for
    example length; or counting; or length inside an interval and counting at its ends). Otherwise their ratios mean
    nothing.

    The library trusts two things, because a single evaluation cannot show them:

    * ``sample`` draws from the density that ``log_prob`` returns. A member whose sampler favours actions of low
      stated density can exceed every veto on the steps that it proposes.
    * the density integrates to at most one **over what can be drawn**: actions are float32 numbers, so this means the
      sum of density times spacing over those. A normal density of standard deviation ``1e-30`` around 0.5 integrates to
      one, and sums to ``1e22``. With such a density a member gains weight that it has not earned, and T2 fails.

    In some ensembles of this package members give *parameters* of a known distribution (`gaussian` and the like). There
    the library itself samples and evaluates, so both hold whatever a member does.
    """

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        ...

    @property
    def prior(self) -> jax.Array:
        """Prior weights [N], non-negative, sum to one."""
        ...

    def init_carry(self) -> Carry:
        """Return the memory of one stream before its first observation."""
        ...

    def sample(self, carry: Carry, observation: Any, context: Context, key: jax.Array, member: jax.Array) -> Action:
        """Return one action drawn from the member of that index (int32 [], possibly traced)."""
        ...

    def log_prob(self, carry: Carry, observation: Any, context: Context, action: Action) -> jax.Array:
        """Return the log-density [N] of one action under every member; ``-inf`` where it is impossible."""
        ...

    def advance(self, carry: Carry, observation: Any, context: Context, action: Action, queried: jax.Array) -> Carry:
        """Return the memory after a step: the action that was taken, and whether the demonstrator chose it."""
        ...


class SamplingBase(PyTree, guests=True):
    """Base of sampling ensembles; without memory unless a subclass adds it."""

    def init_carry(self) -> Carry:
        """Return an empty memory."""
        return ()

    def advance(self, carry: Carry, observation: Any, context: Context, action: Action, queried: jax.Array) -> Carry:
        """Return the memory unchanged."""
        del observation, context, action, queried
        return carry
