"""What writes a run of either shell down: its journal, if it keeps one.

Every call that changes anything is one transaction of the journal, committed before its action is given out or its
answer acknowledged. The recorder knows no demonstrator, and does no arithmetic. How a step becomes records, the shell's
own `Notation` says.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from consensus_imitation.core._observations import private
from consensus_imitation.core._packing import always_packs, as_read, digest, pack
from consensus_imitation.core.sampling_learner import SamplingState
from consensus_imitation.core.state import LearnerState
from consensus_imitation.errors import ConfigurationError, JournalError, ObservationError
from consensus_imitation.imitator._calls import event, words
from consensus_imitation.imitator._description import versions
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._sampling_run import SamplingRun
from consensus_imitation.imitator.decision import Query, some
from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.record import Kind, Record
from consensus_imitation.journal.store import Store

#: A run of either shell.
R = TypeVar("R", Run, SamplingRun)


class Notation(Protocol):
    """How one shell's runs are written. Both `_records` and `_sampling_records` are that."""

    @property
    def SHELL(self) -> str:  # noqa: N802 - a constant of the module
        """What resumes such a run."""
        ...

    def description(self, setup: Any) -> dict[str, Any]:
        """What a run is of."""
        ...

    def check_digests(self, setup: Any) -> None:
        """Raise ConfigurationError unless digests of predictions suffice to do a step again."""
        ...

    def decided(self, step: Any, observation: str, posterior: np.ndarray, now: float, digests: bool) -> list[Record]:
        """Records of a decision; with ``digests`` in place of predictions, if it asks nothing."""
        ...

    def answered(
        self, step: Any, closed: Any, reply: Any, before: np.ndarray, after: np.ndarray, now: float
    ) -> list[Record]:
        """Records of an answer; ``reply`` is what the step was settled by."""
        ...

    def recalled(self, store: Store, number: int, setup: Any, run: str) -> Any:
        """How a query was closed; None if it was withdrawn; KeyError if it was not closed."""
        ...


