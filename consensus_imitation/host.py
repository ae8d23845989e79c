"""Ensembles that run Python code: their predictions and memory are worked out on the host, and fed to the pure core."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from consensus_imitation.ensembles.base import Carry, Context, Ensemble, PureEnsemble
from consensus_imitation.learner import LearnerState


class Predicted(PureEnsemble):
    """Stands in the core for an ensemble that runs on the host: its "observation" is the predictions [N, A]."""

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
    return Predicted(ensemble.prior, ensemble.init_carry(), ensemble.num_members, ensemble.num_actions)


def core_observation(ensemble: Ensemble, state: LearnerState, observation: Any, num_envs: int | None) -> Any:
    """What the pure core is fed: the observation itself, or predictions made on the host ([N, A] or [B, N, A])."""
    if ensemble.pure:
        return observation
    stream, log_weights = state.stream, state.posterior.log_weights
    if num_envs is None:
        return ensemble.log_probs(stream.carry, observation, Context(stream.step, log_weights))
    rows = [
        ensemble.log_probs(row(stream.carry, b), row(observation, b), Context(stream.step[b], log_weights))
        for b in range(num_envs)
    ]
    return jnp.stack(rows)


def advanced_carry(
    ensemble: Ensemble, state: LearnerState, observation: Any, action: Any, queried: Any, num_envs: int | None
) -> Carry:
    """The members' memory after a step that was taken in ``state``."""
    stream, log_weights = state.stream, state.posterior.log_weights
    if num_envs is None:
        context = Context(stream.step, log_weights)
        return ensemble.advance(stream.carry, observation, context, jnp.int32(action), jnp.asarray(queried))
    rows = [
        ensemble.advance(
            row(stream.carry, b),
            row(observation, b),
            Context(stream.step[b], log_weights),
            jnp.int32(action[b]),
            jnp.asarray(queried[b]),
        )
        for b in range(num_envs)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


def row(tree: Any, b: int) -> Any:
    """One environment's part of a batch."""
    return jax.tree.map(lambda leaf: leaf[b], tree)
