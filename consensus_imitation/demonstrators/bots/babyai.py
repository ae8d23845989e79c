"""MiniGrid's own bot for BabyAI levels; it has to observe every executed action."""

import importlib
from typing import Any

from consensus_imitation.demonstrators._base import Demonstrator, Who
from consensus_imitation.demonstrators.bots.scripted import ScriptedDemonstrator

# What the bot raises when its plan makes no sense after somebody else's actions. It checks by assertions.
_LOST = (AssertionError, AttributeError, IndexError, KeyError, TypeError)


class BabyAIDemonstrator(ScriptedDemonstrator, Demonstrator):
    """BabyAIBot as a demonstrator for one environment, which it looks into.

    The bot plans on the part of the room that has been in view, and has to see every step: call `observe` with the
    executed action once for each step, asked or not, before the environment's ``step``. `reset` may come before or
    after the environment's. The bot notices a new mission even without `reset`.

    Other people's actions may leave the bot without a plan (an opened box disappears, and with it perhaps what was to
    be fetched). Then the agent puts down what it carries, and a fresh bot plans from there, with nothing explored. If
    that bot has no plan either, the answer is ``done``, which does nothing, and a fresh bot tries again at the next
    step.

    Args:
        env: a BabyAI level, as Gymnasium makes it, with the full set of 7 actions.
        epsilon: probability of a uniformly random action in place of the bot's.
        seed: of the random actions; None takes it from the operating system.

    Raises:
        ImportError: without MiniGrid; the message names the extra that brings it.
        ValueError: if the environment is not a BabyAI level, or ``epsilon`` lies outside [0, 1].

    Example:
        >>> from consensus_imitation.experiments import tasks
        >>> env = tasks.make("gotoobj").make_env()
        >>> observation, _ = env.reset(seed=0)
        >>> bot = BabyAIDemonstrator(env)
        >>> bot(observation) == bot(observation)  # to ask twice about the same step does no harm
        True
        >>> bot.observe(0, "imitator")  # somebody turned left instead
        >>> observation, *_ = env.step(0)
        >>> bot(observation) in range(7)
        True
    """

    def __init__(self, env: Any, epsilon: float = 0.0, seed: int | None = None) -> None:
        self._module = _import_bot()
        super().__init__(7, epsilon, seed)
        if not hasattr(type(env.unwrapped), "validate_instrs"):
            raise ValueError(f"{env} is not a BabyAI level: the bot plans only for those")
        self._level = env.unwrapped
        self.reset()

    def reset(self) -> None:
        """Forget everything to begin an episode."""
        self._mission: Any = None
        self._bot: Any = None
        self._executed: int | None = None
        self._putting_down = False
        self._suggestion: int | None = None
        self._planned_at = -1

    def intended(self, observation: Any) -> int:
        """Return the bot's own action in the environment's present state, without reading the observation.

        Raises:
            RuntimeError: if the environment took a step that `observe` was not told of.
        """
        del observation
        # The level makes a new mission object for every episode; this keeps the present one alive.
        if self._mission is not self._level.instrs:
            self.reset()
            self._mission = self._level.instrs
        step = int(self._level.step_count)
        if self._suggestion is None:
            self._suggestion, self._planned_at = self._plan(), step
        elif step != self._planned_at:
            raise RuntimeError(
                "the environment took a step that the bot did not observe: call observe(action, who) once for every "
                "step, with the action that is about to be executed"
            )
        return self._suggestion

    def observe(self, action: int, who: Who) -> None:
        """Tell the bot which action will be executed next; it looks at the step if it was not asked about it.

        Args:
            action: from 0 to 6.
            who: who chose it; this makes no difference here.
        """
        del who
        self.intended(None)
        self._executed, self._suggestion = int(action), None

    def _plan(self) -> int:
        actions = self._level.actions
        if self._putting_down and self._level.carrying is not None:
            return self._put_down()
        self._putting_down = False
        lost = (self._module.DisappearedBoxError, *_LOST)
        if self._bot is not None:
            try:
                return int(self._bot.replan(self._executed))
            except lost:
                self._bot = None
                if self._level.carrying is not None:
                    self._putting_down = True
                    return self._put_down()
        self._bot = self._module.BabyAIBot(self._level)
        try:
            return int(self._bot.replan(None))
        except lost:
            self._bot = None
            self._putting_down = self._level.carrying is not None
            return self._put_down() if self._putting_down else int(actions.done)

    def _put_down(self) -> int:
        """Drop what the agent carries if there is room in front, else turn."""
        actions = self._level.actions
        room = self._level.grid.get(*self._level.front_pos) is None
        return int(actions.drop if room else actions.left)


def _import_bot() -> Any:
    try:
        return importlib.import_module("minigrid.utils.baby_ai_bot")
    except ModuleNotFoundError as error:
        if error.name not in ("minigrid", "gymnasium"):
            raise
        raise ImportError('BabyAI levels need minigrid: pip install "consensus_imitation[tasks]"') from error
