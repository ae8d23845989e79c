"""Learning from recordings: demonstrations made before the imitator was there."""

import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core import _studied
from consensus_imitation.core._actions import check_recorded
from consensus_imitation.core._observations import private
from consensus_imitation.core._sources import check_sources
from consensus_imitation.core._voids import STUDIED_TWICE, marked, reasons
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.legal import check_legal, check_mask
from consensus_imitation.core.members import Ensemble, owners_of
from consensus_imitation.core.state import LearnerState
from consensus_imitation.errors import ConfigurationError, ConsensusWarning, ObservationError
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._health import UNEXPLAINED
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._teaching import in_arrays, split
from consensus_imitation.imitator.policy import shaped

#: Demonstrations that one compiled call learns from; shorter recordings are padded to a power of two.
CHUNK = 256


class Recording(NamedTuple):
    """T recorded demonstrations, in their order, as the user gave them.

    Attributes:
        observations: arrays with a leading axis T, or a list of T observations.
        actions: [T].
        starts: bool [T], or None: only the first observation begins an episode.
        masks: bool [T, A], what was legal; None for everything.
        sources: one, or T of them; None for none.
        trusted: bool, or [T]: counts for every member.
    """

    observations: Any
    actions: Any
    starts: Any = None
    masks: Any = None
    sources: Any = None
    trusted: Any = False


def pretrained(run: Run, recording: Recording) -> Run:
    """The run after learning from recorded demonstrations; it warns if that voids what was promised.

    Raises:
        ConfigurationError: if the members run on the host.
        ObservationError: as for `warm_start`.
        InvalidAnswerError: as for `warm_start`.
    """
    setup, before = run.setup, run.state
    if not setup.ensemble.pure:
        raise ConfigurationError(
            "members that run on the host cannot study recordings: let them answer queries instead"
        )
    more = len(check_recorded(recording.actions, setup.ensemble.num_actions))
    whole = in_arrays(run.whole, more) if run.rows else run.whole
    state = warm_start(setup.learner, setup.ensemble, whole, recording)
    state, rows = split(setup.ensemble, state, run.rows)
    after = run.moved(state, rows=rows)
    if after.unexplained and not run.unexplained:
        warnings.warn(UNEXPLAINED, ConsensusWarning, stacklevel=4)
    if int(state.voids) & ~int(before.voids) & STUDIED_TWICE:
        warnings.warn(reasons(STUDIED_TWICE)[0] + ": no bound holds any more", ConsensusWarning, stacklevel=4)
    return after


def warm_start(learner: Learner, ensemble: Ensemble, state: LearnerState, recording: Recording) -> LearnerState:
    """The state after learning from T recorded demonstrations, in their order; it says if they were studied before.

    Args:
        learner: the rules.
        ensemble: in pure JAX.
        state: before.
        recording: the demonstrations.

    Raises:
        ObservationError: if lengths differ, or an observation or the masks do not fit.
        InvalidAnswerError: if an action is none, or its mask forbids it.
        ConfigurationError: if the sources are none, or not as many.
    """
    observations, actions, starts, masks = recording[:4]
    checked = check_recorded(actions, ensemble.num_actions)
    total = len(checked)
    if total == 0:
        return state
    legal = check_mask(masks, ensemble.num_actions, total)
    if legal is not None:
        for step in np.flatnonzero(~legal[np.arange(total), checked])[:1].tolist():
            check_legal(int(checked[step]), legal[step], f"the demonstrator did at step {step}")
    begins = np.arange(total) == 0 if starts is None else np.asarray(starts)
    if begins.shape != (total,) or begins.dtype != bool or np.ma.is_masked(starts):
        raise ObservationError(
            f"episode_starts needs one bool per action, {total} in all; got shape {begins.shape} of {begins.dtype}"
        )
    if isinstance(observations, list) and len(observations) != total:
        raise ObservationError(f"there are {len(observations)} observations and {total} actions")
    sources, trusted = check_sources(recording.sources, total), _check_trusted(recording.trusted, total)
    owners = owners_of(ensemble, state.learned, sources, trusted)
    arrays = _together(ensemble, observations, total)
    recordings, again = _studied.noticed(state.recordings, arrays, checked, begins)
    stream = learner.init_streams(jax.random.key(0))
    for first in range(0, total, CHUNK):
        size = min(CHUNK, total - first)
        room = 1 << (size - 1).bit_length()
        part = [_padded(tree, first, size, room) for tree in (arrays, checked, begins, legal, owners)]
        state, stream = kernels.pretrain(learner, state, stream, *part[:3], np.arange(room) < size, *part[3:])
    state = state.replace(recordings=jnp.asarray(recordings))
    return marked(state, STUDIED_TWICE) if again else state


def _check_trusted(trusted: Any, total: int) -> np.ndarray:
    told = np.asarray(trusted)
    if told.dtype != bool or told.shape not in ((), (total,)):
        raise ConfigurationError(
            f"trusted must be True or False, or one of them for each of the {total} actions; got shape {told.shape} of "
            f"{told.dtype}"
        )
    return np.broadcast_to(told, (total,))


def _together(ensemble: Ensemble, observations: Any, total: int) -> Any:
    if not isinstance(observations, list):
        return shaped(ensemble, observations, total)
    rows = [shaped(ensemble, private(observation), None) for observation in observations]
    try:
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    except (ValueError, TypeError) as error:
        raise ObservationError(f"the observations are not all of one shape and kind: {error}") from error


def _padded(tree: Any, first: int, size: int, room: int) -> Any:
    def pad(leaf: Any) -> np.ndarray:
        part = np.asarray(leaf)[first : first + size]
        return np.concatenate([part, np.repeat(part[-1:], room - size, axis=0)])

    return jax.tree.map(pad, tree)
