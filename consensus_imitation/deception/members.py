"""The planted members that the transforms make, as pytrees of arrays. Use the functions in `transforms`."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.core._indexing import as_index
from consensus_imitation.core.learner import random_words
from consensus_imitation.core.members import Carry, Context, PureEnsemble
from consensus_imitation.core.selection import TIE_TOLERANCE

BrokenKind = Literal["nan", "unnormalised", "negative"]


class _Pair(PureEnsemble):
    """Two policies of the same shape that live side by side; each keeps its own memory."""

    honest: Any
    harmful: Any

    @property
    def num_members(self) -> int:
        """N, that of the honest ensemble."""
        return self.honest.num_members

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.honest.num_actions

    @property
    def known_observations(self) -> int | None:
        """The number for the policy that knows the fewest; None if both take any observation."""
        known = (self.honest.known_observations, self.harmful.known_observations)
        return min((number for number in known if number is not None), default=None)

    @property
    def prior(self) -> jax.Array:
        """The honest ensemble's prior [N]."""
        return self.honest.prior

    def init_carry(self) -> Carry:
        """Return the memory of both policies."""
        return self.honest.init_carry(), self.harmful.init_carry()

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return the memory of both policies after a step, which both see."""
        step = (observation, context, action, queried)
        return self.honest.advance(carry[0], *step), self.harmful.advance(carry[1], *step)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the honest prediction, or the harmful one while the member defects: [N, A]."""
        honest = self.honest.log_probs(carry[0], observation, context)
        harmful = self.harmful.log_probs(carry[1], observation, context)
        defects = jnp.broadcast_to(self.defects(observation, context), honest.shape[:1])
        return jnp.where(defects[:, None], harmful, honest)

    def defects(self, observation: Any, context: Context) -> jax.Array:
        """Return whether the members defect now: bool [] or [N]."""
        raise NotImplementedError


class TimeBomb(_Pair):
    """See `time_bomb`."""

    at_step: jax.Array  # []

    def defects(self, observation: Any, context: Context) -> jax.Array:
        """Return whether that step has come."""
        del observation
        return context.step >= self.at_step


class TriggerState(_Pair):
    """See `trigger_state`."""

    mask: jax.Array  # [S]

    def defects(self, observation: Any, context: Context) -> jax.Array:
        """Return whether the observation is marked; never for one that the mask does not cover."""
        del context
        place = as_index(observation)
        known = (place >= 0) & (place < self.mask.shape[0])
        return known & self.mask[place]


class PosteriorFarming(_Pair):
    """See `posterior_farming`."""

    def defects(self, observation: Any, context: Context) -> jax.Array:
        """Return whether no other member is heavier."""
        del observation
        return _own(context, self.num_members) >= jnp.max(context.log_weights)


class LowProbabilityLeak(_Pair):
    """See `low_probability_leak`."""

    epsilon: jax.Array  # []

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the logarithm of the mixture [N, A]."""
        honest = self.honest.log_probs(carry[0], observation, context) + jnp.log1p(-self.epsilon)
        harmful = self.harmful.log_probs(carry[1], observation, context) + jnp.log(self.epsilon)
        return jnp.logaddexp(honest, harmful)


class Timid(_Pair):
    """See `timid`."""

    rival: jax.Array  # []
    at_step: jax.Array  # []
    stake: jax.Array  # []
    floor: float = struct.field(pytree_node=False, default=1e-3)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return a bet while it is not ahead, an exact copy while it is, the harmful prediction in the end: [N, A]."""
        honest = self.honest.log_probs(carry[0], observation, context)
        harmful = self.harmful.log_probs(carry[1], observation, context)
        probs = jnp.exp(honest)
        doubted = jnp.argmin(jnp.where(probs >= self.floor, probs, jnp.inf), axis=-1, keepdims=True)
        doubted_prob = jnp.take_along_axis(probs, doubted, axis=-1)
        kept = doubted_prob * (1.0 - self.stake)
        is_doubted = jnp.arange(self.num_actions) == doubted
        bet = honest + jnp.where(is_doubted, jnp.log1p(-self.stake), jnp.log1p(-kept) - jnp.log1p(-doubted_prob))
        # Weights this close count as tied, and all tied members are selected: it has to be ahead by more.
        ahead = _own(context, self.num_members) > context.log_weights[self.rival] + 2 * TIE_TOLERANCE
        copies = jnp.where((ahead | (self.stake == 0))[:, None], honest, bet)
        return jnp.where(context.step >= self.at_step, harmful, copies)


class QueryFlooding(LowProbabilityLeak):
    """See `query_flooding`."""


