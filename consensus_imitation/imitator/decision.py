"""What the shell hands out and takes in: decisions, and checks of observations."""

from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core._actions import is_whole, shown
from consensus_imitation.core._observations import fixed
from consensus_imitation.core.draw import QUERY
from consensus_imitation.core.withholding import withheld
from consensus_imitation.errors import ObservationError
from consensus_imitation.imitator.kernels import HEAD, arrays_of, unpack

#: Numbers in the predictions of a decision that is remembered, at most; a thousand of them are.
_LARGE = 4096


@dataclass(frozen=True, slots=True)
class Query:
    """What an answer has to name: a small record that can be sent far away, ``Query(**fields)`` on its way back.

    Attributes:
        run: of which imitator, a random name in hexadecimal.
        id: which query of it, from 0.
        observation: SHA-256 of what was asked about, in hexadecimal; "" if it cannot be written down.
        env: environment of a batch; None for a single one, or for a batch that is asked about as a whole.
        step: of that environment.
    """

    run: str
    id: int
    observation: str
    env: int | None
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One step's decision, as NumPy values that cannot be written to. For a batch every field has a leading axis B.

    Attributes:
        action: the action to take; None while the answer is due (`QUERY`, -1, for those rows of a batch).
        queried: whether the demonstrator chooses the action.
        query_prob: probability that this step was a query (theta).
        min_probs: [A], probability of each action without asking; sums to **at most one**.
        selected: bool [N], the members that had a say.
        dissenter: the member that lowered the minimum the most, None (-1 in a batch) if all agree or nobody was asked.
        dissent: [N], by how much each did (`aggregation.dissent`); 0 where nobody was asked.
        invalid: bool [N], members whose prediction was unusable: each vetoes everything.
        handed_over: whether the inflation budget would have been overspent, so that the demonstrator was asked.
        rule_fault: 0, or which rule gave what cannot be used, so that the demonstrator was asked: 1 the selection, 2
            the aggregation; ``alarms`` names it.
        ledger: log of the inflation spent so far, this step included; the budget's limit is ``ln(factor)``.
        step: number of the step, from 0.
        env: the environment, if it was decided for one of a batch alone.
        query: what an answer has to name; None if nothing was asked.
        alarms: what is wrong at this step, one line each.
        unanswered: whether nobody answered in time, so that the safe action is taken.
        log_probs: [N, A], the predictions that it was made of; None for a decision that was read from a journal, and
            where they were large and it is remembered (`to_remember`).
        share: what `withheld` says, if that is known already.
        action_mask: bool [A], the actions that are legal; None where nobody said: all are.
    """

    action: Any
    queried: Any
    query_prob: Any
    min_probs: np.ndarray
    selected: np.ndarray
    dissenter: Any
    dissent: np.ndarray
    invalid: np.ndarray
    handed_over: Any
    ledger: Any
    step: int
    rule_fault: Any = 0
    env: int | None = None
    query: Query | None = None
    alarms: tuple[str, ...] = ()
    unanswered: Any = False
    log_probs: Any = field(default=None, repr=False)
    share: Any = field(default=None, repr=False)
    action_mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        """What the holder could write to, the imitator would read again when the answer comes."""
        for name, value in zip(self.__slots__, _values(self), strict=True):
            if type(value) is np.ndarray and value.flags.writeable:
                object.__setattr__(self, name, fixed(value))

    @property
    def withheld(self) -> Any:
        """The part of ``query_prob`` that members withhold, whether they agree or not (`core.withholding.withheld`).

        The rest is what their disagreement adds. [B] for a batch.

        Raises:
            ValueError: for a decision that was read from a journal.
        """
        if self.share is not None:
            return self.share
        if self.log_probs is None:
            raise ValueError("a decision that was read from a journal does not hold the predictions it was made of")
        part = withheld(np.asarray(self.log_probs), self.selected, self.query_prob)
        return float(part) if np.ndim(part) == 0 else part

    def to_remember(self) -> "Decision":
        """The same, to be kept with many others: without its predictions, if these are large."""
        small = self.log_probs is None or np.size(self.log_probs) <= _LARGE
        return self if small else replace(self, log_probs=None, share=self.withheld)


_values = attrgetter(*Decision.__slots__)


def some(flags: Any) -> bool:
    """Whether any of a decision's flags is true; of a plain bool or number, at no cost."""
    return bool(flags) if isinstance(flags, int) else bool(flags.any())


