"""How many opinions an ensemble holds: members that err together, and members that are copies of each other.

There are two measures. Both use only the predictions on answered queries, without what was withheld
(`posterior.normalised`), as they are scored:

* *errors*: member n errs by ``1 - pi_n(answer)``. Members whose errors are correlated count as fewer:
  ``N_eff = N / (1 + (N - 1) rho)`` with rho the mean correlation over pairs (Kish's design effect). It is a report, and
  no guarantee rests on it.
* *distance*: the largest total variation distance ever seen between two members. Members that no answer has told apart
  are near-duplicates; `selection.merged` ranks each group of them once. The guarantee is in ``docs/theory.md``,
  "Near-duplicates".

An unusable prediction counts as the zero vector, as everywhere: its error is 1, so members that fail together are
correlated. It says nothing, so it tells no members apart.
"""

import chex
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import check_number
from consensus_imitation.core.posterior import normalised

#: Errors that spread by less than this (one standard deviation) count as constant: it is the rounding of float32.
CONSTANT = 1e-6

#: Actions whose matrices are added up one after another.
_FEW = 16


class DiversityState(struct.PyTreeNode):
    """Statistics of N members on answered queries.

    Attributes:
        count: int32 [], answers seen.
        mean: float32 [N], mean error, in [0, 1].
        covariance: float32 [N, N], of the errors (divided by ``count``).
        distance: float32 [N, N], largest total variation distance so far between two members' predictions, in [0, 1].
    """

    count: jax.Array  # []
    mean: jax.Array  # [N]
    covariance: jax.Array  # [N, N]
    distance: jax.Array  # [N, N]


class Merging(PyTree):
    """Rank near-duplicates once: what `Learner` and `ConsensusImitator` take as ``merging``.

    It also makes them measure the members' diversity (`effective_members`).

    Args:
        tolerance: total variation distance in [0, 1) up to which two members count as the same; 0 merges exact copies
            only. None measures and merges nothing. An array to ``vmap`` over.
        min_answers: answers that must have come before any members are merged. At 0, the default, members are merged
            until they are told apart. At first all are merged, so the imitator asks about every disagreement until an
            answered query separates those that disagree. At most N - 1 answers can separate members. Only with 0 do
            copies never crowd others out: members that agree among themselves ask nothing, and so prevent the answers
            that would show them to be copies.

    Raises:
        ConfigurationError: if an argument is out of range.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation import ConsensusImitator, Merging, TopK, ensembles
        >>> probs = np.array([[[0.9, 0.1]], [[0.9, 0.1]], [[0.5, 0.5]]])  # two copies, and another member
        >>> imitator = ConsensusImitator(
        ...     ensembles.tabular(probs, prior=[0.4, 0.4, 0.2]), lambda observation: 0,
        ...     selection=TopK(2), seed=0, merging=Merging(),
        ... )
        >>> imitator.decide(0).selected.tolist()  # the copies alone cannot fill both places
        [True, True, True]
    """

    tolerance: ArrayLike | None = 0.02
    min_answers: ArrayLike = 0

    def __post_init__(self) -> None:
        self._check(lenient=True)

    def check(self) -> None:
        """Raise ConfigurationError if an argument is not a number."""
        self._check(lenient=False)

    def _check(self, lenient: bool) -> None:
        if self.tolerance is not None:
            wanted = (
                "lie in [0, 1) (it is a total variation distance; 1 would merge all members), or be None to merge none"
            )
            check_number("tolerance", self.tolerance, wanted, lambda far: (far >= 0) & (far < 1), lenient=lenient)
        check_number("min_answers", self.min_answers, "be at least 0", lambda least: least >= 0, lenient=lenient)


def init(num_members: int) -> DiversityState:
    """Return the statistics before the first answer.

    Args:
        num_members: N.
    """
    square = jnp.zeros((num_members, num_members))
    return DiversityState(
        count=jnp.zeros((), jnp.int32), mean=jnp.zeros(num_members), covariance=square, distance=square
    )


def update(state: DiversityState, log_probs: jax.Array, answer: ArrayLike) -> DiversityState:
    """Count one answered query.

    Args:
        state: before the answer.
        log_probs: float [N, A], the predictions as `aggregation.validate` leaves them (all ``-inf`` if unusable).
        answer: int [], the demonstrator's action in ``0 .. A-1``.

    Returns:
        The state after it.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core import merging
        >>> log_probs = jnp.log(jnp.array([[0.75, 0.25], [0.5, 0.5]]))
        >>> state = merging.update(merging.init(2), log_probs, answer=0)
        >>> state.mean.tolist(), float(state.distance[0, 1])
        ([0.25, 0.5], 0.25)
    """
    chex.assert_shape(log_probs, (*state.mean.shape, None))
    probs = jnp.exp(normalised(log_probs))
    said = jnp.any(log_probs > -jnp.inf, axis=-1)
    count = state.count + 1
    n = count.astype(jnp.float32)
    deviation = 1.0 - probs[:, answer] - state.mean
    # Welford's recurrence, divided by the count so that nothing grows. Identical members get identical entries.
    spread = deviation[:, None] * deviation[None, :] * ((n - 1) / n)
    return DiversityState(
        count=count,
        mean=state.mean + deviation / n,
        covariance=state.covariance + (spread - state.covariance) / n,
        distance=jnp.maximum(state.distance, jnp.where(said[:, None] & said, _total_variation(probs), 0.0)),
    )


