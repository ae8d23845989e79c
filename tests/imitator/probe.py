"""The one place from which tests look into an imitator, and reach into it."""

from dataclasses import replace
from typing import Any

from consensus_imitation import ConsensusImitator, LearnerState
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._teaching import split
from consensus_imitation.journal.directory import RunDirectory


def run_of(imitator: ConsensusImitator) -> Run:
    """Where its run is."""
    return imitator._live.run


def put_run(imitator: ConsensusImitator, run: Run) -> None:
    """Make it stand elsewhere, without a word in a journal."""
    imitator._live.run = run


def put_state(imitator: ConsensusImitator, state: LearnerState) -> None:
    """Change what it has learned, and nothing else."""
    run = run_of(imitator)
    own, rows = split(run.setup.ensemble, state)
    put_run(imitator, replace(run, state=own, rows=rows))


def directory_of(imitator: ConsensusImitator) -> RunDirectory:
    """Where its journal is."""
    directory = imitator._live.recorder.directory
    assert directory is not None
    return directory


def keeps_journal(imitator: ConsensusImitator) -> bool:
    return imitator._live.recorder.directory is not None


def checkpoint(imitator: ConsensusImitator) -> None:
    """Write one, whether it is due or not."""
    imitator._live.recorder.checkpoint(imitator._live.run)


def crash(imitator: ConsensusImitator) -> None:
    """The process ends between two calls, without a last checkpoint."""
    directory_of(imitator).close()


def drop(imitator: ConsensusImitator) -> None:
    """What the operating system does when a process dies: files are closed, and nothing else happens."""
    directory: Any = directory_of(imitator)
    directory.store._connection.close()
    directory._lock.close()
