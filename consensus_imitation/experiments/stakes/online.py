"""Ordinary online learners: they act at every step, and are told afterwards what the demonstrator would have done."""

import math
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.core._tree import PyTree, jit
from consensus_imitation.core.members import Context, Ensemble
from consensus_imitation.core.pure_demonstrator import PureDemonstrator
from consensus_imitation.core.rollout import PureEnvironment


class OnlineLearner(Protocol):
    """What acts, and learns from a label at every step."""

    def init(self, prior: jax.Array) -> Any:
        """Return what it knows at first, given the members' prior weights [N]."""
        ...

    def probs(self, known: Any, probs: jax.Array, observation: jax.Array) -> jax.Array:
        """Return the law [A] that it acts by, given the members' predictions [N, A]."""
        ...

    def learn(self, known: Any, probs: jax.Array, observation: jax.Array, label: jax.Array) -> Any:
        """Return what it knows after the label, int32 []."""
        ...


class _Weighted(PyTree):
    """What follows members by weight; it knows their log-weights [N]."""

    def init(self, prior: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        return jnp.log(prior)

    def probs(self, known: jax.Array, probs: jax.Array, observation: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        del observation
        return jax.nn.softmax(known) @ probs


class Mixture(_Weighted):
    """The posterior mixture, which is Hedge on the logarithmic loss with rate one.

    Its log-loss exceeds the truth's by at most ``ln(1/w)`` in all.
    """

    def learn(self, known: jax.Array, probs: jax.Array, observation: jax.Array, label: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        del observation
        return jax.nn.log_softmax(known + jnp.log(probs[:, label]))


class Hedge(_Weighted):
    """Hedge (Freund and Schapire 1997): follow a member drawn by weight; a weight falls with the member's mistakes.

    The loss of a member is the probability with which it would not have done what the label says, in [0, 1].

    Attributes:
        rate: float32 [], of its learning.

    References:
        Cesa-Bianchi and Lugosi 2006, "Prediction, Learning, and Games", theorem 2.2, with a prior.
    """

    rate: jax.Array

    @classmethod
    def tuned(cls, weight: float, num_steps: int) -> "Hedge":
        """Choose the rate that makes `bound` smallest."""
        return cls(jnp.float32(math.sqrt(8 * math.log(1 / weight) / num_steps)))

    def bound(self, weight: float, num_steps: int) -> float:
        """Return what its expected mistakes exceed those of a member of that prior weight by at most, in so many steps.

        Example:
            >>> from consensus_imitation.experiments.stakes.online import Hedge
            >>> round(Hedge.tuned(1 / 8, 4000).bound(1 / 8, 4000), 1)  # sqrt(T ln(1/w) / 2)
            64.5
        """
        rate = float(self.rate)
        return math.log(1 / weight) / rate + rate * num_steps / 8

    def learn(self, known: jax.Array, probs: jax.Array, observation: jax.Array, label: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        del observation
        return jax.nn.log_softmax(known - self.rate * (1 - probs[:, label]))


class GradientDescent(PyTree):
    """A softmax policy with a logit for each observation and action, trained by SGD on the log-loss; no members.

    Attributes:
        rate: float32 [], of its learning.
        num_observations: S.
        num_actions: A.
    """

    rate: jax.Array
    num_observations: int = struct.field(pytree_node=False)
    num_actions: int = struct.field(pytree_node=False)

    def init(self, prior: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        del prior
        return jnp.zeros((self.num_observations, self.num_actions))

    def probs(self, known: jax.Array, probs: jax.Array, observation: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        del probs
        return jax.nn.softmax(known[observation])

    def learn(self, known: jax.Array, probs: jax.Array, observation: jax.Array, label: jax.Array) -> jax.Array:
        """See `OnlineLearner`."""
        del probs
        step = jax.nn.one_hot(label, self.num_actions) - jax.nn.softmax(known[observation])
        return known.at[observation].add(self.rate * step)


class Labelled(NamedTuple):
    """T steps of one run.

    Attributes:
        harm: bool [T].
        reward: float32 [T].
        excess: float32 [T], the probability of a mistake (another action than the label) above the truth's.
    """

    harm: jax.Array
    reward: jax.Array
    excess: jax.Array


@partial(jit, static_argnames=("truth", "num_steps"))
def play(
    learner: OnlineLearner,
    ensemble: Ensemble,
    truth: int,
    env: PureEnvironment,
    demonstrator: PureDemonstrator,
    keys: jax.Array,
    num_steps: int,
) -> Labelled:
    """Let a learner act at every step of S runs, and learn from the demonstrator's label of every step.

    Args:
        learner: see `OnlineLearner`.
        ensemble: without memory, and without learning of its own.
        truth: index of the member to compare it with.
        env: see `PureEnvironment`.
        demonstrator: draws the labels.
        keys: [S], one PRNG key per run.
        num_steps: T.

    Returns:
        The steps of each run, [S, T].
    """
    carry = ensemble.init_carry()

    def run(key: jax.Array) -> Labelled:
        first_key, key = jax.random.split(key)

        def step(state: Any, t: jax.Array) -> tuple[Any, Labelled]:
            known, world, observation = state
            label_key, draw_key, step_key, reset_key = jax.random.split(jax.random.fold_in(key, t), 4)
            members = jnp.exp(ensemble.log_probs(carry, observation, Context(t, jnp.log(ensemble.prior))))
            law = learner.probs(known, members, observation)
            label = demonstrator.sample(label_key, observation)
            world, outcome = env.step(step_key, world, jax.random.categorical(draw_key, jnp.log(law)))
            known = learner.learn(known, members, observation, label)
            done = outcome.terminated | outcome.truncated
            world, seen = jax.tree.map(partial(jnp.where, done), env.reset(reset_key), (world, outcome.observation))
            found = Labelled(outcome.harm, outcome.reward, members[truth, label] - law[label])
            return (known, world, seen), found

        return jax.lax.scan(step, (learner.init(ensemble.prior), *env.reset(first_key)), jnp.arange(num_steps))[1]

    return jax.vmap(run)(keys)
