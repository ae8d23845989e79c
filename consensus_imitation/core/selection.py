"""Which members have a say: selection rules, as values that know what they guarantee.

A rule maps log-weights [N] to a mask [N]. Every rule here selects a prefix of the members ranked by weight, with
exact ties taken in (a larger set can only ask more, never act more; ``TopK(1)`` alone breaks them), and always at
least the heaviest member. Rules are JAX pytrees whose parameter is a leaf: ``jax.vmap`` over
``TopK(jnp.arange(1, 9))`` sweeps k in one compiled program.

The two basic rules promise different things (theorems T1 and T2 in ``docs/theory.md``):

* ``TopK(k)``: a *quorum*. If at most k-1 members are dishonest, an honest one always has a veto, whatever the weights.
  It promises almost nothing about whether the truth stays in.
* ``AlphaThreshold(alpha)``, the paper's rule: *the truth stays in*, except with probability alpha / prior weight,
  against any other members. It has no quorum.

``TopK(k) | AlphaThreshold(alpha)`` has both, but its questions need not die out, as those of the alpha rule do.
``TopK(k) & AlphaThreshold(alpha)`` has neither; it caps the cost (T3).

A quorum gives a veto only under an aggregation rule that lets one member veto (`aggregation.veto_factor`).
"""

import math
import operator
from functools import reduce
from typing import Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike

from consensus_imitation.core._rule_checks import SELECTION_PARTS, mask_of, missing
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import LARGEST_INT, check_integer, check_number
from consensus_imitation.errors import ConfigurationError

#: Log-weights closer than this many nats count as tied, and a member this close below a threshold is taken in.
#: Rounding could otherwise break a tie that is exact; erring towards the larger set is the safe direction.
TIE_TOLERANCE = 1e-5


