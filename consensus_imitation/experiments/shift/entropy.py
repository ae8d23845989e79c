"""A control: members that are trained towards the uniform law on foreign inputs, which was to make them doubt there.

Members that are all uniform *agree*. The minimum of such members is uniform too: it lacks no mass, so that nothing is
asked, and actions are drawn at random. No setting of the library does this; the control is a training loop of its own.
"""

from typing import Any

import jax
import optax

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Neural, Training
from consensus_imitation.ensembles.neural._coupling import noised


def towards_uniform(space: Any, num_actions: Any, num_members: int, weight: float) -> Neural:
    """Return the networks of `ensembles.mlp`, trained as by default, with one more loss.

    It is ``weight`` times the mean of ``KL(uniform || p)`` on the inputs of the minibatch with noise, up to a constant:
    of one standard deviation on every number, as for the losses that compare members.

    Args:
        space: of the observations.
        num_actions: A, or a space.
        num_members: N.
        weight: at least 0.
    """
    arch = ensembles.mlp(space, num_actions, num_members).architecture
    optimizer = arch.training.make_optimizer()

    def init(key: jax.Array) -> Any:
        params = arch.make_params(key)
        return params, optimizer.init(params), jax.random.key_data(jax.random.fold_in(key, 1))

    def apply(state: Any, inputs: Any) -> jax.Array:
        return arch.apply(state[0], inputs)

    def update(state: Any, inputs: Any, answers: jax.Array) -> Any:
        params, steps, words = state
        own, words = jax.random.split(jax.random.wrap_key_data(words))

        def loss(params: Any) -> jax.Array:
            logits, foreign = (
                jax.vmap(arch.apply, in_axes=(None, 0))(params, seen) for seen in (inputs, noised(own, inputs))
            )
            right = optax.softmax_cross_entropy_with_integer_labels(logits, answers).mean()
            return right - weight * jax.nn.log_softmax(foreign).mean()

        change, steps = optimizer.update(jax.grad(loss)(params), steps, params)
        return optax.apply_updates(params, change), steps, jax.random.key_data(words)

    return ensembles.from_training_loop(init, update, apply, space, num_actions, num_members, Training())
