"""The journal: what an imitator did and was answered, on disk, so that nothing is lost when it stops."""

from consensus_imitation.journal.directory import Journal, RunDirectory
from consensus_imitation.journal.record import Entry, Record
from consensus_imitation.journal.recovery import Report, examine, mend
from consensus_imitation.journal.store import Store

__all__ = ["Entry", "Journal", "Record", "Report", "RunDirectory", "Store", "examine", "mend"]