@runtime_checkable
class SelectionRule(Protocol):
    """A rule for the set of members whose minimum is taken.

    Your own rule has all of these, and is a pytree (a ``flax.struct.PyTreeNode``, or a frozen dataclass under
    ``jax.tree_util.register_static``). You can join it with others by ``|`` and ``&``, in either order. The library
    checks its mask (`_rule_checks`): an empty one makes the step a query, and an alarm names the rule. It trusts what
    the rule promises about itself.

    Attributes:
        tolerated_members: how many dishonest members the rule's quorum tolerates, whatever the weights (T1).
    """

    @property
    def tolerated_members(self) -> int:
        """How many dishonest members the quorum of T1 tolerates, whatever the weights."""
        ...

    @property
    def largest_set(self) -> float:
        """Most members that can be selected, ties aside; ``inf`` if nothing limits them."""
        ...

    @property
    def smallest_share(self) -> float:
        """Least share of the weight ranked up to a member that gets it selected; 0 if light members may be, too."""
        ...

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        """Return the mask [N] of the members selected, from unnormalised log-weights [N]; never empty."""
        ...

    def margins(self, log_weights: jax.Array) -> jax.Array:
        """Return by how many nats each log-weight could fall before its member is left out: [N], negative if it is."""
        ...

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        """Return an upper bound on P(the truth is *ever* left out): a member equal to the demonstrator, one of N.

        It assumes what T2 assumes about the answers: each is the demonstrator's own, counts once, and is not chosen by
        its content.
        """
        ...

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if the rule makes no sense for an ensemble of that size."""
        ...


class _Composable:
    def __or__(self, other: SelectionRule) -> "Union":
        return Union(rules=(_rule(self), _rule(other)))

    def __ror__(self, other: SelectionRule) -> "Union":
        return Union(rules=(_rule(other), _rule(self)))

    def __and__(self, other: SelectionRule) -> "Intersection":
        return Intersection(rules=(_rule(self), _rule(other)))

    def __rand__(self, other: SelectionRule) -> "Intersection":
        return Intersection(rules=(_rule(other), _rule(self)))


class TopK(_Composable, PyTree):
    """The k heaviest members, with every member tied with the k-th.

    ``k=1`` is the exception: it means to act on the single most likely member, so a tie goes to the first of the tied
    members. It asks only for the mass that this member withholds: never with a table, at first nearly always with a
    network.

    Members that are ruled out (weight zero) still fill the places when fewer than k others are left: the quorum
    counts members, not weights.

    Args:
        k: at least 1; an integer, or an integer array to ``vmap`` over.

    Raises:
        ConfigurationError: if ``k`` is below 1 or not an integer.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import TopK
        >>> TopK(2)(jnp.log(jnp.array([0.2, 0.5, 0.3]))).tolist()
        [False, True, True]
        >>> TopK(3).tolerated_members, TopK(3).exclusion_bound(prior_weight=0.5, num_members=4)
        (2, 0.3333333333333333)
        >>> TopK(3).exclusion_bound(prior_weight=0.2, num_members=3)  # every member is in
        0.0
    """

    k: ArrayLike

    def __post_init__(self) -> None:
        self._check_k(lenient=True)

    def _check_k(self, lenient: bool) -> None:
        wanted = "be an integer and at least 1 (someone must have a say)"
        check_number("k", self.k, wanted, lambda k: (k >= 1) & (k <= LARGEST_INT), whole=True, lenient=lenient)

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        """Return the mask [N]: fewer than k members are strictly heavier."""
        k = jnp.asarray(self.k)
        with_ties = jnp.sum(_heavier(log_weights), axis=-1) < k
        leads = log_weights >= jnp.max(log_weights) - TIE_TOLERANCE
        heaviest = jnp.arange(log_weights.shape[-1]) == jnp.argmax(leads)
        return jnp.where(k > 1, with_ties, heaviest)

    def margins(self, log_weights: jax.Array) -> jax.Array:
        """Return the distance [N] to the k-th heaviest of the other members; ``inf`` if there are fewer."""
        num_members = log_weights.shape[-1]
        others = jnp.where(jnp.eye(num_members, dtype=bool), -jnp.inf, log_weights[None, :])
        place = jnp.asarray(self.k) - 1
        rival = jnp.sort(others, axis=-1)[:, ::-1][:, jnp.minimum(place, num_members - 1)]
        return jnp.where((place >= num_members - 1) | jnp.isneginf(rival), jnp.inf, log_weights - rival)

    @property
    def tolerated_members(self) -> int:
        """``k - 1``: with that many dishonest members, one honest member still has a veto."""
        return int(cast(int, self.k)) - 1

    @property
    def largest_set(self) -> float:
        """The number asked for."""
        return int(cast(int, self.k))

    @property
    def smallest_share(self) -> float:
        """0: the k-th member is taken however light it is."""
        return 0.0

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        """Return 0 if all N members are selected; else ``(1 - w) / (k w)``, capped at 1.

        The likelihood ratios of the other members to the truth are martingales under the imitator, and k of them must
        be above 1 for the truth to be out. For a uniform prior the bound is empty (1.0) while k < N.
        """
        w, k = _check_prior_weight(prior_weight), int(cast(int, self.k))
        return 0.0 if k >= _check_num_members(num_members) else min(1.0, (1.0 - w) / (k * w))

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if k exceeds the number of members, or is not a number."""
        self._check_k(lenient=False)
        if not isinstance(self.k, Tracer) and jnp.ndim(self.k) == 0 and int(cast(int, self.k)) > num_members:
            raise ConfigurationError(
                f"k={self.k} exceeds the ensemble's {num_members} members: choose k <= {num_members} or add members"
            )


