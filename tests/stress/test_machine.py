"""Whatever is done in whatever order, whenever it is killed or fails: it is where a twin is that nothing happened to.

The twin keeps no journal. It is told what the journal says was done, so that the journal is held to be the truth; what
was handed out has to be what the twin hands out, bit for bit.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from consensus_imitation import ConsensusImitator, InflationBudget, MisspecificationAlarm, TopK, ensembles
from consensus_imitation.errors import (
    InvalidAnswerError,
    JournalError,
    JournalWriteError,
    LockedError,
    PendingQueryError,
    StaleAnswerError,
    WrongQueryError,
)
from consensus_imitation.imitator._calls import grouped
from consensus_imitation.imitator.decision import Decision, Query
from consensus_imitation.journal.directory import Journal
from tests.imitator import probe
from tests.imitator.probe import drop, put_run, run_of

from .crash_faults import failing
from .crash_runs import leaves, read

NUM_ENVS, NUM_SEEN, NUM_ACTIONS = 2, 4, 3
#: In the last observation all members hold the last action to be impossible.
PROBS = np.array(
    [
        [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.5, 0.0]],
        [[0.8, 0.1, 0.1], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2], [0.9, 0.1, 0.0]],
        [[0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.0, 0.5, 0.5], [0.2, 0.8, 0.0]],
    ]
)  # [N, S, A]
MEMBERS = ensembles.tabular(PROBS)
RULES: dict[str, Any] = {
    "selection": TopK(2),
    "inflation_budget": InflationBudget(factor=3.0, per="episode"),
    "alarm": MisspecificationAlarm(delta=0.01),
}

ENVS, SEEN, ACTIONS = st.integers(0, NUM_ENVS - 1), st.integers(0, NUM_SEEN - 1), st.integers(0, NUM_ACTIONS - 1)
WHICH = st.integers(0, 7)


class AwayError(Exception):
    """The demonstrator cannot be reached."""


def state_of(imitator: ConsensusImitator) -> list[bytes]:
    return [leaf.tobytes() for _, leaf in leaves(imitator)]


def waiting(imitator: ConsensusImitator) -> list[tuple[Any, ...]]:
    """The queries that wait. Of rows that were set aside the journal says nothing."""
    queries = run_of(imitator).queries
    assert [step.decision for step in queries.waiting()] == list(imitator.pending)
    return [
        (step.query.id, step.query.observation, step.query.env, step.query.step, *said(step.decision, step.active))
        for step in queries.waiting()
    ]


def said(decision: Decision, active: np.ndarray | None = None) -> tuple[Any, ...]:
    parts = (decision.action, decision.queried, decision.query_prob, decision.min_probs, decision.selected,
             decision.ledger, decision.handed_over)  # fmt: skip
    plain = [np.asarray(-1 if part is None else part) for part in parts]
    return (decision.step, decision.env, *((part if active is None else part[active]).tolist() for part in plain))


class Machine(RuleBasedStateMachine):
    """The imitator with a journal, and its twin without."""

    @initialize(batch=st.booleans(), seed=st.integers(0, 2**20))
    def begin(self, batch: bool, seed: int) -> None:
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(dir=memory))
        self.path = self.folder / "run"
        self.num_envs = NUM_ENVS if batch else None
        self.fault: tuple[int, bool, BaseException | None] | None = None
        self.reply: Callable[[], Any] = int
        common: dict[str, Any] = {"seed": seed, "num_envs": self.num_envs, **RULES}
        self.sut = ConsensusImitator(MEMBERS, self.ask, journal=Journal(self.path, checkpoint_every=3), **common)
        self.twin = ConsensusImitator(MEMBERS, self.ask, **common)
        self.chains: list[bytes] = []
        self.closed: list[tuple[Query, Any, Decision]] = []
        self.withdrawn: list[Query] = []
        self.new_calls()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.sut.close()
            shutil.rmtree(self.folder)

    def ask(self, observation: Any) -> Any:
        return self.reply()

    # --- what holds after everything ---

    def new_calls(self) -> list[list[Any]]:
        """The calls that the journal has gained; what it held before, it still holds."""
        entries = read(self.path)
        chains = [entry.chain for entry in entries]
        assert chains[: len(self.chains)] == self.chains
        new = entries[len(self.chains) :]
        self.chains = chains
        return [call for call in grouped(new) if call[0].record.kind != "open"]

    def compare(self) -> None:
        assert state_of(self.sut) == state_of(self.twin)
        assert waiting(self.sut) == waiting(self.twin)
        assert self.sut.weights.tobytes() == self.twin.weights.tobytes()
        assert (self.sut.num_steps, self.sut.num_queries) == (self.twin.num_steps, self.twin.num_queries)
        assert self.sut.alarms == self.twin.alarms

    def check_bounds(self, decision: Decision, rows: np.ndarray, active: np.ndarray | None) -> None:
        """The minimum is below each member that has a say; what is left of one is asked about."""
        kept = np.ones(len(rows), bool) if active is None else active
        for b in np.flatnonzero(kept).tolist():
            minimum, selected = np.atleast_2d(decision.min_probs)[b], np.atleast_2d(decision.selected)[b]
            query_prob = float(np.atleast_1d(decision.query_prob)[b])
            assert selected.sum() >= 2
            assert (minimum <= PROBS[selected, rows[b]] * (1 + 1e-5)).all()
            assert (minimum >= 0).all()
            if not np.any(decision.handed_over) and not bool(self.twin.state.unexplained):
                assert abs(minimum.sum() + query_prob - 1) < 1e-5

    # --- doing something ---

    def perform(
        self, do: Callable[[], Any], *, shown: Any = None, active: Any = None, env: int | None = None,
        answer: Any = None, query: Query | None = None, recordings: Any = None, fails: tuple[type[Exception], ...] = (),
        writes: tuple[tuple[str, ...], ...],
    ) -> None:  # fmt: skip
        """Do it, with the fault if one is due; then tell the twin what the journal says was done.

        Args:
            do: what is done with the imitator.
            shown: the observation.
            active: rows.
            env: environment.
            answer: that is given.
            query: that is answered.
            recordings: that are studied.
            fails: errors that are right.
            writes: what may be written, if nothing fails to be.
        """
        handed, fault, self.fault = None, self.fault, None
        failed = refused = False
        before, pending = state_of(self.sut), waiting(self.sut)
        try:
            if fault is None:
                handed = do()
            else:
                with failing(*fault):
                    handed = do()
        except (JournalWriteError, KeyboardInterrupt):
            assert fault is not None
            failed = True
        except AwayError:
            # The question stays open.
            assert AwayError in fails
            refused = True
        except PendingQueryError:
            assert PendingQueryError in fails
            assert waiting(self.sut) == pending
            refused = True
        if refused and waiting(self.sut) == pending:
            assert state_of(self.sut) == before
        if failed:
            self.refuses_everything(state_of(self.sut))
            self.take_up()
        calls = self.new_calls()
        kinds = tuple("ask" if any(e.record.kind == "ask" for e in call) else call[0].record.kind for call in calls)
        assert failed or kinds in writes, (kinds, writes)
        theirs = None
        for kind, call in zip(kinds, calls, strict=True):
            about = query.id if query is not None else call[0].record.query
            theirs = self.tell_twin(kind, shown, active, env, answer, about, recordings)
        if isinstance(handed, Decision):
            assert theirs is not None
            assert said(handed, active) == said(theirs, active)
            if shown is not None:
                self.check_bounds(handed, np.atleast_1d(shown), active)
            if "answer" in kinds:
                self.closed.append((handed.query or Query("", -1, "", None, 0), answer, handed))
        self.compare()

    def tell_twin(
        self, kind: str, shown: Any, active: Any, env: int | None, answer: Any, number: int | None, recordings: Any
    ) -> Decision | None:
        match kind:
            case "act" | "ask":
                return self.twin.decide(shown, active, env)
            case "answer":
                own = next(one for one in self.twin.pending if one.query and one.query.id == number)
                return self.twin.answer(own, answer)
            case "withdraw":
                twin = run_of(self.twin)
                own = next(step for step in twin.queries.waiting() if step.query.id == number)
                put_run(self.twin, twin.withdrawn(own))
                self.withdrawn.append(replace(own.query, run=self.sut.run))
            case "begin":
                self.twin.begin_episode(env)
            case "clear":
                self.twin.clear_alarm()
            case "study":
                self.twin.pretrain(*recordings)
            case _:
                raise AssertionError(kind)
        return None

    def refuses_everything(self, before: list[bytes]) -> None:
        sut = self.sut
        for env in [None] if self.num_envs is None else [None, *range(NUM_ENVS)]:
            shown = np.zeros(NUM_ENVS, np.int32) if env is None and self.num_envs else 1
            for call in (sut.decide, sut.act):
                with pytest.raises((JournalWriteError, PendingQueryError)):
                    call(shown, env=env)
            with pytest.raises((JournalWriteError, PendingQueryError)):
                sut.begin_episode(env)
        for one in sut.pending:
            with pytest.raises(JournalWriteError):
                sut.answer(one, np.zeros(NUM_ENVS, np.int32) if np.ndim(one.queried) else 0)
        with pytest.raises(JournalWriteError):
            sut.clear_alarm()
        assert state_of(sut) == before

    def take_up(self) -> None:
        """The process dies, and another one goes on."""
        drop(self.sut)
        self.resume()

    def resume(self) -> None:
        self.sut = ConsensusImitator.resume(self.path, MEMBERS, self.ask, **RULES)
        # What a study taught is saved before it is written that it counts; nothing else is ever left over.
        assert all("which the journal does not hold" in line for line in self.sut.repairs[1:])
        assert not self.sut.repairs or self.sut.repairs[0].endswith("that is all of it")

    def blocking(self, env: int | None) -> list[Any]:
        """The steps of the imitator that are in the way."""
        queries = run_of(self.sut).queries
        return [step for step in queries.waiting() if env is None or step.decision.env in (None, env)]

    def writes(self, env: int | None, *then: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """What may be written: nothing while somebody waits for an answer, else what nobody waits for is withdrawn."""
        steps = self.blocking(env)
        if any(step.asker is not None for step in steps):
            return ((),)
        return tuple((*("withdraw",) * len(steps), *kinds) for kinds in then)

    # --- rules ---

    @rule(env=ENVS, shown=SEEN)
    def decide(self, env: int, shown: int) -> None:
        own = None if self.num_envs is None else env
        self.perform(
            lambda: self.sut.decide(shown, env=own),
            shown=shown, env=own, fails=(PendingQueryError,), writes=self.writes(own, ("act",), ("ask",)),
        )  # fmt: skip

    @rule(rows=st.tuples(SEEN, SEEN), active=st.tuples(st.booleans(), st.booleans()))
    @precondition(lambda self: self.num_envs is not None)
    def decide_in_lockstep(self, rows: tuple[int, int], active: tuple[bool, bool]) -> None:
        shown, kept = np.array(rows, np.int32), np.array(active) if any(active) else None
        self.perform(
            lambda: self.sut.decide(shown, kept),
            shown=shown, active=kept, fails=(PendingQueryError,),
            writes=self.writes(None, ("act",), ("ask",)),
        )  # fmt: skip

    @rule(env=ENVS, shown=SEEN, action=ACTIONS, away=st.booleans())
    def act(self, env: int, shown: int, action: int, away: bool) -> None:
        own = None if self.num_envs is None else env

        def reply() -> int:
            if away:
                raise AwayError
            return action

        self.reply = reply
        last = () if away else ("answer",)
        writes = (last,) if self.asks_again(own, shown) else self.writes(own, ("act",), ("ask", *last))
        self.perform(
            lambda: self.sut.act(shown, env=own),
            shown=shown, env=own, answer=action, fails=(PendingQueryError, AwayError), writes=writes,
        )  # fmt: skip

    def asks_again(self, env: int | None, shown: int) -> bool:
        """Whether what blocks is a question about this very observation whose answer nobody waits for any more."""
        return any(
            step.asker in (None, "restored") and step.decision.env == env and step.raw == shown
            for step in self.blocking(env)[:1]
        )

    @rule(which=WHICH, actions=st.tuples(ACTIONS, ACTIONS), by_query=st.booleans())
    @precondition(lambda self: self.sut.pending)
    def answer(self, which: int, actions: tuple[int, int], by_query: bool) -> None:
        one = self.sut.pending[which % len(self.sut.pending)]
        given: Any = np.array(actions, np.int32) if np.ndim(one.queried) else actions[0]
        query = one.query
        assert query is not None
        queries = run_of(self.twin).queries
        active = next(step.active for step in queries.waiting() if step.query.id == query.id)
        self.perform(
            lambda: self.sut.answer(query if by_query else one, given),
            answer=given, query=query, active=active, writes=(("answer",),),
        )  # fmt: skip

    @rule(which=WHICH, bad=st.sampled_from([-1, NUM_ACTIONS, 0.5, None, "left", [0], True, np.nan]))
    @precondition(lambda self: self.sut.pending)
    def answer_with_nonsense(self, which: int, bad: Any) -> None:
        one = self.sut.pending[which % len(self.sut.pending)]
        with pytest.raises(InvalidAnswerError):
            self.sut.answer(one, [bad, bad] if np.ndim(one.queried) else bad)
        assert self.new_calls() == []
        self.compare()

    @rule(which=WHICH, by=st.integers(0, NUM_ACTIONS - 1))
    @precondition(lambda self: self.closed)
    def answer_again(self, which: int, by: int) -> None:
        query, answer, decision = self.closed[which % len(self.closed)]
        other = (answer + by) % NUM_ACTIONS
        if by == 0:
            again = self.sut.answer(query, answer)
            assert np.array_equal(np.asarray(again.action), np.asarray(decision.action))
            assert said(again)[:2] == said(decision)[:2]
        else:
            with pytest.raises(StaleAnswerError):
                self.sut.answer(query, other)
        assert self.new_calls() == []
        self.compare()

    @rule(which=WHICH, action=ACTIONS)
    @precondition(lambda self: self.withdrawn)
    def answer_too_late(self, which: int, action: int) -> None:
        with pytest.raises(StaleAnswerError):
            self.sut.answer(self.withdrawn[which % len(self.withdrawn)], action)
        assert self.new_calls() == []
        self.compare()

    @rule(how=st.sampled_from(["run", "id", "observation", "env", "step"]), which=WHICH)
    @precondition(lambda self: self.sut.pending or self.closed)
    def answer_another_question(self, how: str, which: int) -> None:
        queries = [one.query for one in self.sut.pending if one.query] + [query for query, *_ in self.closed]
        query = queries[which % len(queries)]
        wrong = {"run": "f" * 32, "id": 10_000, "observation": "0" * 64, "env": 1 - (query.env or 0),
                 "step": query.step + 1}[how]  # fmt: skip
        given: Any = 0 if self.num_envs is None or query.env is not None else np.zeros(NUM_ENVS, np.int32)
        with pytest.raises(WrongQueryError):
            self.sut.answer(replace(query, **{how: wrong}), given)
        assert self.new_calls() == []
        self.compare()

    @rule(env=st.none() | ENVS)
    def begin_episode(self, env: int | None) -> None:
        own = None if self.num_envs is None else env
        self.perform(
            lambda: self.sut.begin_episode(own), env=own, fails=(PendingQueryError,),
            writes=self.writes(own, ("begin",)),
        )  # fmt: skip

    @rule()
    def clear_alarm(self) -> None:
        self.perform(self.sut.clear_alarm, writes=(("clear",),))

    @rule(seen=st.lists(st.tuples(SEEN, ACTIONS), min_size=1, max_size=3))
    def study(self, seen: list[tuple[int, int]]) -> None:
        recordings = [one for one, _ in seen], [action for _, action in seen]
        self.perform(
            lambda: self.sut.pretrain(*recordings), recordings=recordings, fails=(PendingQueryError,),
            writes=self.writes(None, ("study",)),
        )  # fmt: skip

    @rule()
    def kill(self) -> None:
        self.take_up()
        assert self.new_calls() == []
        self.compare()

    @rule()
    def close_and_go_on(self) -> None:
        self.sut.close()
        self.resume()
        assert self.new_calls() == []
        self.compare()

    @rule()
    def checkpoint(self) -> None:
        probe.checkpoint(self.sut)
        assert self.new_calls() == []
        self.compare()

    @rule()
    def second_writer(self) -> None:
        with pytest.raises(LockedError):
            ConsensusImitator.resume(self.path, MEMBERS, self.ask, **RULES)
        assert self.new_calls() == []
        self.compare()

    @rule(at=st.integers(0, 25), after=st.booleans(), interrupted=st.booleans())
    def the_disk_will_fail(self, at: int, after: bool, interrupted: bool) -> None:
        self.fault = at, after, KeyboardInterrupt() if interrupted else None

    @rule(at=st.integers(0, 12), after=st.booleans())
    def taking_up_fails_first(self, at: int, after: bool) -> None:
        drop(self.sut)
        with failing(at, after) as found:
            try:
                self.resume()
            except JournalError:
                assert found.struck
        if found.struck:
            self.resume()
        assert self.new_calls() == []
        self.compare()


def run(examples: int, steps: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples, stateful_step_count=steps, deadline=None, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
                phases=[Phase.generate], report_multiple_bugs=False,
            ),
        )  # fmt: skip


@pytest.mark.slow
def test_it_is_where_its_twin_is() -> None:
    run(18, 25)


@pytest.mark.long
def test_it_is_where_its_twin_is_for_long() -> None:
    run(300, 50)
