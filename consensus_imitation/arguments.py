"""What the imitator's methods are called with, checked before anything happens."""

from typing import Any

import numpy as np

from consensus_imitation.decision import Decision, check_action, shown
from consensus_imitation.errors import ConfigurationError, InvalidAnswerError


def check_env(env: Any, num_envs: int | None) -> int | None:
    """Which environment a call is about, as a plain integer (a query has to pass through JSON); None for all.

    Raises:
        ConfigurationError: if there is no such environment.
    """
    if env is None:
        return None
    if isinstance(env, bool) or not isinstance(env, int | np.integer) or not 0 <= env < (num_envs or 0):
        raise ConfigurationError(f"there is no environment {env!r}; num_envs is {num_envs}")
    return int(env)


def check_active(active: Any, rows: int | None, num_envs: int | None) -> np.ndarray | None:
    """Which rows of a batch take part: bool [B]; None for all.

    Args:
        active: as given.
        rows: B if the call is about a batch in lockstep.
        num_envs: for the message.

    Raises:
        ConfigurationError: if it is not one bool per environment of a batch in lockstep.
    """
    if active is None:
        return None
    given = np.asarray(active)
    if rows is None or given.shape != (rows,) or given.dtype != bool:
        raise ConfigurationError(
            f"active needs one bool per environment of a batch in lockstep ({num_envs}), got {active!r}"
        )
    return None if given.all() else given


def check_answer(decision: Decision, answer: Any, num_actions: int) -> Any:
    """The demonstrator's answer to a decision: int32 [], or [B] with the imitator's own actions where nobody was asked.

    Raises:
        InvalidAnswerError: if it is no action, or not one for each environment.
    """
    if np.ndim(decision.queried) == 0:
        return np.int32(check_action(answer, num_actions))
    size = len(decision.queried)
    try:
        shape = np.shape(answer)
    except Exception:  # noqa: BLE001 - whatever it is, it is no answer
        shape = None
    if shape != (size,):
        raise InvalidAnswerError(f"expected {size} answers, one per environment; got {shown(answer)}")
    checked = np.array(decision.action, np.int32)
    for b in np.flatnonzero(decision.queried):
        checked[b] = check_action(answer[b], num_actions)
    return checked
