"""The errors and warnings of this library. After any of them the state is unchanged, but a question may be open.

Errors about a value that was passed in are ValueErrors, too. `JournalWriteError` is the only one after which you can no
longer use an imitator: what it wrote may or may not be on disk, and you have to resume its run from there.
"""


class ConsensusImitationError(Exception):
    """Base of all errors of this library."""


class ConfigurationError(ConsensusImitationError, ValueError):
    """Members, rules or options are impossible, or do not fit each other."""


class RuleContractError(ConfigurationError):
    """A selection or aggregation rule does not do what every rule owes, or does not keep what it promises."""


class ObservationError(ConsensusImitationError, ValueError):
    """The environment's observation is not one that the members can be shown."""


class PendingQueryError(ConsensusImitationError):
    """A step was asked for while the demonstrator's answer to an earlier one is still due."""


class ReentrantCallError(ConsensusImitationError):
    """The imitator was called from within a call: by a member, or by a demonstrator that was being told of a step."""


class InvalidAnswerError(ConsensusImitationError, ValueError):
    """The demonstrator's answer is not an action, or answers a decision that is not waiting for it."""


class WrongQueryError(InvalidAnswerError):
    """The answer belongs to another run, to a query that was never asked, or to another observation."""


class StaleAnswerError(InvalidAnswerError):
    """The query no longer waits: it was answered differently before, or withdrawn."""


class NoDemonstratorError(ConsensusImitationError):
    """The imitator has to ask, and there is no demonstrator."""


class DemonstratorTimeoutError(ConsensusImitationError, TimeoutError):
    """The demonstrator was asked, and did not answer in time."""


class JournalError(ConsensusImitationError):
    """A run directory cannot be used."""


class LockedError(JournalError):
    """Another writer has the run directory."""


class JournalCorruptedError(JournalError):
    """A file of the run directory differs from what was written."""


class ReplayError(JournalError):
    """The repeated steps differ from the journal: the members or rules are not those of the run."""


class JournalWriteError(JournalError):
    """Something could not be written. No action is given out until the run is resumed from its directory."""


class ConsensusWarning(UserWarning):
    """Something that does not stop the imitator, but that its user has to know."""
