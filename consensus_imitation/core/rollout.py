"""Whole runs of learner, environment and demonstrator as one ``lax.scan``; ``vmap`` over seeds and rules."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.core._tree import jit
from consensus_imitation.core.learner import Learner, random_words
from consensus_imitation.core.posterior import mixture
from consensus_imitation.core.pure_demonstrator import PureDemonstrator
from consensus_imitation.core.state import LearnerState
from consensus_imitation.core.withholding import withheld
from consensus_imitation.errors import ObservationError

#: Steps whose random numbers are made together, at most.
_AT_ONCE = 1000


class PureEnvironment(Protocol):
    """An environment in pure JAX.

    One in which not everything is legal everywhere may have ``action_mask(state) -> bool [A]``.
    """

    def reset(self, key: jax.Array) -> tuple[Any, Any]:
        """A first state and observation."""
        ...

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Any]:
        """The next state, and ``observation, reward, terminated, truncated, harm`` as attributes of one object."""
        ...


class RolloutState(struct.PyTreeNode):
    """Where a run stands: pass it back to go on."""

    learner: LearnerState
    env: Any
    observation: Any
    key: jax.Array


class Trajectory(NamedTuple):
    """T steps of one run.

    Attributes:
        observation: [T, ...], what each decision was made on.
        action: int32 [T], what was done.
        queried: bool [T], whether the demonstrator chose it.
        query_prob: float32 [T], theta.
        evidence: float32 [T], log-probability the posterior gave to the answer, 0 where none was asked for.
        invalid: bool [T, N], members whose prediction was unusable.
        log_weights: float32 [T, N], posterior *before* the step.
        reward: float32 [T].
        terminated: bool [T].
        truncated: bool [T].
        harm: bool [T], the harmful event took place in this step.
        withheld: float32 [T], the part of theta that members withheld (`withholding.withheld`).
        expected: float32 [T, A], what the posterior before the step gives to each action (`posterior.mixture`).
    """

    observation: Any
    action: jax.Array
    queried: jax.Array
    query_prob: jax.Array
    evidence: jax.Array
    invalid: jax.Array
    log_weights: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    harm: jax.Array
    withheld: jax.Array
    expected: jax.Array


def start(learner: Learner, env: PureEnvironment, key: jax.Array) -> RolloutState:
    """The beginning of a run; one key seeds the draws, the environment and the demonstrator independently.

    Raises:
        ObservationError: if the environment says how many observations it has (``num_observations``), and that is more
            than the members know.
    """
    _check_fits(learner, env)
    learner_key, env_key, key = jax.random.split(key, 3)
    env_state, observation = env.reset(env_key)
    return RolloutState(learner=learner.init(learner_key), env=env_state, observation=observation, key=key)


def rollout(
    learner: Learner,
    env: PureEnvironment,
    demonstrator: PureDemonstrator,
    state: RolloutState,
    num_steps: int,
) -> tuple[RolloutState, Trajectory]:
    """Run for a number of steps; an episode that ends is followed by a reset, and the learner continues.

    Args:
        learner: with an ensemble in pure JAX.
        env: see `PureEnvironment`.
        demonstrator: see `PureDemonstrator`.
        state: from `start`, or from an earlier call.
        num_steps: T, static under ``jit``.

    Returns:
        The state after T steps, and the `Trajectory`.

    Raises:
        ObservationError: if the environment says that it has more observations than the members know.

    Example:
        >>> import jax
        >>> from consensus_imitation import Learner, TopK, ensembles, envs
        >>> from consensus_imitation.demonstrators import TabularDemonstrator
        >>> from consensus_imitation.core.rollout import rollout, start
        >>> world = envs.make("ring")
        >>> learner = Learner(ensembles.tabular(world.demonstrator_probs[None]), TopK(1))
        >>> expert = TabularDemonstrator.create(world.demonstrator_probs)
        >>> state = start(learner, world.env, jax.random.key(0))
        >>> state, trajectory = rollout(learner, world.env, expert, state, num_steps=20)
        >>> int(trajectory.queried.sum())
        0
    """
    _check_fits(learner, env)
    legal = getattr(env, "action_mask", lambda _: None)

    def step(state: RolloutState, chance: _Chance) -> tuple[RolloutState, Trajectory]:
        number, answer_key, step_key, reset_key = chance
        decision = learner.decide(state.learner, state.observation, number, legal(state.env))
        answer = demonstrator.sample(answer_key, state.observation)
        learner_state, info = learner.observe(state.learner, state.observation, decision, answer)
        env_state, outcome = env.step(step_key, state.env, info.action)
        done = outcome.terminated | outcome.truncated
        fresh = env.reset(reset_key)
        env_state, observation = jax.tree.map(partial(jnp.where, done), fresh, (env_state, outcome.observation))
        learner_state = learner_state.replace(stream=learner.begin_episode(learner_state.stream, done))
        trajectory = Trajectory(
            observation=state.observation,
            action=info.action,
            queried=decision.queried,
            query_prob=decision.query_prob,
            evidence=info.evidence,
            invalid=decision.invalid,
            log_weights=state.learner.posterior.log_weights,
            reward=outcome.reward,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            harm=outcome.harm,
            withheld=withheld(decision.usable, decision.selected, decision.query_prob),
            expected=mixture(state.learner.posterior.log_weights, decision.usable),
        )
        return state.replace(learner=learner_state, env=env_state, observation=observation), trajectory

    at_once = max(d for d in range(1, _AT_ONCE + 1) if num_steps % d == 0)

    def some(state: RolloutState, _: None) -> tuple[RolloutState, Trajectory]:
        return jax.lax.scan(step, state, _chances(state, at_once))

    state, trajectory = jax.lax.scan(some, state, None, length=num_steps // at_once)
    return state, jax.tree.map(lambda leaf: leaf.reshape(num_steps, *leaf.shape[2:]), trajectory)


class _Chance(NamedTuple):
    """All that a step draws with: leaves [T, ...] for T steps."""

    number: jax.Array
    answer_key: jax.Array
    step_key: jax.Array
    reset_key: jax.Array


def _chances(state: RolloutState, num_steps: int) -> _Chance:
    """What the next steps draw with, at once: one hash after another, each step would wait for them."""
    stream = state.learner.stream

    def of(step: jax.Array) -> _Chance:
        key = jax.random.fold_in(state.key, step)
        # Not split: what a deterministic environment does not use, is then not computed.
        return _Chance(random_words(stream.key, step), *(jax.random.fold_in(key, i) for i in range(3)))

    steps = stream.step + jnp.arange(num_steps)
    # Other generators than JAX's own need not give the same numbers under `vmap`.
    alike = all(str(jax.random.key_impl(key)) == "threefry2x32" for key in (stream.key, state.key))
    return jax.vmap(of)(steps) if alike else jax.lax.map(of, steps)


def _check_fits(learner: Learner, env: PureEnvironment) -> None:
    known, given = learner.ensemble.known_observations, getattr(env, "num_observations", None)
    if known is not None and given is not None and given > known:
        raise ObservationError(
            f"the environment has {given} observations, the tables hold {known}: give tables that hold all of them"
        )


def keep_all(state: RolloutState, trajectory: Trajectory) -> tuple[RolloutState, Trajectory]:
    """The summary that summarises nothing."""
    return state, trajectory


@partial(jit, static_argnames=("num_steps", "summary"))
def rollouts(
    learner: Learner,
    env: PureEnvironment,
    demonstrator: PureDemonstrator,
    keys: jax.Array,
    num_steps: int,
    selections: Any,
    summary: Callable[[RolloutState, Trajectory], Any] = keep_all,
) -> Any:
    """Independent runs for every rule and every seed, in one compiled program.

    Args:
        learner: its own ``selection`` is replaced by each of ``selections``.
        env: see `PureEnvironment`.
        demonstrator: see `PureDemonstrator`.
        keys: [S], one PRNG key per seed.
        num_steps: T.
        selections: a selection rule whose parameters have a leading axis R, e.g. ``TopK(jnp.array([1, 2, 4]))``. New
            values do not recompile.
        summary: ``(state, trajectory) -> pytree`` of one run; what it does not use is not kept, or even computed.

    Returns:
        What ``summary`` returns, with leading axes [R, S].

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consensus_imitation import Learner, TopK, ensembles, envs
        >>> from consensus_imitation.demonstrators import TabularDemonstrator
        >>> from consensus_imitation.core.rollout import rollouts
        >>> world = envs.make("ring")
        >>> learner = Learner(ensembles.tabular(world.demonstrator_probs[None]), TopK(1))
        >>> expert = TabularDemonstrator.create(world.demonstrator_probs)
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> count = lambda state, trajectory: trajectory.queried.sum()
        >>> rollouts(learner, world.env, expert, keys, 20, TopK(jnp.array([1])), count).shape
        (1, 5)
    """

    def run(selection: Any, key: jax.Array) -> Any:
        own = learner.replace(selection=selection)
        return summary(*rollout(own, env, demonstrator, start(own, env, key), num_steps))

    if learner.ensemble.learns:
        # Under vmap every branch is computed: members would train at every step, asked or not.
        return jax.lax.map(lambda selection: jax.lax.map(lambda key: run(selection, key), keys), selections)
    over_seeds = jax.vmap(run, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(0, None))(selections, keys)
