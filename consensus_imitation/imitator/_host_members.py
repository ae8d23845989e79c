"""Ensembles that run Python code: their predictions and memory are worked out on the host, and fed to the pure core."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from consensus_imitation.core._observations import lent, owned
from consensus_imitation.core.learner import Learner, learning_key
from consensus_imitation.core.members import Carry, Context, Ensemble, PureEnsemble
from consensus_imitation.core.state import LearnerState
from consensus_imitation.ensembles.neural.replay import is_replay


class Predicted(PureEnsemble):
    """Stands in the core for an ensemble that runs on the host: its "observation" is the predictions [N, A].

    What the members remember and learn is worked out by the host ensemble, outside the core.
    """

    prior: jax.Array
    first_carry: Any
    num_members: int = struct.field(pytree_node=False)
    num_actions: int = struct.field(pytree_node=False)

    def init_carry(self) -> Carry:
        """The host ensemble's."""
        return self.first_carry

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """What the host has predicted."""
        del carry, context
        return observation


def core_ensemble(ensemble: Ensemble) -> Any:
    """The ensemble that the core sees."""
    if ensemble.pure:
        return ensemble
    return Predicted(ensemble.prior, as_jax(ensemble.init_carry()), ensemble.num_members, ensemble.num_actions)


def initial_state(
    learner: Learner, ensemble: Ensemble, key: jax.Array, num_envs: int | None, members: jax.Array | None = None
) -> LearnerState:
    """The state before the first step, as `Learner.init` makes it; what members on the host know is asked of them."""
    state = learner.init(key, num_envs, members)
    if ensemble.pure or not ensemble.learns:
        return state
    return state.replace(learned=as_jax(ensemble.init_learned(learning_key(key) if members is None else members)))


def core_observation(ensemble: Ensemble, state: LearnerState, observation: Any, num_envs: int | None) -> Any:
    """What the pure core is fed: the observation itself, or predictions made on the host ([N, A] or [B, N, A])."""
    if ensemble.pure:
        return observation
    carry = state.stream.carry
    if num_envs is None:
        return owned(ensemble.log_probs(carry, lent(observation), _context(state)))
    rows = [
        owned(ensemble.log_probs(row(carry, b), lent(row(observation, b)), _context(state, b))) for b in range(num_envs)
    ]
    return jnp.stack(rows)


def advanced_carry(
    ensemble: Ensemble, state: LearnerState, observation: Any, action: Any, queried: Any, num_envs: int | None
) -> Carry:
    """The members' memory after a step that was taken in ``state``."""
    carry = state.stream.carry
    if num_envs is None:
        told = (jnp.int32(action), jnp.asarray(queried))
        return as_jax(ensemble.advance(carry, lent(observation), _context(state), *told))
    rows = [
        as_jax(
            ensemble.advance(
                row(carry, b),
                lent(row(observation, b)),
                _context(state, b),
                jnp.int32(action[b]),
                jnp.asarray(queried[b]),
            )
        )
        for b in range(num_envs)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


def begun_carry(ensemble: Ensemble, carry: Carry, begins: Any) -> Carry:
    """The members' memory where an episode begins: ``begins`` is a bool, or [B] for a batch."""
    if np.ndim(begins) == 0:
        return as_jax(ensemble.begin_episode(carry)) if begins else carry
    rows = [
        as_jax(ensemble.begin_episode(row(carry, b))) if begin else row(carry, b)
        for b, begin in enumerate(begins.tolist())
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


def as_jax(tree: Any) -> Any:
    """What members on the host remember or know, in JAX's types, as the state and its checkpoints hold it."""

    def own(leaf: Any) -> Any:
        if is_replay(leaf):
            return leaf
        # Of NumPy's arrays a copy in any case: a member may write to its own again.
        return jnp.array(leaf) if isinstance(leaf, np.ndarray) else jnp.asarray(leaf)

    return jax.tree.map(own, tree, is_leaf=is_replay)


def row(tree: Any, b: int) -> Any:
    """One environment's part of a batch of arrays."""
    return jax.tree.map(lambda leaf: leaf[b], tree)


def raw_row(observations: Any, b: int) -> Any:
    """One environment's observation, from a batch as vector environments give it: texts come as a sequence."""
    if isinstance(observations, dict):
        return {name: raw_row(part, b) for name, part in observations.items()}
    if isinstance(observations, tuple) and not all(isinstance(one, str) for one in observations):
        return tuple(raw_row(part, b) for part in observations)
    return observations[b]


def _context(state: LearnerState, b: int | None = None) -> Context:
    """What a member is told of the history, in the only environment or in one of a batch."""
    step = state.stream.step if b is None else state.stream.step[b]
    return Context(step, state.posterior.log_weights, learned=state.learned)
