"""The compiled calls behind `ConsensusImitator`: one per decision, one per answer, few arrays each.

Every array that crosses between host and device takes as long as a small network, so a decision comes back as one
packed array, and the pending decision is rebuilt from it when the answer arrives.
"""

import secrets
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from consensus_imitation.core import merging
from consensus_imitation.core import posterior as post
from consensus_imitation.core._integers import is_integer
from consensus_imitation.core._tree import jit
from consensus_imitation.core.aggregation import PosteriorMixture
from consensus_imitation.core.draw import QUERY
from consensus_imitation.core.learner import Learner, learning_key, random_words
from consensus_imitation.core.members import Carry
from consensus_imitation.core.state import BATCH, LearnerState, PureDecision, Stream
from consensus_imitation.errors import ConfigurationError

#: How many steps' random numbers are computed at a time: one by one they would take longer than the decisions.
NUMBERS_AT_ONCE = 256


class Keys(NamedTuple):
    """Where an imitator's random numbers come from.

    Attributes:
        draws: PRNG key of the draws, secret from the members.
        members: PRNG key of what members do at random: of how they learn, and of what they propose. They see it.
    """

    draws: jax.Array
    members: jax.Array


def make_keys(seed: int | None) -> Keys:
    """The keys of an imitator.

    Args:
        seed: at least 0: whoever knows or guesses it can foresee the draws. None takes both keys from the operating
            system, 64 bits each, so that nothing that a member sees is computed from the key of the draws.

    Raises:
        ConfigurationError: for a seed that is no integer, or negative.
    """
    if seed is None:
        return Keys(make_key(secrets.randbits(64)), make_key(secrets.randbits(64)))
    draws = make_key(seed)
    return Keys(draws, learning_key(draws))


def make_key(seed: Any) -> jax.Array:
    """A PRNG key from all bits of a seed (``jax.random.key`` keeps the lower 32 only).

    Args:
        seed: an integer of at least 0. Below 2**32 it is ``jax.random.key(seed)``.

    Raises:
        ConfigurationError: for a seed that is no integer, or negative.
    """
    if not is_integer(seed):
        raise ConfigurationError(f"seed must be an integer or None, got {seed!r}")
    seed = int(seed)
    if seed < 0:
        raise ConfigurationError(f"seed must not be negative, got {seed}")
    key = jax.random.key(seed & 0xFFFFFFFF)
    while seed := seed >> 32:
        key = jax.random.fold_in(key, seed & 0xFFFFFFFF)
    return key


weights = jax.jit(post.weights)
effective_members = jax.jit(merging.effective_members)


@partial(jax.jit, static_argnames="batch")
def numbers(key: jax.Array, step: jax.Array, batch: bool) -> jax.Array:
    """`learner.random_words` of this step and the following ones: [T, 2], or [T, B, 2] for a batch."""
    one = jax.vmap(random_words) if batch else random_words
    # One after another, not vmapped: not every PRNG yields the same numbers under vmap.
    return jax.lax.map(lambda t: one(key, step + t), jnp.arange(NUMBERS_AT_ONCE))


class Closed(NamedTuple):
    """What changes in a stream when a step is closed without a query."""

    carry: Carry
    step: jax.Array
    ledger: jax.Array
    unusable: jax.Array


def _decide_one(
    learner: Learner, state: LearnerState, observation: Any, number: jax.Array, mask: Any = None
) -> tuple[jax.Array, jax.Array, Closed]:
    """The decision, packed for the way to the host; the predictions; the stream after it if it is no query."""
    decision = learner.decide(state, observation, number, mask)
    after = learner.advance(state, observation, decision, decision.action)
    closed = Closed(after.carry, after.step, after.ledger, after.unusable)
    return _pack(decision, after.ledger), decision.usable, closed


class Apart(NamedTuple):
    """A learner that stays the same, taken apart once: JAX would do so at every call, which takes as long as a network.

    Attributes:
        structure: how it is put together again.
        leaves: its arrays.
    """

    structure: Any
    leaves: tuple[Any, ...]

    @classmethod
    def of(cls, learner: Learner) -> Self:
        """Of a learner, whose plain numbers become arrays: they, too, would go to the device at every call."""
        leaves, structure = jax.tree.flatten(learner)
        return cls(structure, tuple(leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf) for leaf in leaves))


