"""Members that predict the parameters of a distribution: one function under N sets of parameters.

The library samples and evaluates, so the two things that `SamplingEnsemble` trusts hold by construction.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

from consensus_imitation.core.any_action import Action, SamplingBase
from consensus_imitation.core.members import Carry, Context
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.any_action.distributions import (
    DiscretisedLogistic,
    Distribution,
    FactoredCategorical,
    Gaussian,
    GaussianMixture,
    box,
    integer_box,
)


class Parametric(SamplingBase):
    """N members that predict the parameters of one distribution; see `parametric`."""

    params: Any
    prior: jax.Array  # [N]
    first_carry: Any
    distribution: Any
    apply: Callable[..., Any] = struct.field(pytree_node=False)
    update: Callable[..., Any] | None = struct.field(pytree_node=False)

    @property
    def num_members(self) -> int:
        """N, the number of members."""
        return self.prior.shape[0]

    def init_carry(self) -> Carry:
        """Return every member's memory [N, ...], or nothing."""
        return self.first_carry

    def predict(self, carry: Carry, observation: Any) -> Any:
        """Return every member's distribution parameters; each leaf has a leading axis N."""
        if self.update is None:
            return jax.vmap(self.apply, in_axes=(0, None))(self.params, observation)
        return jax.vmap(self.apply, in_axes=(0, 0, None))(self.params, carry, observation)

    def sample(self, carry: Carry, observation: Any, context: Context, key: jax.Array, member: jax.Array) -> Action:
        """Return one action from one member's distribution."""
        del context
        own = jax.tree.map(lambda leaf: leaf[member], self.predict(carry, observation))
        return self.distribution.sample(own, key)

    def log_prob(self, carry: Carry, observation: Any, context: Context, action: Action) -> jax.Array:
        """Return the log-density of one action under every member: [N]."""
        del context
        return jax.vmap(self.distribution.log_prob, in_axes=(0, None))(self.predict(carry, observation), action)

    def advance(self, carry: Carry, observation: Any, context: Context, action: Action, queried: jax.Array) -> Carry:
        """Return each member's memory after the step."""
        del context
        if self.update is None:
            return carry
        return jax.vmap(self.update, in_axes=(0, 0, None, None, None))(self.params, carry, observation, action, queried)


