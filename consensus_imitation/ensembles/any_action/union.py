"""Several sampling ensembles as one, so that a scripted or deceptive member can be planted in any other."""

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from consensus_imitation.core.any_action import Action, SamplingBase, SamplingEnsemble
from consensus_imitation.core.members import Carry, Context
from consensus_imitation.core.posterior import normalise_prior


class SamplingUnion(SamplingBase):
    """The parts' members, one part after another; see `union`."""

    parts: tuple[Any, ...]
    prior: jax.Array  # [N]

    @property
    def num_members(self) -> int:
        """N, the number of members of all parts."""
        return sum(part.num_members for part in self.parts)

    def init_carry(self) -> Carry:
        """Return one memory per part."""
        return tuple(part.init_carry() for part in self.parts)

    def sample(self, carry: Carry, observation: Any, context: Context, key: jax.Array, member: jax.Array) -> Action:
        """Return one action from the part that the member belongs to."""
        firsts = self._firsts()

        def from_part(index: int) -> Any:
            own = context._replace(first=context.first + firsts[index])
            return lambda: self.parts[index].sample(carry[index], observation, own, key, member - firsts[index])

        belongs = jnp.sum(member >= jnp.asarray(firsts)) - 1
        return jax.lax.switch(belongs, [from_part(index) for index in range(len(self.parts))])

    def log_prob(self, carry: Carry, observation: Any, context: Context, action: Action) -> jax.Array:
        """Return the parts' log-densities, one after another: [N]."""
        return jnp.concatenate(
            [
                part.log_prob(memory, observation, context._replace(first=context.first + first), action)
                for part, memory, first in zip(self.parts, carry, self._firsts(), strict=True)
            ]
        )

    def advance(self, carry: Carry, observation: Any, context: Context, action: Action, queried: jax.Array) -> Carry:
        """Return every part's memory after the step."""
        return tuple(
            part.advance(memory, observation, context._replace(first=context.first + first), action, queried)
            for part, memory, first in zip(self.parts, carry, self._firsts(), strict=True)
        )

    def _firsts(self) -> list[int]:
        return list(accumulate([part.num_members for part in self.parts[:-1]], initial=0))


def union(*parts: SamplingEnsemble, prior: ArrayLike | None = None) -> SamplingUnion:
    """Return one ensemble of all the parts' members, in order.

    Args:
        parts: at least one ensemble, all over actions of one shape and type, with densities that refer to one base
            measure (so not `gaussian` with a density over the open interval).
        prior: [N] over all members. If None, each part keeps its own prior's shape and has total weight in
            proportion to its number of members.

    Raises:
        ValueError: if there is no part, or the prior does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import gaussian, union
        >>> def around(mean, observation):
        ...     return mean, jnp.zeros(1)
        >>> careful = gaussian(around, jnp.zeros((3, 1)), -2.0, 2.0)
        >>> bold = gaussian(around, jnp.full((1, 1), 1.5), -2.0, 2.0)
        >>> union(careful, bold).num_members
        4
    """
    if not parts:
        raise ValueError("union needs at least one ensemble")
    if prior is None:
        prior = jnp.concatenate([part.prior * part.num_members for part in parts])
    weights = normalise_prior(prior, sum(part.num_members for part in parts))
    return SamplingUnion(parts=parts, prior=jnp.asarray(weights, jnp.float32))
