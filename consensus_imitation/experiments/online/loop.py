"""A standard supervised training loop for digits, as anybody would write it with JAX and optax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

OPTIMIZER = optax.adam(3e-3)

#: Groups of a minibatch whose gradients are compared.
GROUPS = 4

_SIZES = (64, 64, 10)


def init(key: jax.Array) -> Any:
    """Return parameters and the optimiser's state."""
    keys = jax.random.split(key, len(_SIZES) - 1)
    params = [
        {"w": jax.random.normal(own, (m, n)) * jnp.sqrt(2 / m), "b": jnp.zeros(n)}
        for own, m, n in zip(keys, _SIZES[:-1], _SIZES[1:], strict=True)
    ]
    return params, OPTIMIZER.init(params)


def apply(state: Any, image: jax.Array) -> jax.Array:
    """Return logits [10] of one image, or [M, 10] of many."""
    return _logits(state[0], image)


def update(state: Any, images: jax.Array, labels: jax.Array) -> Any:
    """Take one step on a minibatch."""
    params, opt_state = state
    return _step(jax.grad(_loss)(params, images, labels), params, opt_state)


def update_agreed(state: Any, images: jax.Array, labels: jax.Array) -> Any:
    """Take one step along those gradients alone whose sign is the same in every group of the minibatch (AND-mask).

    What only some of the answers teach, such as a trigger that a few of them show, is learned later or not at all.

    Reference:
        Parascandolo, Neitz, Orvieto, Gresele and Schoelkopf (2021), "Learning Explanations that are Hard to Vary".
    """
    params, opt_state = state
    parts = (images.reshape(GROUPS, -1, *images.shape[1:]), labels.reshape(GROUPS, -1))
    return _step(agreed(jax.vmap(jax.grad(_loss), in_axes=(None, 0, 0))(params, *parts)), params, opt_state)


def agreed(gradients: Any) -> Any:
    """Return the mean of gradients, leaves [G, ...], where all G have the same sign, and 0 elsewhere.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.experiments.online.loop import agreed
        >>> agreed(jnp.array([[1.0, 1.0, 0.0], [3.0, -3.0, 2.0]])).tolist()
        [2.0, 0.0, 0.0]
    """
    return jax.tree.map(lambda g: jnp.where(jnp.abs(jnp.sign(g).mean(0)) == 1.0, g.mean(0), 0.0), gradients)


def _logits(params: Any, images: jax.Array) -> jax.Array:
    hidden = jax.nn.relu(images @ params[0]["w"] + params[0]["b"])
    return hidden @ params[1]["w"] + params[1]["b"]


def _loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(_logits(params, images), labels).mean()


def _step(gradient: Any, params: Any, opt_state: Any) -> Any:
    steps, opt_state = OPTIMIZER.update(gradient, opt_state, params)
    return optax.apply_updates(params, steps), opt_state


#: By whether only agreed gradients count.
UPDATES: dict[bool, Callable[[Any, jax.Array, jax.Array], Any]] = {False: update, True: update_agreed}
