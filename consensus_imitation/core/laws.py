"""From the members' action distributions to one law over "act" and "ask".

An aggregation rule is a value with one method: ``rule(log_probs, log_weights, selected) -> ActionLaw``. The library's
own is `Minimum`; the others are what people use instead, and run in the same harness for comparison.

Everything here is single-stream: ``jax.vmap`` them over environments.
"""

import math
from typing import NamedTuple, Protocol

import chex
import jax
import jax.numpy as jnp

from consensus_imitation.core._asked_rows import where_asked

#: How far a member's probabilities may sum above one before its prediction is invalid.
MASS_TOLERANCE = 1e-4

#: How far float32 sums of probabilities may be off: up to here a shortfall is rounding, beyond it mass is withheld.
ROUNDING = 1e-5

#: Two members' probabilities of an action agree if they differ by less than this share: a float32 log-probability of
#: -10 is no more exact than that, and two compilations of ``exp`` may differ in the last bits.
AGREEMENT_TOLERANCE = 1e-6

#: Many actions are summed, and drawn from, in blocks of so many.
BLOCK = 128


class ActionLaw(NamedTuple):
    """What the imitator does by itself, and how likely it asks.

    Attributes:
        probs: float32 [A], probability of taking each action without asking. Sums to **at most** one.
        query_prob: float32 [], the rest: probability of asking, in [0, 1].
        log_inflation: float32 [], log of how many times likelier than under any one selected member the step's outcome
            can get, with that member answering the queries; 0 if the imitator cannot act by itself, ``inf`` where the
            rule promises nothing.
    """

    probs: jax.Array  # [A]
    query_prob: jax.Array  # []
    log_inflation: jax.Array | float = float("inf")  # []


class Aggregation(Protocol):
    """How the members' predictions are combined.

    A rule is a pytree, so that its parameters may be traced: a ``flax.struct.PyTreeNode``, or a frozen dataclass
    under ``jax.tree_util.register_static`` where nothing is to be traced.

    One that lets a single member veto may declare ``veto_factor`` (see the function of that name); nothing is claimed
    of a rule that does not.

    Its law is checked wherever it comes from (`_rule_checks`): shapes and types when an imitator is made, and at every
    decision that it is a law. Where it is none, the step is a query with probability one, and the rule is named.
    """

    @property
    def name(self) -> str:
        """Short name used in tables and files."""
        ...

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine predictions [N, A] of members with log-weights [N], of which the mask [N] is selected."""
        ...

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if the rule makes no sense for an ensemble of that size."""
        ...


def veto_factor(rule: Aggregation) -> float:
    """How strong one member's veto is under a rule: the factor in T1, as the rule declares it.

    Args:
        rule: which may have an attribute ``veto_factor``: for every set of actions, the rule's own mass on it is at
            most so many times what any one selected member gives it.

    Returns:
        At least 1; ``inf`` for a rule that declares nothing, hence for all without a veto.

    Example:
        >>> from consensus_imitation import Minimum, aggregation
        >>> from consensus_imitation.core.aggregation import MAP
        >>> [aggregation.veto_factor(rule) for rule in (Minimum(), Minimum(rounds=3), Minimum(threshold=0.5), MAP())]
        [1.0, 3.0, 2.0, inf]
    """
    declared = float(getattr(rule, "veto_factor", math.inf))
    return declared if declared >= 1 else math.inf