@partial(jax.jit, static_argnums=0)
def decide(structure: Any, leaves: Any, state: LearnerState, observation: Any, number: Any, mask: Any = None) -> Any:
    """`_decide_one` of a learner that is `Apart`."""
    return _decide_one(jax.tree.unflatten(structure, leaves), state, observation, number, mask)


@partial(jax.jit, static_argnums=0)
def decide_batch(
    structure: Any, leaves: Any, state: LearnerState, observation: Any, number: Any, mask: Any = None
) -> Any:
    """The same for B streams."""
    learner = jax.tree.unflatten(structure, leaves)
    return jax.vmap(_decide_one, in_axes=(None, BATCH, 0, 0, 0))(learner, state, observation, number, mask)


@partial(jax.jit, static_argnums=0)
def observe(
    structure: Any, leaves: Any, state: LearnerState, observation: Any, packed: Any, log_probs: Any, answer: Any
) -> LearnerState:
    """`Learner.observe` on a packed decision, without what members learn (`_teaching`): ``learned`` is ()."""
    learner, decision = jax.tree.unflatten(structure, leaves), _unpack_decision(packed, log_probs)
    return learner.observe(state, observation, decision, answer, teaches=False)[0].replace(learned=())


@partial(jax.jit, static_argnums=0)
def observe_batch(
    structure: Any, leaves: Any, state: LearnerState, observation: Any, packed: Any, log_probs: Any, answer: Any
) -> LearnerState:
    """`Learner.observe_batch` on a packed decision; as for `observe`."""
    learner, decision = jax.tree.unflatten(structure, leaves), _unpack_decision(packed, log_probs)
    return learner.observe_batch(state, observation, decision, answer, teaches=False)[0].replace(learned=())


@jax.jit
def pretrain(
    learner: Learner,
    state: LearnerState,
    stream: Stream,
    observations: Any,
    actions: Any,
    starts: Any,
    real: Any,
    masks: Any,
    owners: Any,
) -> tuple[LearnerState, Stream]:
    """`Learner.pretrain`."""
    return learner.pretrain(state, stream, observations, actions, starts, real, masks, owners)


@jit
def take_row(streams: Any, b: ArrayLike) -> Any:
    """One environment's stream, of a batch of them; of either learner."""
    return jax.tree.map(lambda leaf: leaf[b], streams)


@jit
def put_row(streams: Any, row: Any, b: ArrayLike) -> Any:
    """A batch of streams with that of environment b replaced; its key never changes."""
    changed = jax.tree.map(lambda old, new: old.at[b].set(new), streams.replace(key=None), row.replace(key=None))
    return changed.replace(key=streams.key)


@jit
def pose(stream: Stream, ledger: jax.Array, asked: ArrayLike) -> Stream:
    """`Learner.pose` from the ledger after the step, where ``asked``, [] or [B], is true."""
    return stream.replace(ledger=jnp.where(asked, ledger, stream.ledger), asking=stream.asking | asked)


@jax.jit
def adopt(learner: Learner, state: LearnerState) -> LearnerState:
    """`Learner.adopt`."""
    return learner.adopt(state)


@partial(jax.jit, static_argnums=0)
def margins(structure: Any, leaves: Any, log_weights: jax.Array) -> jax.Array:
    """`SelectionRule.margins` of the rule of a learner that is `Apart`."""
    return jax.tree.unflatten(structure, leaves).selection.margins(log_weights)