class Recorder:
    """Writes a run down, or does nothing.

    Args:
        notation: of the shell.
        directory: where; None for nowhere.

    Attributes:
        directory: the same.
    """

    def __init__(self, notation: Notation, directory: RunDirectory | None = None) -> None:
        self.directory = directory
        self._notation = notation
        self._closed = False
        self._words: tuple[Any, np.ndarray] | None = None

    @classmethod
    def begin(cls, notation: Notation, journal: Any, run: R) -> tuple[Self, R]:
        """Begin a journal; also the run, under the name that its directory has.

        Raises:
            ConfigurationError: if it is neither a directory nor a `Journal`.
            JournalError: if the directory holds a run already, or cannot be written.
        """
        if not isinstance(journal, Journal | str | Path):
            raise ConfigurationError(f"journal must be a directory or a Journal(...), got {journal!r}")
        settings = journal if isinstance(journal, Journal) else Journal(journal)
        if settings.keep == "digests":
            notation.check_digests(run.setup)
        recorder = cls(notation, directory := RunDirectory.create(settings, notation.description(run.setup)))
        try:
            run = replace(run, queries=replace(run.queries, run=directory.run))
            recorder.opened()
            recorder.checkpoint(run)
        except BaseException:
            recorder.let_go()
            raise
        return recorder, run

    # --- whether ---

    @property
    def shell(self) -> str:
        """Whose runs it writes."""
        return self._notation.SHELL

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was found torn and cut off, or skipped, when the run was resumed."""
        report = None if self.directory is None else self.directory.report
        return () if report is None or (report.sound and not report.skipped) else tuple(report.lines())

    def check(self) -> None:
        """Raise unless what comes next can be written.

        Raises:
            JournalError: after `close`: the directory may be somebody else's by now.
            JournalWriteError: if something could not be written before.
        """
        directory = self.directory
        if directory is None:
            return
        if self._closed:
            raise JournalError(
                f"this imitator was closed: go on with its run by {self._notation.SHELL}.resume("
                f"{str(directory.path)!r}, ...)"
            )
        directory.store.check()

    def refuse(self, what: str) -> None:
        """Raise ConfigurationError if there is a journal: what it says cannot be taken back."""
        if self.directory is not None:
            raise ConfigurationError(f"cannot {what}: a run with a journal only goes on; begin another run")

    def together(self) -> AbstractContextManager[None]:
        """What is written within is done, too, or nothing is written any more: not even Ctrl-C may come between.

        Raises:
            JournalError: see `check`.
        """
        self.check()
        return nullcontext() if self.directory is None else self.directory.store.writing()

    def close(self, run: Run | SamplingRun) -> None:
        """End the journal by a checkpoint, and let go of the directory; again, nothing happens.

        Raises:
            JournalWriteError: if something could not be written; the directory is free all the same.
        """
        if self.directory is not None and not self._closed:
            try:
                self.checkpoint(run)
            finally:
                self._closed = True
                self.directory.close()

    def let_go(self) -> None:
        """Free the directory at once: no imitator holds this recorder, so nobody else would."""
        if self.directory is not None:
            self.directory.close()

    # --- observations ---

    def own(self, observation: Any) -> Any:
        """A copy of the observation that nobody can write to, as it will be read if the step has to be done again."""
        return private(observation if self.directory is None else as_read(observation))

    def packed(self, observation: Any, needed: bool) -> bytes | None:
        """The observation in bytes: for the journal, or for a query to name it. None if that can wait.

        Raises:
            ObservationError: if a journal is kept, and cannot hold it.
        """
        if not needed and (self.directory is None or always_packs(observation)):
            return None
        try:
            return pack(observation)
        except ObservationError:
            if self.directory is not None:
                raise
            # Nobody has to read it again.
            return None

    def is_about(self, query: Query, observation: Any) -> bool:
        """Whether a query is about this very observation."""
        packed = self.packed(observation, needed=True)
        return packed is not None and digest(packed) == query.observation

    # --- what is written ---

    def opened(self) -> None:
        """The run is opened, for the first time or again."""
        self.event("open", None, note=versions())

    def event(self, kind: Kind, env: int | None, *, query: int | None = None, note: str = "") -> None:
        """Something that is no step."""
        if self.directory is not None:
            self._append(self.directory, [event(kind, env, time.time(), query=query, note=note)])

    def decision(self, step: Any) -> None:
        """A step that was decided."""
        self.check()
        if self.directory is None:
            return
        digests = self.directory.settings.keep == "digests"
        make = partial(self._decided, step, self._posterior_words(step.run.state), time.time(), digests)
        if some(step.decision.queried):
            self._append(self.directory, *make())
        else:
            # Nothing of it ever changes.
            self.directory.store.append_later(make)

    def _decided(self, step: Any, posterior: np.ndarray, now: float, digests: bool) -> tuple[Sequence[Record], bytes]:
        packed = pack(step.observation) if step.packed is None else step.packed
        return self._notation.decided(step, digest(packed), posterior, now, digests), packed

    def answer(self, waiting: Any, closed: Any, reply: Any, before: Any, after: Any) -> None:
        """An answer, and the posterior of the states before and after it."""
        if self.directory is not None:
            said, now_said = self._posterior_words(before), self._posterior_words(after)
            self._append(self.directory, self._notation.answered(waiting, closed, reply, said, now_said, time.time()))

    def step(self, record_of: Callable[[np.ndarray, float], Record], run: Run, observation: bytes | None) -> None:
        """A step that is over at once; ``record_of`` makes its record of the posterior's `words` and the time."""
        if self.directory is not None:
            self._append(self.directory, [record_of(self._posterior_words(run.state), time.time())], observation)

    def studied(self, run: Run, after: Run) -> None:
        """What was studied is not kept: the checkpoint of what it taught comes first, and the record says it counts."""
        self.check()
        if self.directory is not None:
            said = self._posterior_words(run.state)
            self.directory.checkpoint(after.on_disk, run.saved(), ahead=True)
            record = replace(event("study", None, time.time()), before=said, after=self._posterior_words(after.state))
            self._append(self.directory, [record])

    def checkpoint(self, run: Run | SamplingRun) -> None:
        """The whole state."""
        self.check()
        if self.directory is not None:
            waiting = [step.query.id for step in run.queries.waiting()]
            self.directory.checkpoint(run.on_disk, run.saved(), waiting=waiting)

    def checkpoint_if_due(self, run: Run | SamplingRun) -> None:
        """`checkpoint`, once in as many calls as the journal's settings say."""
        self.check()
        if self.directory is not None and self.directory.checkpoint_is_due:
            self.checkpoint(run)

    # --- what is read ---

    def recall(self, setup: Any, query: int) -> Any:
        """How a query was closed that is not remembered: see `Queries.find`."""
        self.check()
        if self.directory is None:
            raise KeyError("no journal")
        return self._notation.recalled(self.directory.store, query, setup, self.directory.run)

    def __repr__(self) -> str:
        """Where it writes, and how much it has written."""
        directory = self.directory
        return "no journal" if directory is None else f"journal {directory.path}, {directory.store.last_call} calls"

    def _append(self, directory: RunDirectory, records: Sequence[Record], observation: bytes | None = None) -> None:
        self.check()
        directory.append(records, observation)

    def _posterior_words(self, state: LearnerState | SamplingState) -> np.ndarray:
        """`words`, looked up once for each posterior."""
        if self._words is None or self._words[0] is not state.posterior:
            self._words = (state.posterior, words(state))
        return self._words[1]
