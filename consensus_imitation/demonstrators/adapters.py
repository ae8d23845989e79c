"""One form for everything that can answer, and the panel that answers for one environment or for a batch."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from consensus_imitation.errors import NoDemonstratorError

#: Who chose the action of a step.
Who = Literal["imitator", "demonstrator"]


class Demonstrator:
    """Somebody who answers: the base for demonstrators with a memory of their own.

    Subclasses answer in ``__call__``. A demonstrator whose plan depends on what happened (a bot that follows a map,
    say) overrides `observe`, which is called once for every step, asked or not.
    """

    def __call__(self, observation: Any) -> Any:
        """The action in this situation: an integer in ``0 .. A-1``."""
        raise NotImplementedError(f"{type(self).__name__} has to answer: define __call__(observation)")

    def reset(self) -> None:
        """An episode begins."""

    def observe(self, action: int, who: Who) -> None:
        """A step was decided: ``action`` is about to be taken, and ``who`` chose it."""
        del action, who


class _Function(Demonstrator):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, observation: Any) -> Any:
        return self._function(observation)


class _Partial(Demonstrator):
    """An object with ``__call__`` and one or both of ``reset`` and ``observe``."""

    def __init__(self, answering: Any) -> None:
        self._answering = answering

    def __call__(self, observation: Any) -> Any:
        return self._answering(observation)

    def reset(self) -> None:
        if hasattr(self._answering, "reset"):
            self._answering.reset()

    def observe(self, action: int, who: Who) -> None:
        if hasattr(self._answering, "observe"):
            self._answering.observe(action, who)


class _Predicting(Demonstrator):
    """``predict(observation, ...) -> (action, state)``, as in Stable-Baselines3.

    The state of a recurrent policy is handed back to it; it has then seen the steps on which it was asked, and no
    others.
    """

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self._state: Any = None

    def __call__(self, observation: Any) -> Any:
        known = {} if self._state is None else {"state": self._state}
        action, self._state = self._policy.predict(observation, **known)
        return action

    def reset(self) -> None:
        self._state = None


def as_demonstrator(answering: Any) -> Demonstrator:
    """Adapt anything that can answer.

    Args:
        answering: a function ``observation -> action``; an object that is called so and may have ``reset()`` and
            ``observe(action, who)``; or an object with ``predict(observation) -> (action, state)``.

    Raises:
        TypeError: if it is none of these.

    Example:
        >>> from consensus_imitation.demonstrators import as_demonstrator
        >>> as_demonstrator(lambda observation: 1 if observation > 0 else 0)(0.3)
        1
    """
    if isinstance(answering, Demonstrator):
        return answering
    if callable(getattr(answering, "predict", None)):
        return _Predicting(answering)
    if not callable(answering):
        raise TypeError(
            f"a demonstrator is a function observation -> action, an object that is called like one, or an object with "
            f"predict(observation) -> (action, state); got {answering!r}"
        )
    remembers = hasattr(answering, "reset") or hasattr(answering, "observe")
    return _Partial(answering) if remembers else _Function(answering)


class Panel:
    """Who answers for each environment: one demonstrator for all of them, or one each.

    Args:
        answering: as `as_demonstrator` takes it, or for a batch a sequence of B of those; None for nobody.
        num_envs: B, or None for a single environment.

    Raises:
        ValueError: if the sequence has not B entries, or one demonstrator with a memory is to serve several
            environments.
    """

    def __init__(self, answering: Any, num_envs: int | None) -> None:
        self._members: list[Demonstrator] | None = None
        if answering is None:
            return
        size = num_envs or 1
        if isinstance(answering, Sequence):
            if num_envs is None or len(answering) != num_envs:
                raise ValueError(f"expected one demonstrator per environment, {size} in all; got {len(answering)}")
            self._members = [as_demonstrator(one) for one in answering]
            return
        one = as_demonstrator(answering)
        if size > 1 and not isinstance(one, _Function | _Predicting):
            raise ValueError(
                "a demonstrator with a memory of its own (reset, observe) follows one environment: pass a sequence of "
                f"{size}, one per environment"
            )
        self._members = [one, *(as_demonstrator(answering) for _ in range(size - 1))]

    def ask(self, observation: Any, env: int = 0) -> Any:
        """The answer for one environment, as the demonstrator gave it.

        Raises:
            NoDemonstratorError: if there is nobody.
        """
        if self._members is None:
            raise NoDemonstratorError(
                "this step is a query and there is no demonstrator: pass demonstrator=, or use decide() and answer()"
            )
        return self._members[env](observation)

    def observe(self, actions: Any, queried: Any, active: Any = None) -> None:
        """Tell everybody what is about to be done in their environment, and who chose it: [] or [B] each.

        Nobody is told of a step that is none: in rows that are not ``active`` ([B]; None for all) nothing is done.
        """
        if self._members is None:
            return
        rows = np.ones(len(self._members), bool) if active is None else active
        told = zip(*(np.atleast_1d(column).tolist() for column in (actions, queried, rows)), strict=True)
        for member, (action, asked, done) in zip(self._members, told, strict=True):
            if done:
                member.observe(action, "demonstrator" if asked else "imitator")

    def reset(self, env: int | None = None) -> None:
        """An episode begins in one environment, or in all."""
        for member in self._members or [] if env is None else (self._members or [])[env : env + 1]:
            member.reset()
