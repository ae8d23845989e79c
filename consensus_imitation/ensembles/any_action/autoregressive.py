"""Members that write sequences token by token; the sequence is one action.

The minimum is over whole sequences, ``m(x_1 .. x_L) = min_n prod_t pi_n(x_t | x_<t)``. One sample and one scoring pass
per member draw from it exactly, although the sequences are far too many to list. It is not the product of token-level
minima: a member that dislikes a token may like the whole less, and counts by the whole.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core.any_action import SamplingBase
from consensus_imitation.core.members import Carry, Context
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.any_action.parametric import leading_axis


class Autoregressive(SamplingBase):
    """N sequence models; see `autoregressive`. The library samples each token and sums the log-probabilities."""

    params: Any
    prior: jax.Array  # [N]
    start: Callable[[Any, Any], tuple[Any, jax.Array]] = struct.field(pytree_node=False)
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]] = struct.field(pytree_node=False)
    length: int = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return self.prior.shape[0]

    def sample(self, carry: Carry, observation: Any, context: Context, key: jax.Array, member: jax.Array) -> jax.Array:
        """Return one sequence from one member: int32 [L]."""
        del carry, context
        params = jax.tree.map(lambda leaf: leaf[member], self.params)

        def write(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            memory, logits = state
            token = jax.random.categorical(key, _in_full(logits)).astype(jnp.int32)
            return self.step(params, memory, token), token

        _, tokens = jax.lax.scan(write, self.start(params, observation), jax.random.split(key, self.length))
        return tokens

    def log_prob(self, carry: Carry, observation: Any, context: Context, action: jax.Array) -> jax.Array:
        """Return the log-probability of one whole sequence under every member: [N].

        It is ``-inf`` for a token that does not exist, and NaN (hence a query) if any logits on the way are unusable.
        """
        del carry, context
        if action.shape != (self.length,):
            raise ValueError(f"a sequence must have shape ({self.length},), got {action.shape}")

        def one(params: Any) -> jax.Array:
            def read(state: Any, token: jax.Array) -> tuple[Any, jax.Array]:
                memory, logits = state
                log_probs = jax.nn.log_softmax(_in_full(logits))
                exists = (token >= 0) & (token < logits.shape[-1])
                own = jnp.where(exists, log_probs[jnp.where(exists, token, 0)], -jnp.inf)
                usable = ~jnp.any(jnp.isnan(log_probs))
                return self.step(params, memory, jnp.where(exists, token, 0)), jnp.where(usable, own, jnp.nan)

            return jnp.sum(jax.lax.scan(read, self.start(params, observation), action)[1])

        return jax.vmap(one)(self.params)


def _in_full(logits: Any) -> jax.Array:
    """Convert to float32: with fewer bits probabilities do not sum to one, nor does a sampler follow them."""
    return jnp.asarray(logits, jnp.float32)


def autoregressive(
    start: Callable[[Any, Any], tuple[Any, jax.Array]],
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]],
    params: Any,
    length: int,
    prior: ArrayLike | None = None,
) -> Autoregressive:
    """Return N sequence models as members: an action is a sequence of L tokens, int32 [L].

    Args:
        start: ``start(params_n, observation) -> (memory, logits [V])``: reads the observation (the prompt) and predicts
            the first token.
        step: ``step(params_n, memory, token) -> (memory, logits [V])``: reads a token and predicts the next one.
        params: pytree whose every leaf has leading axis N.
        length: L, tokens per action. For shorter texts let an end token make every later one certain.
        prior: [N], uniform if None.

    Raises:
        ValueError: if ``length`` is below 1, or params or prior do not fit.

    Example:
        Markov chains over three tokens, the observation being the token before the first:

        >>> import jax, jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import autoregressive
        >>> chains = autoregressive(
        ...     start=lambda table, last: ((), table[last]),
        ...     step=lambda table, memory, token: (memory, table[token]),
        ...     params=jax.random.normal(jax.random.key(0), (4, 3, 3)),
        ...     length=5,
        ... )
        >>> chains.num_members
        4
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    num_members = leading_axis(params)
    return Autoregressive(
        params=params,
        prior=jnp.asarray(normalise_prior(prior, num_members), jnp.float32),
        start=start,
        step=step,
        length=length,
    )
