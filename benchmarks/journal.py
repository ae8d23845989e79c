"""The cost of a journal: a step and an answer with it, against the speed of the disk."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from consensus_imitation.benchmarks import networks
from consensus_imitation.imitator import ConsensusImitator
from consensus_imitation.journal import Journal

#: Calls per transaction in the grouped mode that is timed.
GROUP = 100


def make_act(path: Path | None, agreeing: bool, group: int = 1) -> tuple[ConsensusImitator, Callable[[], object]]:
    """Return an imitator, and one step of it: never a query if its members agree, often one if they do not.

    Args:
        path: of the run's directory; None without a journal.
        agreeing: whether the members are copies of one network.
        group: calls per transaction.
    """
    journal = None if path is None else Journal(path, group=group, checkpoint_every=10**9)
    imitator = networks.make_imitator(networks.make_params(agreeing=agreeing), k=8, journal=journal)
    observation = networks.observations()
    return imitator, lambda: imitator.act(observation).step


def make_commit(path: Path) -> tuple[sqlite3.Connection, Callable[[], object]]:
    """Make the cheapest durable step: one small row in a separate file, and SQLite waits for the disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = PERSIST", "synchronous = EXTRA"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE rows (data BLOB)")
    return connection, lambda: connection.execute("INSERT INTO rows VALUES (?)", (bytes(64),))
