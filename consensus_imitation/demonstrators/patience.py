"""How long to wait for a demonstrator, how often to ask again, and what happens when nobody answers: never a guess."""

import math
import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from consensus_imitation.core._integers import is_integer
from consensus_imitation.core._validation import check_integer
from consensus_imitation.errors import ConfigurationError


@dataclass(frozen=True)
class SafeAction:
    """The action to take when nobody answers. The user names it; nothing else is ever substituted.

    Attributes:
        action: from 0 to A - 1.

    Raises:
        ConfigurationError: if it is not an integer, or negative.

    Example:
        >>> from consensus_imitation.demonstrators import SafeAction
        >>> SafeAction(4).check(num_actions=4)
        Traceback (most recent call last):
        ...
        consensus_imitation.errors.ConfigurationError: SafeAction(4) is none of the 4 actions: name one from 0 to 3
    """

    action: int

    def __post_init__(self) -> None:
        check_integer("SafeAction's action", self.action, 0)

    def check(self, num_actions: int) -> None:
        """Refuse the safe action if it is not one of the A actions.

        Raises:
            ConfigurationError: with the range of the actions.
        """
        if self.action >= num_actions:
            raise ConfigurationError(
                f"SafeAction({self.action}) is none of the {num_actions} actions: name one from 0 to {num_actions - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait for an answer, how often to ask again, and what to do when nobody answers.

    An attempt has failed when its time is over, or when the demonstrator raises a ConnectionError or a TimeoutError:
    nobody was reached. Any other exception means that the demonstrator is broken; there is no further attempt, and the
    exception passes through at once. If your demonstrator uses a library with its own exceptions, let it
    ``raise ConnectionError(...) from error`` where another attempt makes sense. After a failure, the next attempt does
    not begin before a second (or the shorter timeout) has passed since the failed one began.

    When the last attempt has failed, the imitator raises `DemonstratorTimeoutError`, or takes the safe action.
    ``Patience()``, the default, waits without limit, asks once, and lets every exception pass through as it is.

    Attributes:
        timeout: of each attempt, in seconds; None to wait without limit. With a timeout, a demonstrator that is a plain
            function runs in its own thread, a new one for each call, which cannot be stopped. While it hangs, further
            attempts wait for that same call, and nobody asks it anything else. One that is ``async def`` is cancelled,
            and asked again.
        retries: attempts after the first.
        then: "raise" a `DemonstratorTimeoutError`, after which the question stays open; "block", which continues to ask
            without limit, whatever ``retries`` is; or a `SafeAction`. With the timeout None this concerns failures
            only.

    Raises:
        ConfigurationError: for a timeout that is not positive, or too long to wait for; for ``retries`` below 0; for
            any other ``then``.

    Example:
        >>> from consensus_imitation.demonstrators import Patience, SafeAction
        >>> Patience(timeout=30.0, retries=2, then=SafeAction(0))
        Patience(timeout=30.0, retries=2, then=SafeAction(action=0))
    """

    timeout: float | None = None
    retries: int = 0
    then: Literal["block", "raise"] | SafeAction = "raise"

    def __post_init__(self) -> None:
        timeout: Any = self.timeout
        then: Any = self.then
        if timeout is not None:
            known = is_integer(timeout) or isinstance(timeout, float | np.floating)
            # Written so that it is false for NaN.
            if not (known and 0 < timeout <= threading.TIMEOUT_MAX):
                raise ConfigurationError(
                    f"timeout must be a number of seconds above 0 and at most {threading.TIMEOUT_MAX:.0f}, got "
                    f"{timeout!r}: None waits without limit"
                )
        check_integer("retries", self.retries, 0)
        if not isinstance(then, SafeAction) and not (isinstance(then, str) and then in THEN):
            raise ConfigurationError(
                f'then must be "raise", "block", or a SafeAction that names the action to take, got {then!r}'
            )

    @property
    def attempts(self) -> float:
        """The number of attempts, or infinity."""
        return math.inf if self.then == "block" else self.retries + 1

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The exceptions that mean that nobody was reached; none by default, where every exception passes."""
        return () if self == Patience() else (ConnectionError, TimeoutError)


#: What can happen when nobody answers, besides a `SafeAction`.
THEN = ("raise", "block")