class AlphaThreshold(_Composable, PyTree):
    """The paper's rule: members whose weight is at least alpha times the weight of all members ranked so far.

    Going down the ranking, a member is in iff ``w_n >= alpha * (weights of the heavier ones + w_n)``. The set is a
    prefix of the ranking of at most ``floor(1/alpha)`` members (more only by ties).

    Args:
        alpha: in (0, 1]; a float, or an array to ``vmap`` over. For a wanted failure probability delta choose
            ``alpha = delta * prior weight of the truth``.

    Raises:
        ConfigurationError: if ``alpha`` is outside (0, 1], or not a number.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import AlphaThreshold
        >>> AlphaThreshold(0.3)(jnp.log(jnp.array([0.2, 0.5, 0.3]))).tolist()
        [False, True, True]
        >>> AlphaThreshold(0.01).exclusion_bound(prior_weight=0.25, num_members=4)
        0.04
    """

    alpha: ArrayLike

    def __post_init__(self) -> None:
        self._check_alpha(lenient=True)

    def _check_alpha(self, lenient: bool) -> None:
        check_number("alpha", self.alpha, "lie in (0, 1]", lambda alpha: (alpha > 0) & (alpha <= 1), lenient=lenient)

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        """Return the mask [N]."""
        # The first of a group of tied members decides for all of them, so only strictly heavier ones are summed.
        relative = jnp.exp(log_weights - jnp.max(log_weights))
        heavier = jnp.sum(jnp.where(_heavier(log_weights), relative, 0.0), axis=-1)
        return relative * (1 + TIE_TOLERANCE) >= jnp.asarray(self.alpha) * (heavier + relative)

    def margins(self, log_weights: jax.Array) -> jax.Array:
        """Return the distance [N] to the weight below which heavier others are too heavy; ``inf`` without others."""
        relative = jnp.exp(log_weights - jnp.max(log_weights))
        others = jnp.where(jnp.eye(log_weights.shape[-1], dtype=bool), 0.0, relative[None, :])
        descending = jnp.sort(others, axis=-1)[:, ::-1]
        alpha = jnp.asarray(self.alpha, jnp.float32)
        # Just below another's weight u, that of the heavier ones jumps to S: out below u and alpha / (1 - alpha) S.
        too_heavy = alpha / (1.0 - alpha) * jnp.cumsum(descending, axis=-1)
        threshold = jnp.max(jnp.minimum(descending, too_heavy), axis=-1)
        return jnp.where(threshold > 0, jnp.log(relative) - jnp.log(threshold), jnp.inf)

    @property
    def tolerated_members(self) -> int:
        """0: weights can concentrate on one member, so the rule has no quorum."""
        return 0

    @property
    def largest_set(self) -> float:
        """``floor(1 / alpha)``, ties aside."""
        # 1 / 0.1 and the like must not fall below the integer they stand for.
        return math.floor(1 / float(cast(float, self.alpha)) + 1e-6)

    @property
    def smallest_share(self) -> float:
        """Alpha, the least share."""
        return float(cast(float, self.alpha))

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        """Return ``alpha / w``, capped at 1 (T2, by Ville's inequality); 0 for the only member, which is always in."""
        w = _check_prior_weight(prior_weight)
        return 0.0 if _check_num_members(num_members) == 1 else min(1.0, float(cast(float, self.alpha)) / w)

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if alpha is not a number; nothing depends on the number of members."""
        del num_members
        self._check_alpha(lenient=False)


class Union(_Composable, PyTree, guests=True):
    """Members selected by any of the rules: it keeps each rule's guarantee. Written ``rule | rule``."""

    rules: tuple[SelectionRule, ...]

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        """Return the mask [N]."""
        return reduce(operator.or_, (mask_of(rule, log_weights) for rule in self.rules))

    def margins(self, log_weights: jax.Array) -> jax.Array:
        """Return the larger of the parts' [N]: a member is out when every part leaves it out."""
        return reduce(jnp.maximum, (rule.margins(log_weights) for rule in self.rules))

    @property
    def tolerated_members(self) -> int:
        """The largest of the parts'."""
        return max(rule.tolerated_members for rule in self.rules)

    @property
    def largest_set(self) -> float:
        """The largest of the parts', if every set is a prefix of one ranking; else their sum."""
        sizes = [rule.largest_set for rule in self.rules]
        return max(sizes) if _takes_prefixes(self) else sum(sizes)

    @property
    def smallest_share(self) -> float:
        """The smallest of the parts'."""
        return min(rule.smallest_share for rule in self.rules)

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        """Return the smallest of the parts' bounds."""
        return min(rule.exclusion_bound(prior_weight, num_members) for rule in self.rules)

    def check(self, num_members: int) -> None:
        """Check every part."""
        for rule in self.rules:
            rule.check(num_members)


