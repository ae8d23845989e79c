"""Members from any model with a sampler and a density."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core.any_action import Action, SamplingBase
from consensus_imitation.core.members import Carry, Context
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.any_action.parametric import leading_axis


class Functions(SamplingBase):
    """N members that are one pair of functions under N sets of parameters; see `from_functions`."""

    params: Any
    prior: jax.Array  # [N]
    first_carry: Any
    sample_fn: Callable[..., Any] = struct.field(pytree_node=False)
    log_prob_fn: Callable[..., jax.Array] = struct.field(pytree_node=False)
    update: Callable[..., Any] | None = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return self.prior.shape[0]

    def init_carry(self) -> Carry:
        """Return every member's memory [N, ...], or nothing."""
        return self.first_carry

    def sample(self, carry: Carry, observation: Any, context: Context, key: jax.Array, member: jax.Array) -> Action:
        """Return one action from one member."""
        del context
        params, memory = jax.tree.map(lambda leaf: leaf[member], (self.params, carry))
        own = (params,) if self.update is None else (params, memory)
        return self.sample_fn(*own, observation, key)

    def log_prob(self, carry: Carry, observation: Any, context: Context, action: Action) -> jax.Array:
        """Return the log-density of one action under every member: [N]."""
        del context
        own = (self.params,) if self.update is None else (self.params, carry)
        densities = jax.vmap(lambda mine: self.log_prob_fn(*mine, observation, action))(own)
        if densities.shape != (self.num_members,):
            raise ValueError(f"log_prob must return one number per action; it returned shape {densities.shape[1:]}")
        return densities

    def advance(self, carry: Carry, observation: Any, context: Context, action: Action, queried: jax.Array) -> Carry:
        """Return each member's memory after the step."""
        del context
        if self.update is None:
            return carry
        return jax.vmap(self.update, in_axes=(0, 0, None, None, None))(self.params, carry, observation, action, queried)


def from_functions(
    sample: Callable[..., Any],
    log_prob: Callable[..., jax.Array],
    params: Any,
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Functions:
    """Make N members of any model with a sampler and a density: a flow, a language model, a simulator.

    The library trusts both functions: ``sample`` must draw from the density that ``log_prob`` returns, and the sum of
    density times spacing over the float32 numbers must be at most one, so give every scale a floor of some spacings.
    `SamplingLearner.estimate_query_prob` with different proposers checks the former.

    Args:
        sample: ``sample(params_n, observation, key) -> action``; with memory ``sample(params_n, carry_n, observation,
            key)``. Pure JAX.
        log_prob: ``log_prob(params_n, observation, action) -> []``; with memory ``log_prob(params_n, carry_n,
            observation, action)``. ``-inf`` for impossible actions, the same base measure for all members.
        params: pytree whose every leaf has leading axis N.
        prior: [N], uniform if None.
        carry: memory before the first observation, every leaf with leading axis N; None for no memory.
        update: ``update(params_n, carry_n, observation, action, queried) -> carry_n``. Given if and only if ``carry``
            is.

    Raises:
        ValueError: if the leading axes disagree, only one of ``carry`` and ``update`` is given, or the prior does not
            fit.

    Example:
        Exponential waiting times:

        >>> import jax, jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import from_functions
        >>> waits = from_functions(
        ...     sample=lambda rate, observation, key: jax.random.exponential(key) / rate,
        ...     log_prob=lambda rate, observation, wait: jnp.where(wait >= 0, jnp.log(rate) - rate * wait, -jnp.inf),
        ...     params=jnp.array([1.0, 1.5]),
        ... )
        >>> waits.num_members
        2
    """
    if (carry is None) != (update is None):
        raise ValueError("carry and update belong together: give both for members with memory, or neither")
    num_members = leading_axis((params, carry))
    return Functions(
        params=params,
        prior=jnp.asarray(normalise_prior(prior, num_members), jnp.float32),
        first_carry=() if carry is None else carry,
        sample_fn=sample,
        log_prob_fn=log_prob,
        update=update,
    )
