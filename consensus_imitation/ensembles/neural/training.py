"""How members learn from answers: a replay of all of them, and rounds of gradient steps, for N members at once.

Everything is one stacked pytree whose leaves have leading axis N. One minibatch serves all members, each with its own
weights (the bootstrap). Members predict before they learn: what is fitted here is scored on later answers only.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from consensus_imitation.core.laws import from_logits
from consensus_imitation.ensembles._rows import Rows
from consensus_imitation.ensembles.neural._coupling import is_coupled, slopes
from consensus_imitation.ensembles.neural._local import Answered
from consensus_imitation.ensembles.neural._own_update import OwnUpdate
from consensus_imitation.ensembles.neural._temperature import Temperature
from consensus_imitation.ensembles.neural.replay import Replay, Row
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError

#: ``apply(params, encoded) -> logits [A]`` of one member.
Apply = Callable[[Any, Any], jax.Array]

#: P(Poisson(1) <= n) for n = 0 .. 11; beyond that a float32 shows no difference.
_POISSON_CDF = np.cumsum([math.exp(-1) / math.factorial(n) for n in range(12)]).astype(np.float32)

#: Mass that a member without any answer still gives.
_LEAST_TRUST = 1e-3

#: Averages go over one in so many of the updates so far at most: the first parameters are random and soon forgotten.
_AVERAGED_SHARE = 10

#: Minibatches of more numbers than this (2 MB of float32) are worked on in parts, and member by member: what
#: convolutions make of a picture on the way takes several times its memory.
NUMBERS_AT_ONCE = 2**19

#: A logit of what is not legal, in training: next to it every other counts, and its gradient is exactly zero.
_FORBIDDEN = -1e9


class Masked(NamedTuple):
    """What members were asked about, with what was legal there; with a leading axis, several.

    Attributes:
        inputs: what a network sees.
        legal: bool [A].
    """

    inputs: Any
    legal: jax.Array | np.ndarray


class Learned(struct.PyTreeNode):
    """What N members know.

    Attributes:
        params: leaves [N, ...].
        averages: what they predict with, leaves [N, ...]; () if that is ``params``.
        prior_params: parameters of the untrained networks, leaves [N, ...]; () if there are none.
        optimizer: state of the gradient transformation, leaves [N, ...].
        temperature: see `Temperature`.
        replay: all answers so far; `Elsewhere` while a shell keeps them.
        key: of the bootstrap and the minibatches.
        shares: see `_partition`, which has a replay and a key for each member; () where all learn from all answers.
        answered: where the answers are, for `Training.local_caution`; () without it.
    """

    params: Any
    averages: Any
    prior_params: Any
    optimizer: Any
    temperature: Temperature
    replay: Any
    key: jax.Array
    shares: Any = ()
    answered: Answered | tuple[()] = ()


def init(
    training: Training, make_params: Callable[[jax.Array], Any], num_members: int, example: Any, key: jax.Array
) -> Learned:
    """Return what the members know before the first answer.

    Args:
        training: settings.
        make_params: ``key -> parameters`` of one member.
        num_members: N.
        example: one input, for its shapes.
        key: PRNG key.
    """
    params_key, prior_key, key = jax.random.split(key, 3)
    params = jax.vmap(make_params)(jax.random.split(params_key, num_members))
    prior_params = ()
    if training.prior_scale:
        prior_params = jax.vmap(make_params)(jax.random.split(prior_key, num_members))
    zeros = jax.tree.map(lambda leaf: np.zeros(jnp.shape(leaf), jnp.asarray(leaf).dtype), example)
    # In rows: no arrays are made for a shell, which keeps it so, and for everybody else when they are looked at.
    row = Row(zeros, np.int32(0), np.zeros(num_members, np.uint8))
    replay = Replay.of(Rows.like(row, training.capacity))
    temperature = Temperature.one(num_members, training.temperature)
    optimizer = jax.vmap(training.make_optimizer().init)(params)
    # In float32 at least: in a smaller type the steps of an average would be lost.
    averages = jax.tree.map(_wide, params) if training.averaging else ()
    answered: Any = ()
    if training.local_caution:
        seen = example.inputs if training.masked else example
        answered = Answered.none(training.capacity, num_members, seen)
    return Learned(params, averages, prior_params, optimizer, temperature, replay, key, answered=answered)


def log_probs(training: Training, apply: Apply, learned: Learned, inputs: Any) -> jax.Array:
    """Predict one input with every member: [N, A]; sums to less than one by what caution, of either kind, withholds."""
    params = learned.params
    if training.averaging:
        params = jax.tree.map(lambda average, newest: average.astype(newest.dtype), learned.averages, params)
    logits = jax.vmap(apply, in_axes=(0, None))(params, inputs)
    if training.prior_scale:
        logits += training.prior_scale * jax.vmap(apply, in_axes=(0, None))(learned.prior_params, inputs)
    if training.temperature:
        logits *= jnp.exp(-learned.temperature.log)[:, None]
    return from_logits(logits) + _log_trust(training, learned, inputs)


def _log_trust(training: Training, learned: Learned, inputs: Any) -> jax.Array | float:
    """Return the log of the mass that is not withheld, of all or [N, 1]; never zero mass: that is no prediction."""
    stored, trust = learned.replay.stored, 1.0
    if training.caution:
        trust = stored / (stored + training.caution)
    if isinstance(learned.answered, Answered):
        trust *= 1 - learned.answered.withheld(inputs, stored)[:, None]
    return jnp.log(jnp.maximum(trust, _LEAST_TRUST)) if training.caution or training.local_caution else 0.0


def learn(
    training: Training, apply: Apply, learned: Learned, inputs: Any, answer: jax.Array, predicted: jax.Array
) -> Learned:
    """Return what the members know after one answer.

    Args:
        training: settings.
        apply: a member's network.
        learned: what they knew before.
        inputs: what was asked about.
        answer: int32 [].
        predicted: [N, A], what `log_probs` returned for it.
    """
    if training.temperature:
        learned = learned.replace(temperature=learned.temperature.after(inputs, predicted, answer))
    learned = learned.replace(answered=answered(training, learned, inputs, answer, predicted))
    learned = store(training, learned, kept(training, inputs, predicted), answer)
    due = is_due(training, learned)
    # The replay is read, not returned: a conditional need not copy it.
    before = (learned.params, learned.averages, learned.optimizer)
    params, averages, optimizer = jax.lax.cond(due, lambda: fit(training, apply, learned), lambda: before)
    return learned.replace(params=params, averages=averages, optimizer=optimizer)


def answered(
    training: Training, learned: Learned, inputs: Any, answer: jax.Array, predicted: jax.Array
) -> Answered | tuple[()]:
    """Return where the answers are, with one more that is not stored yet; the arguments are those of `learn`."""
    if not isinstance(learned.answered, Answered):
        return ()
    stored, budget = learned.replay.stored, training.local_caution
    return learned.answered.answered(inputs, answer, predicted, stored, budget)


def kept(training: Training, inputs: Any, predicted: Any) -> Any:
    """Return what the replay keeps of a question.

    Args:
        training: settings.
        inputs: what a network saw.
        predicted: [N, A], what was predicted. A softmax gives every action something, so that only what a mask forbids
            has ``-inf`` of every member; where all predictions are unusable, nothing can be told, and all is legal.
    """
    if not training.masked:
        return inputs
    legal = jnp.any(jnp.asarray(predicted) > -jnp.inf, axis=0)
    return Masked(inputs, legal | ~jnp.any(legal))


def store(training: Training, learned: Learned, inputs: Any, answer: jax.Array) -> Learned:
    """Put an answer into the replay, with each member's weight for it; ``inputs`` as `kept` gives them.

    Raises:
        ConfigurationError: if the answers before it are not there.
    """
    replay = learned.replay
    if not isinstance(replay, Replay):
        raise ConfigurationError("the answers of these members are kept elsewhere: learn by `learn_on_host`")
    room, num_members = replay.counts.shape
    slot = replay.stored % room
    counts = counts_of_next(training, learned, num_members)
    replay = replay.replace(
        inputs=jax.tree.map(lambda kept, new: kept.at[slot].set(new), replay.inputs, inputs),
        answers=replay.answers.at[slot].set(answer),
        counts=replay.counts.at[slot].set(counts),
        stored=replay.stored + 1,
    )
    return learned.replace(replay=replay)


def is_due(training: Training, learned: Learned) -> jax.Array:
    """Return whether a round follows the answer that was just stored: bool []."""
    due = learned.replay.stored % training.every == 0
    if training.plateau is not None and training.plateau.stop:
        due &= ~jnp.all(learned.optimizer[-1].scale <= training.plateau.smallest)
    return due


def counts_of_next(training: Training, learned: Learned, num_members: int) -> jax.Array:
    """Return how often the answer that comes next counts for each member: uint8 [N]."""
    key = jax.random.fold_in(jax.random.fold_in(learned.key, 0), learned.replay.stored)
    return bootstrap_counts(training, key, num_members)


def bootstrap_counts(training: Training, key: jax.Array, num_members: int) -> jax.Array:
    """Return how often one answer counts for each member: uint8 [N], with mean 1."""
    uniform = jax.random.uniform(key, (num_members, 1))
    if training.bootstrap == "poisson":
        return jnp.sum(uniform >= _POISSON_CDF, axis=-1).astype(jnp.uint8)
    if training.bootstrap == "bernoulli":
        return jnp.where(uniform[:, 0] < 0.5, 2, 0).astype(jnp.uint8)
    return jnp.ones(num_members, jnp.uint8)


def draw_minibatches(training: Training, learned: Learned) -> jax.Array:
    """Draw the replay places of a round's minibatches, int32 [updates, batch_size]: a function of key and answers."""
    stored, shape = learned.replay.stored, (training.updates, training.batch_size)
    key = jax.random.fold_in(jax.random.fold_in(learned.key, 1), stored)
    if isinstance(learned.answered, Answered):
        return learned.answered.drawn(key, shape, stored)
    return jax.random.randint(key, shape, 0, jnp.minimum(stored, training.capacity))


