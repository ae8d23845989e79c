"""Remedies for a posterior that collapses onto one member while all members are still learning.

The plain product of likelihoods (Bayes) compares members over their whole past. Members that learn differ by noise at
every moment, and the noise adds up: after some dozens of answers one member holds all the weight, however good or bad
it becomes later. Each remedy gives up something to keep the others in play:

==============================  ==================================================================================
``temper`` (exponent at most 1)  likelihoods count less. T2 holds unchanged.
``forget`` (factor at most 1)    old answers fade. T2 bounds what one answer can have done, the k-th say, and no more.
``share`` (floor, from 0)        after each answer the prior distributes a share of all weight: no member falls below
                                 ``share`` times its prior weight, so an `AlphaThreshold` below that never leaves a
                                 member out. For other thresholds it is as with ``forget``.
==============================  ==================================================================================

The bound on queries (T3) holds under none of them. docs/theory.md has the proofs, and explains why an imitator that
forgets may end with the truth left out permanently.
"""

import jax
import jax.numpy as jnp

from consensus_imitation.core import posterior as post
from consensus_imitation.core._tree import PyTree
from consensus_imitation.core._validation import check_number


class Reweighting(PyTree):
    """A rule for how weights change with an answer; the default is Bayes' rule.

    ``w_n  <-  (1 - share) * normalised(prior_n * (w_n / prior_n)^forget * pi_n(answer)^temper) + share * prior_n``.

    Attributes:
        temper: eta in (0, 1], exponent of the likelihood.
        forget: gamma in [0, 1], what remains of the old log-weights with each answer; roughly the last
            ``1 / (1 - gamma)`` answers count.
        share: s in [0, 1), the fixed share of Herbster and Warmuth 1998, "Tracking the best expert".

    Raises:
        ConfigurationError: if a number is out of its range; traced ones are not checked.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation import Reweighting, posterior
        >>> prior = jnp.array([0.5, 0.5])
        >>> state, _ = Reweighting(share=0.1)(posterior.init(prior), jnp.log(jnp.array([1.0, 1e-9])), prior)
        >>> [round(float(weight), 2) for weight in posterior.weights(state)]  # without the share: [1.0, 0.0]
        [0.95, 0.05]
    """

    temper: jax.Array | float = 1.0
    forget: jax.Array | float = 1.0
    share: jax.Array | float = 0.0

    def __post_init__(self) -> None:
        self._check(lenient=True)

    def check(self) -> None:
        """Raise ConfigurationError if an option is not a number."""
        self._check(lenient=False)

    def _check(self, lenient: bool) -> None:
        temper, forget, share = self.temper, self.forget, self.share
        check_number(
            "temper", temper, "be above 0 and at most 1 (1: Bayes)", lambda x: (x > 0) & (x <= 1), lenient=lenient
        )
        check_number("forget", forget, "lie between 0 and 1 (1: Bayes)", lambda x: (x >= 0) & (x <= 1), lenient=lenient)
        check_number(
            "share", share, "be at least 0 (0: Bayes) and below 1", lambda x: (x >= 0) & (x < 1), lenient=lenient
        )

    def __call__(
        self,
        state: post.PosteriorState,
        log_likelihood: jax.Array,
        prior: jax.Array,
        asleep: jax.Array | None = None,
    ) -> tuple[post.PosteriorState, post.PosteriorInfo]:
        """Return the posterior after an answer, like `posterior.update`.

        Args:
            state: before the answer.
            log_likelihood: [N], what each member had given to it.
            prior: [N], sums to one.
            asleep: bool [N], members without a usable prediction, or None for no member.

        Returns:
            The new state; and the evidence of the weights before, as `posterior.update` reports it.
        """
        _, info = post.update(state, log_likelihood, asleep)
        log_prior = jnp.log(prior)
        possible = prior > 0
        faded = self.forget * (state.log_weights - jnp.where(possible, log_prior, 0.0)) + log_prior
        # 0 * -inf: a member that was ruled out has no weight to remember, and comes back by its prior.
        faded = jnp.where(jnp.isnan(faded), log_prior, faded)
        # Where nothing fades, the weights stay as they are: to divide by the prior and multiply again would round them.
        faded = jnp.where(jnp.asarray(self.forget) == 1, state.log_weights, faded - jnp.max(faded))
        before = post.PosteriorState(log_weights=faded, residual=self.forget * state.residual)
        # 0 * -inf cannot arise here: the exponent is positive.
        after, _ = post.update(before, self.temper * log_likelihood, asleep)
        dealt = jnp.log((1.0 - self.share) * post.weights(after) + self.share * prior)
        shared = post.PosteriorState(log_weights=dealt - jnp.max(dealt), residual=jnp.zeros_like(dealt))
        after = jax.tree.map(lambda with_share, plain: jnp.where(self.share > 0, with_share, plain), shared, after)
        kept = jax.tree.map(lambda new, old: jnp.where(info.explained, new, old), after, state)
        return kept, info
