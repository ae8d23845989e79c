"""Learning from recordings: demonstrations made before the imitator was there."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from consensus_imitation import compiled
from consensus_imitation.decision import check_action
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import InvalidAnswerError, ObservationError
from consensus_imitation.learner import Learner, LearnerState
from consensus_imitation.policy import encoded

#: Demonstrations that one compiled call learns from; shorter recordings are padded to a power of two.
CHUNK = 256


def warm_start(
    learner: Learner, ensemble: Ensemble, state: LearnerState, observations: Any, actions: Any, starts: Any = None
) -> LearnerState:
    """The state after learning from T recorded demonstrations, in their order.

    Args:
        learner: the rules.
        ensemble: in pure JAX.
        state: before.
        observations: arrays with a leading axis T, or a list of T observations.
        actions: [T].
        starts: bool [T], or None: only the first observation begins an episode.

    Raises:
        ObservationError: if lengths differ or an observation does not fit.
        InvalidAnswerError: if an action is none.
    """
    if not isinstance(actions, Iterable):
        raise InvalidAnswerError(f"actions must be a sequence of what the demonstrator did, got {actions!r}")
    checked = np.array([check_action(action, ensemble.num_actions) for action in actions], np.int32)
    total = len(checked)
    if total == 0:
        return state
    begins = np.arange(total) == 0 if starts is None else np.asarray(starts)
    if begins.shape != (total,) or begins.dtype != bool:
        raise ObservationError(
            f"starts needs one bool per action, {total} in all; got shape {begins.shape} of {begins.dtype}"
        )
    if isinstance(observations, list) and len(observations) != total:
        raise ObservationError(f"there are {len(observations)} observations and {total} actions")
    arrays = _together(ensemble, observations, total)
    stream = learner.init_streams(jax.random.key(0))
    for first in range(0, total, CHUNK):
        size = min(CHUNK, total - first)
        room = 1 << (size - 1).bit_length()
        part = [_padded(tree, first, size, room) for tree in (arrays, checked, begins)]
        state, stream = compiled.study(learner, state, stream, *part, np.arange(room) < size)
    return state


def _together(ensemble: Ensemble, observations: Any, total: int) -> Any:
    if not isinstance(observations, list):
        return encoded(ensemble, observations, total)
    rows = [encoded(ensemble, observation, None) for observation in observations]
    try:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    except (ValueError, TypeError) as error:
        raise ObservationError(f"the observations are not all of one shape and kind: {error}") from error


def _padded(tree: Any, first: int, size: int, room: int) -> Any:
    def pad(leaf: Any) -> np.ndarray:
        part = np.asarray(leaf)[first : first + size]
        return np.concatenate([part, np.repeat(part[-1:], room - size, axis=0)])

    return jax.tree.map(pad, tree)
