"""Rooms of the tests' own, as a user would give them to the command line: by names of functions."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Ensemble
from consensus_imitation.experiments.tasks import Episode, Rules, Task

from .compare.tiny import LENGTH, ROOMS, Rooms, expert, rooms

RIGHT = np.eye(2)[np.arange(ROOMS) % 2]
#: They know the way more and less well, and withhold 0, 5 and 10%.
TABLES = np.stack([0.98 * RIGHT + 0.01, 0.95 * (0.9 * RIGHT + 0.05), 0.9 * (0.8 * RIGHT + 0.1)])


class Told(Rooms):
    """Rooms that say in ``info`` whether the agent has fallen, and not by ending alone."""

    made: ClassVar[list["Told"]] = []

    def __init__(self) -> None:
        super().__init__()
        self.falls = self.steps = 0
        Told.made.append(self)

    def step(self, action: int) -> Any:
        observation, reward, fallen, over, _ = super().step(action)
        self.falls += fallen
        self.steps += 1
        return observation, reward, fallen, over, {"fell": fallen, "at_the_end": over}


def members(env: Any) -> Ensemble:
    return ensembles.callables([lambda room, table=table: table[room] for table in TABLES], 2)


def fell(reward: float, terminated: bool, info: Mapping[str, Any]) -> bool:
    return bool(info["fell"])


def arrived(episode: Episode, info: Mapping[str, Any]) -> bool:
    return bool(info["at_the_end"]) and episode.length == LENGTH


def make(seed: int) -> tuple[Any, Any, Ensemble]:
    return Told(), expert, members(None)


def make_task(seed: int) -> Task:
    return rooms()


def make_told(seed: int) -> Task:
    """Everything counts as solved, and harm is what ``info`` says."""
    rules = Rules(solved=lambda episode: True, unsafe_info=lambda info: info["fell"])
    stranger = lambda env, seed, epsilon: lambda room: 1 - expert(room)  # noqa: E731
    return rooms(rules=rules, build_env=lambda render_mode: Told(), build_demonstrator=stranger)


def make_seedless() -> tuple[Any, Any]:
    return Told(), expert


def wrong(seed: int) -> Any:
    return Told()