def validate(log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Replace every invalid prediction by the zero vector, and scale one that sums to just above one down to one.

    A prediction is invalid if it holds a NaN, sums to more than one beyond rounding (so in particular if one entry
    exceeds one), or gives no action any probability. One that sums to less than one is valid: what it withholds is
    asked about. The zero vector makes the minimum zero, hence a query: an invalid member of the top set
    vetoes everything, and is never dropped, since it may be the honest one.

    Args:
        log_probs: float [N, A].

    Returns:
        log_probs [N, A] with ``-inf`` rows for the invalid members, and the mask ``invalid`` [N].

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import aggregation
        >>> _, invalid = aggregation.validate(jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.9], [jnp.nan, 1.0]])))
        >>> invalid.tolist()
        [False, True, True]
    """
    chex.assert_rank(log_probs, 2)
    excess = excesses(log_probs)
    return without_excess(log_probs, excess), jnp.isposinf(excess)


def from_logits(logits: jax.Array) -> jax.Array:
    """Compute log-probabilities from logits, as ``jax.nn.log_softmax`` does, in less memory and time within a decision.

    ``logits - max - log(sum(exp(logits - max)))``. Where a decision follows in the same compiled program, XLA keeps
    ``logits - max`` as an array of its own; of many actions that takes longer than all the rest. Here two numbers a
    row are all that is kept.

    Args:
        logits: float [..., A].

    Returns:
        float [..., A]: the same numbers as ``jax.nn.log_softmax`` gives, up to the order in which they are summed.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import aggregation
        >>> jnp.exp(aggregation.from_logits(jnp.array([1.0, 1.0]))).tolist()
        [0.5, 0.5]
    """
    highest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    mass = jnp.sum(jnp.exp(logits - highest), axis=-1, keepdims=True)
    highest, log_mass = jax.lax.optimization_barrier((highest, jnp.log(mass)))
    return logits - highest - log_mass


def excesses(log_probs: jax.Array) -> jax.Array:
    """By how many nats each prediction sums to more than one: [..., A] to [...], ``inf`` if invalid (`validate`)."""
    return _excess_of(masses(log_probs))


def masses(log_probs: jax.Array) -> jax.Array:
    """What each prediction sums to: [..., A] to [...], NaN if it holds one."""
    mass, total = _sums(log_probs)
    # A NaN shows in the second: `exp` may lose one (`exact_exp`), and so do minima and maxima of long rows on CPU.
    return jnp.where(jnp.isnan(total), jnp.nan, mass)


def _sums(log_probs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sums of the probabilities and of their logarithms, for which nothing of this size is kept."""
    probs = jnp.exp(log_probs)
    if log_probs.shape[-1] >= BLOCK:
        return jnp.sum(probs, axis=-1), jnp.sum(log_probs, axis=-1)
    # Of few actions XLA on CPU takes a third of the time if it is one pass.
    zero = jnp.zeros((), log_probs.dtype)
    return jax.lax.reduce((probs, log_probs), (zero, zero), _added, (log_probs.ndim - 1,))


