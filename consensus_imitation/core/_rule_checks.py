"""Check what every rule returns, whoever wrote it: by its shape where it is traced, by its value at every decision.

Shapes and types cost nothing at run time. Values are checked in the pure core, within the compiled decision: a sum and
a minimum over the A actions of the law, an "any" over the mask of N members, and never anything over N times A. A rule
that fails there fails closed: the step is a query with probability one, and an alarm names the rule.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from consensus_imitation.core._tree import jit
from consensus_imitation.core.laws import MASS_TOLERANCE, ActionLaw, total_of, without_excess
from consensus_imitation.errors import ConfigurationError

#: What a selection rule has to have besides being callable; `selection.SelectionRule` describes each of them.
SELECTION_PARTS = ("check", "exclusion_bound", "largest_set", "margins", "smallest_share", "tolerated_members")

#: The same of an aggregation rule; see `aggregation.Aggregation`.
AGGREGATION_PARTS = ("check", "name")


def mask_of(rule: Callable[[jax.Array], jax.Array], log_weights: jax.Array) -> jax.Array:
    """Return a selection rule's mask, bool [N].

    Raises:
        ConfigurationError: if it does not return one.
    """
    mask = rule(log_weights)
    if not _is_array(mask) or mask.shape != log_weights.shape or mask.dtype != bool:
        raise ConfigurationError(
            f"a selection rule must return a mask, bool [N] = {_shape(log_weights)}; {_named(rule)} returned "
            f"{_described(mask)}"
        )
    return mask


def law_of(
    rule: Callable[..., Any], log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array
) -> tuple[ActionLaw, jax.Array]:
    """Return an aggregation rule's law, and whether it is invalid: then everything is a query.

    A law's probabilities are not negative, and sum to one together with that of asking (to within `MASS_TOLERANCE`);
    its inflation is at least 1. A NaN anywhere makes it invalid.

    Args:
        rule: the rule.
        log_probs: float [N, A], validated.
        log_weights: float [N].
        selected: bool [N].

    Returns:
        The law, in float32; and bool [].

    Raises:
        ConfigurationError: if the rule returns something of another type or shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.laws import ActionLaw
        >>> from consensus_imitation.core._rule_checks import law_of
        >>> everything = lambda log_probs, log_weights, selected: ActionLaw(jnp.array([0.9, 0.9]), jnp.float32(0))
        >>> law, faulty = law_of(everything, jnp.zeros((1, 2)), jnp.zeros(1), jnp.array([True]))
        >>> bool(faulty), law.probs.tolist(), float(law.query_prob)
        (True, [0.0, 0.0], 1.0)
    """
    nothing = jnp.zeros(log_probs.shape[:1])
    law, sound = examined_law_of(rule, log_probs, log_weights, selected, nothing)
    closed = ActionLaw(
        probs=jnp.where(sound, law.probs, 0.0),
        query_prob=jnp.where(sound, law.query_prob, 1.0),
        log_inflation=jnp.where(sound, law.log_inflation, 0.0),
    )
    return closed, ~sound


def examined_law_of(
    rule: Callable[..., Any], log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array, excess: jax.Array
) -> tuple[ActionLaw, jax.Array]:
    """Return what an aggregation rule returns, in float32, and whether it is a law: the caller must not use it if not.

    Arrays of the size of the predictions or the law take long to write where there are many actions. So a rule of the
    library may have ``open_law``: it takes off the excess as it reads, and where its law is undefined it returns
    anything that is none.

    Args:
        rule: the rule.
        log_probs: float [N, A], as they came.
        log_weights: float [N].
        selected: bool [N].
        excess: float [N], of the predictions (`laws.excesses`).
    """
    open_law: Any = getattr(rule, "open_law", None)
    if open_law is not None:
        law = open_law(log_probs, log_weights, selected, excess)
    else:
        law = rule(without_excess(log_probs, excess), log_weights, selected)
    if not isinstance(law, ActionLaw):
        raise ConfigurationError(
            f"an aggregation rule must return an ActionLaw(probs, query_prob); {_named(rule)} returned "
            f"{_described(law)}"
        )
    for part, shape in (("probs", log_probs.shape[-1:]), ("query_prob", ()), ("log_inflation", ())):
        value = getattr(law, part)
        number = _is_array(value) or isinstance(value, float)
        if not number or jnp.shape(value) != shape or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise ConfigurationError(
                f"for {log_probs.shape[-1]} actions an aggregation rule's {part} must be floats of shape {shape}; "
                f"{_named(rule)} returned {_described(value)}"
            )
    law = ActionLaw(*(jnp.asarray(value, jnp.float32) for value in law))
    total = total_of(law.probs) + law.query_prob
    least = jnp.minimum(jnp.min(law.probs), law.query_prob)
    # Written so that NaN, for which every comparison is false, is not a law.
    sound = (least >= 0.0) & (jnp.abs(total - 1.0) <= MASS_TOLERANCE) & (law.log_inflation >= 0.0)
    return law, sound


def check_selection(rule: Any, num_members: int) -> None:
    """Raise ConfigurationError unless a selection rule has all its parts, fits the ensemble and returns a valid result.

    Args:
        rule: anything.
        num_members: N.
    """
    _check_parts("selection", rule, SELECTION_PARTS, "such as TopK(3) or AlphaThreshold(0.01)")
    rule.check(num_members)
    _check_leaves("selection", rule)
    log_weights = jax.ShapeDtypeStruct((num_members,), jnp.float32)
    _trial("selection", rule, _mask, log_weights)
    margins = _trial("selection", rule, _margins, log_weights)
    if not hasattr(margins, "dtype") or margins.shape != (num_members,):
        raise ConfigurationError(
            f"the margins of a selection rule must be floats [N] = ({num_members},); {_named(rule)} returned "
            f"{_described(margins)}"
        )
    _check_promises(rule, num_members)


def check_aggregation(rule: Any, num_members: int, num_actions: int) -> None:
    """Raise ConfigurationError unless an aggregation rule has all its parts, fits, and returns a valid result.

    Args:
        rule: anything.
        num_members: N.
        num_actions: A.
    """
    _check_parts("aggregation", rule, AGGREGATION_PARTS, "such as Minimum()")
    rule.check(num_members)
    _check_leaves("aggregation", rule)
    one = jax.ShapeDtypeStruct((num_members,), jnp.float32)
    each = jax.ShapeDtypeStruct((num_members, num_actions), jnp.float32)
    _trial("aggregation", rule, _law, each, one, jax.ShapeDtypeStruct((num_members,), bool))


def missing(rule: Any, parts: Iterable[str]) -> list[str]:
    """Return what an object lacks to be a rule, without calling any of its parts."""
    lacks = [] if callable(rule) else ["__call__"]
    nowhere = object()
    return lacks + [part for part in parts if inspect.getattr_static(rule, part, nowhere) is nowhere]


#: Traced, never run: for the same kind of rule and the same sizes it is done once.
_mask, _law = jit(mask_of), jit(law_of)
_margins = jit(lambda rule, log_weights: rule.margins(log_weights))


def _check_parts(what: str, rule: Any, parts: tuple[str, ...], example: str) -> None:
    if isinstance(rule, type):
        raise ConfigurationError(
            f"{what} must be a rule, {example}; got the class {rule.__name__} itself: construct it"
        )
    lacks = missing(rule, parts)
    if lacks:
        raise ConfigurationError(f"{what} must be a rule, {example}; got {rule!r:.200}, which lacks {', '.join(lacks)}")


def _check_leaves(what: str, rule: Any) -> None:
    strange = [
        leaf for leaf in jax.tree.leaves(rule) if not isinstance(leaf, bool | int | float) and not _is_array(leaf)
    ]
    if strange:
        raise ConfigurationError(
            f"the {what} rule {rule!r:.200} is not a pytree of numbers: {strange[0]!r:.200} is not one; make it a "
            "flax.struct.PyTreeNode, or a frozen dataclass under jax.tree_util.register_static"
        )


def _check_promises(rule: Any, num_members: int) -> None:
    """Check that a selection rule's claims about itself are possible; whether they are true is not checked."""
    if any(isinstance(leaf, Tracer) or np.ndim(leaf) for leaf in jax.tree.leaves(rule)):
        return
    promises: dict[str, tuple[Callable[[], Any], float, str]] = {
        "tolerated_members": (lambda: rule.tolerated_members, num_members - 1, "an integer"),
        "smallest_share": (lambda: rule.smallest_share, 1, "a number"),
        "exclusion_bound": (lambda: rule.exclusion_bound(1 / num_members, num_members), 1, "a number"),
    }
    for name, (ask, most, kind) in promises.items():
        try:
            value = ask()
            possible = bool(0 <= value <= most) and (kind == "a number" or value == int(value))
        except Exception as error:
            raise ConfigurationError(
                f"{name} of the selection rule {_named(rule)} cannot be asked for: {type(error).__name__}: {error}"
            ) from error
        if not possible:
            raise ConfigurationError(
                f"{name} of a selection rule must be {kind} in [0, {most}]; of {_named(rule)} got {value!r}"
            )


def _trial(what: str, rule: Any, function: Any, *shapes: jax.ShapeDtypeStruct) -> Any:
    """Return the shapes of what the rule returns for arrays of these shapes."""
    try:
        return function.eval_shape(rule, *shapes)
    except ConfigurationError:
        raise
    except Exception as error:
        tried = ", ".join(f"{shape.dtype} {list(shape.shape)}" for shape in shapes)
        raise ConfigurationError(
            f"the {what} rule {rule!r:.200} cannot be traced by JAX for {tried}: {type(error).__name__}: {error}"
        ) from error


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray | np.generic)


def _shape(value: Any) -> str:
    return str(tuple(value.shape))


def _described(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} of shape {_shape(value)}"
    return f"{value!r:.200}"


def _named(rule: Any) -> str:
    return f"{rule!r:.200}"
