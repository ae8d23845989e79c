"""The errors and warnings of this library. After any of them the state is what it was before the call."""


class ConsensusImitationError(Exception):
    """Base of all errors of this library that are not plain misuse of an argument (those are ValueErrors)."""


class PendingQueryError(ConsensusImitationError):
    """A step was asked for while the demonstrator's answer to an earlier one is still due."""


class InvalidAnswerError(ConsensusImitationError, ValueError):
    """The demonstrator's answer is not an action, or answers a decision that is not waiting for it."""


class NoDemonstratorError(ConsensusImitationError):
    """The imitator has to ask, and there is nobody to ask."""


class ConsensusWarning(UserWarning):
    """Something that does not stop the imitator, but that its user has to know."""
