"""The demonstrators: asking them about a step that waits, one after another or all at once, and telling them."""

import asyncio
from typing import Any

import numpy as np

from consensus_imitation.core._actions import check_action
from consensus_imitation.core._sources import Source
from consensus_imitation.core.legal import check_legal
from consensus_imitation.demonstrators._base import Panel
from consensus_imitation.demonstrators.patience import Patience, SafeAction
from consensus_imitation.demonstrators.question import Question
from consensus_imitation.errors import DemonstratorTimeoutError, InvalidAnswerError
from consensus_imitation.imitator._host_members import raw_row
from consensus_imitation.imitator._queries import OpenStep, Reply
from consensus_imitation.imitator._question import question_of
from consensus_imitation.imitator._run import Run
from consensus_imitation.imitator._setup import Setup
from consensus_imitation.imitator.decision import Decision


def make_panel(setup: Setup, demonstrator: Any, patience: Patience | None) -> Panel:
    """Who answers for each environment.

    Raises:
        ConfigurationError: if they are none, not as many as environments, or the safe action is no action.
    """
    panel = Panel(demonstrator, setup.num_envs, patience)
    if isinstance(panel.patience.then, SafeAction):
        panel.patience.then.check(setup.ensemble.num_actions)
    return panel


def safe_action(panel: Panel) -> int:
    """What is done if nobody answers; 0 if nothing is named."""
    return panel.patience.then.action if isinstance(panel.patience.then, SafeAction) else 0


def tell(panel: Panel, setup: Setup, decision: Decision, active: np.ndarray | None) -> None:
    """Tell the demonstrators what is about to be done."""
    if not panel.listens:
        return
    late = np.asarray(decision.unanswered)
    asked = np.asarray(decision.queried) & ~late
    if decision.env is None:
        panel.observe(decision.action, asked, active, np.broadcast_to(late, asked.shape))
    else:
        rows = np.arange(setup.num_envs or 0) == decision.env
        panel.observe(np.full(rows.shape, decision.action), rows & asked, rows, rows & late)


class _Answers:
    """What came in so far: int [] and bool [], or [B] each for a batch in lockstep, and by whom."""

    def __init__(self, run: Run, waiting: OpenStep, panel: Panel) -> None:
        decision, setup = waiting.decision, run.setup
        self._run, self._panel = run, panel
        self._whole = setup.rows(decision.env) is not None
        self._waiting, self._num_actions = waiting, setup.ensemble.num_actions
        self.actions = np.array(decision.action if self._whole else -1)
        self.late = np.zeros(np.shape(decision.queried), bool)
        self.sources: list[Source | None] = [None] * self.actions.size
        # Who answered before somebody else failed to is not asked again.
        for row, (action, source) in waiting.given.items():
            self.actions[row if self._whole else ()], self.sources[row] = action, source
        self.asked = [row for row in np.flatnonzero(decision.queried).tolist() if row not in waiting.given]

    def shown(self, row: int) -> tuple[Any, int, np.ndarray | None, Question | None]:
        """What is shown to the demonstrator, of which environment, what is legal, and why it is asked if it is told."""
        explain = self._panel.considers
        question = question_of(self._run, self._waiting, row if self._whole else None) if explain else None
        if not self._whole:
            return self._waiting.raw, self._waiting.decision.env or 0, self._legal(row), question
        return raw_row(self._waiting.raw, row), row, self._legal(row), question

    def _legal(self, row: int) -> np.ndarray | None:
        mask = self._waiting.decision.action_mask
        return mask if mask is None or not self._whole else mask[row]

    def take(self, row: int, answer: Any, late: bool = False) -> None:
        """An answer, or the safe action for want of one."""
        place = row if self._whole else ()
        checked = self._checked(row, answer)
        # Looked at now: of several people that share a seat, this one has just answered.
        source = None if late else self._panel.source(row if self._whole else self._waiting.decision.env or 0)
        self.actions[place], self.late[place], self.sources[row] = checked, late, source
        if not late:
            self._waiting.given[row] = checked, source

    def safe(self, row: int, silence: DemonstratorTimeoutError) -> None:
        """The safe action for want of an answer; if none is named, or it is none here, the silence is raised again."""
        action = _safe(self._panel, silence)
        try:
            self._checked(row, action)
        except InvalidAnswerError as illegal:
            raise DemonstratorTimeoutError(f"{silence}. SafeAction({action}) is not legal here: {illegal}") from silence
        self.take(row, action, late=True)

    def _checked(self, row: int, answer: Any) -> int:
        return check_legal(check_action(answer, self._num_actions), self._legal(row))

    @property
    def reply(self) -> Reply:
        """All of it."""
        return Reply(self.actions, self.late, self.sources)


def ask(panel: Panel, run: Run, waiting: OpenStep) -> Reply:
    """Ask whoever has to be asked.

    Args:
        panel: who answers.
        run: in which the step waits.
        waiting: the step.

    Raises:
        DemonstratorTimeoutError: if nobody answers, and no safe action is named.
        InvalidAnswerError: if an answer is no action, or not a legal one.
        ConfigurationError: if a demonstrator names a source that is none.
    """
    answers = _Answers(run, waiting, panel)
    for row in answers.asked:
        try:
            answers.take(row, panel.ask(*answers.shown(row)))
        except DemonstratorTimeoutError as silence:
            answers.safe(row, silence)
    return answers.reply


async def ask_async(panel: Panel, run: Run, waiting: OpenStep) -> Reply:
    """`ask`, all at the same time, letting others work meanwhile."""
    answers = _Answers(run, waiting, panel)

    async def one(row: int) -> None:
        try:
            answers.take(row, await panel.ask_async(*answers.shown(row)))
        except DemonstratorTimeoutError as silence:
            answers.safe(row, silence)

    tasks = [asyncio.ensure_future(one(row)) for row in answers.asked]
    try:
        # If one fails, the others are waited for all the same: what they answer is kept, and they are not asked again.
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return answers.reply


def _safe(panel: Panel, silence: DemonstratorTimeoutError) -> int:
    """The safe action; if none is named, the silence is raised again."""
    if isinstance(panel.patience.then, SafeAction):
        return panel.patience.then.action
    raise silence
