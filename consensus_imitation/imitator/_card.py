"""The members' card: what an imitator's members are, how alike they are, and where nothing at all is known of them.

A certificate says what is promised if some assumptions hold. The card says what is known of the assumptions: N members
from one pipeline are not N independent ones, and nobody has seen what they do where nothing was ever asked.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from consensus_imitation.core import calibration
from consensus_imitation.core.calibration import Calibration
from consensus_imitation.core.independence import EffectiveMembers, said
from consensus_imitation.ensembles.neural._learned import Masked
from consensus_imitation.errors import PendingQueryError
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._step import UNDRAWN, judge

#: Of the lower limit of how many members err independently.
CONFIDENCE = 0.95

#: Inputs that are named; of more, only the number is said.
_NAMED = 8

#: Answers that are looked at together.
_AT_ONCE = 4096


@dataclass(frozen=True)
class Card:
    """What is known of the members; ``str(card)`` is readable.

    Attributes:
        kind: the kind of ensemble.
        num_members: N.
        learns: whether they learn from answers.
        selection: the selection rule.
        selected: members that have a say at present.
        tolerated_members: dishonest members that the quorum tolerates; see `certificate.Statement`.
        tolerated_answers: false answers, or corrupted sources of any number of them, that leave a selected member
            untouched; 0 where an answer reaches all members.
        num_answers: answers and recordings that they were scored on.
        effective: how many independent members would err as they did at the answers, with a lower limit of 95%; None
            where it is not measured, and there is no journal to read it from.
        calibration: of each member's predictions before each answer, float64 [N] each; None without a journal.
        asked_familiar: mean probability of asking about the familiar probes; None without any.
        asked_unfamiliar: the same of the unfamiliar ones.
        never_varied: inputs that were the same in every answer that the members keep: what they do where one of them
            is different was never seen. Empty if all varied; None of members that keep no answers.
        listed: whether the actions can be listed. Errors and calibration are of probabilities of each action; densities
            have none, and the probability of asking is estimated.
    """

    kind: str
    num_members: int
    learns: bool
    selection: str
    selected: int
    tolerated_members: int
    tolerated_answers: int
    num_answers: int
    effective: EffectiveMembers | None
    calibration: Calibration | None
    asked_familiar: float | None
    asked_unfamiliar: float | None
    never_varied: tuple[str, ...] | None
    listed: bool = True

    def __str__(self) -> str:
        do = "learn from answers" if self.learns else "are fixed"
        alike = "how alike they err is not measured: keep a journal, or use merging=Merging(tolerance=None)"
        if self.effective is not None:
            alike = said(self.effective, self.num_members, CONFIDENCE)
        calibrated = "calibration is not known: it is read from the journal, and there is none"
        if self.calibration is not None:
            calibrated = calibration.said(self.calibration)
        if not self.listed:
            alike = "how alike they err is not measured: densities give no probability of each action"
            calibrated = "calibration is not measured, for the same reason"
        estimated = "" if self.listed else " (estimated)"
        lines = [
            f"{self.num_members} members ({self.kind}) that {do}; {self.selected} have a say now, by {self.selection}",
            f"tolerated: {self.tolerated_members} dishonest members",
            f"tolerated: {self.tolerated_answers} false answers, or sources of false answers",
            alike,
            calibrated,
            f"asks about familiar probes{estimated}: {_share(self.asked_familiar)}; "
            f"unfamiliar: {_share(self.asked_unfamiliar)}",
        ]
        if self.never_varied is not None:
            lines.append(f"never varied in an answer: {_listed(self.never_varied)}")
        return "\n".join(lines)


def asked(run: Run, probes: Iterable[Any] | None) -> float | None:
    """Return the mean probability of asking about some observations, each as if it came next; nothing changes.

    The arguments and errors are those of `over`.

    Raises:
        ObservationError: if an observation does not fit.
    """
    env = None if run.setup.num_envs is None else 0
    own = run.setup.taken(run.state, env)
    own = own.replace(stream=own.stream.replace(asking=jnp.zeros_like(own.stream.asking)))

    def theta(probe: Any) -> float:
        return judge(run.setup, own, probe, UNDRAWN, env, None).decision(run.setup, 0, env).query_prob

    return over(probes, bool(run.queries.waiting()), theta)


def over(probes: Iterable[Any] | None, waits: bool, theta: Callable[[Any], float]) -> float | None:
    """Return the mean over probes; None without any.

    Args:
        probes: observations of a single environment; None for none.
        waits: whether a query waits for an answer.
        theta: the probability of asking about one.

    Raises:
        PendingQueryError: if a query waits: everything would be asked about.
        ValueError: if there are none.
    """
    if probes is None:
        return None
    if waits:
        raise PendingQueryError("a query waits for an answer: answer or withdraw it before you give probes")
    found = [theta(probe) for probe in probes]
    if not found:
        raise ValueError("no probes: give at least one observation, or None")
    return float(np.mean(found))


def never_varied(run: Run) -> tuple[str, ...] | None:
    """Return the names of the inputs that are the same in all answers that the members keep.

    None if no members keep any, or there are fewer than two answers.
    """
    ranges: dict[Any, tuple[Any, Any]] = {}
    for rows in run.rows:
        for first in range(0, rows.size, _AT_ONCE):
            seen = rows.at(np.arange(first, min(rows.size, first + _AT_ONCE))).inputs
            seen = seen.inputs if isinstance(seen, Masked) else seen
            low, high = (jax.tree.map(lambda leaf, f=f: f(leaf, axis=0), seen) for f in (np.min, np.max))
            about = str(jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), low))
            if about in ranges:
                low = jax.tree.map(np.minimum, low, ranges[about][0])
                high = jax.tree.map(np.maximum, high, ranges[about][1])
            ranges[about] = (low, high)
    if not ranges or max(rows.stored for rows in run.rows) < 2:
        return None
    return tuple(name for low, high in ranges.values() for name in _constant(low, high))


def _constant(low: Any, high: Any) -> list[str]:
    pairs = zip(jax.tree_util.tree_leaves_with_path(low), jax.tree.leaves(high), strict=True)
    return [
        f"input{jax.tree_util.keystr(path)}{place or ''}"
        for (path, least), most in pairs
        for place in np.argwhere(np.equal(least, most)).tolist()
    ]


def _share(value: float | None) -> str:
    return "(none given)" if value is None else f"{100 * value:.0f}%"


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing: every input did"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more + "; what members do where it differs was never seen"
