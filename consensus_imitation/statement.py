"""What an imitator can be said to guarantee, in words, with the numbers so far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from consensus_imitation import certificate
from consensus_imitation.diversity import Merging
from consensus_imitation.posterior import normalise_prior
from consensus_imitation.selection import SelectionRule


@dataclass(frozen=True)
class Statement:
    """A guarantee and how things stand. ``str(statement)`` is readable.

    Attributes:
        prior_weight: w, prior weight of the member assumed to equal the demonstrator.
        exclusion: bound on P(that member is ever left out) (T2); 1.0 says nothing.
        tolerated_members: dishonest members that the quorum tolerates (T1).
        factor: of the inflation budget; None without one.
        num_steps: steps so far, of all environments.
        num_queries: queries so far.
        queries_bound: bound on the expected number of queries in that many steps (T3); ``num_steps`` says nothing.
        ledger: log of the inflation spent so far (the largest, of a batch).
        smallest_margin: by how many nats the log-weight of the selected member nearest to being left out could fall.
        nearest_member: which one it is.
        unexplained: no member explains the answers; then nothing is guaranteed, and every step is a query.
    """

    prior_weight: float
    exclusion: float
    tolerated_members: int
    factor: float | None
    num_steps: int
    num_queries: int
    queries_bound: float
    ledger: float
    smallest_margin: float
    nearest_member: int
    unexplained: bool

    def __str__(self) -> str:
        lines = []
        if self.unexplained:
            lines.append("NOTHING IS GUARANTEED: no member explains the demonstrator's answers; every step is a query")
        given = f"given a member equal to the demonstrator with prior weight at least {self.prior_weight:.3g}"
        if self.factor is None:
            lines.append(
                "at every step, while that member is selected: "
                f"P(action) <= (1 + query_prob) * P(demonstrator's action), {given}; "
                f"it is ever left out with probability at most {_vacuous(self.exclusion, 1.0)}"
            )
        else:
            lines.append(
                f"for every event, at every horizon: P(imitator) <= {self.factor:g} * P(demonstrator) + "
                f"{_vacuous(self.exclusion, 1.0)}, {given}"
            )
        lines.append(
            f"quorum: an honest member has a veto while at most {self.tolerated_members} members are dishonest"
            if self.tolerated_members
            else "no quorum: the weight may come to rest on a single member, which then acts alone"
        )
        lines.append(
            f"so far: {self.num_queries} queries in {self.num_steps} steps (expected at most "
            f"{_vacuous(self.queries_bound, self.num_steps)}), inflation spent {math.exp(self.ledger):.4g}"
            + ("" if self.factor is None else f" of {self.factor:g}")
        )
        lines.append(
            f"nearest to being left out: member {self.nearest_member}, by {self.smallest_margin:.3g} nats"
            if math.isfinite(self.smallest_margin)
            else "no selected member can be left out"
        )
        return "\n".join(lines)


def certify(
    rule: SelectionRule,
    prior: Sequence[float] | np.ndarray,
    log_weights: Sequence[float] | np.ndarray,
    *,
    truth: int | None,
    factor: float | None,
    num_steps: int,
    num_queries: int,
    ledger: float,
    unexplained: bool,
    merging: Merging | None = None,
    num_streams: int = 1,
) -> Statement:
    """The statement for a selection rule and a posterior.

    Args:
        rule: the selection rule.
        prior: [N].
        log_weights: [N], the posterior's.
        truth: which member is assumed to equal the demonstrator; None for the worst case over all members of
            positive prior weight.
        factor: of the inflation budget; None without one.
        num_steps: so far.
        num_queries: so far.
        ledger: so far.
        unexplained: whether no member explains the answers.
        merging: of near-duplicates, which adds to the bound on the queries; None without it.
        num_streams: B, that share the posterior.

    Raises:
        ValueError: if ``truth`` is no member of positive prior weight.

    Example:
        >>> from consensus_imitation import AlphaThreshold
        >>> from consensus_imitation.statement import certify
        >>> said = certify(
        ...     AlphaThreshold(0.0025), [0.25] * 4, [0.0] * 4, truth=None, factor=2.0,
        ...     num_steps=100, num_queries=7, ledger=0.1, unexplained=False,
        ... )  # fmt: skip
        >>> print(str(said).splitlines()[0][:66])
        for every event, at every horizon: P(imitator) <= 2 * P(demonstrat
    """
    weights = normalise_prior(np.asarray(prior))
    candidates = np.flatnonzero(weights > 0).tolist() if truth is None else [truth]
    cubed = max(certificate.cubed_query_bound(rule, weights.tolist(), one) for one in candidates)
    queries_bound = certificate.expected_queries_bound(cubed, num_steps)
    if merging is not None and merging.tolerance is not None:
        tolerance = float(np.asarray(merging.tolerance))
        cost = certificate.merging_cost(len(weights), tolerance, num_steps, num_streams)
        queries_bound = min(float(num_steps), queries_bound + cost)
    prior_weight = float(min(weights[one] for one in candidates))
    current = jnp.asarray(log_weights, jnp.float32)
    margins = np.where(np.asarray(rule(current)), np.asarray(rule.margins(current)), np.inf)
    return Statement(
        prior_weight=prior_weight,
        exclusion=rule.exclusion_bound(prior_weight),
        tolerated_members=rule.tolerated_members,
        factor=factor,
        num_steps=num_steps,
        num_queries=num_queries,
        queries_bound=queries_bound,
        ledger=ledger,
        smallest_margin=float(margins.min()),
        nearest_member=int(margins.argmin()),
        unexplained=unexplained,
    )


def _vacuous(bound: float, nothing: float) -> str:
    return f"{bound:.4g}" + (" (which says nothing)" if bound >= nothing else "")
