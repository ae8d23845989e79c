"""A Gymnasium environment that misbehaves once, at a step that can be chosen."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

A = 3
SPACE = spaces.Dict({"place": spaces.Box(-1.0, 1.0, (2,), np.float32), "room": spaces.Discrete(4)})
#: Steps that are sound; the next one is not.
SOUND = 3

NAN, INF = float("nan"), float("inf")


class Rope(gymnasium.Env[Any, Any]):
    """Walks along a rope; what it returns on the fourth step is changed by ``spoil``."""

    observation_space = SPACE
    action_space = spaces.Discrete(A)

    def __init__(self, spoil: Callable[[tuple[Any, ...]], Any] | None = None) -> None:
        self.spoil = spoil
        self.actions: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        self.actions.append(int(action))
        given = (self._seen(), 1.0, False, False, {})
        return given if self.spoil is None or len(self.actions) != SOUND + 1 else self.spoil(given)

    def _seen(self) -> dict[str, Any]:
        time = len(self.actions)
        return {"place": np.array([0.1 * time, -0.5], np.float32), "room": time % 4}


class BrokenError(Exception):
    """The environment's own."""


def observing(**changes: Any) -> Callable[[tuple[Any, ...]], Any]:
    """With these parts of the observation changed."""
    return lambda given: ({**given[0], **changes}, *given[1:])


def seeing(observation: Any) -> Callable[[tuple[Any, ...]], Any]:
    """With another observation."""
    return lambda given: (observation, *given[1:])


def told(i: int, part: Any) -> Callable[[tuple[Any, ...]], Any]:
    """With reward (1), terminated (2) or truncated (3) changed."""
    return lambda given: (*given[:i], part, *given[i + 1 :])


def breaks(given: Any) -> Any:
    raise BrokenError("the simulator has crashed")


def without_place(given: Any) -> Any:
    return ({"room": 1}, *given[1:])


#: Observations that cannot be shown to the members, with words of the error.
OBSERVATIONS: dict[str, tuple[Callable[[tuple[Any, ...]], Any], str]] = {
    "nan": (observing(place=np.array([NAN, 0], np.float32)), r"observation\['place'\]: holds NaN or infinite"),
    "infinite": (observing(place=np.array([0, -INF], np.float32)), r"observation\['place'\]: holds NaN or infinite"),
    "too large for a float32": (observing(place=np.array([0, 1e300])), r"\['place'\]: holds NaN or infinite"),
    "too large to learn from": (observing(place=np.array([0, 1e30])), r"\['place'\]: holds numbers beyond .* scale"),
    "wrong shape": (observing(place=np.zeros(3, np.float32)), r"\['place'\]: expected shape \(2,\); got \(3,\)"),
    "ragged": (observing(place=[[0.0], [0.0, 1.0]]), r"\['place'\]: is no array of shape \(2,\)"),
    "texts": (observing(place=np.array(["a", "b"])), r"\['place'\]: expected numbers; got <U1"),
    "objects": (observing(place=np.array([None, None])), r"\['place'\]: expected numbers; got object"),
    "masked": (observing(place=np.ma.array([0.0, 1.0], mask=[0, 1])), r"\['place'\]: is a masked array.*wrapper"),
    "no number": (observing(room=None), r"\['room'\]: expected whole numbers; got object"),
    "half a number": (observing(room=1.5), r"\['room'\]: expected whole numbers"),
    "outside its space": (observing(room=4), r"\['room'\]: expected numbers from 0 to 3; got 4"),
    "missing key": (without_place, r"missing keys \['place'\].*the space has"),
    "unknown key": (observing(speed=1.0), r"unknown keys \['speed'\]"),
    "none": (seeing(None), r"expected a dictionary with the keys \['place', 'room'\]; got NoneType"),
    "another space": (seeing(np.zeros(2)), r"expected a dictionary.*got ndarray"),
}

#: Steps that are none, with words of the error.
STEPS: dict[str, tuple[Callable[[tuple[Any, ...]], Any], str]] = {
    "reward nan": (told(1, NAN), "reward must be finite numbers.*got nan.*wrapper"),
    "reward none": (told(1, None), "reward must be finite numbers.*got None"),
    "reward text": (told(1, "1.0"), "reward must be finite numbers"),
    "rewards": (told(1, [1.0, 2.0]), r"reward must be finite numbers of shape \(\)"),
    "terminated text": (told(2, "False"), "terminated must be bools.*got 'False'"),
    "truncated none": (told(3, None), "truncated must be bools.*got None"),
    "four parts": (lambda given: given[:4], r"must return \(observation, reward, terminated, truncated, info\)"),
    "nothing": (lambda given: None, r"must return \(observation, reward.*got None.*wrap"),
}
