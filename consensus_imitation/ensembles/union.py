"""Several ensembles as one, so that a scripted or deceptive member can be planted in any other."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, cast

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike

from consensus_imitation.core._observations import lent
from consensus_imitation.core._on_host import learned_on_host
from consensus_imitation.core._sources import Source
from consensus_imitation.core._tree import jit
from consensus_imitation.core.members import (
    Carry,
    Context,
    Ensemble,
    Learned,
    ObservationEncoder,
    PureEnsemble,
    are_normalised,
    owners_of,
    reach_of,
)
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.errors import ConfigurationError


class _Joined:
    """The common base of both kinds of union: the parts one after another."""

    parts: tuple[Ensemble, ...]

    @property
    def num_members(self) -> int:
        """N, the number of members of all parts."""
        return sum(part.num_members for part in self.parts)

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.parts[0].num_actions

    @property
    def learns(self) -> bool:
        """Whether any part learns."""
        return any(part.learns for part in self.parts)

    @property
    def normalised(self) -> bool:
        """Whether all parts are."""
        return all(are_normalised(part) for part in self.parts)

    @property
    def encoder(self) -> ObservationEncoder | None:
        """The encoder that all parts with an encoder share; the other parts take encoded observations, too."""
        return next((part.encoder for part in self.parts if part.encoder is not None), None)

    @property
    def known_observations(self) -> int | None:
        """The number for the part that knows the fewest; None if all parts take any observation."""
        known = (part.known_observations for part in self.parts)
        return min((number for number in known if number is not None), default=None)

    def init_learned(self, key: jax.Array) -> Learned:
        """Return what each part knows."""
        return tuple(part.init_learned(jax.random.fold_in(key, i)) for i, part in enumerate(self.parts))

    @property
    def reach(self) -> int:
        """Members that one answer, or all answers of one source, can reach, in all parts together."""
        return sum(reach_of(part) for part in self.parts)

    def owners(self, learned: Learned, sources: Sequence[Source | None], trusted: Any = False) -> Any:
        """Return whose answers these are in each part; None if no part divides them."""
        if not self.learns:
            return None
        each = [owners_of(part, own, sources, trusted) for part, own in zip(self.parts, learned, strict=True)]
        return None if all(owners is None for owners in each) else tuple(each)

    def learn(
        self,
        learned: Learned,
        carry: Carry,
        observation: Any,
        answer: jax.Array,
        log_probs: jax.Array,
        owner: Any = None,
    ) -> Learned:
        """Return what each part knows after an answer."""
        return self._taught(self._teach, learned, carry, (observation, answer, log_probs), owner)

    def learn_on_host(
        self,
        learned: Learned,
        carry: Carry,
        observation: Any,
        answer: Any,
        log_probs: jax.Array,
        owner: Any = None,
    ) -> Learned:
        """`learn`, between compiled programs: each part by its own `LearnsOnHost`, if it has it."""
        return self._taught(learned_on_host, learned, carry, (observation, answer, log_probs), owner)

    def _taught(
        self, teach: Callable[..., Learned], learned: Learned, carry: Carry, told: tuple[Any, Any, Any], owner: Any
    ) -> Learned:
        observation, answer, log_probs = told
        sizes = [part.num_members for part in self.parts]
        firsts = accumulate(sizes[:-1], initial=0)
        whose = (None,) * len(sizes) if owner is None else owner
        after: list[Learned] = []
        for part, own, memory, first, size, mine in zip(self.parts, learned, carry, firsts, sizes, whose, strict=True):
            said = {} if mine is None else {"owner": mine}
            shown = (self._shown(part, observation), answer, log_probs[first : first + size])
            after.append(teach(part, own, memory, *shown, **said) if part.learns else own)
        return tuple(after)

    def _shown(self, part: Ensemble, observation: Any) -> Any:
        del part
        return observation

    def _predict(self, part: Ensemble, carry: Carry, observation: Any, context: Context) -> jax.Array:
        return part.log_probs(carry, observation, context)

    def _teach(self, part: Any, *operands: Any, **said: Any) -> Learned:
        return part.learn(*operands, **said)

    def begin_episode(self, carry: Carry) -> Carry:
        """Return one memory per part."""
        return tuple(part.begin_episode(memory) for part, memory in zip(self.parts, carry, strict=True))

    def init_carry(self) -> Carry:
        """Return one memory per part."""
        return tuple(part.init_carry() for part in self.parts)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the parts' predictions, one below the other: [N, A]."""
        contexts = self._contexts(context)
        rows = [
            self._predict(part, memory, self._shown(part, observation), own)
            for part, memory, own in zip(self.parts, carry, contexts, strict=True)
        ]
        return jnp.concatenate(rows, axis=0)

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return every part's memory after the step."""
        contexts = self._contexts(context)
        return tuple(
            part.advance(memory, self._shown(part, observation), own, action, queried)
            for part, memory, own in zip(self.parts, carry, contexts, strict=True)
        )

    def _contexts(self, context: Context) -> list[Context]:
        sizes = [part.num_members for part in self.parts]
        firsts = accumulate(sizes[:-1], initial=context.first)
        learned = context.learned or ((),) * len(sizes)
        return [context._replace(first=first, learned=own) for first, own in zip(firsts, learned, strict=True)]


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

    def _shown(self, part: Ensemble, observation: Any) -> Any:
        # The next part must not see what one part does with lists and dicts.
        return observation if part.pure else lent(observation)

    def _predict(self, part: Ensemble, carry: Carry, observation: Any, context: Context) -> jax.Array:
        # Eagerly, networks would take milliseconds.
        return (_predict_pure if part.pure else super()._predict)(part, carry, observation, context)

    def _teach(self, part: Any, *operands: Any, **said: Any) -> Learned:
        return (_teach_pure if part.pure else super()._teach)(part, *operands, **said)


