"""How members learn from answers: a replay of all of them, and rounds of gradient steps, for N members at once.

Everything is one stacked pytree whose leaves have leading axis N; one minibatch serves all members, each with weights
of its own (the bootstrap). Members predict before they learn: what is fitted here is scored on later answers only.

References:
    Osband, Aslanides and Cassirer (2018), "Randomized Prior Functions for Deep Reinforcement Learning".
    Oza and Russell (2001), "Online Bagging and Boosting" (the Poisson weights).
    Guo et al. (2017), "On Calibration of Modern Neural Networks" (the temperature).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from consensus_imitation.errors import ConfigurationError
from consensus_imitation.options import check_instance, check_integer, check_number

#: ``apply(params, encoded) -> logits [A]`` of one member.
Apply = Callable[[Any, Any], jax.Array]

#: P(Poisson(1) <= n) for n = 0 .. 11; beyond that there is nothing left that a float32 could tell.
_POISSON_CDF = np.cumsum([math.exp(-1) / math.factorial(n) for n in range(12)]).astype(np.float32)

#: Mass that a member without any answer still hands out.
_LEAST_TRUST = 1e-3

#: A temperature stays within a factor of this of 1.
_LARGEST_TEMPERATURE = 10.0


@dataclass(frozen=True)
class Plateau:
    """Lower a member's learning rate when its training loss no longer falls (`optax.contrib.reduce_on_plateau`).

    Attributes:
        factor: what the rate is multiplied by, in (0, 1).
        patience: rounds without improvement before that.
        smallest: lowest multiple of the rate, at least 0.
        stop: skip the updates for good once every member is at its lowest rate. The members then learn nothing more.
    """

    factor: float = 0.5
    patience: int = 20
    smallest: float = 0.05
    stop: bool = False

    def __post_init__(self) -> None:
        check_number("factor", self.factor, "lie in (0, 1)", lambda factor: (factor > 0) & (factor < 1))
        check_integer("patience", self.patience, 1)
        check_number("smallest", self.smallest, "lie in [0, 1)", lambda smallest: (smallest >= 0) & (smallest < 1))


@dataclass(frozen=True)
class Training:
    """Settings of the members' training; hashable, so that equal settings share compiled functions.

    Attributes:
        learning_rate: a number, or a schedule ``updates so far -> rate`` (any hashable function in JAX; make it once,
            since two closures are never equal).
        optimizer: ``learning_rate -> optax.GradientTransformation``; None for Adam (AdamW with ``weight_decay``).
        batch_size: answers in a minibatch, drawn with replacement from all that the replay holds.
        updates: minibatches in a round.
        every: a round follows every so many answers.
        capacity: answers that the replay holds; the oldest are overwritten.
        bootstrap: weight of each answer for each member, drawn once when it comes: "poisson" (mean 1), "bernoulli"
            (0 or 2), or "none" (1: the members differ by initialisation only).
        label_smoothing: share of the target spread over all actions, in [0, 1).
        weight_decay: of AdamW.
        prior_scale: factor of a second, never trained network that is added to each member's logits (randomised prior
            function); 0 for none.
        temperature: whether each member's logits are divided by a temperature, fitted by steps on the log-loss of
            answers that the member has not been trained on yet.
        plateau: see `Plateau`; None to keep the rate.
        caution: c, answers after which members know as much as they do not: of its probability mass each withholds
            ``c / (c + answers so far)``, and what is withheld is asked about. Networks fresh from their initialisation
            all say about the same of everything, so without this they would agree, and act, in ignorance. 0 for none.
            All members of one ensemble withhold the same; against fixed members in a `union`, which withhold nothing,
            every answer costs them ``answers / (c + answers)`` of their weight.

    Why these defaults: ``caution``, because without it members agree, and act, in ignorance; no ``label_smoothing``,
    because members that are never certain are asked about for ever; bootstrap, because members that see the same
    answers in the same way disagree less than they should. What was measured of caution and smoothing is in
    docs/learning.md. The other numbers are common ones and were not tuned.

    Raises:
        ConfigurationError: on construction, if a number is out of range.
    """

    learning_rate: float | Callable[[Any], Any] = 3e-3
    optimizer: Callable[[Any], optax.GradientTransformation] | None = None
    batch_size: int = 128
    updates: int = 8
    every: int = 4
    capacity: int = 16_384
    bootstrap: Literal["poisson", "bernoulli", "none"] = "poisson"
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    prior_scale: float = 0.0
    temperature: bool = False
    plateau: Plateau | None = None
    caution: float = 20.0

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            wanted = "be positive and finite, or a schedule"
            check_number("learning_rate", self.learning_rate, wanted, lambda rate: (rate > 0) & (rate < math.inf))
        for name in ("batch_size", "updates", "every", "capacity"):
            check_integer(name, getattr(self, name), 1)
        for name in ("label_smoothing", "weight_decay", "prior_scale", "caution"):
            most = 1 if name == "label_smoothing" else math.inf
            wanted = "be at least 0 and " + ("below 1" if most == 1 else "finite")
            check_number(name, getattr(self, name), wanted, lambda number, most=most: (number >= 0) & (number < most))
        check_instance("plateau", self.plateau, Plateau, "give a Plateau(...), or None to keep the rate")
        if self.optimizer is not None and not callable(self.optimizer):
            raise ConfigurationError(
                f"optimizer must be a function learning_rate -> transformation, got {self.optimizer!r}"
            )
        if self.bootstrap not in ("poisson", "bernoulli", "none"):
            raise ConfigurationError(f"bootstrap must be 'poisson', 'bernoulli' or 'none'; got {self.bootstrap!r}")
        if self.optimizer is not None and self.weight_decay:
            raise ConfigurationError("weight_decay belongs to the default optimizer: put it into the one you give")

    def make_optimizer(self) -> optax.GradientTransformationExtraArgs:
        """The gradient transformation of one member."""
        rate = self.learning_rate
        if self.optimizer is not None:
            steps = self.optimizer(rate)
        else:
            steps = optax.adamw(rate, weight_decay=self.weight_decay) if self.weight_decay else optax.adam(rate)
        if self.plateau is None:
            return optax.with_extra_args_support(steps)
        lowered = optax.contrib.reduce_on_plateau(
            factor=self.plateau.factor,
            patience=self.plateau.patience,
            rtol=1e-3,
            accumulation_size=self.updates,
            min_scale=self.plateau.smallest,
        )
        return optax.chain(steps, lowered)


class Replay(struct.PyTreeNode):
    """Answered queries; a ring once it is full.

    Attributes:
        inputs: what the members were asked about, leaves [C, ...].
        answers: int32 [C].
        counts: uint8 [C, N], how often each answer counts for each member.
        stored: int32 [], answers stored so far in all.
    """

    inputs: Any
    answers: jax.Array  # [C]
    counts: jax.Array  # [C, N]
    stored: jax.Array  # []

    @property
    def size(self) -> jax.Array:
        """int32 [], answers it holds."""
        return jnp.minimum(self.stored, self.answers.shape[0])


class Learned(struct.PyTreeNode):
    """What N members know.

    Attributes:
        params: leaves [N, ...].
        prior_params: parameters of the untrained networks, leaves [N, ...]; () if there are none.
        optimizer: state of the gradient transformation, leaves [N, ...].
        temperature: see `Temperature`.
        replay: all answers so far.
        key: of the bootstrap and the minibatches.
    """

    params: Any
    prior_params: Any
    optimizer: Any
    temperature: "Temperature"
    replay: Replay
    key: jax.Array


class Temperature(struct.PyTreeNode):
    """A number per member that its logits are divided by.

    Attributes:
        log: float32 [N], its logarithm.
        curvature: float32 [N], sum of the log-loss's second derivatives so far.
    """

    log: jax.Array  # [N]
    curvature: jax.Array  # [N]

    def step(self, log_probs: jax.Array, answer: jax.Array) -> "Temperature":
        """One step of online Newton on the log-loss of an answer, as predicted before it was learned from.

        With b the logarithm of the inverse temperature, the loss's derivative is ``E_p[log p] - log p(answer)`` and its
        second derivative about ``Var_p[log p]``, both functions of the prediction alone. Old answers count less and
        less, over some 200 of them, since the networks go on changing.
        """
        log_probs = jax.nn.log_softmax(log_probs)  # without what caution withheld
        probs = jnp.exp(log_probs)
        expected = jnp.sum(probs * log_probs, axis=-1)
        variance = jnp.sum(probs * (log_probs - expected[:, None]) ** 2, axis=-1)
        slope = expected - log_probs[:, answer]
        curvature = self.curvature * (1 - 1 / 200) + variance
        limit = math.log(_LARGEST_TEMPERATURE)
        log = jnp.clip(self.log + jnp.clip(slope / curvature, -0.1, 0.1), -limit, limit)
        usable = jnp.isfinite(log)
        return Temperature(log=jnp.where(usable, log, self.log), curvature=jnp.where(usable, curvature, self.curvature))


def init(
    training: Training, make_params: Callable[[jax.Array], Any], num_members: int, example: Any, key: jax.Array
) -> Learned:
    """What the members know before the first answer.

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
    capacity = training.capacity
    replay = Replay(
        inputs=jax.tree.map(lambda leaf: jnp.zeros((capacity, *jnp.shape(leaf)), jnp.asarray(leaf).dtype), example),
        answers=jnp.zeros(capacity, jnp.int32),
        counts=jnp.zeros((capacity, num_members), jnp.uint8),
        stored=jnp.zeros((), jnp.int32),
    )
    # The prior curvature of the temperature: as much as some twenty answers, so that the first few move it little.
    temperature = Temperature(log=jnp.zeros(num_members), curvature=jnp.full(num_members, 10.0))
    optimizer = jax.vmap(training.make_optimizer().init)(params)
    return Learned(params, prior_params, optimizer, temperature, replay, key)


