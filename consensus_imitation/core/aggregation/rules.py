"""The aggregation rules: the minimum, and what people use instead."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from consensus_imitation.core._validation import check_integer, check_number
from consensus_imitation.core.laws import (
    AGREEMENT_TOLERANCE,
    ROUNDING,
    ActionLaw,
    exact_exp,
    log_minimum,
    total_of,
    without_excess,
)
from consensus_imitation.errors import ConfigurationError


class _AnyEnsemble:
    def check(self, num_members: int) -> None:
        """Nothing depends on the number of members."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Minimum(_AnyEnsemble):
    """The pointwise minimum of the selected members; what is left over is the probability of asking.

    ``probs(a) = min_{n selected} pi_n(a)`` and ``query_prob = 1 - sum_a probs(a)``: each member can only veto, so the
    mass on any set of actions is at most what the most cautious member gives it (T1). Nothing is renormalised.

    The query probability is summed from the differences to one selected member, ``sum_a (pi_1(a) - min(a))``. That is
    exactly 0 when the members agree (to within `AGREEMENT_TOLERANCE`) and never negative; ``1 - sum(min)`` would be
    neither.

    Two options trade queries for inflation (T6):

    Args:
        rounds: R, draw up to R times from the minimum before asking. Query probability ``theta^R``; an action gets at
            most ``1 + theta + ... + theta^R`` times as likely as under a selected member. 1 is the paper's imitator.
        threshold: tau in (0, 1], ask if and only if ``theta >= tau``, else act on the minimum scaled up to one; an
            action gets at most ``1 / (1 - theta)`` times as likely. None for the paper's imitator.

    Raises:
        ConfigurationError: if an option is out of range, or both are given.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.aggregation import Minimum
        >>> log_probs, everyone = jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]])), jnp.array([True, True])
        >>> law = Minimum()(log_probs, jnp.zeros(2), everyone)
        >>> [round(p, 2) for p in law.probs.tolist()], round(float(law.query_prob), 2)
        ([0.4, 0.3], 0.3)
        >>> round(float(Minimum(rounds=2)(log_probs, jnp.zeros(2), everyone).query_prob), 2)
        0.09

    References:
        Cohen, Hutter and Nanda 2022; T1 and T6 in ``docs/theory.md``.
    """

    rounds: int = 1
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_integer("rounds", self.rounds, 1)
        if self.threshold is not None:
            check_number("threshold", self.threshold, "lie in (0, 1]", lambda tau: (tau > 0) & (tau <= 1))
        if self.rounds > 1 and self.threshold is not None:
            raise ConfigurationError("rounds and threshold are two ways to ask less: give one of them")

    @property
    def name(self) -> str:
        """Short name."""
        if self.threshold is not None:
            return f"minimum-threshold-{self.threshold:g}"
        return "minimum" if self.rounds == 1 else f"minimum-rounds-{self.rounds}"

    @property
    def veto_factor(self) -> float:
        """1 for the paper's imitator, R for rounds, ``1 / (1 - tau)`` for a threshold (T1 under T6)."""
        if self.threshold is None:
            return float(self.rounds)
        return math.inf if self.threshold == 1 else 1 / (1 - float(self.threshold))

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``log_weights`` matter only through ``selected``."""
        return _ask_if_undefined(self.open_law(log_probs, log_weights, selected), selected)

    def open_law(
        self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array, excess: jax.Array | None = None
    ) -> ActionLaw:
        """Combine; the excess is taken off, and an undefined law left to whoever checks it (`_rule_checks`)."""
        del log_weights
        probs = exact_exp(log_minimum(log_probs, selected, excess))
        first = jnp.argmax(selected)
        reference = log_probs[first] if excess is None else without_excess(log_probs[first], excess[first])
        reference = jnp.exp(reference)
        # Compared with >=, so that a NaN is a disagreement, and makes the sum NaN.
        agrees = probs >= reference * (1.0 - AGREEMENT_TOLERANCE)
        disagreement = jnp.sum(jnp.where(agrees, 0.0, reference - probs))
        # A member may give away less than all of its mass; what it withholds is asked about.
        mass = total_of(probs)
        withheld = 1.0 - (mass + disagreement)
        theta = disagreement + jnp.where(withheld > ROUNDING, withheld, 0.0)
        theta = jnp.clip(jnp.where(mass == 0, 1.0, theta), 0.0, 1.0)
        return self._trade(probs, mass, theta)

    def _trade(self, probs: jax.Array, mass: jax.Array, theta: jax.Array) -> ActionLaw:
        """The law for this rule's way of asking; with no mass left, all of them ask, which inflates nothing."""
        able = mass > 0
        if self.threshold is not None:
            acts = able & (theta < self.threshold)
            scaled = jnp.where(acts, probs / jnp.where(able, mass, 1.0), 0.0)
            # What it is scaled up by; 1 / (1 - theta), but exact also where theta is all but one.
            inflation = jnp.where(acts, -jnp.log(jnp.where(acts, jnp.minimum(mass, 1.0), 1.0)), 0.0)
            return ActionLaw(scaled, jnp.where(acts, 0.0, 1.0), inflation)
        if self.rounds == 1:
            return ActionLaw(probs, theta, jnp.where(able, jnp.log1p(theta), 0.0))
        scale = sum(theta**i for i in range(self.rounds))
        query_prob = theta**self.rounds
        # What was too little to be told from rounding in one round, can be more in many.
        missing = 1.0 - (mass * scale + query_prob)
        query_prob = query_prob + jnp.where(missing > ROUNDING, missing, 0.0)
        return ActionLaw(probs * scale, query_prob, jnp.where(able, jnp.log(scale + query_prob), 0.0))


