"""What an imitator is made of, and what its methods are called with, checked before anything happens."""

from typing import Any

import numpy as np

from consensus_imitation.core._actions import check_action, check_row
from consensus_imitation.core._integers import is_integer
from consensus_imitation.core.legal import check_legal
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator.decision import Decision


def check_construction(ensemble: Any, seed: Any, num_envs: Any) -> None:
    """Raise ConfigurationError for what no imitator can be made of."""
    for name, number in (("seed", seed), ("num_envs", num_envs)):
        if number is not None and not is_integer(number):
            raise ConfigurationError(f"{name} must be an integer or None, got {number!r}")
    if num_envs is not None and num_envs < 1:
        raise ConfigurationError(f"num_envs must be at least 1, got {num_envs}")
    if not hasattr(ensemble, "num_members"):
        raise ConfigurationError(
            f"expected an ensemble of members, see consensus_imitation.ensembles; got {ensemble!r}"
        )


def check_env(env: Any, num_envs: int | None) -> int | None:
    """Which environment a call is about, as a plain integer (a query has to pass through JSON); None for all.

    Raises:
        ConfigurationError: if there is no such environment.
    """
    if env is None:
        return None
    if not is_integer(env) or not 0 <= env < (num_envs or 0):
        raise ConfigurationError(f"there is no environment {env!r}; num_envs is {num_envs}")
    return int(env)


def check_active(active: Any, rows: int | None, num_envs: int | None) -> np.ndarray | None:
    """Which rows of a batch take part: bool [B], a copy of one's own; None for all.

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
    if rows is None or given.shape != (rows,) or given.dtype != bool or np.ma.is_masked(active):
        raise ConfigurationError(
            f"active needs one bool per environment of a batch in lockstep ({num_envs}), got {active!r}"
        )
    return None if given.all() else given.copy()


def check_answer(decision: Decision, answer: Any, num_actions: int) -> Any:
    """The demonstrator's answer to a decision: int32 [], or [B] with the imitator's own actions where nobody was asked.

    Raises:
        InvalidAnswerError: if it is no action, or not one for each environment, or the decision's mask forbids it.
    """
    mask = decision.action_mask
    if np.ndim(decision.queried) == 0:
        return np.int32(check_legal(check_action(answer, num_actions), mask))
    checked = np.array(decision.action, np.int32)
    rows = np.flatnonzero(decision.queried).tolist()
    for b, action in check_row(answer, rows, len(checked), num_actions).items():
        checked[b] = check_legal(action, None if mask is None else mask[b])
    return checked
