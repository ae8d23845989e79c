"""Which queries wait for an answer, which answer belongs to which, and what became of those that wait no more."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from consensus_imitation.decision import Decision, Query
from consensus_imitation.errors import InvalidAnswerError, StaleAnswerError, WrongQueryError

#: Of so many closed queries it is known without a journal how they were answered.
REMEMBERED = 1024


@dataclass(frozen=True, slots=True, eq=False)
class OpenStep:
    """A step that waits for answers.

    Attributes:
        decision: what was handed out.
        packed: the decision as the core gave it, [P] or [B, P].
        log_probs: [N, A] or [B, N, A], the predictions acted on.
        observation: as the members take it.
        raw: as the environment gave it.
        core: what the core was fed.
        active: bool [B], or None for all.
        asked: seconds since the epoch.
        restored: whether the query was posed before the run was taken up again.
    """

    decision: Decision
    packed: Any
    log_probs: jax.Array
    observation: Any
    raw: Any
    core: Any
    active: np.ndarray | None
    asked: float
    restored: bool = False

    @property
    def query(self) -> Query:
        """What an answer has to name."""
        if self.decision.query is None:
            raise ValueError("a step that waits has a query")
        return self.decision.query


class Queries:
    """The queries of one run.

    Args:
        run: its name.
        recall: finds how a query was closed that is not remembered: the decision, or None if it was withdrawn; raises
            KeyError if it does not know. By default nothing is known of them.
    """

    def __init__(self, run: str, recall: Callable[[int], Decision | None] | None = None) -> None:
        self.run = run
        self.next_id = 0
        self.recall = recall
        self._waiting: dict[int | None, OpenStep] = {}
        self._closed: OrderedDict[int, tuple[Query, Decision | None]] = OrderedDict()

    def new(self, observation: str, env: int | None, step: int) -> Query:
        """A query that is about to be posed; it counts once it `wait`s."""
        return Query(self.run, self.next_id, observation, env, step)

    def wait(self, step: OpenStep) -> None:
        """The query is posed."""
        self._waiting[step.decision.env] = step
        self.next_id = max(self.next_id, step.query.id + 1)

    def blocking(self, env: int | None) -> OpenStep | None:
        """What has to be answered before environment ``env``, or all of them (None), can go on; None if nothing."""
        if env is None:
            return next(iter(self._waiting.values()), None)
        return self._waiting.get(env, self._waiting.get(None))

    def waiting(self) -> list[OpenStep]:
        """All that wait, in the order in which they were posed."""
        return sorted(self._waiting.values(), key=lambda step: step.query.id)

    def close(self, step: OpenStep, outcome: Decision | None) -> None:
        """The query was answered, or is withdrawn (None)."""
        self._waiting.pop(step.decision.env, None)
        self._closed[step.query.id] = (step.query, outcome)
        if len(self._closed) > REMEMBERED:
            self._closed.popitem(last=False)

    def find(self, given: Any) -> OpenStep | Decision:
        """The step that waits for this answer; or, if it was answered before, the decision as it was closed.

        Args:
            given: a decision, or its query.

        Raises:
            InvalidAnswerError: if it is neither, or nothing was asked.
            WrongQueryError: if it belongs to another run or another observation, or was never posed.
            StaleAnswerError: if it was withdrawn, or if it is not known any more how it was answered.
        """
        query = self._check(given)
        step = next((step for step in self._waiting.values() if step.query.id == query.id), None)
        if step is not None:
            return self._same(step.query, query, step)
        if query.id in self._closed:
            known, outcome = self._closed[query.id]
        else:
            known, outcome = query, self._recalled(query)
        self._same(known if outcome is None or outcome.query is None else outcome.query, query, step)
        if outcome is None:
            raise StaleAnswerError(
                f"query {query.id} was withdrawn: this is not the decision that waits for an answer, and its answer "
                "changes nothing"
            )
        return outcome

    def _check(self, given: Any) -> Query:
        query = given.query if isinstance(given, Decision) else given
        if isinstance(given, Decision) and query is None:
            raise InvalidAnswerError("this is not the decision that waits for an answer: nothing was asked there")
        if not isinstance(query, Query):
            raise InvalidAnswerError(
                f"this is not the decision that waits for an answer: expected one that decide() returned, or its "
                f"query, got {given!r}"
            )
        _check_types(query)
        if query.run != self.run:
            raise WrongQueryError(
                "this is not the decision that waits for an answer: it was made by another imitator, or before this "
                f"one was made anew (run {query.run!r}, this is {self.run!r})"
            )
        if not 0 <= query.id < self.next_id:
            raise WrongQueryError(f"query {query.id} was never posed: there are {self.next_id}, numbered from 0")
        return query

    def _same(self, known: Query, given: Query, found: Any) -> Any:
        if known != given:
            raise WrongQueryError(
                f"the answer to query {given.id} was given to another question: it names observation "
                f"{given.observation[:12]!r}, environment {given.env} and step {given.step}, the query is about "
                f"{known.observation[:12]!r}, {known.env} and {known.step}"
            )
        return found

    def _recalled(self, query: Query) -> Decision | None:
        try:
            if self.recall is not None:
                return self.recall(query.id)
        except KeyError:
            pass
        raise StaleAnswerError(
            f"query {query.id} was closed long ago, and how is not known any more; keep a journal, and it will be"
        )


def _check_types(query: Query) -> None:
    """Raise InvalidAnswerError if a field that came from afar is not of its type: True would pass for 1."""
    kinds: dict[str, tuple[type, ...]] = {
        "run": (str,), "id": (int,), "observation": (str,), "env": (int, type(None)), "step": (int,),
    }  # fmt: skip
    for name, known in kinds.items():
        value = getattr(query, name)
        if type(value) not in known:
            raise InvalidAnswerError(
                f"{name} of a query must be {' or '.join(kind.__name__ for kind in known)}, got {value!r}"
            )


def repeats(closed: Decision, answers: Any) -> bool:
    """Whether ``answers`` are those by which a decision was closed: a repeat, which changes nothing.

    Raises:
        StaleAnswerError: if they are not.
    """
    taken, asked, late = (np.atleast_1d(part) for part in (closed.action, closed.queried, closed.unanswered))
    query = None if closed.query is None else closed.query.id
    if np.any(late):
        raise StaleAnswerError(
            f"query {query} was not answered in time, and the safe action was taken: the answer comes too late"
        )
    if np.array_equal(taken[asked], np.atleast_1d(answers)[asked]):
        return True
    raise StaleAnswerError(
        f"query {query} was answered with {closed.action} before, and that stands: another answer to the same query is "
        "refused"
    )
