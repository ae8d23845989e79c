"""A training step of the user's own, in the place of ours: one update of one member on one minibatch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class OwnUpdate:
    """What `training.updated` is given in the place of a network, where members are trained by somebody else's code.

    Attributes:
        network: ``(state, inputs) -> logits [A]``.
        step: ``(state, inputs [M, ...], answers [M]) -> state``.
    """

    network: Callable[[Any, Any], jax.Array]
    step: Callable[[Any, Any, jax.Array], Any]

    def __call__(self, state: Any, inputs: Any) -> jax.Array:
        """Return the logits [A] of one member."""
        return self.network(state, inputs)

    def updated(self, state: Any, inputs: Any, answers: jax.Array, counts: jax.Array) -> Any:
        """Return one member's state after a minibatch in which each answer counts ``counts`` times, float32 [M].

        The step knows no weights, so it is shown a minibatch of the same size in which each answer occurs as often as
        it counts, as nearly as that is possible. A member for which no answer counts stays as it was.
        """
        places = resampled(counts)
        own = jax.tree.map(lambda leaf: leaf[places], inputs)
        after = self.step(state, own, answers[places])
        counts_any = jnp.any(counts > 0)
        return jax.tree.map(lambda new, old: jnp.where(counts_any, new, old), after, state)


def resampled(counts: jax.Array) -> jax.Array:
    """Return M of the places ``0 .. M-1``, each as often as its share of the counts says, to within one: int32 [M].

    Systematic resampling from the middle of each of M strata. It needs no random number: the order of a minibatch is
    random as it is.

    Args:
        counts: float32 [M], whole numbers; if all are 0, what is returned means nothing.

    Reference:
        Kitagawa (1996), "Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models" (appendix).

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.neural._own_update import resampled
        >>> resampled(jnp.array([0.0, 2.0, 1.0, 1.0])).tolist()
        [1, 1, 2, 3]
    """
    size = len(counts)
    upto = jnp.cumsum(counts)
    strata = (jnp.arange(size) + 0.5) / size * upto[-1]
    return jnp.minimum(jnp.searchsorted(upto, strata, side="right"), size - 1).astype(jnp.int32)