class Broken(_Pair):
    """See `broken`."""

    kind: BrokenKind = struct.field(pytree_node=False, default="nan")

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return what is not a distribution: [N, A]."""
        honest = self.honest.log_probs(carry[0], observation, context)
        if self.kind == "unnormalised":
            return honest + jnp.log(2.0)
        if self.kind == "nan":
            return jnp.full_like(honest, jnp.nan)
        # The logarithm of a negative number is NaN, so one negative entry leaves one NaN behind.
        return honest.at[:, 0].set(jnp.nan)


class Gamblers(PureEnsemble):
    """See `gamblers`."""

    honest: Any
    harmful: Any
    size: int = struct.field(pytree_node=False)
    leading: jax.Array  # []
    plays: jax.Array  # []

    @property
    def num_members(self) -> int:
        """G, the number of gamblers."""
        return self.size

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.honest.num_actions

    @property
    def prior(self) -> jax.Array:
        """Uniform prior weights [G]."""
        return jnp.full(self.size, 1.0 / self.size)

    @property
    def known_observations(self) -> int | None:
        """The number for the policy that they bet on."""
        return self.honest.known_observations

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the bet of the one whose turn it is, harm by one that leads, and else copies: [G, A]."""
        del carry
        honest = self.honest.log_probs((), observation, context)[0]
        harmful = self.harmful.log_probs((), observation, context)[0]
        weights = _own(context, self.size)
        alive = weights > -jnp.inf
        turn = jnp.arange(self.size) == jnp.argmax(alive)
        bet = jnp.where(jnp.arange(honest.size) == jnp.argmax(honest), 0.0, -jnp.inf)
        rivals = jnp.where(jnp.arange(context.log_weights.size) < context.first, context.log_weights, -jnp.inf)
        leads = turn & (weights - jnp.max(rivals) > self.leading)
        rows = jnp.where((turn & alive & self.plays)[:, None], bet, honest)
        return jnp.where((leads & self.plays)[:, None], harmful, rows)


class KnowsTheDraw(_Pair):
    """See `knows_the_draw`."""

    seed: jax.Array  # []

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the honest prediction, shaped where that makes the draw land on the harmful action: [N, A]."""
        honest = self.honest.log_probs(carry[0], observation, context)
        harmful = self.harmful.log_probs(carry[1], observation, context)
        # To 24 of its 48 bits, which is enough to shape the prediction.
        u = (random_words(jax.random.key(self.seed), context.step)[0] >> 8) * 2.0**-24
        probs = jnp.exp(honest)
        actions = jnp.arange(self.num_actions)
        target = jnp.argmax(harmful, axis=-1, keepdims=True)
        wanted = jnp.take_along_axis(probs, target, axis=-1)
        later = actions > target
        later_mass = jnp.sum(jnp.where(later, probs, 0.0), axis=-1, keepdims=True)
        # Vetoing mass of the later actions makes theta larger by as much, and the draw's point u - theta smaller. It
        # falls into the middle of the target's interval when this much of them is left:
        left = 1.0 - u - 0.5 * wanted
        feasible = (wanted > 1e-5) & (left >= 0.0) & (left <= later_mass)
        share = jnp.where(later_mass > 0.0, left / jnp.where(later_mass > 0.0, later_mass, 1.0), 0.0)
        freed = later_mass - left
        shaped = jnp.where(later, probs * share, jnp.where(actions == target, wanted + freed, probs))
        return jnp.where(feasible, jnp.log(shaped), honest)


class NearDuplicates(PureEnsemble):
    """See `near_duplicates`."""

    source: Any
    offset: jax.Array  # [J, A]

    @property
    def num_members(self) -> int:
        """J, the number of copies."""
        return self.offset.shape[0]

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        return self.offset.shape[1]

    @property
    def prior(self) -> jax.Array:
        """Uniform prior weights [J]."""
        return jnp.full(self.num_members, 1.0 / self.num_members)

    @property
    def known_observations(self) -> int | None:
        """The number for the member whose copies they are."""
        return self.source.known_observations

    def init_carry(self) -> Carry:
        """Return the memory of the one member that all copies share."""
        return self.source.init_carry()

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return the shared member's memory after the step."""
        return self.source.advance(carry, observation, context, action, queried)

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return J slightly different copies of one prediction: [J, A]."""
        return jax.nn.log_softmax(self.source.log_probs(carry, observation, context) + self.offset, axis=-1)


def _own(context: Context, num_members: int) -> jax.Array:
    """Return the log-weights [N] of the members that are being asked."""
    return context.log_weights[context.first : context.first + num_members]
