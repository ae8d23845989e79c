"""Which queries wait for an answer, which answer belongs to which, and what became of those that wait no more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import jax
import numpy as np

from consensus_imitation.core._sources import Source
from consensus_imitation.errors import InvalidAnswerError, PendingQueryError, StaleAnswerError, WrongQueryError
from consensus_imitation.imitator._sampling_decision import SamplingDecision
from consensus_imitation.imitator.decision import Decision, Query

#: Of so many closed queries it is known without a journal how they were answered.
REMEMBERED = 1024

#: Who waits for the answer to a step, if it is no call of `act`: whoever called `decide`; or, of a run that was taken
#: up, whoever comes with the answer, or with the same observation again.
ELSEWHERE, RESTORED = "elsewhere", "restored"


class Reply(NamedTuple):
    """What a step that waited is answered with, checked.

    Attributes:
        answers: int [], or [B]: the demonstrator's where it answered, the imitator's own where it was not asked.
        late: bool [], or [B]: nobody answered, and the safe action is taken.
        sources: who answered, one for each environment that the step is about; None where nobody is named.
    """

    answers: Any
    late: Any
    sources: Sequence[Source | None]


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
        asker: the call of `act` that waits for the answer, `ELSEWHERE` or `RESTORED`; None if nobody does any more, so
            that a question about another observation may take its place.
        given: what was answered so far, and by whom, by row (0 if it is one environment's): kept if the others fail to
            answer.
    """

    decision: Decision
    packed: Any
    log_probs: jax.Array
    observation: Any
    raw: Any
    core: Any
    active: np.ndarray | None
    asked: float
    asker: object | None = ELSEWHERE
    given: dict[int, tuple[int, Source | None]] = field(default_factory=dict[int, "tuple[int, Source | None]"])

    @property
    def query(self) -> Query:
        """What an answer has to name."""
        if self.decision.query is None:
            raise ValueError("a step that waits has a query")
        return self.decision.query


class _Closed(Protocol):
    """A decision, of either shell."""

    @property
    def query(self) -> Query | None: ...
    @property
    def env(self) -> int | None: ...
    @property
    def step(self) -> int: ...


class _Waiting(Protocol):
    """A step that waits for answers, of either shell."""

    @property
    def decision(self) -> _Closed: ...
    @property
    def query(self) -> Query: ...
    @property
    def asker(self) -> object | None: ...


W = TypeVar("W", bound=_Waiting)
D = TypeVar("D", bound=_Closed)


@dataclass(frozen=True, slots=True)
class Queries(Generic[W, D]):
    """The queries of one run, as a value: what changes them gives new ones. W waits; D is how it is closed.

    Attributes:
        run: its name.
        next_id: number of the next query.
        by_env: those that wait, by environment (None for the only one, or all in lockstep).
        outcomes: the latest that wait no more, by number: the query, and how it was closed (None: withdrawn).
    """

    run: str
    next_id: int = 0
    by_env: Mapping[int | None, W] = field(default_factory=dict[int | None, W])
    outcomes: Mapping[int, tuple[Query, D | None]] = field(default_factory=dict[int, "tuple[Query, D | None]"])

    def new(self, observation: str, env: int | None, step: int) -> Query:
        """A query that is about to be posed; it counts once it `wait`s."""
        return Query(self.run, self.next_id, observation, env, step)

    def wait(self, step: W) -> Self:
        """The query is posed, or waited for by somebody else."""
        by_env = {**self.by_env, step.decision.env: step}
        return replace(self, by_env=by_env, next_id=max(self.next_id, step.query.id + 1))

    def blocking(self, env: int | None) -> W | None:
        """What has to be answered before environment ``env``, or all of them (None), can go on; None if nothing."""
        if env is None:
            return next(iter(self.by_env.values()), None)
        return self.by_env.get(env, self.by_env.get(None))

    def left(self, env: int | None) -> W | None:
        """The query of exactly this environment that nobody in this process waits for; None if there is none."""
        waiting = self.blocking(env)
        left = waiting is not None and waiting.asker in (None, RESTORED) and waiting.decision.env == env
        return waiting if left else None

    def abandoned(self, env: int | None) -> list[W]:
        """What blocks environment ``env``, or any of them (None), and nobody waits for any more.

        Raises:
            PendingQueryError: if somebody waits for one.
        """
        blocking = [step for step in self.waiting() if env is None or step.decision.env in (None, env)]
        for step in blocking:
            if step.asker is not None:
                where = "" if step.decision.env is None else f" of environment {step.decision.env}"
                raise PendingQueryError(
                    f"step {step.decision.step}{where} waits for the demonstrator: call answer(decision, action) first"
                )
        return blocking

    def waiting(self) -> list[W]:
        """All that wait, in the order in which they were posed."""
        return sorted(self.by_env.values(), key=lambda step: step.query.id)

    def close(self, step: W, outcome: D | None) -> Self:
        """The query was answered, or is withdrawn (None)."""
        by_env = {env: other for env, other in self.by_env.items() if env != step.decision.env}
        outcomes = {**self.outcomes, step.query.id: (step.query, outcome)}
        if len(outcomes) > REMEMBERED:
            del outcomes[next(iter(outcomes))]
        return replace(self, by_env=by_env, outcomes=outcomes)

    def find(self, given: Any, recall: Callable[[int], D | None] | None = None) -> W | D:
        """The step that waits for this answer; or, if it was answered before, the decision as it was closed.

        Args:
            given: a decision, or its query.
            recall: finds how a query was closed that is not remembered: the decision, or None if it was withdrawn;
                raises KeyError if it does not know.

        Raises:
            InvalidAnswerError: if it is neither, or nothing was asked.
            WrongQueryError: if it belongs to another run or another observation, or was never posed.
            StaleAnswerError: if it was withdrawn, or if it is not known any more how it was answered.
        """
        query = self._check(given)
        step = next((step for step in self.by_env.values() if step.query.id == query.id), None)
        if step is not None:
            return self._same(step.query, query, step)
        if query.id in self.outcomes:
            known, outcome = self.outcomes[query.id]
        else:
            known, outcome = query, _recalled(query, recall)
        self._same(known if outcome is None or outcome.query is None else outcome.query, query, step)
        if outcome is None:
            raise StaleAnswerError(
                f"query {query.id} was withdrawn: this is not the decision that waits for an answer, and its answer "
                "changes nothing"
            )
        return outcome

    def _check(self, given: Any) -> Query:
        decided = isinstance(given, Decision | SamplingDecision)
        query = given.query if decided else given
        if decided and query is None:
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


def _recalled(query: Query, recall: Callable[[int], D | None] | None) -> D | None:
    try:
        if recall is not None:
            return recall(query.id)
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
