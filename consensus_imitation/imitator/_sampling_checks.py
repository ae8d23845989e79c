"""What a `SamplingImitator` can be made of, and what its members can be shown."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._actions import is_whole, shown
from consensus_imitation.core._validation import check_integer
from consensus_imitation.core.sampling_learner import SamplingLearner, SamplingState
from consensus_imitation.errors import ConfigurationError, ObservationError
from consensus_imitation.imitator.decision import check_observation


def check_sampling_ensemble(ensemble: Any) -> None:
    """Raise ConfigurationError unless it has members that can be sampled and scored."""
    needed = ("sample", "log_prob", "init_carry", "advance")
    can = not isinstance(ensemble, type) and all(callable(getattr(ensemble, name, None)) for name in needed)
    if not can or not hasattr(ensemble, "prior"):
        raise ConfigurationError(
            "the ensemble must be one of consensus_imitation.ensembles.any_action, or have its methods (those of "
            f"consensus_imitation.ensembles are for ConsensusImitator); got {ensemble!r}"
        )
    check_integer("num_members", ensemble.num_members, 1)


def check_space(space: Any) -> Any:
    """The action space.

    Raises:
        ConfigurationError: if it is neither None nor can be asked what it contains.
    """
    if space is not None and not callable(getattr(space, "contains", None)):
        raise ConfigurationError(f"action_space must have contains(action), as a Gymnasium space has; got {space!r}")
    return space


def check_fits(learner: SamplingLearner, state: Any) -> int | None:
    """How many environments a state is of: None for a single one.

    Raises:
        ConfigurationError: unless it is one of this ensemble, and the rule fits it.
    """
    if not isinstance(state, SamplingState):
        raise ConfigurationError(f"expected the state of a SamplingImitator or a SamplingLearner, got {state!r}")
    weights, size = jnp.shape(state.posterior.log_weights), learner.ensemble.num_members
    if weights != (size,):
        raise ConfigurationError(
            f"the state holds weights of shape {list(weights)}, but the ensemble has {size} members: give [{size}]"
        )
    steps = jnp.shape(state.stream.step)
    num_envs = steps[0] if steps else None
    like = jax.eval_shape(lambda: learner.init(jax.random.key(0), num_streams=num_envs))
    if jax.tree.map(jnp.shape, state) != jax.tree.map(lambda leaf: leaf.shape, like):
        raise ConfigurationError("the state does not fit: the members' memory is another")
    return num_envs


def refuse_mask(action_mask: Any) -> None:
    """Raise ConfigurationError for an action mask: there is no list of actions that it could be over."""
    if action_mask is not None:
        raise ConfigurationError(
            "action masks are for actions that can be listed: these have no numbers. Say what is legal by the members' "
            "distributions and by action_space, or use ConsensusImitator"
        )


def check_seen(observation: Any, finite: bool) -> Any:
    """An observation that members in JAX can be shown.

    Args:
        observation: a pytree.
        finite: whether NaN and infinity are refused, too.

    Raises:
        ObservationError: naming the part that is no numbers.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(observation):
        dtype = leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype
        if not is_whole(dtype) and not jnp.issubdtype(dtype, jnp.inexact) and not jnp.issubdtype(dtype, jnp.bool_):
            raise ObservationError(
                f"the observation{jax.tree_util.keystr(path)} is {shown(leaf)}, of type {dtype}: members in JAX take "
                "numbers; encode it in a wrapper"
            )
    return check_observation(observation, None, finite=finite)