def _added(one: tuple[jax.Array, jax.Array], other: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return one[0] + other[0], one[1] + other[1]


def _excess_of(mass: jax.Array) -> jax.Array:
    """The same from the sums of the probabilities."""
    # Written so that NaN, for which every comparison is false, is invalid.
    valid = (mass > 0.0) & (mass <= 1.0 + MASS_TOLERANCE)
    # An excess, however small, would be a gain on honest members at every answer, and add up against T2.
    return jnp.where(valid, jnp.log(jnp.maximum(mass, 1.0)), jnp.inf)


def without_excess(log_probs: jax.Array, excess: jax.Array) -> jax.Array:
    """The predictions that `validate` makes of these, from what `excesses` says of them: [N, A], [N] -> [N, A].

    A pass over the predictions that is cheap where it is made as they are read, and dear where the result is kept.
    """
    return jnp.where(jnp.isposinf(excess)[..., None], -jnp.inf, log_probs - excess[..., None])


def log_minimum(log_probs: jax.Array, selected: jax.Array, excess: jax.Array | None = None) -> jax.Array:
    """Logarithm of the pointwise minimum of the selected members: [N, A], [N] -> [A]; ``inf`` if none is.

    The predictions are validated, or their ``excess`` [N] is given (`excesses`), and taken off.
    """
    # A chain of elementwise minima: reducing over the member axis is several times slower on CPU, and loses a NaN in a
    # large batch. An additive mask would turn -inf into NaN.
    lowest = jnp.full(log_probs.shape[-1:], jnp.inf, log_probs.dtype)
    for n in range(log_probs.shape[0]):
        row = log_probs[n] if excess is None else without_excess(log_probs[n], excess[n])
        lowest = jnp.minimum(lowest, jnp.where(selected[n], row, jnp.inf))
    return lowest


def dissent(
    log_probs: jax.Array, selected: jax.Array, asked: jax.Array | bool = True, excess: jax.Array | None = None
) -> jax.Array:
    """Who is to blame for a query: by how much each member alone lowers the minimum.

    Entry n is the mass that the minimum would gain if member n were not selected. Where no single member is to
    blame (say, two identical dissenters), it is each member's total variation distance to the selected members'
    average instead, on the scale of the query probability.

    Args:
        log_probs: float [N, A], validated, unless their ``excess`` is given.
        selected: bool [N].
        asked: bool [], whether anybody wants to know. If not, all is 0 and costs next to nothing, under ``vmap`` too.
        excess: float [N], from `excesses`; None for none.

    Returns:
        float32 [N], non-negative, 0 for members that are not selected, all 0 when the members agree.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import aggregation
        >>> probs = jnp.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]])
        >>> [round(d, 2) for d in aggregation.dissent(jnp.log(probs), jnp.ones(3, bool)).tolist()]
        [0.0, 0.0, 0.4]
    """
    asked = jnp.asarray(asked)
    excess = jnp.zeros(log_probs.shape[0]) if excess is None else excess
    # It is for people to read; nobody differentiates it, and where it is computed for those who ask, nobody could.
    log_probs, excess = jax.lax.stop_gradient((log_probs, excess))
    return _or_distance(_gains(asked, log_probs, selected, excess), asked, log_probs, selected, excess)


def examined(log_probs: jax.Array, selected: jax.Array, asked: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`excesses` and `dissent` of predictions that nobody has checked yet, 0 for both where nobody asks.

    Args:
        log_probs: float [N, A], as they came.
        selected: bool [N].
        asked: bool [].
    """
    log_probs = jax.lax.stop_gradient(log_probs)
    excess, gains = _excesses_and_gains(asked, log_probs, selected)
    return excess, _or_distance(gains, asked, log_probs, selected, excess)


def _or_distance(
    gains: jax.Array, asked: jax.Array, log_probs: jax.Array, selected: jax.Array, excess: jax.Array
) -> jax.Array:
    """Who dissents, [N]: alone, or if nobody does, by the distance to the average."""
    shared = asked & (jnp.max(gains) == 0)
    return gains + _distance_to_average(shared, log_probs, selected, excess)


@where_asked
def _gains(log_probs: jax.Array, selected: jax.Array, excess: jax.Array) -> jax.Array:
    """What the minimum would gain without each member: [N]."""
    return _gain_without(jnp.exp(log_probs), selected, excess)


@where_asked
def _excesses_and_gains(log_probs: jax.Array, selected: jax.Array) -> jax.Array:
    """`excesses`, and what the minimum would gain without each member: [2, N]."""
    probs = exact_exp(log_probs)
    excess = _excess_of(jnp.sum(probs, axis=-1))
    return jnp.stack([excess, _gain_without(probs, selected, excess)])


def _gain_without(probs: jax.Array, selected: jax.Array, excess: jax.Array) -> jax.Array:
    """What the minimum would gain without each member: [N], 0 where the two lowest are tied."""
    valid, scale = ~jnp.isposinf(excess), jnp.exp(-excess)
    # The two smallest, in one pass: to sort the members takes a hundred times as long.
    lowest = second = jnp.full(probs.shape[-1], jnp.inf, probs.dtype)
    for n in range(probs.shape[0]):
        row = jnp.where(selected[n], jnp.where(valid[n], probs[n] * scale[n], 0.0), jnp.inf)
        second = jnp.minimum(second, jnp.maximum(lowest, row))
        lowest = jnp.minimum(lowest, row)
    # With one member left there is no second vote to fall back on, and nobody dissents.
    second = jnp.where(jnp.isposinf(second), 0.0, second)
    # Only the smallest is below the second smallest. An invalid prediction is the zero vector.
    below = jnp.sum(jnp.maximum(second - probs * scale[:, None], 0.0), axis=-1)
    return jnp.where(selected, jnp.where(valid, below, jnp.sum(second)), 0.0)


@where_asked
def _distance_to_average(log_probs: jax.Array, selected: jax.Array, excess: jax.Array) -> jax.Array:
    """Each selected member's total variation distance to their average: [N]."""
    log_probs = without_excess(log_probs, excess)
    present = jnp.where(selected[:, None], jnp.exp(log_probs), 0.0)
    average = jnp.sum(present, axis=0) / jnp.maximum(jnp.sum(selected), 1)
    # Equal predictions may differ from their own average by rounding, and nobody dissents there.
    lowest = jnp.min(jnp.where(selected[:, None], log_probs, jnp.inf), axis=0)
    highest = jnp.max(jnp.where(selected[:, None], log_probs, -jnp.inf), axis=0)
    return 0.5 * jnp.sum(jnp.where(highest > lowest, jnp.abs(present - average), 0.0), axis=-1) * selected


def in_blocks(entries: jax.Array) -> jax.Array:
    """[A] to [blocks, `BLOCK`], padded with zeros."""
    return jnp.pad(entries, (0, -entries.size % BLOCK)).reshape(-1, BLOCK)


def total_of(probs: jax.Array) -> jax.Array:
    """The sum over the actions: [A] to []. Of many, the sum of the sums of blocks, which the draw needs, too."""
    return jnp.sum(probs) if probs.size < BLOCK else jnp.sum(jnp.sum(in_blocks(probs), axis=-1))


def exact_exp(log_probs: jax.Array) -> jax.Array:
    """``exp`` that keeps NaN: XLA's own on CPU may turn a NaN into a number where it is compiled in as a constant."""
    return jnp.where(jnp.isnan(log_probs), jnp.nan, jnp.exp(log_probs))
