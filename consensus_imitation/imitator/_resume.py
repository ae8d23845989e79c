"""A run of either shell done again from its journal: the newest whole checkpoint, and the calls after it, one by one.

They are done by the functions that did them first, from the observations that were kept; what comes out has to be what
was written down. What the shells do differently is in `_again` and `_sampling_again`.
"""

import warnings
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, Protocol

from consensus_imitation.core._packing import unpack
from consensus_imitation.errors import (
    ConfigurationError,
    ConsensusWarning,
    JournalError,
    ObservationError,
    ReplayError,
)
from consensus_imitation.imitator._calls import call_of, grouped, kept
from consensus_imitation.imitator._description import check_description
from consensus_imitation.imitator._queries import Queries
from consensus_imitation.imitator._recorder import Notation
from consensus_imitation.journal.checkpoint import Checkpoint
from consensus_imitation.journal.directory import RunDirectory
from consensus_imitation.journal.record import Entry


class Again(Protocol):
    """How one shell's calls are done again. Both `_again` and `_sampling_again` are that."""

    def like(self, setup: Any) -> Any:
        """A state of this kind."""
        ...

    def begun(self, setup: Any, state: Any, queries: Queries[Any, Any]) -> Any:
        """A run that is in this state."""
        ...

    def decided(self, run: Any, call: list[Entry], observation: Any) -> Any:
        """After a call in which something was decided."""
        ...

    def settled(self, run: Any, call: list[Entry], waiting: Any) -> Any:
        """After a call that brought an answer to a step that waited."""
        ...

    def still(self, run: Any, call: list[Entry], observation: Any) -> Any:
        """A query that waits since before the checkpoint, from the record alone: its state is gone."""
        ...

    def took_over(self, run: Any, call: list[Entry], observation: Any) -> Any:
        """After a call on which the demonstrator acted unasked."""
        ...

    def between(self, run: Any, call: list[Entry]) -> Any:
        """After a call that is none of the above, and that not both shells have."""
        ...


def resume(
    run_dir: str | Path, notation: Notation, again: Again, setup_of: Callable[[int | None], Any]
) -> tuple[Any, RunDirectory]:
    """The run that a directory holds, as it ended; and the directory, open for writing.

    Raises:
        ConfigurationError: if members or rules are not those of the run, or it is one of the other shell.
        LockedError: if somebody else writes it.
        JournalError: if it holds nothing that could be gone on with.
        ReplayError: if what was written down does not come out again.
    """
    directory = RunDirectory.open(run_dir)
    try:
        meta = directory.store.meta
        check_shell(directory, notation.SHELL)
        setup = setup_of(meta["num_envs"])
        check_description(meta, notation.description(setup))
        if directory.settings.keep == "digests":
            notation.check_digests(setup)
        saved = _newest(directory, again.like(setup))
        run = again.begun(setup, saved.state, Queries(directory.run, directory.store.last_query + 1))
        with warnings.catch_warnings():
            # They were given when the steps were taken; and where they are errors, nobody could go on.
            warnings.simplefilter("ignore", ConsensusWarning)
            return _done_again(run, directory, saved.header, again), directory
    except BaseException:
        directory.close()
        raise


def check_shell(directory: RunDirectory, shell: str) -> None:
    """Raise ConfigurationError if another imitator than ``shell`` has to go on with a run."""
    # What has numbered actions says nothing of it.
    wrote = directory.store.meta.get("shell", "ConsensusImitator")
    if wrote != shell:
        raise ConfigurationError(
            f"{directory.path} holds a run of {wrote}: go on with it by {wrote}.resume({str(directory.path)!r}, ...)"
        )


def _newest(directory: RunDirectory, like: Any) -> Checkpoint:
    saved = next(directory.checkpoints(like), None)
    if saved is not None:
        return saved
    if all(entry.record.kind == "open" for entry in directory.store.entries()):
        raise JournalError(
            f"{directory.path} holds no run: its beginning was cut off before anything was given out; begin again"
        )
    raise JournalError(
        f"{directory.path} holds no whole checkpoint to go on from, and does not keep the observations of its "
        f"beginning (Journal(observations=True) does): {'; '.join(directory.report.lines())}"
    )


def _done_again(run: Any, directory: RunDirectory, header: dict[str, Any], again: Again) -> Any:
    """What the journal holds after a checkpoint, done to the run that was saved in it."""
    store = directory.store
    run = run.recalling(header)
    # Queries that were posed before the checkpoint: what was predicted then is in the journal.
    for query in header["waiting"]:
        call = call_of(store, store.of_query(query)[0].call)
        run = run.waiting(again.still(run, call, unpack(kept(directory, call))))

    def after(run: Any, call: list[Entry]) -> Any:
        try:
            return _call_again(run, directory, call, again)
        except ObservationError as error:
            raise ReplayError(f"call {call[0].call} of the journal: {error}") from error

    return reduce(after, grouped(store.entries(after_call=header["call"])), run)


def _call_again(run: Any, directory: RunDirectory, call: list[Entry], again: Again) -> Any:
    record = call[0].record
    match record.kind:
        case "act" | "ask":
            return again.decided(run, call, unpack(kept(directory, call)))
        case "answer" | "safe":
            return again.settled(run, call, _waiting(run, call))
        case "takeover":
            return again.took_over(run, call, unpack(kept(directory, call)))
        case "withdraw" if record.query is None:
            return run.broken_off(record.env)
        case "withdraw":
            return run.withdrawn(_waiting(run, call))
        case "clear":
            return run.cleared()
        case "study":
            raise JournalError(
                f"what was studied in call {call[0].call} is in a checkpoint that cannot be read, so that the run "
                f"cannot be taken up: {'; '.join(directory.report.lines())}"
            )
        case "open":
            return run
        case "idle" | "begin":
            return again.between(run, call)


def _waiting(run: Any, call: list[Entry]) -> Any:
    for step in run.queries.waiting():
        if step.query.id == call[0].record.query:
            return step
    raise ReplayError(f"call {call[0].call} of the journal closes query {call[0].record.query}, which does not wait")
