"""An imitator that writes down what it does, and can be taken up again from what was written.

Every call that changes anything is one transaction of the journal, committed before its action is given out or its
answer acknowledged. Taking up a run reads the newest whole checkpoint and does the calls after it again, by the same
functions, from the observations that were kept; what comes out has to be what was written down.
"""

import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from consensus_imitation.decision import Decision
from consensus_imitation.demonstrators.patience import Patience
from consensus_imitation.doing_again import (
    about,
    call_of,
    compare,
    from_records,
    judged_again,
    kept,
    open_step,
    recalled,
)
from consensus_imitation.ensembles.base import Ensemble
from consensus_imitation.errors import (
    ConfigurationError,
    ConsensusWarning,
    JournalError,
    ObservationError,
    ReplayError,
)
from consensus_imitation.host import initial_state
from consensus_imitation.journal.checkpoint import Checkpoint
from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.packing import as_read, digest, pack, unpack
from consensus_imitation.journal.record import Entry
from consensus_imitation.learner import Learner, LearnerState
from consensus_imitation.policy import begun, encoded
from consensus_imitation.queries import OpenStep
from consensus_imitation.recording import answered, decided, event, grouped, words
from consensus_imitation.run_description import check_description, description, versions
from consensus_imitation.standing import Standing, shapes
from consensus_imitation.steps import Judged, Setup, settled, unasked


