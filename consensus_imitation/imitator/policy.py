"""What an imitator has learned, acting by itself: for evaluation, without asking and without any promise."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from consensus_imitation.core._observations import lent, private
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.state import LearnerState, Stream
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.ensembles.tabular import check_known
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._host_members import advanced_carry, begun_carry, core_observation
from consensus_imitation.imitator.decision import check_observation


class Policy:
    """Follows the rule's own law without asking; the posterior mixture where the rule would certainly ask.

    It has a memory of its own and follows what the imitator learns. `ConsensusImitator.policy` makes one.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> imitator = ConsensusImitator(ensembles.tabular(np.array([[[0.3, 0.7]], [[0.4, 0.6]]])), seed=0)
        >>> imitator.policy().predict(0)[0]
        1
    """

    def __init__(
        self, state: Callable[[], LearnerState], ensemble: Ensemble, learner: Learner, num_envs: int | None, seed: int
    ) -> None:
        """Use `ConsensusImitator.policy`."""
        self._current = state
        self._ensemble = ensemble
        self._learner = learner
        self._num_envs = num_envs
        self._rng = np.random.default_rng(seed)
        # Any key will do: nothing is drawn.
        self._stream = learner.init_streams(jax.random.key(0), num_envs)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """The action for one observation (an int) or for a batch of them (int32 [B]).

        The signature is that of Stable-Baselines3.

        Args:
            observation: as the imitator takes it.
            state: ignored; the policy keeps its own memory.
            episode_start: bool, or [B]: an episode begins with this observation.
            deterministic: take the likeliest action; if False, draw from the law, scaled up to sum to one. Members
                without memory may go round in circles for ever where the likeliest action leads back to the same view.

        Returns:
            The action, and None.
        """
        del state
        if episode_start is not None and np.any(episode_start):
            begins = np.asarray(episode_start, bool).reshape(np.shape(self._stream.step))
            self._stream = begun(self._learner, self._ensemble, self._stream, begins)
        observation = encoded(self._ensemble, observation, self._num_envs)
        posing = self._current().replace(stream=self._stream)
        core = core_observation(self._ensemble, posing, observation, self._num_envs)
        size = self._num_envs or ()
        number = np.full(size, np.nan, np.float32) if deterministic else self._rng.random(size, np.float32)
        alone = kernels.alone if self._num_envs is None else kernels.alone_batch
        action, stream = alone(self._learner, posing, core, np.float32(number))
        action = np.asarray(action)
        if not self._ensemble.pure and jax.tree.leaves(self._stream.carry):
            unasked = np.zeros(action.shape, bool)
            carry = advanced_carry(self._ensemble, posing, observation, action, unasked, self._num_envs)
            stream = stream.replace(carry=carry)
        self._stream = stream
        return int(action) if self._num_envs is None else action, None

    def __repr__(self) -> str:
        """Members and rules that it follows."""
        return f"<Policy: {said(self._ensemble, self._num_envs)}\n  {self._learner.rules}>"


def said(ensemble: Ensemble, num_envs: int | None) -> str:
    """Members, actions and environments in a few words."""
    many = "1 environment" if num_envs is None else f"{num_envs} environments"
    return f"{ensemble.num_members} members ({type(ensemble).__name__}), {ensemble.num_actions} actions, {many}"


def begun(learner: Learner, ensemble: Ensemble, stream: Stream, begins: np.ndarray) -> Stream:
    """A stream, or B, where an episode begins if ``begins``, [] or [B], says so."""
    after = kernels.begin_episodes(learner, stream, begins, batch=begins.ndim > 0)
    if ensemble.pure or not jax.tree.leaves(stream.carry):
        return after
    return after.replace(carry=begun_carry(ensemble, stream.carry, begins))


def encoded(ensemble: Ensemble, observation: Any, num_envs: int | None) -> Any:
    """An observation of the environment, or of B, as the members take it; nobody else holds it, or can write to it.

    Raises:
        ObservationError: if it does not fit.
    """
    return private(shaped(ensemble, observation, num_envs))


def shaped(ensemble: Ensemble, observation: Any, num_envs: int | None) -> Any:
    """`encoded`, to be used at once: parts of it may still be the caller's, or the encoder's.

    Raises:
        ObservationError: if it does not fit.
    """
    if ensemble.encoder is not None:
        one_or_many: Any = ensemble.encoder if num_envs is None else ensemble.encoder.batch  # type: ignore[attr-defined]
        # The library's own writes to nothing.
        own = isinstance(ensemble.encoder, Encoder)
        observation = one_or_many(observation if own else lent(observation))
    # What remembers or learns from NaN is useless for ever; what is called and forgets may know what to do with it.
    lasting = ensemble.pure or ensemble.learns or bool(jax.tree.leaves(ensemble.init_carry()))
    observation = check_observation(observation, num_envs, finite=lasting)
    if ensemble.known_observations is not None:
        check_known(observation, ensemble.known_observations, num_envs)
    return observation
