"""What an imitator has learned, acting by itself: for evaluation, without asking and without any promise."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._observations import lent, num_axes, private
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.legal import check_mask
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.state import LearnerState, Stream
from consensus_imitation.ensembles.neural.encoding import Encoder
from consensus_imitation.ensembles.tabular import check_known
from consensus_imitation.errors import ConfigurationError, ObservationError
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._host_members import advanced_carry, begun_carry, core_observation
from consensus_imitation.imitator.decision import check_observation


class Policy:
    """Follows the rule's own law without asking; the posterior mixture where the rule would certainly ask.

    It has a memory of its own and follows what the imitator learns. `ConsensusImitator.policy` makes one. It can be
    called as a policy of Stable-Baselines3, for example by ``stable_baselines3.common.evaluation.evaluate_policy``.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> imitator = ConsensusImitator(ensembles.tabular(np.array([[[0.3, 0.7]], [[0.4, 0.6]]])), seed=0)
        >>> imitator.policy().predict(0)[0]
        1
        >>> imitator.policy().predict(np.array([0, 0, 0]))[0].tolist()  # a batch
        [1, 1, 1]
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
        self._rows = num_envs
        self._stream = self._fresh(num_envs)

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
        action_masks: Any = None,
    ) -> tuple[Any, tuple[Any, ...]]:
        """The action for one observation (an int) or for a batch of them (int32 [B]).

        The signature is that of Stable-Baselines3, and of sb3-contrib's maskable policies. Of a policy for a single
        environment the call says whether it is about a batch: by the observation, where tables or an encoder tell one
        from many; else by ``episode_start`` or ``state``, if they have a leading axis B. A call for another B than the
        last one begins a new memory.

        Args:
            observation: as the imitator takes it; for a batch with a leading axis B.
            state: the memory to go on from, as an earlier call returned it. None: that of the last call.
            episode_start: bool, or [B]: an episode begins with this observation, and members forget the one before.
            deterministic: take the likeliest action; if False, draw from the law, scaled up to sum to one. Members
                without memory may go round in circles for ever where the likeliest action leads back to the same view.
            action_masks: bool [A], or [B, A] for a batch, the legal actions; None for all. No other is returned.

        Returns:
            The action, and the memory after it: a tuple of arrays, to pass as ``state``.

        Raises:
            ObservationError: if an observation or a mask does not fit, or ``episode_start`` has not one bool for each.
            ConfigurationError: if ``state`` is no memory of these members, or one of another B.
        """
        rows = self._num_envs
        if rows is None:
            rows = _rows(self._ensemble, observation, state, episode_start)
        legal = check_mask(action_masks, self._ensemble.num_actions, rows)
        stream = self._from(state, rows)
        if episode_start is not None:
            begins = _begins(episode_start, rows)
            if begins.any():
                stream = begun(self._learner, self._ensemble, stream, begins)
        observation = encoded(self._ensemble, observation, rows)
        posing = self._current().replace(stream=stream)
        core = core_observation(self._ensemble, posing, observation, rows)
        size = () if rows is None else rows
        number = np.full(size, np.nan, np.float32) if deterministic else self._rng.random(size, np.float32)
        alone = kernels.alone if rows is None else kernels.alone_batch
        action, after = alone(self._learner, posing, core, np.float32(number), legal)
        action = np.asarray(action)
        if not self._ensemble.pure and jax.tree.leaves(stream.carry):
            unasked = np.zeros(action.shape, bool)
            carry = advanced_carry(self._ensemble, posing, observation, action, unasked, rows)
            after = after.replace(carry=carry)
        self._stream, self._rows = after, rows
        return int(action) if rows is None else action, _memory(after)

    def _fresh(self, rows: int | None) -> Stream:
        # Any key will do: nothing is drawn.
        return self._learner.init_streams(jax.random.key(0), rows)

    def _from(self, state: Any, rows: int | None) -> Stream:
        """The stream to go on from.

        Raises:
            ConfigurationError: if ``state`` is none of ``rows`` environments.
        """
        own = self._stream if rows == self._rows else self._fresh(rows)
        if state is None:
            return own
        leaves, structure = jax.tree.flatten(own.replace(key=None))
        fits = isinstance(state, tuple) and len(state) == len(leaves)
        if not fits or any(not _alike(*pair) for pair in zip(state, leaves, strict=True)):
            many = "one environment" if rows is None else f"{rows} environments"
            raise ConfigurationError(
                f"state is no memory of these members in {many}: pass what predict() returned last, or None"
            )
        return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in state]).replace(key=own.key)

    def __repr__(self) -> str:
        """Members and rules that it follows."""
        return f"<Policy: {said(self._ensemble, self._num_envs)}\n  {self._learner.rules}>"


def _memory(stream: Stream) -> tuple[Any, ...]:
    """What a policy remembers: everything but the key, of which nothing is drawn."""
    return tuple(jax.tree.leaves(stream.replace(key=None)))


def _alike(given: Any, own: Any) -> bool:
    """Whether two arrays have the same shape and type."""
    is_array = isinstance(given, jax.Array | np.ndarray | np.generic)
    return is_array and (given.shape, given.dtype) == (own.shape, own.dtype)


def _begins(episode_start: Any, rows: int | None) -> np.ndarray:
    """Where an episode begins: bool [], or [B].

    Raises:
        ObservationError: unless there is one for each environment.
    """
    begins = np.asarray(episode_start, bool)
    shape = () if rows is None else (rows,)
    if begins.shape != shape and (rows is not None or begins.shape != (1,)):
        expected = "one bool" if rows is None else f"one bool for each of {rows} environments"
        raise ObservationError(f"episode_start needs {expected}; got shape {begins.shape}")
    return begins.reshape(shape)


def _rows(ensemble: Ensemble, observation: Any, state: Any, episode_start: Any) -> int | None:
    """How many observations a call of a policy is about; None for a single one."""
    if isinstance(ensemble.encoder, Encoder):
        return ensemble.encoder.length(observation)
    if ensemble.encoder is None and ensemble.known_observations is not None:
        return len(observation) if num_axes(observation) == 1 else None
    if episode_start is not None:
        return len(episode_start) if np.ndim(episode_start) == 1 else None
    # Its last part has one number for each environment.
    shape = np.shape(state[-1]) if isinstance(state, tuple) and state else ()
    return shape[0] if shape else None


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
