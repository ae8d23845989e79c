"""Digits as a task: picture after picture, of which each wants its name."""

from typing import Any

import numpy as np

from consensus_imitation.demonstrators.bots.scripted import ScriptedDemonstrator
from consensus_imitation.experiments import digits
from consensus_imitation.experiments.kinds.problems import problem
from consensus_imitation.experiments.tasks import Rules, Task
from consensus_imitation.experiments.tasks.requirements import require

#: Pictures in an episode, and those that there are to learn from; the others are met afterwards.
_LENGTH, _LEARNED = 20, 1200


class Digits:
    """An environment that shows pictures in a random order; the reward is 0 for a digit's name and -1 for another.

    Args:
        pictures: float32 [P, 64].
        labels: int [P].

    Attributes:
        observation_space: Gymnasium's.
        action_space: likewise.
    """

    def __init__(self, pictures: np.ndarray, labels: np.ndarray) -> None:
        spaces = require("gymnasium").spaces
        self.observation_space = spaces.Box(0.0, 1.0, pictures.shape[1:], np.float32)
        self.action_space = spaces.Discrete(digits.NUM_CLASSES)
        self._pictures, self._labels = pictures, labels
        self._rng = np.random.default_rng()
        self._shown = self._steps = 0

    @property
    def unwrapped(self) -> "Digits":
        """Itself."""
        return self

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._steps = 0
        return self._next(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Judge a name, and show another picture."""
        reward = 0.0 if action == self._labels[self._shown] else -1.0
        self._steps += 1
        return self._next(), reward, False, self._steps == _LENGTH, {}

    def close(self) -> None:
        """Do nothing."""

    def _next(self) -> np.ndarray:
        self._shown = int(self._rng.integers(len(self._pictures)))
        return self._pictures[self._shown]


class _Reader(ScriptedDemonstrator):
    """Knows every picture."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray, epsilon: float, seed: int | None) -> None:
        super().__init__(digits.NUM_CLASSES, epsilon, seed)
        self._names = dict(zip(map(np.ndarray.tobytes, pictures), labels.tolist(), strict=True))

    def intended(self, observation: Any) -> int:
        return self._names[observation.tobytes()]


def learned_and_met() -> tuple[Task, Task]:
    """Return the task with the pictures that members learn from, and with others.

    Raises:
        ImportError: without scikit-learn or Gymnasium; it names the extra.
    """
    given = problem("digits", _LEARNED, 0)
    return _task(given.inputs, given.answers), _task(given.familiar, given.right)


def _task(pictures: np.ndarray, labels: np.ndarray) -> Task:
    return Task(
        name="digits",
        env_id="",
        success_means="the name of every picture",
        harm_means="a wrong name",
        threshold="success",
        max_episode_steps=_LENGTH,
        members="mlp",
        rules=Rules(solved=lambda episode: not episode.unsafe, unsafe_step=lambda reward, _: reward < 0),
        build_env=lambda _: Digits(pictures, labels),
        build_demonstrator=lambda env, seed, epsilon: _Reader(pictures, labels, epsilon, seed),  # noqa: ARG005
    )


def moved(picture: np.ndarray) -> np.ndarray:
    """Return a picture [64] moved by two of its eight columns; what leaves it is lost."""
    square = np.zeros((8, 8), picture.dtype)
    square[:, 2:] = picture.reshape(8, 8)[:, :-2]
    return square.ravel()


def turned(picture: np.ndarray) -> np.ndarray:
    """Return a picture [64] turned by 90 degrees."""
    return digits.turned(picture[None])[0]


def striped(picture: np.ndarray) -> np.ndarray:
    """Return a picture [64] on a ground of stripes: every other column is half bright at least."""
    square = picture.reshape(8, 8).copy()
    square[:, ::2] = np.maximum(square[:, ::2], 0.5)
    return square.ravel()