class Durable(Standing):
    """The part of `ConsensusImitator` that keeps the journal."""

    _directory: RunDirectory | None = None
    _closed = False
    _words: tuple[Any, np.ndarray] | None = None

    @property
    def cut(self) -> tuple[str, ...]:
        """What was found torn and cut off, or skipped, when the run was taken up; empty if all was whole."""
        report = None if self._directory is None else self._directory.report
        return () if report is None or (report.sound and not report.skipped) else tuple(report.lines())

    def close(self) -> None:
        """End the journal: a checkpoint, and the directory is free for the next writer. Queries go on waiting in it.

        Nothing can be done with the imitator afterwards that would have to be written down. Closing it again does
        nothing.

        Raises:
            FailedError: if something could not be written; the directory is free all the same.
        """
        directory = self._directory
        if directory is not None and not self._closed:
            try:
                self._write_checkpoint()
            finally:
                self._closed = True
                directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- what changes: called after writing, and when what was written is done again ---

    def _close(self, after: LearnerState, env: int | None) -> None:
        """A step without an answer is over."""
        self._state = after
        self._steps_of[slice(None) if env is None else env] += 1
        if env is not None:
            # Numbers for all in lockstep belong to steps that are over for one of them.
            self._numbers.forget_lockstep()

    def _learned(self, waiting: OpenStep, closed: Decision, after: LearnerState) -> None:
        """A step with an answer, or without one, is over."""
        self._close(after, closed.env)
        self._queries.close(waiting, closed)
        self._answers += int(np.sum(np.asarray(closed.queried) & ~np.asarray(closed.unanswered)))
        self._alarms.left_unanswered(int(np.sum(closed.unanswered)))
        self._weigh()

    def _clear(self) -> None:
        self._cleared = self._cleared or self._unexplained
        self._state = self._setup.learner.clear_alarm(self._state)
        self._alarms.clear()

    def _begun(self, env: int | None) -> Any:
        """The streams, where an episode begins in one environment, or in all."""
        begins = np.ones(self.num_envs or (), bool) if env is None else np.arange(self.num_envs or 0) == env
        return begun(self._setup.learner, self._setup.ensemble, self._state.stream, np.asarray(begins))

    def _reported(self, decision: Decision, packed: bytes | None, active: np.ndarray | None) -> Decision:
        """The decision with its query, if it is one, and its alarms."""
        alarms = self._alarms.report(decision, self._unexplained, active)
        if decision.queried is False or not np.any(decision.queried):
            return replace(decision, alarms=alarms) if alarms else decision
        observation = "" if packed is None else digest(packed)
        return replace(decision, query=self._queries.new(observation, decision.env, decision.step), alarms=alarms)

    # --- writing ---

    def _together(self) -> AbstractContextManager[None]:
        """What is written within is done, too, or nothing is written any more: not even Ctrl-C may come between."""
        return nullcontext() if self._directory is None else self._directory.store.writing()

    @property
    def _failed(self) -> bool:
        """Whether something could not be written, so that only the journal says what is so."""
        return self._directory is not None and self._directory.store.failed

    def _refuse_if_recorded(self, what: str) -> None:
        if self._directory is not None:
            raise ConfigurationError(f"cannot {what}: a run with a journal only goes on; begin another run")

    def _open_directory(self) -> RunDirectory | None:
        """Where to write; None if no journal is kept.

        Raises:
            JournalError: after `close`: the directory may be somebody else's by now.
            FailedError: if something could not be written before.
        """
        if self._closed and self._directory is not None:
            raise JournalError(
                "this imitator was closed: go on with its run by ConsensusImitator.resume("
                f"{str(self._directory.path)!r}, ...)"
            )
        if self._directory is not None:
            self._directory.store.check()
        return self._directory

    def _recall(self, query: int) -> Decision | None:
        """How a query was closed that is not remembered: see `Queries`."""
        directory = self._open_directory()
        if directory is None:
            raise KeyError("no journal")
        return recalled(directory.store, query, self._setup, directory.run)

    def _begin_journal(self, journal: Any) -> None:
        if not isinstance(journal, Journal | str | Path):
            raise ConfigurationError(f"journal must be a directory or a Journal(...), got {journal!r}")
        like = jax.tree.map(lambda leaf: leaf.dtype, shapes(self._setup))
        if jax.tree.map(lambda leaf: leaf.dtype, self._state) != like:
            raise ConfigurationError(
                "a run with a journal cannot begin from this state, whose arrays or keys are of other types than an "
                "imitator's own: pass one as ConsensusImitator.state gives it"
            )
        settings = journal if isinstance(journal, Journal) else Journal(journal)
        meta = description(self._setup)
        self._directory = directory = RunDirectory.create(settings, meta)
        try:
            self._queries.run = directory.run
            self._queries.recall = self._recall
            self._write_event("open", None, note=versions())
            self._write_checkpoint()
        except BaseException:
            # Nobody has the imitator, to close it.
            directory.close()
            raise

    def _readable(self, observation: Any) -> Any:
        """The observation as it will be read if the step has to be done again."""
        return observation if self._directory is None else as_read(observation)

    def _packed(self, observation: Any, needed: bool) -> bytes | None:
        """The observation in bytes: for the journal, or for a query to name it."""
        if self._directory is not None:
            return pack(observation)
        try:
            return pack(observation) if needed else None
        except ObservationError:
            # Nobody has to read it again.
            return None

    def _write_decision(
        self, decision: Decision, judged: Judged, number: Any, packed: bytes | None, active: np.ndarray | None
    ) -> None:
        directory = self._open_directory()
        if directory is None or packed is None:
            return
        said = digest(packed) if decision.query is None else decision.query.observation
        now = time.time()
        posterior = self._posterior_words(self._state)
        records = decided(decision, judged.on_host, judged.log_probs, number, said, posterior, active, now)
        directory.append(records, packed)

    def _write_answer(self, waiting: OpenStep, closed: Decision, after: LearnerState) -> None:
        directory = self._open_directory()
        if directory is not None:
            before = self._posterior_words(self._state)
            directory.append(answered(waiting, closed, before, self._posterior_words(after), time.time()))

    def _write_event(self, kind: Any, env: int | None, *, query: int | None = None, note: str = "") -> None:
        directory = self._open_directory()
        if directory is not None:
            directory.append([event(kind, env, time.time(), query=query, note=note)])

    def _write_studied(self, after: LearnerState) -> None:
        """What was studied is not kept: the checkpoint of what it taught comes first, and the record says it counts."""
        directory = self._open_directory()
        if directory is not None:
            before = self._posterior_words(self._state)
            directory.checkpoint(after, self._header(), ahead=True)
            record = replace(event("study", None, time.time()), before=before, after=self._posterior_words(after))
            directory.append([record])

    def _write_checkpoint_if_due(self) -> None:
        directory = self._open_directory()
        if directory is not None and directory.checkpoint_is_due:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        directory = self._open_directory()
        if directory is not None:
            waiting = [step.query.id for step in self._queries.waiting()]
            directory.checkpoint(self._state, self._header(), waiting=waiting)

    def _header(self) -> dict[str, Any]:
        return {"alarms": self._alarms.saved(), "cleared": self._cleared}

    def _posterior_words(self, state: LearnerState) -> np.ndarray:
        """`words`, looked up once for each posterior."""
        if self._words is None or self._words[0] is not state.posterior:
            self._words = (state.posterior, words(state))
        return self._words[1]

    # --- taking up a run ---

    def _assemble(self, setup: Setup, demonstrator: Any, patience: Patience | None, state: LearnerState) -> None:
        raise NotImplementedError("the imitator knows how it is put together")

    def _take_up(
        self, run_dir: str | Path, ensemble: Ensemble, learner: Learner, demonstrator: Any, patience: Patience | None
    ) -> None:
        directory = RunDirectory.open(run_dir)
        try:
            meta = directory.store.meta
            setup = Setup(ensemble, learner, meta["num_envs"])
            check_description(meta, setup)
            like = initial_state(learner, ensemble, jax.random.key(0), setup.num_envs)
            saved = next(directory.checkpoints(like), None)
            if saved is None:
                if all(entry.record.kind == "open" for entry in directory.store.entries()):
                    raise JournalError(
                        f"{run_dir} holds no run: its beginning was cut off before anything was given out; begin again"
                    )
                raise JournalError(
                    f"{run_dir} holds no whole checkpoint to go on from: {'; '.join(directory.report.lines())}"
                )
            self._assemble(setup, demonstrator, patience, saved.state)
            self._queries.run = directory.run
            with warnings.catch_warnings():
                # They were given when the steps were taken; and where they are errors, nobody could go on.
                warnings.simplefilter("ignore", ConsensusWarning)
                self._replay(directory, saved)
            self._directory = directory
            self._write_event("open", None, note=versions())
        except BaseException:
            directory.close()
            raise

    def _replay(self, directory: RunDirectory, saved: Checkpoint) -> None:
        store, header = directory.store, saved.header
        self._alarms.load(header["alarms"])
        self._cleared = header["cleared"]
        self._queries.next_id = store.last_query + 1
        self._queries.recall = self._recall
        # Queries that were posed before the checkpoint: what was predicted then is in the journal.
        for query in header["waiting"]:
            call = call_of(store, store.of_query(query)[0].call)
            self._wait_again(call, unpack(kept(directory, call)))
        for call in grouped(store.entries(after_call=header["call"])):
            try:
                self._do_again(directory, call)
            except ObservationError as error:
                raise ReplayError(f"call {call[0].call} of the journal: {error}") from error
        self._weigh()

    def _do_again(self, directory: RunDirectory, call: list[Entry]) -> None:
        record = call[0].record
        match record.kind:
            case "act" | "ask":
                self._decide_again(call, unpack(kept(directory, call)))
            case "answer" | "safe":
                self._settle_again(call)
            case "withdraw":
                waiting = self._waiting_again(call)
                self._queries.close(waiting, None)
            case "idle":
                stream = self._state.stream
                self._close(self._state.replace(stream=stream.replace(step=stream.step + 1)), None)
            case "begin":
                self._state = self._state.replace(stream=self._begun(record.env))
            case "clear":
                self._clear()
            case "study":
                raise JournalError(
                    f"what was studied in call {call[0].call} is in a checkpoint that cannot be read, so that the run "
                    f"cannot be taken up: {'; '.join(directory.report.lines())}"
                )
            case "open":
                pass

    def _decide_again(self, call: list[Entry], observation: Any) -> None:
        env, active = about(call, self.num_envs)
        own = self._setup.taken(self._state, env)
        judged = judged_again(self._setup, own, call, observation, env, active)
        decision = judged.decision(self._setup, call[0].record.step, env)
        decision = replace(decision, alarms=call[0].record.alarms)
        self._alarms.report(decision, self._unexplained, active)
        if np.any(decision.queried):
            self._queries.wait(open_step(call, judged, decision, self.run, observation, active))
        else:
            self._close(unasked(self._setup, self._state, judged, decision, active), env)

    def _wait_again(self, call: list[Entry], observation: Any) -> None:
        """A query that waits since before the checkpoint: from the record alone, its state being gone."""
        env, active = about(call, self.num_envs)
        size = self._setup.rows(env)
        seen = encoded(self._setup.ensemble, observation, size)
        judged = from_records(self._setup, call, seen, size)
        decision = replace(judged.decision(self._setup, call[0].record.step, env), alarms=call[0].record.alarms)
        self._queries.wait(open_step(call, judged, decision, self.run, observation, active))

    def _settle_again(self, call: list[Entry]) -> None:
        waiting = self._waiting_again(call)
        size = self._setup.rows(waiting.decision.env)
        answers = np.array(-1 if size is None else waiting.decision.action)
        late = np.zeros(np.shape(waiting.decision.queried), bool)
        safe_action = 0
        for entry in call:
            record = entry.record
            row = () if size is None else record.env
            answers[row] = record.action
            if record.kind == "safe":
                late[row], safe_action = True, record.action or 0
        after, closed = settled(self._setup, self._state, waiting, answers, late, safe_action)
        compare(call, "posterior", words(after), call[0].record.after)
        self._learned(waiting, closed, after)

    def _waiting_again(self, call: list[Entry]) -> OpenStep:
        for step in self._queries.waiting():
            if step.query.id == call[0].record.query:
                return step
        raise ReplayError(
            f"call {call[0].call} of the journal closes query {call[0].record.query}, which does not wait"
        )

    def _is_about(self, waiting: OpenStep, observation: Any) -> bool:
        """Whether a query that waits is about this observation."""
        packed = self._packed(observation, needed=True)
        return packed is not None and digest(packed) == waiting.query.observation
