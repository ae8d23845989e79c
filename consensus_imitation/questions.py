"""Asking the demonstrators about a step that waits: one after another, or all at the same time."""

import asyncio
from typing import Any

import numpy as np

from consensus_imitation.decision import check_action
from consensus_imitation.demonstrators.adapters import Panel
from consensus_imitation.demonstrators.patience import SafeAction
from consensus_imitation.errors import SilenceError
from consensus_imitation.host import raw_row
from consensus_imitation.queries import OpenStep
from consensus_imitation.steps import Setup


class _Answers:
    """What came in so far: int [] and bool [], or [B] each for a batch in lockstep."""

    def __init__(self, setup: Setup, waiting: OpenStep) -> None:
        decision = waiting.decision
        self._whole = setup.rows(decision.env) is not None
        self._waiting, self._num_actions = waiting, setup.ensemble.num_actions
        self.actions = np.array(decision.action if self._whole else -1)
        self.late = np.zeros(np.shape(decision.queried), bool)
        self.asked: list[int] = np.flatnonzero(decision.queried).tolist()

    def shown(self, row: int) -> tuple[Any, int]:
        """What is shown to the demonstrator, and of which environment."""
        if not self._whole:
            return self._waiting.raw, self._waiting.decision.env or 0
        return raw_row(self._waiting.raw, row), row

    def take(self, row: int, answer: Any, late: bool = False) -> None:
        """An answer, or the safe action for want of one."""
        place = row if self._whole else ()
        self.actions[place], self.late[place] = check_action(answer, self._num_actions), late


def ask(panel: Panel, setup: Setup, waiting: OpenStep) -> tuple[Any, Any]:
    """Ask whoever has to be asked.

    Returns:
        Actions, int [] or [B], the imitator's own where nobody was asked; and where nobody answered, bool likewise: the
        safe action is there.

    Raises:
        SilenceError: if nobody answers, and no safe action is named.
        InvalidAnswerError: if an answer is no action.
    """
    answers = _Answers(setup, waiting)
    for row in answers.asked:
        try:
            answers.take(row, panel.ask(*answers.shown(row)))
        except SilenceError as silence:
            answers.take(row, _safe(panel, silence), late=True)
    return answers.actions, answers.late


async def ask_async(panel: Panel, setup: Setup, waiting: OpenStep) -> tuple[Any, Any]:
    """`ask`, all at the same time, letting others work meanwhile."""
    answers = _Answers(setup, waiting)

    async def one(row: int) -> None:
        try:
            answers.take(row, await panel.ask_async(*answers.shown(row)))
        except SilenceError as silence:
            answers.take(row, _safe(panel, silence), late=True)

    tasks = [asyncio.ensure_future(one(row)) for row in answers.asked]
    try:
        await asyncio.gather(*tasks)
    finally:
        # If one fails, nobody waits for the others any more.
        for task in tasks:
            task.cancel()
    return answers.actions, answers.late


def _safe(panel: Panel, silence: SilenceError) -> int:
    """The safe action; if none is named, the silence is raised again."""
    if isinstance(panel.patience.then, SafeAction):
        return panel.patience.then.action
    raise silence
