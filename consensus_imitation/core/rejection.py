"""The rejection draw: an action of the pointwise minimum, or a query, from one sample.

Let ``m(a) = min over the selected n of pi_n(a)`` be the pointwise minimum, of mass ``1 - theta``. For a continuous or a
combinatorial action space neither ``m`` nor ``theta`` can be computed. But any selected member ``i`` can be sampled,
and ``m <= pi_i``. So draw ``a`` from ``pi_i``, and accept it with probability ``m(a) / pi_i(a)``. On rejection *ask*;
ordinary rejection sampling (von Neumann 1951) would try again. Then

* P(act by itself with an action in U) = integral over U of ``pi_i * m / pi_i`` = ``m(U)``, exactly,
* P(query) = ``1 - m(everything)`` = ``theta``, exactly, and
* neither depends on which ``i`` proposed.

To try again would renormalise the minimum, and lose exactly the caution that it expresses.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from consensus_imitation.core.any_action import Action
from consensus_imitation.core.draw import QUERY
from consensus_imitation.core.laws import AGREEMENT_TOLERANCE


class RejectionDraw(NamedTuple):
    """The outcome of one proposal.

    Attributes:
        action: the proposal if it was accepted; otherwise every float in it is NaN and every integer -1, so that nobody
            can carry out a rejected proposal by mistake.
        queried: bool [].
        query_prob_estimate: float32 [], in [0, 1]: an **unbiased one-sample estimate** of the query probability
            theta, not theta itself. It is the probability of asking *given this proposal*.
        dissenter: int32 [], the selected member whose density was the lowest relative to the proposer's; -1 if no
            member's was lower.
        invalid: bool [N], members that gave an unusable density (NaN or ``+inf``), and a proposer whose sample was
            not finite or impossible under its own density.
    """

    action: Action
    queried: jax.Array
    query_prob_estimate: jax.Array
    dissenter: jax.Array
    invalid: jax.Array


def heaviest(log_weights: jax.Array, selected: jax.Array) -> jax.Array:
    """Return the index of the heaviest selected member, the usual proposer: int32 []; 0 if no member is selected."""
    # A selected member may be ruled out (weight zero), and still ranks before every member that is not selected.
    finite = jnp.maximum(log_weights, jnp.finfo(log_weights.dtype).min)
    return jnp.argmax(jnp.where(selected, finite, -jnp.inf)).astype(jnp.int32)


def rejection_draw(
    number: jax.Array, proposal: Action, log_densities: jax.Array, proposer: jax.Array, selected: jax.Array
) -> RejectionDraw:
    """Accept the proposal with probability ``min over selected n of pi_n(a) / pi_proposer(a)``, or ask.

    The draw fails closed. It asks if no member is selected, if the proposer is not selected, if any selected member's
    log-density is NaN or ``+inf``, if the proposal is not finite, or if the proposer itself calls it impossible. It
    reports an unusable density of a non-selected member, which has no effect.

    Densities that differ by no more than float32 rounding of a log-density count as equal, so that members that agree
    never ask. An acceptance is exact to within ``2**-64``, and never rounded up.

    Args:
        number: uint32 [2], random bits that stand for a number in [0, 1): if it is below the probability of asking, the
            draw asks. It is independent of the proposal, and unpredictable to the members.
        proposal: drawn from the proposer's distribution.
        log_densities: float [N], log-density of the proposal under every member.
        proposer: int32 [], index of the member that was sampled.
        selected: bool [N], the members that have a say.

    Returns:
        A `RejectionDraw`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.draw import from_float
        >>> from consensus_imitation.core.rejection import rejection_draw
        >>> log_densities = jnp.log(jnp.array([2.0, 0.5]))  # densities may exceed one
        >>> both = jnp.array([True, True])
        >>> drawn = rejection_draw(from_float(0.8), jnp.float32(1.5), log_densities, jnp.int32(0), both)
        >>> float(drawn.action), bool(drawn.queried), float(drawn.query_prob_estimate), int(drawn.dissenter)
        (1.5, False, 0.75, 1)
        >>> bool(rejection_draw(from_float(0.7), jnp.float32(1.5), log_densities, jnp.int32(0), both).queried)
        True
    """
    chex.assert_rank(log_densities, 1)
    chex.assert_equal_shape([log_densities, selected])
    reference = log_densities[proposer]
    unusable = jnp.isnan(log_densities) | jnp.isposinf(log_densities)
    broken = ~is_finite(proposal) | jnp.isneginf(reference)
    invalid = unusable | ((jnp.arange(log_densities.shape[0]) == proposer) & broken)

    reference = jnp.where(jnp.isfinite(reference), reference, 0.0)
    log_ratios = jnp.where(invalid, -jnp.inf, log_densities - reference)
    log_ratios = jnp.where(selected, log_ratios, jnp.inf)
    lowest = jnp.min(log_ratios)
    agree = lowest >= -AGREEMENT_TOLERANCE * (1.0 + jnp.abs(reference))
    defined = selected[proposer] & ~jnp.isnan(lowest)
    # Nothing undefined is accepted.
    lowest = jnp.where(defined, jnp.where(agree, 0.0, lowest), -jnp.inf).astype(jnp.float32)
    # The absolute value: of 0 it is not -0.0.
    query_prob = jnp.abs(jnp.expm1(lowest))
    acts = _is_below(~jnp.asarray(number, jnp.uint32), jnp.exp(lowest))
    return RejectionDraw(
        action=void_unless(acts, proposal),
        queried=~acts,
        query_prob_estimate=query_prob,
        dissenter=jnp.where(defined & (query_prob > 0), jnp.argmin(log_ratios), -1).astype(jnp.int32),
        invalid=invalid,
    )


def _is_below(number: jax.Array, prob: jax.Array) -> jax.Array:
    """Return whether 64 bits, uint32 [2], are below ``prob * 2**64``, without rounding; prob is in [0, 1]."""
    scaled = prob * 2.0**32
    whole = jnp.floor(scaled)
    rest = jnp.floor((scaled - whole) * 2.0**32)
    first, second = jnp.where(prob < 1.0, jnp.stack([whole, rest]), 0.0).astype(jnp.uint32)
    return (prob >= 1.0) | (number[0] < first) | ((number[0] == first) & (number[1] < second))


def is_finite(action: Action) -> jax.Array:
    """Return whether every number in an action is finite: bool []."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(action)]))


def void_unless(keep: jax.Array, action: Action) -> Action:
    """Return the action if ``keep``; otherwise one of the same shape that nobody can carry out (NaN, or -1)."""

    def one(leaf: jax.Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        nothing = jnp.nan if jnp.issubdtype(leaf.dtype, jnp.inexact) else QUERY
        return jnp.where(keep, leaf, jnp.full_like(leaf, nothing))

    return jax.tree.map(one, action)