def from_packed(
    packed: np.ndarray,
    num_actions: int,
    step: int,
    env: int | None = None,
    log_probs: Any = None,
    action_mask: np.ndarray | None = None,
) -> Decision:
    """A decision from the array that came back, [P] for one environment, [B, P] for a batch; the rest is not in it."""
    min_probs, selected, _, dissent = arrays_of(packed, num_actions)
    first, members = HEAD + num_actions, selected.shape[-1]
    # Both masks lie next to each other: one array that nobody can write to, and two views of it.
    flags = fixed(packed[..., first : first + 2 * members] > 0)
    if packed.ndim == 1:
        number, query_prob, dissenter, _, handed_over, ledger, rule_fault = packed[:HEAD].tolist()
        queried, handed_over, rule_fault = number == QUERY, handed_over > 0, int(rule_fault)
        action = None if queried else int(number)
        dissenter = None if dissenter < 0 else int(dissenter)
    else:
        fields = unpack(packed, num_actions)
        action, dissenter = fields.action.astype(np.int32), fields.dissenter.astype(np.int32)
        queried, handed_over = action == QUERY, fields.handed_over > 0
        query_prob, ledger, rule_fault = fields.query_prob, fields.ledger, fields.rule_fault.astype(np.int32)
    return Decision(
        action=action,
        queried=queried,
        query_prob=query_prob,
        min_probs=min_probs,
        selected=flags[..., :members],
        dissenter=dissenter,
        dissent=dissent,
        invalid=flags[..., members:],
        handed_over=handed_over,
        ledger=ledger,
        step=step,
        rule_fault=rule_fault,
        env=env,
        log_probs=log_probs,
        action_mask=action_mask,
    )


def set_aside(packed: np.ndarray, active: np.ndarray) -> np.ndarray:
    """A batch's packed decisions [B, P], with nothing asked and action 0 in rows that are not ``active`` [B]."""
    kept = unpack(np.arange(packed.shape[-1]), 1)
    fields = [kept.action, kept.query_prob, kept.log_inflation, kept.handed_over, kept.rule_fault]
    packed = packed.copy()
    packed[np.ix_(~active, fields)] = 0.0
    return packed


def with_actions(packed: np.ndarray, rows: np.ndarray, action: int) -> np.ndarray:
    """A packed decision, [P] or [B, P], with an action that nobody drew and nobody answered in the ``rows``, [] or [B].

    It counts as no query, and as no inflation: it is outside of what the bounds speak of.
    """
    kept = unpack(np.arange(packed.shape[-1]), 1)
    packed = packed.copy()
    packed[rows, kept.action], packed[rows, kept.log_inflation] = action, 0.0
    return packed


def check_observation(observation: Any, num_envs: int | None, finite: bool = False) -> Any:
    """An observation that may be passed on: as many rows as environments, no integers beyond 32 bits.

    Args:
        observation: one, or B.
        num_envs: B, or None.
        finite: whether NaN and infinity are refused, too: what remembers or learns from one is useless for ever.

    Raises:
        ObservationError: saying what is wrong.
    """
    if num_envs is not None:
        if isinstance(observation, list):
            observation = np.asarray(observation)
        rows = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(observation)}
        if rows != {(num_envs,)}:
            raise ObservationError(
                f"expected {num_envs} observations, one per environment; got leading axes {sorted(rows)}"
            )
    if not (isinstance(observation, np.ndarray) and observation.dtype.kind == "f"):
        _check_integers(observation)
    if finite:
        _check_finite(observation)
    return observation


def _check_integers(observation: Any) -> None:
    """Refuse integers beyond 32 bits, which JAX would cut down to others without a word.

    Raises:
        ObservationError: naming the value.
    """
    for leaf in jax.tree.leaves(observation):
        if isinstance(leaf, int | np.integer | np.ndarray) and np.asarray(leaf).dtype.kind in "iu":
            extremes = (leaf,) if np.ndim(leaf) == 0 else (np.min(leaf, initial=0), np.max(leaf, initial=0))
            for value in extremes:
                if not -(2**31) <= int(value) < 2**31:
                    raise ObservationError(
                        f"the observation holds {int(value)}, beyond the 32-bit integers that JAX uses"
                    )


def _check_finite(observation: Any) -> None:
    """Refuse what is no number, or none that float32 can hold.

    Raises:
        ObservationError: naming the part.
    """
    if isinstance(observation, np.ndarray) and observation.dtype == np.float32 and np.isfinite(observation).all():
        return  # the usual case, at once
    for path, leaf in jax.tree_util.tree_leaves_with_path(observation):
        if isinstance(leaf, bool | int):
            continue
        where = f"the observation{jax.tree_util.keystr(path)}"
        try:
            numbers = np.asarray(leaf)
        except Exception as error:
            raise ObservationError(f"{where} is {shown(leaf)}, which is no array of numbers") from error
        if jnp.issubdtype(numbers.dtype, jnp.floating):
            with np.errstate(over="ignore"):
                numbers = numbers.astype(np.float32)
            if not np.isfinite(numbers).all():
                raise ObservationError(
                    f"{where} holds NaN or infinity, or a number beyond float32: find out why the environment gives it,"
                    " or replace it in a wrapper"
                )
        elif not (is_whole(numbers.dtype) or numbers.dtype == bool):
            raise ObservationError(
                f"{where} is {shown(leaf)}, of type {numbers.dtype}: members in JAX take numbers; encode it in a "
                "wrapper, or use ensembles that encode (mlp, cnn)"
            )
