"""A round of gradient steps on minibatches: the loss, its gradient, what is kept of the result."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from consensus_imitation.ensembles.neural._coupling import is_coupled, slopes
from consensus_imitation.ensembles.neural._learned import Apply, Learned
from consensus_imitation.ensembles.neural._own_update import OwnUpdate
from consensus_imitation.ensembles.neural.replay import Row
from consensus_imitation.ensembles.neural.settings import Training

#: Averages go over one in so many of the updates so far at most: the first parameters are random and soon forgotten.
_AVERAGED_SHARE = 10

#: Minibatches of more numbers than this (2 MB of float32) are worked on in parts, and member by member: what
#: convolutions make of a picture on the way takes several times its memory.
NUMBERS_AT_ONCE = 2**19

#: A logit of what is not legal, in training: next to it every other counts, and its gradient is exactly zero.
_FORBIDDEN = -1e9


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
        every = (0, 0, 0, None, None, 1)
        return jax.vmap(member, in_axes=every)(params, prior_params, state, inputs, answers, counts)

    done = (learned.replay.stored // training.every - 1) * training.updates
    numbers = first + jnp.arange(len(jax.tree.leaves(drawn)[0]))

    def after_all(step: Callable[[Any, Any, Row, Any], tuple[Any, Any]], fitted: Any) -> Any:
        def update(fitted: tuple[Any, Any, Any], drawn: tuple[Any, Any]) -> tuple[tuple[Any, Any, Any], None]:
            (params, averages, state), (i, own) = fitted, drawn
            row = minibatch(own)
            params, state = step(params, state, row._replace(counts=row.counts.astype(jnp.float32)), done + i)
            if training.averaging:
                averages = optax.incremental_update(params, averages, averaging_step(training, done + i))
            return (params, averages, state), None

        return jax.lax.scan(update, fitted, (numbers, drawn))[0]

    row = jax.eval_shape(minibatch, jax.tree.map(lambda leaf: leaf[0], drawn))
    if is_coupled(training) or _num_parts(row.inputs) == 1:
        return after_all(members, fitted)

    def alone(own: tuple[Any, Any, Any]) -> Any:
        fitted, prior_params, n = own

        def step(params: Any, state: Any, row: Row, number: Any) -> tuple[Any, Any]:
            del number
            return member(params, prior_params, state, row.inputs, row.answer, row.counts[:, n])

        return after_all(step, fitted)

    # One member after the other through all updates: of only one are there two copies of what is learned at a time.
    return jax.lax.map(alone, (fitted, learned.prior_params, jnp.arange(row.counts.shape[-1])))


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


def wide(leaf: jax.Array) -> jax.Array:
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