def log_probs(training: Training, apply: Apply, learned: Learned, inputs: Any) -> jax.Array:
    """Every member's prediction for one input: [N, A]; sums to less than one while there is `Training.caution`."""
    logits = jax.vmap(apply, in_axes=(0, None))(learned.params, inputs)
    if training.prior_scale:
        logits += training.prior_scale * jax.vmap(apply, in_axes=(0, None))(learned.prior_params, inputs)
    if training.temperature:
        logits *= jnp.exp(-learned.temperature.log)[:, None]
    return jax.nn.log_softmax(logits) + _log_trust(training, learned.replay.stored)


def _log_trust(training: Training, stored: jax.Array) -> jax.Array | float:
    """Log of the mass that is not withheld; never zero mass, which would be no prediction at all."""
    if not training.caution:
        return 0.0
    return jnp.log(jnp.maximum(stored / (stored + training.caution), _LEAST_TRUST))


def learn(
    training: Training, apply: Apply, learned: Learned, inputs: Any, answer: jax.Array, predicted: jax.Array
) -> Learned:
    """What the members know after one answer.

    Args:
        training: settings.
        apply: a member's network.
        learned: what they knew before.
        inputs: what was asked about.
        answer: int32 [].
        predicted: [N, A], what `log_probs` said of it.
    """
    if training.temperature:
        learned = learned.replace(temperature=learned.temperature.step(predicted, answer))
    learned = store(training, learned, inputs, answer)
    due = learned.replay.stored % training.every == 0
    if training.plateau is not None and training.plateau.stop:
        due &= ~jnp.all(learned.optimizer[-1].scale <= training.plateau.smallest)
    # The replay is read, not returned: a conditional need not copy it.
    fitted = jax.lax.cond(due, lambda: fit(training, apply, learned), lambda: (learned.params, learned.optimizer))
    return learned.replace(params=fitted[0], optimizer=fitted[1])


