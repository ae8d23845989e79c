"""A run of either shell that goes on: every change is written down before it takes effect, and takes effect at once."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol

import jax

from consensus_imitation.core._actions import check_action
from consensus_imitation.core._sources import check_source
from consensus_imitation.core.aggregation import Aggregation
from consensus_imitation.core.legal import check_legal, check_mask
from consensus_imitation.core.state import LearnerState
from consensus_imitation.demonstrators._base import Panel
from consensus_imitation.errors import ConfigurationError, JournalError
from consensus_imitation.imitator._arguments import check_env
from consensus_imitation.imitator._queries import OpenStep
from consensus_imitation.imitator._recorder import Notation, R, Recorder
from consensus_imitation.imitator._records import took_over
from consensus_imitation.imitator._resume import Again, resume
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._sampling_run import OpenSample
from consensus_imitation.imitator._step import UNDRAWN, judge
from consensus_imitation.imitator._warm_start import Recording, pretrained
from consensus_imitation.imitator.decision import Decision


class Acting(Protocol):
    """How one shell takes its steps; nothing here is written down or changes the run."""

    def draw(self, run: Any, recorder: Recorder, observation: Any, env: int | None, active: Any, mask: Any) -> Any:
        """Act or ask. All that may fail for what was *observed* fails here, whatever was drawn."""
        ...

    def decided(self, run: Any, recorder: Recorder, observation: Any, drawn: Any) -> Any:
        """What was drawn, with what is said of it; it has the ``decision``. What fails here may depend on the draw."""
        ...

    def take(self, step: Any, panel: Panel, asker: object) -> Any:
        """The run after a step that was decided, of which whoever listens is told."""
        ...

    def settle(self, run: Any, panel: Panel, waiting: Any, reply: Any) -> tuple[Any, Any]:
        """The run after the answer, of which whoever listens is told; and the decision as it is closed."""
        ...

    def asked_before(
        self, run: Any, recorder: Recorder, observation: Any, env: int | None, active: Any, mask: Any
    ) -> Any:
        """The query about this very observation that waits for whoever comes; None if there is none."""
        ...

    def given(self, run: Any, found: Any, answer: Any, source: Any, /) -> Any:
        """An answer from outside to a step that waits, or that is closed, checked, as `settle` takes it.

        Actions that are not numbered come with no source: None.
        """
        ...

    def check_same(self, closed: Any, reply: Any) -> None:
        """Raise StaleAnswerError unless a decision was closed by this very reply."""
        ...


class Kind(NamedTuple):
    """What makes one shell what it is; all else, both share.

    Attributes:
        acting: how its steps are taken.
        notation: how they are written.
        again: how they are done again.
    """

    acting: Callable[[], Acting]
    notation: Notation
    again: Again


def begin(kind: Kind, run: R, panel: Panel, journal: Any) -> "Live[R]":
    """A run that begins; ``journal`` is where to write it down, or None.

    Raises:
        ConfigurationError: if it is no journal.
        JournalError: if the journal's directory holds a run already, or cannot be written.
    """
    if journal is None:
        return Live(run, Recorder(kind.notation), panel, kind.acting())
    recorder, run = Recorder.begin(kind.notation, journal, run)
    return Live(run, recorder, panel, kind.acting())


def resumed(
    kind: Kind, run_dir: str | Path, setup_of: Callable[[int | None], Any], panel_of: Callable[[Any], Panel]
) -> "Live[Any]":
    """A run that goes on from where its journal ends.

    Args:
        kind: of the shell that wrote it.
        run_dir: the journal's directory.
        setup_of: what does not change over the run, given the number of environments.
        panel_of: who answers, given that.

    Raises:
        ConfigurationError: if members, rules or demonstrators do not fit, or the run is one of the other shell.
        JournalError: if it cannot be gone on with, see `_resume.resume`.
    """
    run, directory = resume(run_dir, kind.notation, kind.again, setup_of)
    recorder = Recorder(kind.notation, directory)
    try:
        panel = panel_of(run.setup)
        recorder.opened()
    except BaseException:
        recorder.let_go()
        raise
    return Live(run, recorder, panel, kind.acting())


class Live(Generic[R]):
    """A run, who writes it down, and who answers. One call at a time: the shell sees to the turns.

    Args:
        run: as it is now.
        recorder: writes it down.
        panel: answers.
        acting: takes the steps.

    Attributes:
        run: as it is now; swapped at once, so that no interrupt leaves half a step.
        recorder: the same.
        panel: the same.
    """

    def __init__(self, run: R, recorder: Recorder, panel: Panel, acting: Acting) -> None:
        self.run: R = run
        self.recorder, self.panel = recorder, panel
        self._acting = acting

    # --- one step ---

    def decide(self, observation: Any, active: Any, env: int | None, mask: Any, asker: object) -> Any:
        """Act or ask; ``asker`` waits for the answer, see `OpenStep`."""
        env = check_env(env, self.run.setup.num_envs)
        observation = self.recorder.own(observation)
        self.make_way(env)
        run, num_told = self.run, self.panel.num_told
        drawn = self._acting.draw(run, self.recorder, observation, env, active, mask)
        try:
            step = self._acting.decided(run, self.recorder, observation, drawn)
            after = self._acting.take(step, self.panel, asker)
            with self.recorder.together():
                self.recorder.decision(step)
                self.run = after
        except JournalError:
            raise
        except BaseException as error:
            # A demonstrator may know what was drawn: Ctrl-C gives no second draw, either.
            known = isinstance(error, Exception) or self.panel.num_told > num_told
            if known and self.run is run:
                self._withdraw(run.broken_off(env), env)
            raise
        return step.decision

    def pose(self, observation: Any, active: Any, env: int | None, mask: Any, asker: object) -> Any:
        """The step that waits for an answer now; or the decision, if nothing has to be asked."""
        env = check_env(env, self.run.setup.num_envs)
        # Before anybody is asked: the answer could not be written down.
        self.recorder.check()
        again = self._acting.asked_before(self.run, self.recorder, observation, env, active, mask)
        if again is not None:
            again = replace(again, asker=asker)
            self.run = self.run.waiting(again)
            return again
        decision = self.decide(observation, active, env, mask, asker)
        waiting = self.run.queries.blocking(env)
        return decision if waiting is None else waiting

    def answer(self, given: Any, action: Any, source: Any = None) -> Any:
        """An answer from outside, to a decision or its query; the same one again changes nothing."""
        found = self._find(given)
        reply = self._acting.given(self.run, found, action, source)
        if _waits(found):
            return self.settle(found, reply)
        self._acting.check_same(found, reply)
        return _given_out(found)

    def settle_asked(self, waiting: Any, reply: Any) -> Any:
        """`settle`, unless the query was closed by somebody else while the demonstrator was asked: that stands."""
        found = self._find(waiting.query)
        return self.settle(found, reply) if _waits(found) else _given_out(found)

    def settle(self, waiting: Any, reply: Any) -> Any:
        """Learn from the reply to a step that waits, which is what `Acting.settle` takes."""
        # Before anybody is told.
        self.recorder.check()
        run = self.run
        after, closed = self._acting.settle(run, self.panel, waiting, reply)
        with self.recorder.together():
            self.recorder.answer(waiting, closed, reply, run.state, after.state)
            self.run = after
        return _given_out(closed)

    def withdraw(self, given: Any) -> None:
        """Nobody will answer a query: its environment asks next."""
        found = self._find(given)
        if _waits(found):
            self._withdraw(self.run.withdrawn(found), found.decision.env, found.query.id)

    def give_up(self, asker: object) -> None:
        """A call of `act` ends without an answer."""
        self.run = self.run.given_up(asker)

    # --- between steps ---

    def clear_alarm(self) -> None:
        """Act again after answers that no member explains."""
        after = self.run.cleared()
        with self.recorder.together():
            self.recorder.event("clear", None)
            self.run = after

    def make_way(self, env: int | None = None) -> None:
        """Refuse to go on while a query blocks environment ``env``, or any (None); withdraw those nobody waits for."""
        # First: after `close` nobody can answer a query that waits.
        self.recorder.check()
        left: list[Any] = [*self.run.queries.abandoned(env)]
        for step in left:
            self._withdraw(self.run.withdrawn(step), step.decision.env, step.query.id)

    def _withdraw(self, after: R, env: int | None, query: int | None = None) -> None:
        with self.recorder.together():
            self.recorder.event("withdraw", env, query=query)
            self.run = after

    def _find(self, given: Any) -> Any:
        return self.run.queries.find(given, partial(self.recorder.recall, self.run.setup))

    # --- of numbered actions only ---

    def begin_episode(self: "Live[Run]", env: int | None) -> None:
        """An episode begins in one environment, or in all."""
        env = check_env(env, self.run.setup.num_envs)
        self.make_way(env)
        after = self.run.begun(env)
        # First: if it fails, no ledger has started afresh.
        self.panel.reset(env)
        with self.recorder.together():
            self.recorder.event("begin", env)
            self.run = after

    def take_over(
        self: "Live[Run]", observation: Any, action: Any, learn: bool, env: int | None, mask: Any, source: Any
    ) -> Decision:
        """The demonstrator acts unasked."""
        setup = self.run.setup
        env = check_env(env, setup.num_envs)
        if setup.rows(env) is not None:
            raise ConfigurationError("a demonstrator takes over one environment of a batch: name it by env=")
        legal = check_mask(mask, setup.ensemble.num_actions)
        action = check_legal(check_action(action, setup.ensemble.num_actions), legal, "the demonstrator took")
        source = self.panel.source(env or 0) if source is None else check_source(source)
        observation = self.recorder.own(observation)
        self.make_way(env)
        run = self.run
        self.recorder.checkpoint_if_due(run)
        judged = judge(setup, setup.taken(run.state, env), observation, UNDRAWN, env, None, legal)
        decision = judged.decision(setup, int(run.steps[env or 0]), env)
        decision = replace(decision, action=action, queried=False)
        packed = self.recorder.packed(observation, needed=True)
        after = run.taken_over(judged, action, learn, env, source)
        self.panel.tell(action, "demonstrator", env or 0)
        with self.recorder.together():
            self.recorder.step(partial(took_over, judged, decision, learn, source, packed or b""), run, packed)
            self.run = after
        return decision

    def pretrain(self: "Live[Run]", recording: Recording) -> None:
        """Learn from recorded demonstrations."""
        self.make_way()
        run = self.run
        after = pretrained(run, recording)
        with self.recorder.together():
            self.recorder.studied(run, after)
            self.run = after

    def restore(self: "Live[Run]", state: LearnerState) -> None:
        """Go back, or on, to a state."""
        self.recorder.refuse("go back to a state")
        self.run = self.run.restored(state)

    def combine_by(self: "Live[Run]", rule: Aggregation) -> None:
        """Put another aggregation rule in the place of this one."""
        self.recorder.refuse("change the rule")
        self.make_way()
        self.run = self.run.under(rule)


def _given_out(closed: Any) -> Any:
    """A closed decision for the caller: the run keeps another one, whose dicts and lists nobody else can change."""
    leaves, structure = jax.tree.flatten(closed.action)
    # Numbers, and arrays that cannot be written to, are anybody's.
    return closed if structure.num_nodes == 1 else replace(closed, action=structure.unflatten(leaves))


def _waits(found: Any) -> bool:
    """Whether what an answer is about waits; else it is a decision that was closed."""
    return isinstance(found, OpenStep | OpenSample)
