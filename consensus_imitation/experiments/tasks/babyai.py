"""Levels of BabyAI in MiniGrid, with the bot that comes with them."""

import contextlib
import io
from collections.abc import Callable
from functools import partial
from typing import Any

from consensus_imitation.demonstrators.bots.babyai import BabyAIDemonstrator
from consensus_imitation.experiments.tasks.outcome import Rules
from consensus_imitation.experiments.tasks.requirements import require
from consensus_imitation.experiments.tasks.task import Task

_COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_THINGS = ("ball", "box", "key")
_GO_TO = ("go", "to", "the")
_WHERE = ("in", "front", "of", "you", "behind", "on", "your", "left", "right")

#: Name -> (Gymnasium's id, limit of steps of the level itself, words of its missions).
_LEVELS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "gotoredballgrey": ("BabyAI-GoToRedBallGrey-v0", 64, (*_GO_TO, "red", "ball")),
    "gotoredball": ("BabyAI-GoToRedBall-v0", 64, (*_GO_TO, "a", "red", "ball")),
    "gotoobj": ("BabyAI-GoToObj-v0", 64, (*_GO_TO, *_COLOURS, *_THINGS)),
    "gotolocal": ("BabyAI-GoToLocal-v0", 64, (*_GO_TO, "a", *_COLOURS, *_THINGS)),
    "pickuploc": ("BabyAI-PickupLoc-v0", 64, ("pick", "up", "the", "a", *_COLOURS, *_THINGS, *_WHERE)),
    "unlocklocal": ("BabyAI-UnlockLocal-v0", 576, ("open", "the", "door")),
    "putnextlocal": ("BabyAI-PutNextLocal-v0", 128, ("put", "the", "next", "to", *_COLOURS, *_THINGS)),
}


def level(name: str) -> Task:
    """Return a level by its short name. No event in these levels is unsafe, so an unsolved episode counts as harm.

    All 7 actions are allowed, also those that are useless in the level: to avoid them is part of the task.

    Raises:
        ImportError: without MiniGrid, naming the extra that brings it.
    """
    env_id, limit, words = _LEVELS[name]
    require("minigrid")
    return Task(
        name=name,
        env_id=env_id,
        success_means="carrying out the mission within the limit of steps (a reward above 0)",
        harm_means="not carrying out the mission (no event in this level is unsafe, so failures are counted)",
        threshold="success",
        max_episode_steps=limit,
        members="grid",
        rules=Rules(solved=lambda episode: episode.total > 0),
        build_env=partial(_build, env_id),
        build_demonstrator=lambda env, seed, epsilon: BabyAIDemonstrator(env, epsilon, seed),
        vocabulary=tuple(sorted(words)),
        deterministic=False,
    )


MAKERS: dict[str, Callable[[], Task]] = {name: partial(level, name) for name in _LEVELS}


def _build(env_id: str, render_mode: str | None) -> Any:
    gymnasium = require("gymnasium")
    require("minigrid")  # Registers the levels.

    class Silent(gymnasium.Wrapper):
        """Silence stdout: levels print to it when they discard a room."""

        def reset(self, **kwargs: Any) -> Any:
            with contextlib.redirect_stdout(io.StringIO()):
                return self.env.reset(**kwargs)

    return Silent(gymnasium.make(env_id, render_mode=render_mode, disable_env_checker=True))
