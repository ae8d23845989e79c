"""A run that goes on: every change is written down before it takes effect, and takes effect at once."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from consensus_imitation.core.aggregation import Aggregation
from consensus_imitation.core.learner import LearnerState
from consensus_imitation.core.members import Ensemble
from consensus_imitation.core.rules import Rules
from consensus_imitation.demonstrators._base import Panel
from consensus_imitation.demonstrators.patience import Patience
from consensus_imitation.imitator._acting import asked_before, decide, settle, take
from consensus_imitation.imitator._arguments import check_answer, check_env
from consensus_imitation.imitator._asking import make_panel
from consensus_imitation.imitator._queries import OpenStep, repeats
from consensus_imitation.imitator._recorder import Recorder
from consensus_imitation.imitator._resume import resume
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator._uniforms import Numbers
from consensus_imitation.imitator._warm_start import pretrained
from consensus_imitation.imitator.decision import Decision


def begin(setup: Setup, state: LearnerState, demonstrator: Any, patience: Patience | None, journal: Any) -> "Live":
    """A run that begins from a state; ``journal`` is where to write it down, or None.

    Raises:
        ConfigurationError: if the demonstrators do not fit, or it is no journal.
        JournalError: if the journal's directory holds a run already, or cannot be written.
    """
    panel, run = make_panel(setup, demonstrator, patience), Run.begin(setup, state)
    if journal is None:
        return Live(run, Recorder(), panel)
    recorder, run = Recorder.begin(journal, run)
    return Live(run, recorder, panel)


def resumed(
    run_dir: str | Path, ensemble: Ensemble, rules: Rules, demonstrator: Any, patience: Patience | None
) -> "Live":
    """A run that goes on from where its journal ends.

    Raises:
        ConfigurationError: if members, rules or demonstrators do not fit.
        JournalError: if it cannot be gone on with, see `_resume.resume`.
    """
    run, directory = resume(run_dir, ensemble, rules)
    recorder = Recorder(directory)
    try:
        panel = make_panel(run.setup, demonstrator, patience)
        recorder.opened()
    except BaseException:
        recorder.let_go()
        raise
    return Live(run, recorder, panel)


class Live:
    """A run, who writes it down, and who answers. One call at a time: `ConsensusImitator` sees to the turns.

    Args:
        run: as it is now.
        recorder: writes it down.
        panel: answers.

    Attributes:
        run: as it is now; swapped at once, so that no interrupt leaves half a step.
        recorder: the same.
        panel: the same.
    """

    def __init__(self, run: Run, recorder: Recorder, panel: Panel) -> None:
        self.run, self.recorder, self.panel = run, recorder, panel
        self._numbers = Numbers()

    # --- one step ---

    def decide(self, observation: Any, active: Any, env: int | None, asker: object) -> Decision:
        """Act or ask; ``asker`` waits for the answer, see `OpenStep`."""
        env = check_env(env, self.run.setup.num_envs)
        observation = self.recorder.own(observation)
        self.make_way(env)
        run = self.run
        step = decide(run, self.recorder, self._numbers, observation, env, active)
        try:
            after = take(step, self.panel, asker)
        except Exception:
            # Members and demonstrators have seen what was drawn.
            self._withdraw(run.spent(env), env)
            raise
        with self.recorder.together():
            self.recorder.decision(step)
            self.run = after
        return step.decision

    def pose(self, observation: Any, active: Any, env: int | None, asker: object) -> OpenStep | Decision:
        """The step that waits for an answer now; or the decision, if nothing has to be asked."""
        env = check_env(env, self.run.setup.num_envs)
        # Before anybody is asked: the answer could not be written down.
        self.recorder.check()
        again = asked_before(self.run, self.recorder, observation, env, active)
        if again is not None:
            again = replace(again, asker=asker)
            self.run = self.run.waiting(again)
            return again
        decision = self.decide(observation, active, env, asker)
        waiting = self.run.queries.blocking(env)
        return decision if waiting is None else waiting

    def answer(self, given: Any, action: Any) -> Decision:
        """An answer from outside, to a decision or its query; the same one again changes nothing."""
        found, num_actions = self._find(given), self.run.setup.ensemble.num_actions
        if isinstance(found, Decision):
            repeats(found, check_answer(found, action, num_actions))
            return found
        answer = check_answer(found.decision, action, num_actions)
        return self.settle(found, answer, np.zeros(np.shape(answer), bool))

    def settle_asked(self, waiting: OpenStep, answers: Any, late: Any) -> Decision:
        """`settle`, unless the query was closed by somebody else while the demonstrator was asked: that stands."""
        found = self._find(waiting.query)
        return found if isinstance(found, Decision) else self.settle(found, answers, late)

    def settle(self, waiting: OpenStep, answers: Any, late: Any) -> Decision:
        """Learn from the answers to a step that waits; the arguments are `_acting.settle`'s."""
        # Before anybody is told.
        self.recorder.check()
        run = self.run
        after, closed = settle(run, self.panel, waiting, answers, late)
        with self.recorder.together():
            self.recorder.answer(waiting, closed, run.state, after.state)
            self.run = after
        return closed

    def withdraw(self, given: Any) -> None:
        """Nobody will answer a query: its environment asks next."""
        found = self._find(given)
        if isinstance(found, OpenStep):
            self._withdraw(self.run.withdrawn(found), found.decision.env, found.query.id)

    def give_up(self, asker: object) -> None:
        """A call of `act` ends without an answer."""
        self.run = self.run.given_up(asker)

    # --- between steps ---

    def begin_episode(self, env: int | None) -> None:
        """An episode begins in one environment, or in all."""
        env = check_env(env, self.run.setup.num_envs)
        self.recorder.check()
        self.make_way(env)
        after = self.run.begun(env)
        # First: if it fails, no ledger has started afresh.
        self.panel.reset(env)
        with self.recorder.together():
            self.recorder.event("begin", env)
            self.run = after

    def pretrain(self, observations: Any, actions: Any, starts: Any) -> None:
        """Learn from recorded demonstrations."""
        self.make_way()
        run = self.run
        after = pretrained(run, observations, actions, starts)
        with self.recorder.together():
            self.recorder.studied(run, after.state)
            self.run = after

    def clear_alarm(self) -> None:
        """Act again after answers that no member explains."""
        after = self.run.cleared()
        with self.recorder.together():
            self.recorder.event("clear", None)
            self.run = after

    def restore(self, state: LearnerState) -> None:
        """Go back, or on, to a state."""
        self.recorder.refuse("go back to a state")
        self.run = self.run.restored(state)

    def combine_by(self, rule: Aggregation) -> None:
        """Put another aggregation rule in the place of this one."""
        self.recorder.refuse("change the rule")
        self.make_way()
        self.run = self.run.under(rule)

    def make_way(self, env: int | None = None) -> None:
        """Refuse to go on while a query blocks environment ``env``, or any (None); withdraw those nobody waits for."""
        for step in self.run.queries.abandoned(env):
            self._withdraw(self.run.withdrawn(step), step.decision.env, step.query.id)

    def _withdraw(self, after: Run, env: int | None, query: int | None = None) -> None:
        with self.recorder.together():
            self.recorder.event("withdraw", env, query=query)
            self.run = after

    def _find(self, given: Any) -> OpenStep | Decision:
        return self.run.queries.find(given, partial(self.recorder.recall, self.run.setup))
