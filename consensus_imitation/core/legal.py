"""What is legal: members' predictions conditioned on an action mask, before anything is made of them.

A mask says which actions there are at this step. Each member is asked "given that the action is a legal one, which?",
and the answers take the place of what it had predicted: they are selected by, combined, drawn from, scored and learned
from. So a masked member is a member like any other, and what is proved of members holds of it (docs/theory.md).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._actions import is_whole, shown
from consensus_imitation.core.laws import excesses, without_excess
from consensus_imitation.errors import InvalidAnswerError, ObservationError

#: Legal actions that a message lists.
_LISTED = 20


def conditioned(log_probs: jax.Array, mask: jax.Array) -> jax.Array:
    """Condition every prediction on what is legal.

    ``p(a | legal) = (1 - withheld) * p(a) / sum_{b legal} p(b)`` for a legal action, and 0 for any other. What a member
    withholds stays withheld: it says how much the member trusts what it knows of this situation, not which actions it
    takes to be impossible, and nothing about the mask makes the member surer. (To divide by the legal mass alone would
    turn an unsure member that withholds 0.9 into one that withholds nothing.)

    Whether a prediction can be used is judged before it is conditioned: a NaN on an action that is not legal, or a sum
    above one, is as wrong as anywhere. One that cannot be used comes back as NaN, so that whoever looks names it, and
    one that gives no legal action anything comes back as the zero vector. Both veto everything, if selected.

    Args:
        log_probs: float [..., N, A], as the members gave them.
        mask: bool [..., A], the actions that are legal. Where none is, every prediction is the zero vector.

    Returns:
        float [..., N, A]. Each row sums to what it summed to (at most one), and is ``-inf`` outside of the mask; or is
        NaN throughout, or ``-inf`` throughout.

    Example:
        >>> import jax.numpy as jnp
        >>> from consensus_imitation.core.legal import conditioned
        >>> probs = jnp.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.2]])  # the second member withholds 0.6
        >>> [[round(p, 2) for p in row] for row in jnp.exp(conditioned(jnp.log(probs), jnp.array([1, 1, 0]))).tolist()]
        [[0.4, 0.6, 0.0], [0.2, 0.2, 0.0]]

    References:
        T1 for masked predictions, docs/theory.md. Huang and Ontañón 2022, "A Closer Look at Invalid Action Masking in
        Policy Gradient Algorithms" (the conditional law of a softmax is the softmax over the legal logits).
    """
    legal = jnp.asarray(mask, bool)[..., None, :]
    excess = excesses(log_probs)
    usable = without_excess(log_probs, excess)
    given = jnp.log(jnp.sum(jnp.exp(usable), axis=-1, keepdims=True))
    # Of the logarithms: a member may be all but certain of something illegal, and its legal rest tiny.
    within = jax.nn.logsumexp(jnp.where(legal, usable, -jnp.inf), axis=-1, keepdims=True)
    able = legal & ~jnp.isneginf(within)
    found = jnp.where(able, usable - jnp.where(able, within, 0.0) + jnp.where(able, given, 0.0), -jnp.inf)
    return jnp.where(jnp.isposinf(excess)[..., None], jnp.nan, found)


def check_mask(mask: Any, num_actions: int, rows: int | None = None, active: np.ndarray | None = None) -> Any:
    """Return an action mask as a bool array of one's own that nobody can write to; None for None.

    Args:
        mask: bools, or the integers 0 and 1 (as Gymnasium's and PettingZoo's int8 masks): [A]; or [B, A] for a batch.
        num_actions: A.
        rows: B, if it is of a batch.
        active: bool [B], rows that count; None for all. In the others everything is legal.

    Raises:
        ObservationError: if it is of another shape or type, or leaves no action in a row that counts.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.legal import check_mask
        >>> check_mask(np.array([1, 0, 1], np.int8), num_actions=3).tolist()
        [True, False, True]
    """
    if mask is None:
        return None
    shape = (num_actions,) if rows is None else (rows, num_actions)
    wanted = "one bool per action" if rows is None else "one bool per environment and action"
    try:
        given = np.asanyarray(mask)
        masked, array = bool(np.ma.is_masked(given)), np.asarray(given)
    except Exception as error:  # An object may do anything when NumPy makes it an array.
        raise ObservationError(f"action_mask is no array: {error}") from error
    kind = array.dtype == bool or is_whole(array.dtype)
    if masked or array.shape != shape or not kind or not ((array == 0) | (array == 1)).all():
        raise ObservationError(
            f"action_mask needs {wanted}, of shape {shape} (or integers 0 and 1); got {array.dtype} of shape "
            f"{array.shape}: {shown(mask)}"
        )
    legal = array.astype(bool)
    if active is not None:
        legal[~active] = True
    if not legal.any(axis=-1).all():
        where = "" if rows is None else f" in row {int(np.argmin(legal.any(axis=-1)))}"
        raise ObservationError(
            f"action_mask leaves no action{where}: nothing is taken, and nobody is asked. Where nobody can move, take "
            "no step of the imitator (for example when the episode is over)"
        )
    legal.setflags(write=False)
    return legal


def check_legal(action: int, mask: Any, said: str = "the demonstrator answered") -> int:
    """Return an action that a mask [A], or None for none, allows.

    Raises:
        InvalidAnswerError: if it forbids it, listing those that it allows.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.legal import check_legal
        >>> check_legal(2, np.array([True, False, True]))
        2
    """
    if mask is None or mask[action]:
        return action
    legal = np.flatnonzero(mask).tolist()
    more = f" and {len(legal) - _LISTED} more" if len(legal) > _LISTED else ""
    raise InvalidAnswerError(
        f"{said} {action}, which the action mask forbids here: legal are "
        f"{', '.join(str(one) for one in legal[:_LISTED])}{more}"
    )


def as_text(mask: np.ndarray) -> str:
    """Return a mask [A] as text: its bits in hexadecimal, the first action in the highest bit.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.core.legal import as_text, from_text
        >>> as_text(np.array([True, False, True])), from_text("a0", 3).tolist()
        ('a0', [True, False, True])
    """
    return np.packbits(mask).tobytes().hex()


def from_text(text: str, num_actions: int) -> np.ndarray:
    """Return the mask, bool [A], that `as_text` wrote.

    Raises:
        ValueError: if it is none of so many actions.
    """
    packed = np.frombuffer(bytes.fromhex(text), np.uint8)
    if len(packed) != -(-num_actions // 8):
        raise ValueError(f"it is no mask of {num_actions} actions")
    return np.unpackbits(packed, count=num_actions).astype(bool)