def store(training: Training, learned: Learned, inputs: Any, answer: jax.Array) -> Learned:
    """Put an answer into the replay, with each member's weight for it."""
    replay = learned.replay
    capacity, num_members = replay.counts.shape
    slot = replay.stored % capacity
    key = jax.random.fold_in(jax.random.fold_in(learned.key, 0), replay.stored)
    counts = bootstrap_counts(training, key, num_members)
    replay = Replay(
        inputs=jax.tree.map(lambda kept, new: kept.at[slot].set(new), replay.inputs, inputs),
        answers=replay.answers.at[slot].set(answer),
        counts=replay.counts.at[slot].set(counts),
        stored=replay.stored + 1,
    )
    return learned.replace(replay=replay)


def bootstrap_counts(training: Training, key: jax.Array, num_members: int) -> jax.Array:
    """How often one answer counts for each member: uint8 [N], with mean 1."""
    uniform = jax.random.uniform(key, (num_members, 1))
    if training.bootstrap == "poisson":
        return jnp.sum(uniform >= _POISSON_CDF, axis=-1).astype(jnp.uint8)
    if training.bootstrap == "bernoulli":
        return jnp.where(uniform[:, 0] < 0.5, 2, 0).astype(jnp.uint8)
    return jnp.ones(num_members, jnp.uint8)