def parametric(
    distribution: Distribution,
    apply: Callable[..., Any],
    params: Any,
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Parametric:
    """Return N members that predict the parameters of a distribution, with or without memory.

    Args:
        distribution: any `Distribution`, for instance your own.
        apply: ``apply(params_n, observation) -> parameters``; with memory ``apply(params_n, carry_n, observation)``.
            Pure JAX; it is vectorised over members.
        params: pytree whose every leaf has leading axis N.
        prior: [N], uniform if None.
        carry: memory before the first observation, every leaf with leading axis N; None for no memory.
        update: ``update(params_n, carry_n, observation, action, queried) -> carry_n``: the memory after a step on which
            ``action`` was taken, by the demonstrator if ``queried``. Given if and only if ``carry`` is.

    Raises:
        ValueError: if the leading axes disagree, only one of ``carry`` and ``update`` is given, or the prior does not
            fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import FactoredCategorical, parametric
        >>> parametric(FactoredCategorical(sizes=(2, 3)), lambda table, i: table[i], jnp.zeros((4, 7, 5))).num_members
        4
    """
    if (carry is None) != (update is None):
        raise ValueError("carry and update belong together: give both for members with memory, or neither")
    num_members = leading_axis((params, carry))
    return Parametric(
        params=params,
        prior=jnp.asarray(normalise_prior(prior, num_members), jnp.float32),
        first_carry=() if carry is None else carry,
        distribution=distribution,
        apply=apply,
        update=update,
    )


def gaussian(
    apply: Callable[..., Any],
    params: Any,
    low: ArrayLike,
    high: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Parametric:
    """Return members with a diagonal Gaussian over a box, clipped to its bounds.

    An action at a bound has positive probability, the mass of the tail beyond it (see
    `consensus_imitation.ensembles.any_action.distributions` for why, and why the densities stay exact).

    Args:
        apply: ``apply(params_n, observation) -> (mean, log_std)``, each of the shape of ``low`` and ``high``.
        params: pytree whose every leaf has leading axis N.
        low: lower bounds, ``-inf`` for none; for a Gymnasium Box ``space.low``. A scalar, with a scalar ``high``,
            stands for actions of one coordinate, shape [1].
        high: upper bounds, ``inf`` for none.
        prior: [N], uniform if None.
        carry: as for `parametric`.
        update: as for `parametric`.

    Raises:
        ValueError: for bounds in the wrong order, or as `parametric`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import gaussian
        >>> gains = jnp.array([[1.0], [2.0], [3.0]])  # three proportional controllers
        >>> ensemble = gaussian(lambda gain, x: (-gain * x, jnp.log(jnp.array([0.1]))), gains, low=-2.0, high=2.0)
        >>> ensemble.num_members
        3
    """
    return parametric(Gaussian(*box(low, high)), apply, params, prior, carry=carry, update=update)


def gaussian_mixture(
    apply: Callable[..., Any],
    params: Any,
    low: ArrayLike,
    high: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Parametric:
    """Return members with a mixture of C diagonal Gaussians over a box, clipped to its bounds.

    Args:
        apply: ``apply(params_n, observation) -> (logits [C], mean [C, ...], log_std [C, ...])``.
        params: as for `gaussian`.
        low: as for `gaussian`.
        high: as for `gaussian`.
        prior: [N], uniform if None.
        carry: as for `parametric`.
        update: as for `parametric`.

    Raises:
        ValueError: for bounds in the wrong order, or as `parametric`.

    Example:
        Pass an obstacle on either side:

        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import gaussian_mixture
        >>> def sides(distance, observation):
        ...     return jnp.zeros(2), distance * jnp.array([[-1.0], [1.0]]), jnp.full((2, 1), -1.0)
        >>> gaussian_mixture(sides, jnp.array([0.5, 1.0]), low=-2.0, high=2.0).num_members
        2
    """
    return parametric(GaussianMixture(*box(low, high)), apply, params, prior, carry=carry, update=update)


def factored_categorical(
    apply: Callable[..., Any],
    params: Any,
    sizes: Sequence[int],
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Parametric:
    """Return members with independent categorical choices, as in Gymnasium's MultiDiscrete.

    Args:
        apply: ``apply(params_n, observation) -> logits [sum of sizes]``, one factor after another.
        params: pytree whose every leaf has leading axis N.
        sizes: number of choices of each factor; for a MultiDiscrete ``space.nvec``.
        prior: [N], uniform if None.
        carry: as for `parametric`.
        update: as for `parametric`.

    Raises:
        ValueError: if a size is below 1, or as `parametric`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import factored_categorical
        >>> factored_categorical(lambda logits, observation: logits, jnp.zeros((2, 5)), sizes=(2, 3)).num_members
        2
    """
    checked = tuple(int(size) for size in sizes)
    if not checked or min(checked) < 1:
        raise ValueError(f"sizes must name at least one choice per factor, got {checked}")
    return parametric(FactoredCategorical(checked), apply, params, prior, carry=carry, update=update)


def discretised_logistic(
    apply: Callable[..., Any],
    params: Any,
    low: ArrayLike,
    high: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    carry: Any = None,
    update: Callable[..., Any] | None = None,
) -> Parametric:
    """Return members over integer vectors whose neighbouring values have similar probabilities.

    Args:
        apply: ``apply(params_n, observation) -> (mean, log_scale)``, each of the action's shape.
        params: pytree whose every leaf has leading axis N.
        low: the smallest action, integers; a scalar, with a scalar ``high``, stands for shape [1].
        high: the largest action, integers.
        prior: [N], uniform if None.
        carry: as for `parametric`.
        update: as for `parametric`.

    Raises:
        ValueError: for bounds that are not integers, too large or in the wrong order, or as `parametric`.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.ensembles.any_action import discretised_logistic
        >>> doses = jnp.array([[10.0], [12.0]])
        >>> discretised_logistic(lambda dose, patient: (dose, jnp.zeros(1)), doses, low=0, high=50).num_members
        2
    """
    bounds = integer_box(low, high)
    return parametric(DiscretisedLogistic(*bounds), apply, params, prior, carry=carry, update=update)


def leading_axis(tree: Any) -> int:
    """Return N, the leading axis that all leaves share.

    Raises:
        ValueError: if there is none.
    """
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(
            f"every leaf of params (and carry) needs the same leading axis, one entry per member; got {sizes}"
        )
    return sizes.pop()[0]
