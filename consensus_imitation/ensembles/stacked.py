"""Members that share one function and differ in their parameters: networks, or anything else in JAX."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from numpy.typing import ArrayLike

from consensus_imitation.core._validation import check_integer
from consensus_imitation.core.laws import from_logits
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.errors import ConfigurationError, ObservationError


class Stacked(PureEnsemble):
    """See `stacked`."""

    params: Any
    prior: jax.Array  # [N]
    first_carry: Any
    apply: Callable[..., jax.Array] = struct.field(pytree_node=False)
    update: Callable[..., Any] | None = struct.field(pytree_node=False)
    num_actions: int = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return self.prior.shape[0]

    @property
    def normalised(self) -> bool:
        """True: a softmax of logits."""
        return True

    def init_carry(self) -> Carry:
        """Return every member's memory [N, ...], or nothing."""
        return self.first_carry

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the softmax of each member's logits: [N, A].

        Raises:
            ObservationError: if ``apply`` cannot take the observation.
            ConfigurationError: if it returns no logits [A].
        """
        del context
        own = (self.params,) if self.update is None else (self.params, carry)
        try:
            logits = jax.vmap(self.apply, in_axes=(*(0 for _ in own), None))(*own, observation)
        except (TypeError, ValueError) as error:
            shapes = jax.tree.map(jnp.shape, observation)
            raise ObservationError(f"the members cannot take an observation of shape {shapes}: {error}") from error
        if getattr(logits, "shape", None) != (self.num_members, self.num_actions):
            raise ConfigurationError(
                f"apply must return logits of shape ({self.num_actions},), one per action; for {self.num_members} "
                f"members together it returned {getattr(logits, 'shape', type(logits).__name__)}"
            )
        return from_logits(logits)

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return each member's memory after the step."""
        del context
        if self.update is None:
            return carry
        return jax.vmap(self.update, in_axes=(0, 0, None, None, None))(self.params, carry, observation, action, queried)


def stacked(
    apply: Callable[..., jax.Array],
    params: Any,
    num_actions: int,
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Stacked:
    """Return N members that are one JAX function under N sets of parameters, with or without memory.

    Args:
        apply: ``apply(params_n, observation) -> logits [A]``; with memory ``apply(params_n, carry_n, observation)``.
            Pure JAX; it is vectorised over members.
        params: pytree whose every leaf has leading axis N: one stacked tree, e.g. from ``jax.vmap(init)(keys)``.
        num_actions: A.
        prior: [N], uniform if None.
        carry: memory before the first observation, every leaf with leading axis N; None for no memory.
        update: ``update(params_n, carry_n, observation, action, queried) -> carry_n``: the memory after a step on which
            ``action`` was taken, by the demonstrator if ``queried``. Given if and only if ``carry`` is.

    Raises:
        ConfigurationError: if the leading axes disagree, only one of ``carry`` and ``update`` is given, or the prior
            does not fit.

    Example:
        Members that expect the demonstrator to repeat its last answer:

        >>> import jax.numpy as jnp
        >>> from consensus_imitation import ensembles
        >>> repeaters = ensembles.stacked(
        ...     apply=lambda strength, last, observation: strength * jnp.eye(3)[last],
        ...     params=jnp.array([1.0, 5.0]),
        ...     num_actions=3,
        ...     carry=jnp.zeros(2, jnp.int32),
        ...     update=lambda strength, last, observation, action, queried: jnp.where(queried, action, last),
        ... )
        >>> repeaters.num_members
        2
    """
    if not callable(apply) or not (update is None or callable(update)):
        raise ConfigurationError("apply must be a function (params, observation) -> logits, and update one, too")
    check_integer("num_actions", num_actions, 1)
    if (carry is None) != (update is None):
        raise ConfigurationError("carry and update belong together: give both for members with memory, or neither")
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((params, carry))}
    if len(sizes) != 1 or sizes == {()}:
        raise ConfigurationError(
            f"every leaf of params (and carry) needs the same leading axis, one entry per member; got {sizes}"
        )
    num_members = sizes.pop()[0]
    return Stacked(
        params=params,
        prior=jnp.asarray(normalise_prior(prior, num_members), jnp.float32),
        first_carry=() if carry is None else carry,
        apply=apply,
        update=update,
        num_actions=num_actions,
    )
