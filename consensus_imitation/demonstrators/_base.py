"""One interface for everything that can answer, and the panel that answers for one environment or for a batch."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from consensus_imitation.core._sources import Source, check_source
from consensus_imitation.core._validation import check_instance
from consensus_imitation.demonstrators._asking import Asker
from consensus_imitation.demonstrators._attention import attention
from consensus_imitation.demonstrators.patience import Patience
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.errors import ConfigurationError, NoDemonstratorError

#: Who chose the action of a step. The safe action is taken when the demonstrator was asked, and nobody answered.
Who = Literal["imitator", "demonstrator", "safe action"]

#: The methods that make a demonstrator one of a single environment.
_REMEMBERING = ("reset", "observe", "consider")


class Demonstrator:
    """The base for demonstrators with a memory.

    Subclasses answer in ``__call__``. A demonstrator whose plan depends on what happened (for example a bot that
    follows a map) overrides `observe`. The imitator calls it once for every step, asked or not.

    ``__call__`` may be ``async def``, for ``act_async``. The other methods may not; they run in the imitator's own
    thread, so they must be quick. The imitator never calls them while ``__call__`` runs. If it still runs after its
    query was given up, they are called later, in order, before the next question.

    Attributes:
        is_person: whether somebody reads the screen, so that progress bars make way at once. For others they do, too,
            unless they always answer at once.
        source: who answers, a name or an integer of at least 0, for members that divide the answers by it
            (``Training(bootstrap="partition")``) and for the journal; None for nobody in particular. It is read after
            each answer, so that it may be a property where several people take turns. Any object that answers may
            have it.
    """

    is_person = False
    source: Any = None

    def __call__(self, observation: Any) -> Any:
        """Return the action in this situation: an integer in ``0 .. A-1``.

        One that takes ``action_mask``, too, is shown what is legal: bool [A], or None where nobody said.
        """
        raise NotImplementedError(f"{type(self).__name__} has to answer: define __call__(observation)")

    def reset(self) -> None:
        """Begin an episode."""

    def consider(self, question: Question) -> None:
        """Read why the next call asks: what each member would do, who objects, and how sure the imitator is."""
        del question

    def observe(self, action: int, who: Who) -> None:
        """Observe the decision of a step: ``action`` will be taken next, and ``who`` chose it."""
        del action, who


class _Adapted(Demonstrator):
    def __init__(self, answering: Callable[..., Any]) -> None:
        self.answering: Any = answering

    def __call__(self, observation: Any, **shown: Any) -> Any:
        return self.answering(observation, **shown)


class _Function(_Adapted):
    """A function or other callable that does not observe steps."""


class _Partial(_Adapted):
    """An object with ``__call__`` and some of ``reset``, ``observe`` and ``consider``."""

    def reset(self) -> None:
        if hasattr(self.answering, "reset"):
            self.answering.reset()

    def observe(self, action: int, who: Who) -> None:
        if hasattr(self.answering, "observe"):
            self.answering.observe(action, who)

    def consider(self, question: Question) -> None:
        if hasattr(self.answering, "consider"):
            self.answering.consider(question)


class _Predicting(Demonstrator):
    """``predict(observation, ...) -> (action, state)``, as in Stable-Baselines3.

    A recurrent policy gets its state back; it has then seen the steps on which it was asked, and no others. One that
    takes ``action_masks``, as sb3-contrib's ``MaskablePPO``, gets them.
    """

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self._state: Any = None

    @property
    def sees_mask(self) -> bool:
        """Whether the policy takes masks."""
        return takes(self.policy.predict, "action_masks")

    def __call__(self, observation: Any, action_mask: Any = None) -> Any:
        known = {} if self._state is None else {"state": self._state}
        if action_mask is not None:
            known["action_masks"] = action_mask
        action, self._state = self.policy.predict(observation, **known)
        return action

    def reset(self) -> None:
        self._state = None


def as_demonstrator(answering: Any) -> Demonstrator:
    """Adapt anything that can answer.

    Args:
        answering: a function ``observation -> action``, which may be ``async def``; a callable object that may have
            ``reset()``, ``observe(action, who)`` and ``consider(question)``; or an object with
            ``predict(observation) -> (action, state)``. A function or object that takes ``action_mask`` (a policy:
            ``action_masks``) is shown what is legal.

    Raises:
        TypeError: if it is none of these, or a method other than ``__call__`` is ``async def``.

    Example:
        >>> from consensus_imitation.demonstrators import as_demonstrator
        >>> as_demonstrator(lambda observation: 1 if observation > 0 else 0)(0.3)
        1
    """
    for name in ("predict", *_REMEMBERING):
        if inspect.iscoroutinefunction(getattr(answering, name, None)):
            raise TypeError(
                f"{name} of {answering!r} is async def, and nobody would wait for it: of a demonstrator only __call__ "
                "may be, or a function"
            )
    if isinstance(answering, Demonstrator):
        return answering
    if callable(getattr(answering, "predict", None)):
        return _Predicting(answering)
    if not callable(answering):
        raise TypeError(
            f"a demonstrator is a function observation -> action, an object that is called like one, or an object with "
            f"predict(observation) -> (action, state); got {answering!r}"
        )
    remembers = any(hasattr(answering, name) for name in _REMEMBERING)
    return _Partial(answering) if remembers else _Function(answering)


class Panel:
    """The demonstrators of all environments: one for all of them, or one each; and the patience with them.

    There is one query at a time for each environment; `ask_async` may ask for different ones at the same time. A
    function that answers for all of them then runs several times at once, in as many threads if it is not
    ``async def``. The same happens if it is asked for one environment while it hangs in another.

    Args:
        answering: as for `as_demonstrator`, or for a batch a sequence of B of those; None for no demonstrator.
        num_envs: B, or None for a single environment.
        patience: how long to wait, how often to ask again, and what to do then; by default the wait has no end.

    Attributes:
        patience: as given.
        listens: whether any demonstrator observes steps.
        considers: whether any demonstrator is to be told why it is asked.
        num_told: how often one was told of a step.

    Raises:
        ConfigurationError: if the sequence does not have B entries, or one demonstrator with a memory is to serve
            several environments.

    Example:
        >>> from consensus_imitation.demonstrators import Panel, Patience
        >>> panel = Panel(lambda observation: observation % 2, num_envs=2, patience=Patience(timeout=60.0))
        >>> panel.ask(5, env=1)
        1
    """

    def __init__(self, answering: Any, num_envs: int | None, patience: Patience | None = None) -> None:
        check_instance("patience", patience, Patience, "pass for example Patience(timeout=60.0)")
        self.patience = Patience() if patience is None else patience
        self._members = [] if answering is None else _seated(answering, num_envs)
        self.num_told = 0
        self.listens = any(type(one).observe is not Demonstrator.observe for one in self._members)
        self.considers = any(_considers(one) for one in self._members)
        self._askers = [
            Asker(
                one,
                is_async(one),
                self.patience,
                "the demonstrator" if num_envs is None else f"the demonstrator of environment {env}",
                sees_mask(one),
            )
            for env, one in enumerate(self._members)
        ]

    def ask(self, observation: Any, env: int = 0, mask: Any = None, question: Question | None = None) -> Any:
        """Return the answer for one environment, as the demonstrator gave it; tell it the ``question`` first.

        A ``mask``, bool [A], is shown to a demonstrator that takes ``action_mask``.

        Ctrl-C ends the wait at once. Unlike `ask_async`, this method calls a demonstrator without a timeout in the same
        thread.

        Raises:
            NoDemonstratorError: if there is no demonstrator.
            DemonstratorTimeoutError: if patience is over, whether there is a safe action or not.
            ConfigurationError: if the demonstrator is ``async def``, or there is no such environment.
        """
        asker = self._told(env, question)
        with attention(self._members[env].is_person):
            return asker.ask(observation, mask)

    async def ask_async(
        self, observation: Any, env: int = 0, mask: Any = None, question: Question | None = None
    ) -> Any:
        """`ask`, without blocking the event loop.

        Raises:
            NoDemonstratorError: if there is no demonstrator.
            DemonstratorTimeoutError: if patience is over, whether there is a safe action or not.
            ConfigurationError: if there is no such environment.
        """
        asker = self._told(env, question)
        with attention(self._members[env].is_person):
            return await asker.ask_async(observation, mask)

    def observe(self, actions: Any, queried: Any, active: Any = None, safe: Any = None) -> None:
        """Tell all demonstrators what will be done next in their environment, and who chose it: [] or [B] each.

        Rows that are not ``active`` ([B]; None for all) take no step, so their demonstrators are told nothing. Where
        ``safe`` ([] or [B]; None for nowhere), nobody answered, and the action is the safe one.
        """
        if not self.listens:
            return
        size = len(self._members)
        rows = np.ones(size, bool) if active is None else active
        silent = np.zeros(size, bool) if safe is None else safe
        told = zip(*(np.atleast_1d(column).tolist() for column in (actions, queried, rows, silent)), strict=True)
        for env, (action, asked, done, unanswered) in zip(range(size), told, strict=True):
            if done:
                who: Who = "safe action" if unanswered else "demonstrator" if asked else "imitator"
                self.tell(action, who, env)

    def tell(self, action: Any, who: Who, env: int = 0) -> None:
        """Tell the demonstrator of one environment what will be done there next, and who chose it."""
        if not self._members:
            return
        member = self._members[env]
        if type(member).observe is not Demonstrator.observe:
            # First: whoever is interrupted may know all the same.
            self.num_told += 1
            self._askers[env].tell(partial(member.observe, action, who))

    def reset(self, env: int | None = None) -> None:
        """Begin an episode in one environment, or in all."""
        for b, (member, asker) in enumerate(zip(self._members, self._askers, strict=True)):
            if env in (None, b) and type(member).reset is not Demonstrator.reset:
                asker.tell(member.reset)

    def source(self, env: int = 0) -> Source | None:
        """Return the source that the demonstrator of one environment names now; None if it names none.

        Raises:
            ConfigurationError: if what it names is none.
        """
        return source_of(self._members[env]) if self._members else None

    def _told(self, env: int, question: Question | None) -> Asker:
        asker = self._asker(env)
        if question is not None and _considers(self._members[env]):
            asker.tell(partial(self._members[env].consider, question))
        return asker

    def _asker(self, env: int) -> Asker:
        if not self._askers:
            raise NoDemonstratorError(
                "this step is a query and there is no demonstrator: pass demonstrator=, or use decide() and answer()"
            )
        if not 0 <= env < len(self._askers):
            raise ConfigurationError(f"there is no environment {env}: the panel answers for {len(self._askers)}")
        return self._askers[env]


def _seated(answering: Any, num_envs: int | None) -> list[Demonstrator]:
    """Return a demonstrator for each environment."""
    size = num_envs or 1
    if isinstance(answering, Sequence):
        if num_envs is None or len(answering) != num_envs:
            raise ConfigurationError(f"expected one demonstrator per environment, {size} in all; got {len(answering)}")
        members = [as_demonstrator(one) for one in answering]
    else:
        members = [as_demonstrator(answering) for _ in range(size)]
    following = [id(one.answering if isinstance(one, _Adapted) else one) for one in members if _follows(one)]
    if len(set(following)) < len(following):
        raise ConfigurationError(
            "a demonstrator with its own memory (reset, observe, consider) follows one environment: pass a sequence of "
            f"{size} different ones, one per environment"
        )
    return members


def _considers(one: Demonstrator) -> bool:
    if isinstance(one, _Partial):
        return hasattr(one.answering, "consider")
    return type(one).consider is not Demonstrator.consider


def _follows(one: Demonstrator) -> bool:
    return not isinstance(one, _Function | _Predicting)


def source_of(one: Demonstrator) -> Source | None:
    """Return the source that a demonstrator names now; None if it names none.

    Raises:
        ConfigurationError: if what it names is none.
    """
    answering = one.answering if isinstance(one, _Adapted) else one.policy if isinstance(one, _Predicting) else one
    return check_source(getattr(answering, "source", None))


def sees_mask(one: Demonstrator) -> bool:
    """Return whether it is called with ``action_mask=``: it has to name it."""
    if isinstance(one, _Predicting):
        return one.sees_mask
    return takes(one.answering if isinstance(one, _Adapted) else one, "action_mask")


def takes(function: Any, name: str) -> bool:
    """Return whether a function can be called with an argument of that name: it has to name it."""
    try:
        return name in inspect.signature(function).parameters
    except (ValueError, TypeError):
        # Not of every callable it can be said what it takes.
        return False


def is_async(one: Demonstrator) -> bool:
    """Return whether a call of it gives a coroutine."""
    answering = one.answering if isinstance(one, _Adapted) else one
    return inspect.iscoroutinefunction(answering) or inspect.iscoroutinefunction(type(answering).__call__)
