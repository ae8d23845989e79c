"""How members learn from answers: a replay of all of them, and rounds of gradient steps, for N members at once.

Everything is one stacked pytree whose leaves have leading axis N. One minibatch serves all members, each with its own
weights (the bootstrap). Members predict before they learn: what is fitted here is scored on later answers only.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core.laws import from_logits
from consensus_imitation.ensembles._rows import Rows
from consensus_imitation.ensembles.neural._learned import Apply, Learned, Masked
from consensus_imitation.ensembles.neural._local import Answered
from consensus_imitation.ensembles.neural._rounds import updated, wide, without_broken
from consensus_imitation.ensembles.neural._temperature import Temperature
from consensus_imitation.ensembles.neural.replay import Replay, Row
from consensus_imitation.ensembles.neural.settings import Training
from consensus_imitation.errors import ConfigurationError

#: P(Poisson(1) <= n) for n = 0 .. 11; beyond that a float32 shows no difference.
_POISSON_CDF = np.cumsum([math.exp(-1) / math.factorial(n) for n in range(12)]).astype(np.float32)

#: Mass that a member without any answer still gives.
_LEAST_TRUST = 1e-3


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
    averages = jax.tree.map(wide, params) if training.averaging else ()
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