def loss(
    training: Training,
    apply: Apply,
    params: Any,
    prior_params: Any,
    inputs: Any,
    answers: jax.Array,
    counts: jax.Array,
) -> jax.Array:
    """Compute one member's weighted, smoothed log-loss on a minibatch (leaves [B, ...]), without the temperature.

    ``inputs`` are as `kept` gives them.
    """
    inputs, legal = inputs if training.masked else (inputs, None)
    return _log_loss(training, _logits(training, apply, params, prior_params, inputs, legal), legal, answers, counts)


def _logits(
    training: Training, apply: Apply, params: Any, prior_params: Any, inputs: Any, legal: jax.Array | None
) -> jax.Array:
    """Return one member's logits on a minibatch, in training: [B, A]."""
    logits = jax.vmap(apply, in_axes=(None, 0))(params, inputs)
    if training.prior_scale:
        prior = jax.vmap(apply, in_axes=(None, 0))(prior_params, inputs)
        logits += training.prior_scale * jax.lax.stop_gradient(prior)
    return logits if legal is None else jnp.where(legal, logits, _FORBIDDEN)


def _log_loss(
    training: Training, logits: jax.Array, legal: jax.Array | None, answers: jax.Array, counts: jax.Array
) -> jax.Array:
    hard = jax.nn.one_hot(answers, logits.shape[-1])
    if legal is None:
        targets = optax.smooth_labels(hard, training.label_smoothing)
    else:
        even = legal / jnp.sum(legal, axis=-1, keepdims=True)
        targets = (1 - training.label_smoothing) * hard + training.label_smoothing * even
    return jnp.mean(counts * optax.softmax_cross_entropy(logits, targets))


