"""The members' errors on answered queries, read out of a journal: what `core.independence` works with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core._packing import unpack
from consensus_imitation.core.independence import EffectiveMembers, effective_members, errors_of
from consensus_imitation.errors import JournalError
from consensus_imitation.journal._answered import answered
from consensus_imitation.journal.reader import Reader, reading
from consensus_imitation.journal.record import Record


def member_errors(path: Path, law: Callable[[Any], np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what each member had not given to the answers of a run, and what the demonstrator itself had not.

    Args:
        path: of the journal, or of the run's directory; somebody may be writing it.
        law: ``observation -> probabilities [A]`` of the demonstrator, where it is known: of a table, say. Then the
            journal has to hold what was observed: record with ``Journal(..., observations=True)``.

    Returns:
        Errors ``1 - pi_n(a)``, float64 [Q, N], of what members said without what they withheld; 1 where a prediction
        could not be used. And the demonstrator's own ``1 - pi_d(a)``, [Q]; None without a law.

    Raises:
        JournalError: if there is no journal, its actions cannot be listed, or it lacks an observation that is needed.
        JournalCorruptedError: if an entry is not what was written.
        ValueError: if the law gives no distribution.

    Example:
        >>> import tempfile
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.journal.errors import member_errors
        >>> run_dir = Path(tempfile.mkdtemp()) / "run"
        >>> members = ensembles.tabular(np.array([[[0.75, 0.25]], [[0.0, 1.0]]]))  # [N, S, A]
        >>> with ConsensusImitator(members, lambda observation: 1, seed=0, journal=run_dir) as imitator:
        ...     decisions = [imitator.act(0) for _ in range(20)]
        >>> errors, own = member_errors(run_dir)
        >>> errors[0].round(6).tolist(), own is None
        ([0.75, 0.0], True)
    """
    with reading(path) as reader:
        if reader.shapes.num_actions is None:
            raise JournalError(f"{path}: actions that cannot be listed have densities, and no error from 0 to 1")
        return _read(reader, law)


def independence(
    path: Path, law: Callable[[Any], np.ndarray] | None = None, confidence: float = 0.95
) -> EffectiveMembers:
    """Return how many of a run's members err independently, from its journal; with a law, of their excess error.

    The arguments are those of `member_errors` and `core.independence.effective_members`.

    Example:
        >>> import tempfile
        >>> from consensus_imitation import ConsensusImitator, ensembles
        >>> from consensus_imitation.journal.errors import independence
        >>> run_dir = Path(tempfile.mkdtemp()) / "run"
        >>> members = ensembles.tabular(np.array([[[0.75, 0.25]], [[0.0, 1.0]]]))  # [N, S, A]
        >>> with ConsensusImitator(members, lambda observation: 1, seed=0, journal=run_dir) as imitator:
        ...     decisions = [imitator.act(0) for _ in range(20)]
        >>> independence(run_dir).lower  # they err by the same at every answer, which shows no independence
        1.0
    """
    errors, own = member_errors(path, law)
    return effective_members(errors, own, confidence)


def _read(reader: Reader, law: Callable[[Any], np.ndarray] | None) -> tuple[np.ndarray, np.ndarray | None]:
    errors: list[np.ndarray] = []
    own: list[float] = []
    for posed, answer in answered(reader):
        assert posed.record.log_probs is not None
        found = errors_of(posed.record.log_probs, answer)
        if found is not None:
            errors.append(found)
            if law is not None:
                own.append(_own(reader, posed.record, posed.call, answer, law))
    table = np.array(errors, np.float64).reshape(-1, reader.shapes.num_members)
    return table, None if law is None else np.array(own)


def _own(reader: Reader, posed: Record, call: int, answer: int, law: Callable[[Any], np.ndarray]) -> float:
    packed = reader.observation_of(call)
    if packed is None:
        raise JournalError(
            f"{reader.path} did not keep what was observed at query {posed.query}, on which the law depends: record "
            "with Journal(..., observations=True)"
        )
    observation = unpack(packed)
    if posed.in_lockstep:
        observation = np.asarray(observation)[posed.env or 0]
    probs = np.asarray(law(observation), np.float64)
    if probs.ndim != 1 or answer >= probs.size or np.any(probs < 0) or abs(probs.sum() - 1) > 1e-4:
        raise ValueError(f"the law must give probabilities [A] that sum to one; of {observation} it gave {probs}")
    return float(1 - probs[answer])
