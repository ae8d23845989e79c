"""The errors and warnings of this library. After any of them the state is what it was, but that a question may be open.

Those about something that was passed in are ValueErrors, too. `JournalWriteError` is the only one after which an
imitator can no longer be used: what it wrote may or may not be on disk, and its run has to be resumed from there.
"""


class ConsensusImitationError(Exception):
    """Base of all errors of this library."""


class ConfigurationError(ConsensusImitationError, ValueError):
    """Members, rules or options that cannot be, or do not fit each other."""


class ObservationError(ConsensusImitationError, ValueError):
    """The environment's observation is not one that the members can be shown."""


class PendingQueryError(ConsensusImitationError):
    """A step was asked for while the demonstrator's answer to an earlier one is still due."""


class ReentrantCallError(ConsensusImitationError):
    """The imitator was called from within a call: by a member, or by a demonstrator that was being told of a step."""


class InvalidAnswerError(ConsensusImitationError, ValueError):
    """The demonstrator's answer is not an action, or answers a decision that is not waiting for it."""


class WrongQueryError(InvalidAnswerError):
    """The answer belongs to another run, to a query that was never posed, or to another observation."""


class StaleAnswerError(InvalidAnswerError):
    """The query does not wait any more: it was answered otherwise before, or withdrawn."""


class NoDemonstratorError(ConsensusImitationError):
    """The imitator has to ask, and there is nobody to ask."""


class DemonstratorTimeoutError(ConsensusImitationError, TimeoutError):
    """The demonstrator was asked, and did not answer in time."""


class JournalError(ConsensusImitationError):
    """A run directory cannot be used."""


class LockedError(JournalError):
    """Another writer has the run directory."""


class JournalCorruptedError(JournalError):
    """A file of the run directory is not what was written."""


class ReplayError(JournalError):
    """What the journal says did not come out again: the members or rules are not those of the run."""


class JournalWriteError(JournalError):
    """Something could not be written. No action is given out until the run is resumed from its directory."""


class ConsensusWarning(UserWarning):
    """Something that does not stop the imitator, but that its user has to know."""
