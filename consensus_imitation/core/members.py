"""What an ensemble is: N members, each a distribution over actions given the whole history.

Members predict before they learn. The learner calls ``log_probs`` before it knows the demonstrator's answer, then acts
on exactly those numbers and scores them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from consensus_imitation.core._sources import Source
from consensus_imitation.core._tree import PyTree

#: What the members of one stream remember: any pytree of arrays, ``()`` for members without memory.
Carry = Any

#: What the members have learned from answers, shared by all streams: parameters, optimiser state, replay. Any pytree
#: of arrays, ``()`` for members that do not learn.
Learned = Any


class Context(NamedTuple):
    """The part of the history that an ensemble need not track itself.

    It does not hold the sampling key: no guarantee survives a member that can foresee the draw.

    Attributes:
        step: int32 [], steps taken so far in this stream.
        log_weights: float32 [M], unnormalised posterior of the whole ensemble. (It is a function of the history, so
            a member may depend on it; a deceptive one will.)
        first: index within ``log_weights`` of the first member of the ensemble being asked.
        learned: what the ensemble being asked has learned from the answers so far.
    """

    step: jax.Array
    log_weights: jax.Array  # [M]
    first: int = 0
    learned: Learned = ()


class ObservationEncoder(Protocol):
    """Turns what an environment observes into arrays of fixed shapes, on the host."""

    def __call__(self, observation: Any) -> Any:
        """Return one observation: a pytree of arrays."""
        ...

    def batch(self, observations: Any) -> Any:
        """Return B observations, as a vector environment gives them: a pytree of arrays with a leading axis B."""
        ...


class Ensemble(Protocol):
    """N members.

    With ``pure`` True the methods are pure JAX, and the object is a pytree whose arrays are leaves: it runs inside
    ``jit``, ``scan`` and ``vmap``. With ``pure`` False they run Python code once a step, in the `ConsensusImitator`
    shell only.

    An ensemble may declare ``normalised`` as well, see `are_normalised`.
    """

    @property
    def pure(self) -> bool:
        """Whether the methods may be traced by JAX."""
        ...

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        ...

    @property
    def num_actions(self) -> int:
        """A, the number of actions."""
        ...

    @property
    def prior(self) -> jax.Array:
        """Prior weights [N], non-negative, sum to one."""
        ...

    @property
    def learns(self) -> bool:
        """Whether the members learn from answers; only then does the learner call `learn`."""
        ...

    @property
    def encoder(self) -> ObservationEncoder | None:
        """Turns observations into the arrays that the members take; None if they take them as they are."""
        ...

    @property
    def known_observations(self) -> int | None:
        """S, if the members know observations ``0 .. S-1`` only and others are refused; None if they take others."""
        ...

    def init_learned(self, key: jax.Array) -> Learned:
        """Return what the members know before the first answer, e.g. initial parameters drawn from ``key``."""
        ...

    def learn(
        self, learned: Learned, carry: Carry, observation: Any, answer: jax.Array, log_probs: jax.Array
    ) -> Learned:
        """Return what they know after one answered query.

        Args:
            learned: what they knew when they predicted.
            carry: the stream's memory then.
            observation: what was asked about.
            answer: int32 [], the demonstrator's action, in ``0 .. A-1``.
            log_probs: [N, A], what these members had predicted for it; already scored before this call.
        """
        ...

    def begin_episode(self, carry: Carry) -> Carry:
        """Return a stream's memory when an episode begins; it is unchanged if the history does not end there."""
        ...

    def init_carry(self) -> Carry:
        """Return the memory of one stream before its first observation."""
        ...

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        """Return the log-probabilities [N, A] of every member for one observation."""
        ...

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return the memory after a step: the action that was taken, and whether the demonstrator chose it."""
        ...


@runtime_checkable
class LearnsOnHost(Protocol):
    """What an ensemble that learns may have besides, if what it keeps of the answers is large.

    A compiled program returns a copy of all that passes through it. `Learner` calls ``learn`` inside of programs, and a
    shell would copy a replay with each answer. So a shell calls this instead, between programs, where the ensemble can
    call some of its own on what they need. Ensembles without it are taught by ``learn``, in a program of its own.
    """

    def learn_on_host(
        self, learned: Learned, carry: Carry, observation: Any, answer: Any, log_probs: jax.Array
    ) -> Learned:
        """Return what `Ensemble.learn` returns, to the bit, and leave ``learned`` as it is.

        Nothing is traced here, and what is not array may be any immutable value that `jax.tree` can see as arrays: the
        library's own members keep the answers in rows on the host (`ensembles.neural.replay.Replay`).

        Args:
            learned: what they knew when they predicted.
            carry: the stream's memory then.
            observation: what was asked about.
            answer: int [], the demonstrator's action, in ``0 .. A-1``.
            log_probs: [N, A], what these members had predicted for it.
        """
        ...


@runtime_checkable
class Divides(Protocol):
    """What an ensemble has besides, whose members may each learn from a share of the answers only (T7).

    Its `Ensemble.learn` and `LearnsOnHost.learn_on_host` take a keyword ``owner``, one entry of what `owners` returns;
    None for an answer that names no source.
    """

    @property
    def reach(self) -> int:
        """Members that one answer, or all answers of one source, can reach; N where nothing is divided."""
        ...

    def owners(self, learned: Learned, sources: Sequence[Source | None], trusted: Any = False) -> Any:
        """Return whose answers these are, or None if it does not matter; on the host.

        Args:
            learned: what the members know.
            sources: T of them; None for an answer by its number.
            trusted: bool, or [T]: it counts for every member.

        Returns:
            A pytree whose leaves are int32 [T]; None if all members learn from all answers.
        """
        ...


def reach_of(ensemble: Any) -> int:
    """Return how many members one answer, or one source of them, can reach: 0 of members that do not learn."""
    if not ensemble.learns:
        return 0
    return ensemble.reach if isinstance(ensemble, Divides) else int(ensemble.num_members)


def owners_of(ensemble: Any, learned: Learned, sources: Sequence[Source | None], trusted: Any = False) -> Any:
    """Return `Divides.owners`; None of an ensemble that has none."""
    return ensemble.owners(learned, sources, trusted) if isinstance(ensemble, Divides) else None


def are_normalised(ensemble: Any) -> bool:
    """Return whether an ensemble declares that its predictions are normalised by construction: none sums above one.

    Declare it of members that end in a softmax, whether or not they withhold a part. It saves a pass over all
    predictions. Still checked are the law at every step, and on queries, which are learned from, every prediction
    (`learner.judge`).

    If it is not true, this is lost on steps that are no queries: an unusable prediction is not named, and one that sums
    to more than one is not the zero vector but counts in the minimum as it is, if the minimum is still a law.

    Args:
        ensemble: which may have an attribute ``normalised``, a bool that is not traced.
    """
    return bool(getattr(ensemble, "normalised", False))


class FixedMembers:
    """Members that learn nothing and forget nothing, the default of an ensemble."""

    @property
    def learns(self) -> bool:
        """False: the members never change."""
        return False

    @property
    def normalised(self) -> bool:
        """False: every prediction is added up at every step."""
        return False

    @property
    def encoder(self) -> ObservationEncoder | None:
        """None: the members take observations as they are."""
        return None

    @property
    def known_observations(self) -> int | None:
        """None: no observation is known to be outside the members' range."""
        return None

    def init_learned(self, key: jax.Array) -> Learned:
        """Return nothing: these members do not learn."""
        del key
        return ()

    def learn(
        self, learned: Learned, carry: Carry, observation: Any, answer: jax.Array, log_probs: jax.Array
    ) -> Learned:
        """Return what was learned so far, unchanged."""
        del carry, observation, answer, log_probs
        return learned

    def begin_episode(self, carry: Carry) -> Carry:
        """Return the memory unchanged: the history does not end with an episode."""
        return carry

    def init_carry(self) -> Carry:
        """Return an empty memory."""
        return ()

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        """Return the memory unchanged."""
        del observation, context, action, queried
        return carry


class PureEnsemble(FixedMembers, PyTree, guests=True):
    """Base of ensembles in pure JAX; without memory or learning unless a subclass adds them."""

    @property
    def pure(self) -> bool:
        """True: may be traced."""
        return True
