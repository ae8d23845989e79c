"""Members that are trained by the user's own training step: N replicas of a loop that trains one network."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from numpy.typing import ArrayLike

from consensus_imitation.core._validation import check_instance, check_integer
from consensus_imitation.core.posterior import normalise_prior
from consensus_imitation.ensembles.neural._members import Architecture, Neural, check_encoder
from consensus_imitation.ensembles.neural._own_update import OwnUpdate
from consensus_imitation.ensembles.neural.encoding import make_encoder, num_actions_of
from consensus_imitation.ensembles.neural.settings import COUPLED, Training
from consensus_imitation.errors import ConfigurationError

#: The settings that say when members are trained and on what; the others say how, which is the loop's own business.
OURS = ("batch_size", "updates", "every", "capacity", "bootstrap", "temperature", "caution", "local_caution")


@dataclass(frozen=True)
class LoopArchitecture(Architecture):
    """An architecture whose parameters are whatever a training loop carries from one minibatch to the next.

    Attributes:
        init: ``key -> state``.
        own: how a state predicts, and how it is trained.
    """

    init: Callable[[jax.Array], Any]
    own: OwnUpdate

    def make_params(self, key: jax.Array) -> Any:
        """Return the state of one member before the first minibatch."""
        return self.init(key)

    @property
    def apply(self) -> OwnUpdate:
        """How a state predicts."""
        return self.own


def from_training_loop(
    init: Callable[[jax.Array], Any],
    update: Callable[[Any, Any, jax.Array], Any],
    apply: Callable[[Any, Any], jax.Array],
    observation_space: Any,
    action_space: Any,
    num_members: int = 4,
    training: Training | None = None,
    prior: ArrayLike | None = None,
) -> Neural:
    """Return N replicas of a training loop of your own, which differ by their first parameters and their minibatches.

    A loop that trains one network carries a *state* (parameters, the optimiser's state, whatever else) from one
    minibatch to the next. Give the three functions that it consists of. Each replica is scored on every answer before
    it learns from it, and then trained by your ``update`` on minibatches from all answers so far. Loss, optimiser,
    gradients and schedules are yours.

    Args:
        init: ``key -> state`` of one replica: a pytree of arrays.
        update: ``(state, inputs, answers) -> state``, one step on a minibatch: inputs as the observation space has
            them with a leading axis M, answers int32 [M]. Pure JAX; it is vectorised over replicas.
        apply: ``(state, input) -> logits [A]`` for one input, without a leading axis.
        observation_space: a Gymnasium space or anything else that `encoding.make_encoder` takes, e.g. ``(64,)``.
        action_space: ``Discrete(n)``, or the int n, A.
        num_members: N.
        training: when, and on what: ``batch_size`` (M), ``updates``, ``every``, ``capacity``, ``bootstrap``,
            ``temperature``, ``caution`` and ``local_caution``; `Training()` if None.
        prior: [N], uniform if None.

    Raises:
        ConfigurationError: if ``apply`` does not return A logits, ``update`` not a state of the same shapes and types,
            ``training`` sets what the loop itself decides, or a size or the prior does not fit.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from consensus_imitation import ensembles
        >>> optimizer = optax.sgd(0.1)
        >>> def init(key):
        ...     params = 0.1 * jax.random.normal(key, (2, 3))
        ...     return params, optimizer.init(params)
        >>> def apply(state, x):
        ...     return x @ state[0]
        >>> def update(state, x, y):
        ...     params, opt_state = state
        ...     loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(x @ p, y).mean()
        ...     steps, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
        ...     return optax.apply_updates(params, steps), opt_state
        >>> ensembles.from_training_loop(init, update, apply, (2,), 3, num_members=4).num_members
        4
    """
    encoder, num_actions = make_encoder(observation_space), num_actions_of(action_space)
    for name, function in (("init", init), ("update", update), ("apply", apply)):
        if not callable(function):
            raise ConfigurationError(f"{name} must be a function, got {function!r}")
    check_integer("num_members", num_members, 1)
    check_instance("training", training, Training, "give a Training(...), or None for the defaults")
    settings = replace(_checked(Training() if training is None else training), optimizer=_no_steps)
    arch = LoopArchitecture(encoder, num_actions, 0, settings, init, OwnUpdate(apply, update))
    check_encoder(arch)
    _check_functions(arch)
    return Neural(prior=jnp.asarray(normalise_prior(prior, num_members), jnp.float32), architecture=arch)


def _no_steps(rate: Any) -> optax.GradientTransformation:
    """Return what keeps no state: the optimiser is in the loop."""
    del rate
    return optax.set_to_zero()


def _checked(training: Training) -> Training:
    """Raise ConfigurationError if a setting would have no effect."""
    default = Training()
    names = [one.name for one in fields(training) if one.name not in OURS]
    idle = [name for name in names if getattr(training, name) != getattr(default, name)]
    compared = [name for name in idle if name in COUPLED]
    if compared:
        raise ConfigurationError(
            f"Training({compared[0]}=...) compares members with each other, and each replica of a training loop is "
            "trained by itself: use it with ensembles.mlp or from_module"
        )
    if idle:
        raise ConfigurationError(
            f"Training({idle[0]}=...) would have no effect on a training loop of your own: do it in your update "
            f"function. What can be set is {', '.join(OURS)}"
        )
    return training


def _check_functions(arch: LoopArchitecture) -> None:
    """Raise ConfigurationError unless the functions fit each other and the number of actions."""
    state = jax.eval_shape(arch.init, jax.random.key(0))
    if not jax.tree.leaves(state):
        raise ConfigurationError("init must return a state with at least one array, made from its key")
    inputs = arch.zeros()
    logits = jax.eval_shape(arch.own, state, inputs)
    if getattr(logits, "shape", None) != (arch.num_actions,):
        raise ConfigurationError(
            f"apply must return logits of shape ({arch.num_actions},) for one input; got "
            f"{getattr(logits, 'shape', type(logits).__name__)}"
        )
    size = arch.training.batch_size
    many = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), inputs)
    after = jax.eval_shape(arch.own.step, state, many, jax.ShapeDtypeStruct((size,), jnp.int32))
    if _listed(after) != _listed(state):
        raise ConfigurationError(
            f"update must return a state like the one it was given: {_listed(state)}; got {_listed(after)}"
        )


def _listed(state: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]