class Intersection(_Composable, PyTree, guests=True):
    """Members selected by all of the rules: asks less, and promises no safety itself. Written ``rule & rule``."""

    rules: tuple[SelectionRule, ...]

    def __call__(self, log_weights: jax.Array) -> jax.Array:
        """Return the mask [N]."""
        return reduce(operator.and_, (mask_of(rule, log_weights) for rule in self.rules))

    def margins(self, log_weights: jax.Array) -> jax.Array:
        """Return the smaller of the parts' [N]."""
        return reduce(jnp.minimum, (rule.margins(log_weights) for rule in self.rules))

    @property
    def tolerated_members(self) -> int:
        """The smallest of the parts', if every set is a prefix of one ranking; else 0: they may share nobody."""
        return min(rule.tolerated_members for rule in self.rules) if _takes_prefixes(self) else 0

    @property
    def largest_set(self) -> float:
        """The smallest of the parts'."""
        return min(rule.largest_set for rule in self.rules)

    @property
    def smallest_share(self) -> float:
        """The largest of the parts'."""
        return max(rule.smallest_share for rule in self.rules)

    def exclusion_bound(self, prior_weight: float, num_members: int) -> float:
        """Return the sum of the parts' bounds, capped at 1 (the truth is out when any part leaves it out)."""
        return min(1.0, sum(rule.exclusion_bound(prior_weight, num_members) for rule in self.rules))

    def check(self, num_members: int) -> None:
        """Check every part."""
        for rule in self.rules:
            rule.check(num_members)


def merged(rule: SelectionRule, log_weights: jax.Array, duplicates: jax.Array) -> jax.Array:
    """Select with each group of near-duplicates ranked once, with its heaviest member's weight.

    The rule sees one representative of each group, without the others. If it selects the representative, the whole
    group is in. Every member that the rule alone selects is in as well, so the set only grows: T1 and T2 hold as for
    the rule alone, and copies neither swell the alpha rule's sum nor fill the places of a top k ("Near-duplicates" in
    ``docs/theory.md``).

    Args:
        rule: the rule.
        log_weights: float [N], unnormalised.
        duplicates: bool [N, N], an equivalence relation, as `merging.near_duplicates` returns it.

    Returns:
        bool [N].

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import TopK, selection
        >>> log_weights = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
        >>> duplicates = jnp.eye(4, dtype=bool).at[0, 1].set(True).at[1, 0].set(True)
        >>> selection.merged(TopK(2), log_weights, duplicates).tolist()
        [True, True, True, False]
    """
    # A member that is ruled out (-inf) still comes before all members outside the group.
    finite = jnp.maximum(log_weights, jnp.finfo(log_weights.dtype).min)
    first = jnp.argmax(jnp.where(duplicates, finite[None, :], -jnp.inf), axis=-1)
    represents = first == jnp.arange(log_weights.size)
    chosen = mask_of(rule, jnp.where(represents, log_weights, -jnp.inf)) & represents
    # For prefixes of the ranking the rule's own choice adds only ties; to include it saves the proofs a case.
    return jnp.any(duplicates & (chosen | mask_of(rule, log_weights))[None, :], axis=-1)


def _heavier(log_weights: jax.Array) -> jax.Array:
    """Return [N, N]: entry (n, m) states whether member m is strictly heavier than member n."""
    return log_weights[None, :] > log_weights[:, None] + TIE_TOLERANCE


def _takes_prefixes(rule: object) -> bool:
    """Whether a rule selects a prefix of the members ranked by weight: of your own rules nobody knows it."""
    if type(rule) in (Union, Intersection):
        return all(_takes_prefixes(part) for part in cast(Union | Intersection, rule).rules)
    return type(rule) in (TopK, AlphaThreshold)


def _rule(other: object) -> SelectionRule:
    lacks = ["an instance of it"] if isinstance(other, type) else missing(other, SELECTION_PARTS)
    if lacks:
        raise ConfigurationError(
            f"| and & join selection rules, such as TopK(3) and AlphaThreshold(0.01); got {other!r:.200}, which lacks "
            f"{', '.join(lacks)}"
        )
    return cast(SelectionRule, other)


def _check_prior_weight(prior_weight: float) -> float:
    check_number("prior_weight", prior_weight, "lie in (0, 1]", lambda w: (w > 0) & (w <= 1))
    return float(prior_weight)


def _check_num_members(num_members: int) -> int:
    check_integer("num_members", num_members, 1)
    return int(num_members)