def fit(training: Training, apply: Apply, learned: Learned) -> tuple[Any, Any, Any]:
    """Return one round of minibatches: the parameters, their averages and the optimiser state after it.

    A member that the round would leave without numbers (NaN, infinity) stays as it was.
    """
    replay: Any = learned.replay

    def minibatch(places: jax.Array) -> Row:
        inputs = jax.tree.map(lambda leaf: leaf[places], replay.inputs)
        return Row(inputs, replay.answers[places], replay.counts[places])

    before = (learned.params, learned.averages, learned.optimizer)
    places = draw_minibatches(training, learned)
    return without_broken(updated(training, apply, learned, before, 0, places, minibatch), before)


def updated(
    training: Training,
    apply: Apply,
    learned: Learned,
    fitted: tuple[Any, Any, Any],
    first: Any,
    drawn: Any,
    minibatch: Callable[[Any], Row],
) -> tuple[Any, Any, Any]:
    """Return parameters, averages and optimiser state after some of a round's updates.

    Args:
        training: settings.
        apply: a member's network.
        learned: what the members know; of it, prior networks and the number of answers are used.
        fitted: the three, before.
        first: int [], number of the first of these updates in the round.
        drawn: for each of U updates what ``minibatch`` takes, leaves [U, ...].
        minibatch: makes a minibatch of it, leaves [M, ...].
    """
    optimizer = training.make_optimizer()

    def stepped(params: Any, state: Any, value: jax.Array, gradient: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradient, state, params, value=value)
        return optax.apply_updates(params, updates), state

    def member(params: Any, prior_params: Any, state: Any, inputs: Any, answers: Any, counts: Any) -> tuple[Any, Any]:
        if isinstance(apply, OwnUpdate):
            return apply.updated(params, inputs, answers, counts), state
        return stepped(params, state, *_slope(training, apply, params, prior_params, inputs, answers, counts))

    def members(params: Any, state: Any, row: Row, number: Any) -> tuple[Any, Any]:
        (inputs, answers, counts), prior_params = row, learned.prior_params
        if is_coupled(training):
            own_key = jax.random.fold_in(jax.random.fold_in(learned.key, 3), number)
            return jax.vmap(stepped)(params, state, *_slopes(training, apply, params, prior_params, row, own_key))
        if _num_parts(inputs) == 1:
            return jax.vmap(member, in_axes=(0, 0, 0, None, None, 1))(
                params, prior_params, state, inputs, answers, counts
            )
        one_by_one = (params, prior_params, state, counts.T)

        def alone(own: tuple[Any, Any, Any, Any]) -> tuple[Any, Any]:
            return member(own[0], own[1], own[2], inputs, answers, own[3])

        return jax.lax.map(alone, one_by_one)

    done = (learned.replay.stored // training.every - 1) * training.updates

    def update(fitted: tuple[Any, Any, Any], drawn: tuple[Any, Any]) -> tuple[tuple[Any, Any, Any], None]:
        (params, averages, state), (i, own) = fitted, drawn
        row = minibatch(own)
        params, state = members(params, state, row._replace(counts=row.counts.astype(jnp.float32)), done + i)
        if training.averaging:
            averages = optax.incremental_update(params, averages, averaging_step(training, done + i))
        return (params, averages, state), None

    number = len(jax.tree.leaves(drawn)[0])
    return jax.lax.scan(update, fitted, (first + jnp.arange(number), drawn))[0]


def _slope(
    training: Training, apply: Apply, params: Any, prior_params: Any, inputs: Any, answers: jax.Array, counts: jax.Array
) -> tuple[jax.Array, Any]:
    """Compute one member's `loss` on a minibatch, and its gradient; of large inputs part by part, to save memory."""

    def of(part: tuple[Any, jax.Array, jax.Array]) -> tuple[jax.Array, Any]:
        return jax.value_and_grad(lambda params: loss(training, apply, params, prior_params, *part))(params)

    whole, num_parts = (inputs, answers, counts), _num_parts(inputs)
    if num_parts == 1:
        return of(whole)
    parts = jax.tree.map(lambda leaf: leaf.reshape(num_parts, -1, *leaf.shape[1:]), whole)
    none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of, whole))
    total, _ = jax.lax.scan(lambda total, part: (jax.tree.map(jnp.add, total, of(part)), None), none, parts)
    # Parts are of equal size, so the mean of their means is that of the minibatch.
    return jax.tree.map(lambda leaf: leaf / num_parts, total)