def draw_minibatches(training: Training, learned: Learned) -> jax.Array:
    """Places in the replay of a round's minibatches, int32 [updates, batch_size]: a function of key and answers."""
    key = jax.random.fold_in(jax.random.fold_in(learned.key, 1), learned.replay.stored)
    return jax.random.randint(key, (training.updates, training.batch_size), 0, learned.replay.size)


def loss(
    training: Training,
    apply: Apply,
    params: Any,
    prior_params: Any,
    inputs: Any,
    answers: jax.Array,
    counts: jax.Array,
) -> jax.Array:
    """One member's weighted, smoothed log-loss on a minibatch (leaves [B, ...]); the temperature has no part in it."""
    logits = jax.vmap(apply, in_axes=(None, 0))(params, inputs)
    if training.prior_scale:
        prior = jax.vmap(apply, in_axes=(None, 0))(prior_params, inputs)
        logits += training.prior_scale * jax.lax.stop_gradient(prior)
    targets = optax.smooth_labels(jax.nn.one_hot(answers, logits.shape[-1]), training.label_smoothing)
    return jnp.mean(counts * optax.softmax_cross_entropy(logits, targets))


def fit(training: Training, apply: Apply, learned: Learned) -> tuple[Any, Any]:
    """One round of minibatches: the parameters and the optimiser state after it.

    A member that the round would leave without numbers (NaN, infinity) stays as it was.
    """
    optimizer, replay = training.make_optimizer(), learned.replay

    def member(params: Any, prior_params: Any, state: Any, inputs: Any, answers: Any, counts: Any) -> tuple[Any, Any]:
        value, gradient = jax.value_and_grad(
            lambda params: loss(training, apply, params, prior_params, inputs, answers, counts)
        )(params)
        updates, state = optimizer.update(gradient, state, params, value=value)
        return optax.apply_updates(params, updates), state

    members = jax.vmap(member, in_axes=(0, 0, 0, None, None, 1))

    def update(fitted: tuple[Any, Any], places: jax.Array) -> tuple[tuple[Any, Any], None]:
        inputs = jax.tree.map(lambda leaf: leaf[places], replay.inputs)
        counts = replay.counts[places].astype(jnp.float32)
        return members(fitted[0], learned.prior_params, fitted[1], inputs, replay.answers[places], counts), None

    before = (learned.params, learned.optimizer)
    fitted, _ = jax.lax.scan(update, before, draw_minibatches(training, learned))
    return jax.vmap(_if_finite)(fitted, before)


def _if_finite(new: Any, old: Any) -> Any:
    """One member after a round; or before it, if a number has ceased to be finite: it would never be one again."""

    def stays(new: Any, old: Any) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return jnp.ones((), bool)
        # Some optimisers begin with infinities of their own.
        return jnp.all(jnp.isfinite(new) | ~jnp.isfinite(old))

    sound = jax.tree.reduce(jnp.logical_and, jax.tree.map(stays, new, old))
    return jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, old)