def effective_members(state: DiversityState, selected: jax.Array | None = None) -> jax.Array:
    """Return how many independent members would err as the members do: ``N / (1 + (N - 1) rho)``, in [1, N].

    rho is the mean correlation of the errors over all pairs. Identical members give exactly 1, members with
    uncorrelated errors about N. Members have to show their independence: if one of a pair has erred by the same amount
    on every answer (for instance before the second answer, or if it is always right), the pair counts as fully
    correlated.

    Questions that are hard for all members make errors correlated, too: members that equal the demonstrator give 1,
    whatever they were trained on. The number shows how far the members fail together, not why.

    Args:
        state: what was seen.
        selected: bool [N], the members to count; None for all.

    Returns:
        float32 [], 0 if no member is selected.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core import merging
        >>> state = merging.init(2)
        >>> for p, q in ((0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)):  # what each gave to the answer
        ...     state = merging.update(state, jnp.log(jnp.array([[p, 1 - p], [q, 1 - q]])), answer=0)
        >>> round(float(merging.effective_members(state)), 3)
        2.0
    """
    variance = jnp.diagonal(state.covariance)
    selected = jnp.ones(variance.shape, bool) if selected is None else selected
    varies = variance > CONSTANT**2
    known = varies[:, None] & varies[None, :]
    # The root of a square is exact, so identical members have correlation exactly 1.
    scale = jnp.sqrt(jnp.where(known, variance[:, None] * variance[None, :], 1.0))
    correlation = jnp.where(known, jnp.clip(state.covariance / scale, -1.0, 1.0), 1.0)
    pairs = selected[:, None] & selected[None, :] & ~jnp.eye(variance.size, dtype=bool)
    rho = jnp.sum(jnp.where(pairs, correlation, 0.0)) / jnp.maximum(jnp.sum(pairs), 1)
    size = jnp.sum(selected).astype(jnp.float32)
    return size / jnp.clip(1.0 + (size - 1.0) * rho, 1.0, jnp.maximum(size, 1.0))


def near_duplicates(state: DiversityState, tolerance: ArrayLike, min_answers: ArrayLike = 0) -> jax.Array:
    """Return which members are the same, as far as the answered queries show: an equivalence relation.

    Two members are joined if their predictions have never differed by more than the tolerance, directly or through a
    chain of others. Distances only grow, so groups only split, at most N - 1 times.

    Args:
        state: what was seen.
        tolerance: total variation distance, in [0, 1).
        min_answers: with fewer answers than that, no member is a duplicate.

    Returns:
        bool [N, N], symmetric and transitive, true on the diagonal.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core import merging
        >>> log_probs = jnp.log(jnp.array([[0.9, 0.1], [0.89, 0.11], [0.5, 0.5]]))
        >>> state = merging.update(merging.init(3), log_probs, answer=0)
        >>> merging.near_duplicates(state, tolerance=0.02)[0].tolist()
        [True, True, False]
    """
    same, size = _alike(state, tolerance, min_answers), state.mean.size
    reached = same.astype(jnp.float32)
    # Each squaring doubles the length of the chains; none needs more than N - 1 links.
    for _ in range((size - 1).bit_length()):
        reached = (reached @ reached > 0).astype(jnp.float32)
    return reached > 0


def any_alike(state: DiversityState, tolerance: ArrayLike, min_answers: ArrayLike = 0) -> jax.Array:
    """Return whether `near_duplicates` joins any two members: bool []."""
    return jnp.sum(_alike(state, tolerance, min_answers)) > state.mean.size


def _alike(state: DiversityState, tolerance: ArrayLike, min_answers: ArrayLike) -> jax.Array:
    """Return which pairs of members have never differed by more: bool [N, N], true on the diagonal."""
    same = (state.distance <= jnp.asarray(tolerance)) & (state.count >= jnp.asarray(min_answers))
    return same | jnp.eye(state.mean.size, dtype=bool)


def _total_variation(probs: jax.Array) -> jax.Array:
    """Return the distances [N, N] between rows [N, A] that sum to one."""
    if probs.shape[-1] > _FEW:
        ahead = jnp.sum(jnp.maximum(probs[:, None] - probs[None, :], 0.0), axis=-1)
    else:
        # XLA on CPU adds up short rows of a batch one number at a time, and whole matrices many at once.
        nothing = jnp.zeros((len(probs), len(probs)), probs.dtype)
        ahead = sum((jnp.maximum(column[:, None] - column[None, :], 0.0) for column in probs.T), nothing)
    return jnp.maximum(ahead, ahead.T)