@jit
def _predict_pure(part: Any, carry: Carry, observation: Any, context: Context) -> jax.Array:
    return part.log_probs(carry, observation, context)


@jit
def _teach_pure(part: Any, *operands: Any, **said: Any) -> Learned:
    return part.learn(*operands, **said)


def union(*parts: Ensemble, prior: ArrayLike | None = None) -> Ensemble:
    """Return one ensemble of all the parts' members, in order.

    Args:
        parts: at least one ensemble, all over the same number of actions; they may be of different kinds.
        prior: [N] over all members. If None, each part keeps its own prior's shape and has total weight in
            proportion to its number of members.

    Raises:
        ConfigurationError: if there is no part, if the numbers of actions or the encoders differ, or if the prior does
            not fit.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ensembles
        >>> tables = ensembles.tabular(np.full((3, 4, 2), 0.5))
        >>> scripted = ensembles.callables([lambda observation: [1.0, 0.0]], num_actions=2)
        >>> ensembles.union(tables, scripted).num_members
        4
    """
    if not parts:
        raise ConfigurationError("union needs at least one ensemble")
    for part in parts:
        if not hasattr(part, "log_probs"):
            raise ConfigurationError(f"union takes ensembles, one argument each: union(one, other); got {part!r}")
    actions = [part.num_actions for part in parts]
    if len(set(actions)) > 1:
        raise ConfigurationError(
            f"the parts of a union must share one action space; their numbers of actions are {actions}"
        )
    encoders = [part.encoder for part in parts if part.encoder is not None]
    if any(encoder != encoders[0] for encoder in encoders):
        raise ConfigurationError(
            "the parts of a union must encode observations alike: build them for one observation space"
        )
    num_members = sum(part.num_members for part in parts)
    if prior is None:
        prior = jnp.concatenate([part.prior * part.num_members for part in parts])
    weights = jnp.asarray(normalise_prior(prior, num_members), jnp.float32)
    if all(part.pure for part in parts):
        return cast(Ensemble, PureUnion(parts=parts, prior=weights))
    return HostUnion(parts, weights)