@jax.tree_util.register_static
@dataclass(frozen=True)
class PosteriorMixture(_AnyEnsemble):
    """The posterior-weighted average of all members (Bayesian imitation): asks only for mass withheld."""

    name: str = "mixture"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``selected`` is ignored."""
        del selected
        return _law_from_mass(jax.nn.softmax(log_weights) @ jnp.exp(log_probs))


@jax.tree_util.register_static
@dataclass(frozen=True)
class UniformMixture(_AnyEnsemble):
    """The plain average of the selected members: asks only for mass withheld."""

    name: str = "uniform"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; weights matter only through ``selected``."""
        del log_weights
        share = selected / jnp.sum(selected)
        return _law_from_mass(share @ jnp.exp(log_probs))


@jax.tree_util.register_static
@dataclass(frozen=True)
class MAP(_AnyEnsemble):
    """The heaviest member alone: what one trained model does. Asks only for mass that it withholds."""

    name: str = "map"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; ``selected`` is ignored."""
        del selected
        return _law_from_mass(jnp.exp(log_probs[jnp.argmax(log_weights)]))


@jax.tree_util.register_static
@dataclass(frozen=True)
class MajorityVote(_AnyEnsemble):
    """Each selected member votes for its likeliest action; a most-voted action is taken, ties at random."""

    name: str = "vote"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; weights matter only through ``selected``."""
        del log_weights
        # A member that predicts nothing (the zero vector) has no vote.
        voters = selected & (jnp.max(log_probs, axis=-1) > -jnp.inf)
        ballots = jax.nn.one_hot(jnp.argmax(log_probs, axis=-1), log_probs.shape[-1]) * voters[:, None]
        votes = jnp.sum(ballots, axis=0)
        winners = (votes == jnp.max(votes)) & (votes > 0)
        return _law_from_mass(winners / jnp.maximum(jnp.sum(winners), 1))


@jax.tree_util.register_static
@dataclass(frozen=True)
class PointwiseMedian(_AnyEnsemble):
    """The median over the selected members of each action's probability (the lower one for an even number).

    Medians may sum to more than one; then, and only then, they are scaled down to one.
    """

    name: str = "median"

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; weights matter only through ``selected``."""
        del log_weights
        ascending = _ascending(log_probs, selected)
        return _law_from_mass(jnp.exp(ascending[(jnp.sum(selected) - 1) // 2]))


@jax.tree_util.register_static
@dataclass(frozen=True)
class OrderStatistic:
    """The s-th smallest probability of each action: overrules s-1 vetoes. ``s=1`` is the minimum.

    Any s-1 members are ignored when they object; any s members together keep their veto. With fewer than s members
    selected the largest is taken. Scaled down where the sum exceeds one.

    Args:
        s: at least 1.

    Raises:
        ConfigurationError: if ``s`` is below 1 or not an integer.
    """

    s: int

    def __post_init__(self) -> None:
        check_integer("s", self.s, 1, "1 is the minimum")

    @property
    def name(self) -> str:
        """Short name."""
        return f"order-{self.s}"

    @property
    def veto_factor(self) -> float:
        """1 for ``s=1``, which is the minimum; ``inf`` beyond, for one member's objection is overruled."""
        return 1.0 if self.s == 1 else math.inf

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if s exceeds the number of members."""
        _check_s(self.s, num_members)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; weights matter only through ``selected``."""
        del log_weights
        ascending = _ascending(log_probs, selected)
        return _law_from_mass(jnp.exp(ascending[jnp.minimum(self.s, jnp.sum(selected)) - 1]))


