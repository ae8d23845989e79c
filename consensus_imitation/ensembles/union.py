"""Several ensembles as one, so that a scripted or deceptive member can be planted in any other."""

from itertools import accumulate
from typing import Any, cast

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from consensus_imitation.ensembles.base import Carry, Context, Ensemble, PureEnsemble
from consensus_imitation.posterior import normalise_prior


class _Joined:
    """What both kinds of union share: the parts one after another."""

    parts: tuple[Ensemble, ...]

    @property
    def num_members(self) -> int:
        """N, over all parts."""
        return sum(part.num_members for part in self.parts)

    @property
    def num_actions(self) -> int:
        """A."""
        return self.parts[0].num_actions

    def init_carry(self) -> Carry:
        """One memory per part."""
        return tuple(part.init_carry() for part in self.parts)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """The parts' predictions, one below the other: [N, A]."""
        contexts = self._contexts(context)
        rows = [
            part.log_probs(memory, observation, own)
            for part, memory, own in zip(self.parts, carry, contexts, strict=True)
        ]
        return jnp.concatenate(rows, axis=0)

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Every part's memory after the step."""
        contexts = self._contexts(context)
        return tuple(
            part.advance(memory, observation, own, action, queried)
            for part, memory, own in zip(self.parts, carry, contexts, strict=True)
        )

    def _contexts(self, context: Context) -> list[Context]:
        sizes = [part.num_members for part in self.parts]
        firsts = accumulate(sizes[:-1], initial=context.first)
        return [context._replace(first=first) for first in firsts]


class PureUnion(_Joined, PureEnsemble):
    """See `union`: all parts in pure JAX."""

    parts: tuple[Any, ...]
    prior: jax.Array  # [N]


class HostUnion(_Joined):
    """See `union`: at least one part runs Python code."""

    def __init__(self, parts: tuple[Ensemble, ...], prior: jax.Array) -> None:
        """Use `union`, which documents the arguments."""
        self.parts = parts
        self.prior = prior

    @property
    def pure(self) -> bool:
        """False: Python code cannot be traced."""
        return False


def union(*parts: Ensemble, prior: ArrayLike | None = None) -> Ensemble:
    """One ensemble of all the parts' members, in order.

    Args:
        parts: at least one ensemble, all over the same number of actions; they may be of different kinds.
        prior: [N] over all members. If None, each part keeps its own prior's shape and has total weight in
            proportion to its number of members.

    Raises:
        ValueError: if there is no part, if the numbers of actions differ, or if the prior does not fit.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> tables = ensembles.tabular(np.full((3, 4, 2), 0.5))
        >>> scripted = ensembles.callables([lambda observation: [1.0, 0.0]], num_actions=2)
        >>> ensembles.union(tables, scripted).num_members
        4
    """
    if not parts:
        raise ValueError("union needs at least one ensemble")
    actions = [part.num_actions for part in parts]
    if len(set(actions)) > 1:
        raise ValueError(f"the parts of a union must share one action space; their numbers of actions are {actions}")
    num_members = sum(part.num_members for part in parts)
    if prior is None:
        prior = jnp.concatenate([part.prior * part.num_members for part in parts])
    weights = jnp.asarray(normalise_prior(prior, num_members), jnp.float32)
    if all(part.pure for part in parts):
        return cast(Ensemble, PureUnion(parts=parts, prior=weights))
    return HostUnion(parts, weights)
