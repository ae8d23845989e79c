"""What the journal says of any call, of either shell: entries in their calls, and whether they come out again."""

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from consensus_imitation.core.sampling_learner import SamplingState
from consensus_imitation.core.state import LearnerState
from consensus_imitation.errors import JournalError, ReplayError
from consensus_imitation.journal.directory import RunDirectory
from consensus_imitation.journal.record import Entry, Kind, Record
from consensus_imitation.journal.store import Store


def words(state: LearnerState | SamplingState) -> np.ndarray:
    """The posterior, float32 [2, N]: log-weights, and what their rounding left."""
    return np.stack([np.asarray(state.posterior.log_weights), np.asarray(state.posterior.residual)])


def event(kind: Kind, env: int | None, now: float, *, query: int | None = None, note: str = "") -> Record:
    """A record of something that is no step."""
    return Record(kind=kind, env=env, query=query, note=note, time=now)


def grouped(entries: Any) -> Iterator[list[Any]]:
    """Entries of the journal, call by call."""
    call: list[Any] = []
    for entry in entries:
        if call and entry.call != call[0].call:
            yield call
            call = []
        call.append(entry)
    if call:
        yield call


def call_of(store: Store, number: int) -> list[Entry]:
    """The entries of one call."""
    return next(grouped(store.entries(after_call=number - 1)))


def kept(directory: RunDirectory, call: list[Entry]) -> bytes:
    """The observation of a call, packed.

    Raises:
        JournalError: if it is not kept any more.
    """
    data = directory.store.observation_of(call[0].call)
    if data is None:
        raise JournalError(f"the observation of call {call[0].call} is not kept: the run cannot be taken up from there")
    return data


def compare(call: list[Entry], what: str, now: Any, then: Any) -> None:
    """Raise ReplayError unless the bits are those that were written down."""
    if then is not None and np.asarray(now).tobytes() != np.asarray(then).tobytes():
        differs(call, what)


def differs(call: list[Entry], what: str) -> NoReturn:
    """Raise ReplayError: this of a call comes out otherwise than it was written down."""
    raise ReplayError(
        f"call {call[0].call} of the journal (entry {call[0].seq}, step {call[0].record.step}) comes out otherwise "
        f"now ({what}): members, rules, versions of the libraries and kind of device have to be those of the run"
    )