def _alone_one(
    learner: Learner, state: LearnerState, observation: Any, number: jax.Array, mask: Any = None
) -> tuple[jax.Array, Stream]:
    """An action of the rule's own law, without asking, and the stream after taking it.

    The likeliest for a NaN, else the one that the ``number`` in [0, 1) draws from the law scaled up to one.
    """
    decision = learner.decide(state, observation, action_mask=mask)
    everybody = jnp.ones_like(decision.selected)
    mixture = PosteriorMixture()(decision.usable, state.posterior.log_weights, everybody)
    probs = jnp.where(jnp.sum(decision.min_probs) > 0, decision.min_probs, mixture.probs)
    if mask is not None:
        # Where no member is of any use, one legal action is as good as another.
        probs = jnp.where(mask, jnp.where(jnp.any(jnp.where(mask, probs, 0.0) > 0), probs, 1.0), 0.0)
    cumulative = jnp.cumsum(probs)
    drawn = jnp.sum(cumulative <= number * cumulative[-1])
    # Rounding may carry a number just below 1 past the last possible action.
    certain = jnp.isnan(number) | (probs.at[drawn].get(mode="fill", fill_value=0.0) == 0)
    action = jnp.where(certain, jnp.argmax(probs), drawn).astype(jnp.int32)
    unasked = decision._replace(queried=jnp.zeros((), bool), log_inflation=jnp.zeros(()))
    return action, learner.advance(state, observation, unasked, action)


alone = jax.jit(_alone_one)
alone_batch = jax.jit(jax.vmap(_alone_one, in_axes=(None, BATCH, 0, 0, 0)))


@partial(jax.jit, static_argnames="batch")
def begin_episodes(learner: Learner, stream: Stream, begins: jax.Array, batch: bool) -> Stream:
    """`Learner.begin_episode` where ``begins``, [] or [B], is true."""
    return (jax.vmap(learner.begin_episode) if batch else learner.begin_episode)(stream, begins)


class Unpacked(NamedTuple):
    """The fields of a packed decision, all as floats; with a leading axis B for a batch."""

    action: Any
    query_prob: Any
    dissenter: Any
    log_inflation: Any
    handed_over: Any
    ledger: Any
    rule_fault: Any
    min_probs: Any
    selected: Any
    invalid: Any
    dissent: Any


#: Numbers before the arrays; and which of them says who dissented most.
HEAD, _DISSENTER = 7, 2


def _pack(decision: PureDecision, ledger: jax.Array) -> jax.Array:
    most = jnp.where(jnp.max(decision.dissent) > 0, jnp.argmax(decision.dissent), -1)
    scalars = (decision.action, decision.query_prob, most, decision.log_inflation, decision.handed_over, ledger)
    head = jnp.stack([jnp.asarray(scalar, jnp.float32) for scalar in (*scalars, decision.rule_fault)])
    return jnp.concatenate([head, decision.min_probs, decision.selected, decision.invalid, decision.dissent])


def unpack(packed: Any, num_actions: int) -> Unpacked:
    """Undo the packing, of a JAX or a NumPy array."""
    scalars = (packed[..., i] for i in range(HEAD))
    return Unpacked._make((*scalars, *arrays_of(packed, num_actions)))


def arrays_of(packed: Any, num_actions: int) -> tuple[Any, Any, Any, Any]:
    """The arrays of a packed decision alone: the last four fields of `Unpacked`."""
    size = packed.shape[-1]
    first = HEAD + num_actions
    members = (size - first) // 3
    second, third = first + members, size - members
    return packed[..., HEAD:first], packed[..., first:second], packed[..., second:third], packed[..., third:]


def without_dissent(packed: Any, num_actions: int) -> Any:
    """Return one packed decision [P] of the host without who dissents: what a replay has to give bit for bit.

    Nothing is learned from dissent, and earlier versions of the library summed it in another order, and for steps
    without a query, too.
    """
    members = (len(packed) - HEAD - num_actions) // 3
    without = np.array(packed)
    without[_DISSENTER], without[-members:] = -1, 0
    return without


def _unpack_decision(packed: jax.Array, log_probs: jax.Array) -> PureDecision:
    fields = unpack(packed, log_probs.shape[-1])
    return PureDecision(
        action=fields.action.astype(jnp.int32),
        queried=fields.action == QUERY,
        query_prob=fields.query_prob,
        min_probs=fields.min_probs,
        selected=fields.selected > 0,
        invalid=fields.invalid > 0,
        dissent=fields.dissent,
        log_probs=log_probs,
        # It was taken off before they were packed.
        excess=jnp.where(fields.invalid > 0, jnp.inf, 0.0),
        log_inflation=fields.log_inflation,
        handed_over=fields.handed_over > 0,
        rule_fault=fields.rule_fault.astype(jnp.int32),
    )
