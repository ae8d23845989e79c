"""What changes while an imitator works, as one value: swapped at once, so that no interrupt leaves half a step."""

import secrets
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from consensus_imitation.core._observations import owned
from consensus_imitation.core._sources import Source
from consensus_imitation.core._values import changed
from consensus_imitation.core._voids import BROKEN_OFF, OTHER_RULES, WENT_BACK, marked
from consensus_imitation.core.aggregation import Aggregation
from consensus_imitation.core.learner import Learner
from consensus_imitation.core.state import LearnerState
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._health import Alarms, rule_faults
from consensus_imitation.imitator._queries import OpenStep, Queries, Reply
from consensus_imitation.imitator._setup import Setup, check_fits
from consensus_imitation.imitator._step import Judged, posed, settled, spent, taken_over, unasked
from consensus_imitation.imitator._tally import Tally
from consensus_imitation.imitator._teaching import Rows, on_disk, split, whole
from consensus_imitation.imitator.decision import Decision, some
from consensus_imitation.imitator.policy import begun


@dataclass(frozen=True)
class Run:
    """Where a run is. Nothing in it is ever changed in place: every method gives another run.

    Attributes:
        setup: members and rules.
        state: the learner's, without the answers that members keep: they are in ``rows``.
        rows: those, see `_teaching`.
        queries: those that wait, and what became of others.
        alarms: what was noticed so far.
        steps: int64 [B] (or [1]), steps closed in each environment.
        answers: queries answered, over all environments.
        unexplained: whether no member explains the answers; as in the state, which the device is slow to say.
        tally: sums over the steps that were closed, for the certificate.
    """

    setup: Setup
    state: LearnerState
    rows: Rows
    queries: Queries[OpenStep, Decision]
    alarms: Alarms
    steps: np.ndarray
    answers: int
    unexplained: bool
    tally: Tally

    @classmethod
    def begin(cls, setup: Setup, state: LearnerState, queries: Queries[OpenStep, Decision] | None = None) -> Self:
        """A run that begins from a whole state, under a random name unless ``queries`` bring one."""
        alarms = Alarms(setup.ends_when_alone, rule_faults(setup.learner))
        queries = Queries(secrets.token_hex(16)) if queries is None else queries
        return cls._of(setup, *split(setup.ensemble, state), queries, alarms)

    @classmethod
    def _of(
        cls, setup: Setup, state: LearnerState, rows: Rows, queries: Queries[OpenStep, Decision], alarms: Alarms
    ) -> Self:
        state = owned(state)
        steps, answers = np.array(state.stream.step, np.int64).reshape(-1), int(np.sum(state.stream.queries))
        tally = Tally.begin(setup.learner, setup.ensemble.learns, steps)
        return cls(setup, state, rows, queries, alarms, steps, answers, bool(state.unexplained), tally)._weighed()

    def adopted(self) -> Self:
        """As it goes on under the rules of its setup, whatever rules its state was made under."""
        # A question that waited is not asked any more.
        tally = replace(self.tally, withdrawn=int(np.sum(self.state.stream.asking)))
        return self.moved(kernels.adopt(self.setup.learner, self.state), tally=tally)

    @property
    def whole(self) -> LearnerState:
        """The state with the answers that members keep: what is given out."""
        return whole(self.state, self.rows)

    @property
    def on_disk(self) -> LearnerState:
        """The same as a checkpoint holds it."""
        return on_disk(self.whole)

    def moved(self, state: LearnerState, **changes: Any) -> Self:
        """With another state of this run, and other changes."""
        # The keys of a run never change: the very same arrays, by which the numbers computed ahead are recognised.
        key = self.state.stream.key
        if state.stream.key is not key:
            state = changed(state, stream=changed(state.stream, key=key))
        same = state.unexplained is self.state.unexplained
        unexplained = self.unexplained if same else bool(state.unexplained)
        return changed(self, state=state, unexplained=unexplained, **changes)

    # --- steps ---

    def waiting(self, step: OpenStep) -> Self:
        """A query is waited for, as ``step`` says by whom."""
        return replace(self, queries=self.queries.wait(step))

    def posed(self, waiting: OpenStep, after: LearnerState, alarms: Alarms) -> Self:
        """A query is posed."""
        return self.moved(after, queries=self.queries.wait(waiting), alarms=alarms)

    def recalling(self, saved: dict[str, Any]) -> Self:
        """With what was noticed before, as a checkpoint's header has it (`saved`)."""
        alarms = self.alarms.copy()
        alarms.load(saved["alarms"])
        # Earlier versions kept no sums.
        return replace(self, alarms=alarms, tally=self.tally.loaded(saved.get("tally")))

    def saved(self) -> dict[str, Any]:
        """What a checkpoint says besides the state."""
        return {"alarms": self.alarms.saved(), "tally": self.tally.saved()}

    def closed(self, after: LearnerState, env: int | None, alarms: Alarms) -> Self:
        """A step without a query is over: in one environment, or in all."""
        steps = self.steps.copy()
        steps[slice(None) if env is None else env] += 1
        return self.moved(after, steps=steps, alarms=alarms)

    def settled(self, waiting: OpenStep, reply: Reply, safe_action: int) -> tuple[Self, Decision]:
        """A step with a query is over; also its decision, now with the action. The arguments are `_step.settled`'s."""
        after, rows, closed = settled(self.setup, self.state, self.rows, waiting, reply, safe_action)
        alarms = self.alarms.copy()
        alarms.left_unanswered(int(np.sum(closed.unanswered)))
        answered = int(np.sum(np.asarray(closed.queried) & ~np.asarray(closed.unanswered)))
        over = self.closed(after, closed.env, alarms)
        queries = self.queries.close(waiting, closed.to_remember())
        log_weights = self.state.posterior.log_weights
        asked = (waiting.decision, waiting.log_probs, waiting.active)
        tally = self.tally.answered(*asked, log_weights, reply.answers, reply.late)
        return replace(
            over, rows=rows, queries=queries, answers=self.answers + answered, tally=tally
        )._weighed(), closed

    def taken_over(self, judged: Judged, action: int, learn: bool, env: int | None, source: Source | None) -> Self:
        """A step is over on which the demonstrator acted unasked. The arguments are `_step.taken_over`'s."""
        after, rows = taken_over(self.setup, self.state, self.rows, judged, action, learn, env, source)
        return replace(self.closed(after, env, self.alarms), rows=rows)

    def withdrawn(self, waiting: OpenStep) -> Self:
        """A query is not waited for any more; its environment asks until it gets an answer (`LearnerState`)."""
        return replace(self, queries=self.queries.close(waiting, None), tally=self.tally.went_unanswered())

    def broken_off(self, env: int | None) -> Self:
        """An exception came after an action was drawn: its environment asks next, and no bound is left.

        Whoever raises may look at what was drawn. The law of a step of which some actions are refused, and then the
        demonstrator is asked, has up to twice the demonstrator's probability of the others: on steps that nobody
        refuses, too, so that nothing that is charged here could make up for it.
        """
        return self.moved(marked(spent(self.setup, self.state, env), BROKEN_OFF))

    def given_up(self, asker: object) -> Self:
        """A call of `act` ends without an answer: its query waits for nobody any more."""
        own = [step for step in self.queries.waiting() if step.asker is asker]
        return self.waiting(replace(own[0], asker=None)) if own else self

    # --- between steps ---

    def begun(self, env: int | None) -> Self:
        """An episode begins in one environment, or in all."""
        num_envs = self.setup.num_envs
        begins = np.ones(num_envs or (), bool) if env is None else np.arange(num_envs or 0) == env
        stream = begun(self.setup.learner, self.setup.ensemble, self.state.stream, np.asarray(begins))
        return self.moved(self.state.replace(stream=stream))

    def cleared(self) -> Self:
        """What was wrong is forgotten; what still is will be found again."""
        alarms = self.alarms.copy()
        alarms.clear()
        return self.moved(self.setup.learner.clear_alarm(self.state), alarms=alarms)

    def restored(self, state: LearnerState) -> Self:
        """Back, or on, to another whole state; what voids a promise stays, and queries that wait are withdrawn.

        Raises:
            ConfigurationError: if the state is not one of this ensemble and these rules.
        """
        check_fits(self.setup, state)
        state, rows = split(self.setup.ensemble, state)
        steps = np.asarray(state.stream.step)
        went_back = bool(np.any(steps.reshape(-1) < self.steps))
        restored = kernels.adopt(self.setup.learner, state)
        # What a question that waited here has cost is not given back.
        own, other = np.asarray(self.state.stream.ledger), np.asarray(restored.stream.ledger)
        ledger = np.where(steps.reshape(other.shape) == self.steps.reshape(other.shape), np.maximum(own, other), other)
        asking = restored.stream.asking | self.state.stream.asking
        stream = restored.stream.replace(asking=asking, ledger=ledger.astype(other.dtype))
        restored = restored.replace(stream=stream, voids=restored.voids | self.state.voids)
        queries, waiting = self.queries, self.queries.waiting()
        for step in waiting:
            queries = queries.close(step, None)
        if went_back:
            restored = marked(restored, WENT_BACK)
        run = self._of(self.setup, restored, rows, queries, self.alarms)
        return replace(run, tally=replace(run.tally, withdrawn=self.tally.withdrawn + len(waiting)))

    def under(self, rule: Aggregation) -> Self:
        """With another rule to combine the members.

        Raises:
            ConfigurationError: if it is none, or does not fit.
        """
        learner = self.setup.learner
        rules = learner.rules.replace(aggregation=rule)
        rules.check(self.setup.ensemble)
        setup = replace(self.setup, learner=Learner.of(learner.ensemble, rules))
        alarms = self.alarms.copy()
        alarms.watch(setup.ends_when_alone, rule_faults(setup.learner))
        # Once is enough: what is void stays void.
        known = bool(int(self.state.voids) & OTHER_RULES)
        state = self.state if known else kernels.adopt(setup.learner, self.state)
        tally = Tally.begin(setup.learner, setup.ensemble.learns, self.steps, self.tally.withdrawn)
        return self.moved(state, setup=setup, alarms=alarms, tally=tally)

    def _weighed(self) -> Self:
        """Look who is near exclusion: where the rule promises to keep the truth in, and after an answer at least."""
        rule, num_members = self.setup.learner.selection, self.setup.ensemble.num_members
        margins = np.empty(0)
        if self.answers and rule.exclusion_bound(1 / num_members, num_members) < 1:
            margins = np.asarray(kernels.margins(*self.setup.apart, self.state.posterior.log_weights))
        alarms = self.alarms.copy()
        alarms.weigh(margins)
        return replace(self, alarms=alarms)


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """A step that is decided, and not taken yet.

    Attributes:
        run: before the step.
        observation: as the environment gave it.
        judged: what the core said.
        decision: the same for the user.
        alarms: after it.
        active: bool [B], or None for all.
        number: what the draw used; None if it is done again.
        packed: the observation in bytes; None if nobody has to read it again, or it can be packed later.
    """

    run: Run
    observation: Any
    judged: Judged
    decision: Decision
    alarms: Alarms
    active: np.ndarray | None
    number: Any = None
    packed: bytes | None = None

    @property
    def asks(self) -> bool:
        """Whether somebody is asked."""
        return some(self.decision.queried)

    def taken(self, asker: object, asked: float) -> Run:
        """The run after the step; or with its query, if it is one.

        Args:
            asker: who waits for the answer, see `OpenStep`.
            asked: seconds since the epoch.
        """
        run, judged, decision = self.run, self.judged, self.decision
        if self.asks:
            waiting = judged.waiting(decision, self.observation, self.active, asked, asker)
            return run.posed(waiting, posed(run.setup, run.state, judged, decision.env, self.active), self.alarms)
        return run.closed(unasked(run.setup, run.state, judged, decision, self.active), decision.env, self.alarms)