@jax.tree_util.register_static
@dataclass(frozen=True)
class ConsensusSampling:
    """Kalai, Kalai and Zamir 2025: risk at most R times that of the safest s of the selected members.

    Draw from a random member, accept with probability (mean of the s smallest) / (mean of all) of that action's
    probabilities, at most ``rounds`` times, else abstain; here to abstain is to ask. In closed form the law is
    ``c * m_s(a)`` with ``m_s`` the mean of the s smallest, ``Z = sum_a m_s(a)``, ``c = (1 - (1-Z)^R) / Z``, and the
    query probability is ``(1-Z)^R``. With s=1 and R=1 it is the minimum.

    Args:
        s: how many members are trusted to be safe, at least 1.
        rounds: R, at least 1.

    Raises:
        ConfigurationError: if ``s`` or ``rounds`` is below 1 or not an integer.

    References:
        arXiv:2511.09493.
    """

    s: int
    rounds: int = 1

    def __post_init__(self) -> None:
        check_integer("s", self.s, 1)
        check_integer("rounds", self.rounds, 1)

    @property
    def name(self) -> str:
        """Short name."""
        return f"consensus-{self.s}-{self.rounds}"

    @property
    def veto_factor(self) -> float:
        """R for ``s=1``, which draws from the minimum; ``inf`` beyond, for the mean of s heeds no single member."""
        return float(self.rounds) if self.s == 1 else math.inf

    def check(self, num_members: int) -> None:
        """Raise ConfigurationError if s exceeds the number of members."""
        _check_s(self.s, num_members)

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        """Combine; weights matter only through ``selected``."""
        del log_weights
        ascending = _ascending(log_probs, selected)
        trusted = jnp.minimum(self.s, jnp.sum(selected))
        among_smallest = jnp.arange(log_probs.shape[0]) < trusted
        mass = jnp.sum(jnp.where(among_smallest[:, None], jnp.exp(ascending), 0.0), axis=0) / trusted
        accepted = jnp.clip(jnp.sum(mass), 0.0, 1.0)
        query_prob = (1.0 - accepted) ** self.rounds
        scale = jnp.where(accepted > 0, (1.0 - query_prob) / jnp.where(accepted > 0, accepted, 1.0), 0.0)
        return _ask_if_undefined(ActionLaw(probs=mass * scale, query_prob=query_prob), selected)


def _ascending(log_probs: jax.Array, selected: jax.Array) -> jax.Array:
    """Each action's log-probabilities over the selected members in ascending order, ``inf`` after them: [N, A]."""
    return jnp.sort(jnp.where(selected[:, None], log_probs, jnp.inf), axis=0)


def _law_from_mass(mass: jax.Array) -> ActionLaw:
    """Scale mass above one down to one; ask with what is missing to one beyond rounding."""
    total = jnp.sum(mass)
    missing = 1.0 - total
    query_prob = jnp.where(missing > ROUNDING, missing, jnp.where(jnp.isnan(total), 1.0, 0.0))
    return ActionLaw(probs=jnp.where(jnp.isnan(total), 0.0, mass / jnp.maximum(total, 1.0)), query_prob=query_prob)


def _ask_if_undefined(law: ActionLaw, selected: jax.Array) -> ActionLaw:
    """Fail closed: with nobody selected, or a NaN anywhere, the whole mass is a query."""
    defined = jnp.any(selected) & ~jnp.isnan(law.query_prob)
    return ActionLaw(
        probs=jnp.where(defined, law.probs, 0.0),
        query_prob=jnp.where(defined, law.query_prob, 1.0),
        log_inflation=jnp.where(defined, law.log_inflation, 0.0),
    )


def _check_s(s: int, num_members: int) -> None:
    if s > num_members:
        raise ConfigurationError(f"s={s} exceeds the ensemble's {num_members} members: choose s <= {num_members}")