def _slopes(
    training: Training, apply: Apply, params: Any, prior_params: Any, row: Row, key: jax.Array
) -> tuple[jax.Array, Any]:
    """Compute all members' own losses on a minibatch, and the gradient of an objective that compares members."""
    inputs, legal = row.inputs if training.masked else (row.inputs, None)

    def predict(member: tuple[Any, Any], inputs: Any) -> jax.Array:
        return _logits(training, apply, *member, inputs, legal)

    def own_loss(logits: jax.Array, counts: jax.Array) -> jax.Array:
        return _log_loss(training, logits, legal, row.answer, counts)

    minibatch = (inputs, row.answer, row.counts, legal)
    return slopes(training, predict, own_loss, (params, prior_params), minibatch, key)


def _num_parts(inputs: Any) -> int:
    """Return in how many equal parts a minibatch (leaves [M, ...]) is worked on: 1 unless its inputs are large."""
    leaves = jax.tree.leaves(inputs)
    size, numbers = leaves[0].shape[0], sum(leaf.size for leaf in leaves)
    wanted = -(-numbers // NUMBERS_AT_ONCE)
    return next(parts for parts in range(1, size + 1) if size % parts == 0 and (parts >= wanted or parts == size))


def without_broken(fitted: tuple[Any, Any, Any], before: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Return what a round made, of members that it left without numbers what they were before."""
    return jax.vmap(_if_finite)(fitted, before)


def _wide(leaf: jax.Array) -> jax.Array:
    return jnp.array(leaf, jnp.promote_types(leaf.dtype, jnp.float32))


def averaging_step(training: Training, updates: Any) -> jax.Array:
    """Return how far an update moves the averages towards the parameters, in (0, 1].

    Args:
        training: settings, with ``averaging`` above 0.
        updates: so far, before this one.
    """
    return 1 / jnp.minimum(training.averaging, 1 + updates / _AVERAGED_SHARE)


def _if_finite(new: Any, old: Any) -> Any:
    """Return one member after a round; or before it, if a number is no longer finite: it would stay so."""

    def stays(new: Any, old: Any) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return jnp.ones((), bool)
        # Some optimisers begin with infinities.
        return jnp.all(jnp.isfinite(new) | ~jnp.isfinite(old))

    sound = jax.tree.reduce(jnp.logical_and, jax.tree.map(stays, new, old))
    return jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, old)
