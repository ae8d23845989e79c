"""How the world of a task may change after members have learned it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.shift import pictures
from consensus_imitation.experiments.tasks import Task


class Change(NamedTuple):
    """What is different.

    Attributes:
        text: in words.
        world: changes the environment, unwrapped, before its first episode; None to leave it.
        sensor: from the true observation to what members see, without changing it; None for the truth itself.
        push: changes the environment, unwrapped, before each step, given the step's number in the episode; None not to.
    """

    text: str
    world: Callable[[Any], None] | None = None
    sensor: Callable[[Any], Any] | None = None
    push: Callable[[Any, int], None] | None = None


#: The name of the world that members have learned.
STANDARD = "standard"


class Changed:
    """An environment of a changed world. Members see through its sensors; its demonstrator acts on what is true.

    Args:
        env: of the task.
        change: what is different.

    Attributes:
        true: the present observation, before it went through the sensors.
    """

    def __init__(self, env: Any, change: Change) -> None:
        self.env, self._change = env, change
        self.true: Any = None
        self._steps = 0
        if change.world is not None:
            change.world(env.unwrapped)

    def reset(self, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        self._steps = 0
        observation, info = self.env.reset(seed=seed)
        return self._seen(observation), info

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        if self._change.push is not None:
            self._change.push(self.env.unwrapped, self._steps)
        self._steps += 1
        observation, *rest = self.env.step(action)
        return (self._seen(observation), *rest)

    def close(self) -> None:
        """Close it."""
        self.env.close()

    def _seen(self, observation: Any) -> Any:
        self.true = observation
        return observation if self._change.sensor is None else self._change.sensor(observation)


def _stuck(index: int) -> Callable[[np.ndarray], np.ndarray]:
    def sensor(observation: np.ndarray) -> np.ndarray:
        seen = observation.copy()
        seen[index] = 0.0
        return seen

    return sensor


def _reversed(index: int) -> Callable[[np.ndarray], np.ndarray]:
    def sensor(observation: np.ndarray) -> np.ndarray:
        seen = observation.copy()
        seen[index] *= -1
        return seen

    return sensor


def _wind(env: Any) -> None:
    env.enable_wind = True


def _gravity(env: Any) -> None:
    env.gravity = -11.0


def _long_pole(env: Any) -> None:
    env.length *= 3
    env.polemass_length = env.masspole * env.length


def _push_cart(env: Any, step: int) -> None:
    # To the right and to the left in turn, half a second apart: as much as five steps of the controller.
    if step % 25 == 24:
        x, speed, angle, turning = env.state
        env.state = (x, speed + (1.0 if step // 25 % 2 == 0 else -1.0), angle, turning)


#: MiniGrid's numbers: things that lie about, a lava tile, and colours.
_BALL, _THINGS, _LAVA = 6, (5, 6, 7), 9
_RED, _GREEN, _GREY = 0, 1, 5


def _recoloured(things: tuple[int, ...], old: int, new: int) -> Callable[[Any], Any]:
    """Return a sensor that shows things of one colour in another."""

    def sensor(observation: Any) -> Any:
        image = observation["image"].copy()
        image[np.isin(image[..., 0], things) & (image[..., 1] == old), 1] = new
        return {**observation, "image": image}

    return sensor


def _as_lava(observation: Any) -> Any:
    """Show whatever is grey and lies about as lava."""
    image = observation["image"].copy()
    image[np.isin(image[..., 0], _THINGS) & (image[..., 1] == _GREY), :2] = (_LAVA, _RED)
    return {**observation, "image": image}


def tasks_of(name: str) -> tuple[Task, Task]:
    """Return the task in which members learn, and that which they meet afterwards; mostly the same.

    Raises:
        ImportError: without the packages that it needs, naming the extra.
    """
    if name == "digits":
        return pictures.learned_and_met()
    task = tasks.make(name)
    return task, task


SHIFTS: Mapping[str, Mapping[str, Change]] = {
    "lunarlander": {
        STANDARD: Change("as it was learned"),
        "wind": Change("wind of power 15 and turbulence of 1.5", world=_wind),
        "gravity": Change("gravity of 11 instead of 10", world=_gravity),
        "angle stuck": Change("the sensor of the angle says 0 for ever", sensor=_stuck(4)),
        "vertical speed reversed": Change("the sensor of the vertical speed says minus that", sensor=_reversed(3)),
    },
    "cartpole": {
        STANDARD: Change("as it was learned"),
        "push": Change("twice a second the cart is pushed", push=_push_cart),
        "long pole": Change("the pole is three times as long", world=_long_pole),
        "angle reversed": Change("the sensor of the pole's angle says minus that", sensor=_reversed(2)),
    },
    "digits": {
        STANDARD: Change("as it was learned"),
        "moved": Change("pictures are moved by a quarter of their width", sensor=pictures.moved),
        "turned": Change("pictures are turned by 90 degrees", sensor=pictures.turned),
        "striped": Change("there are stripes behind", sensor=pictures.striped),
    },
    "gotoredballgrey": {
        STANDARD: Change("as it was learned"),
        "green ball": Change("the red ball is shown green", sensor=_recoloured((_BALL,), _RED, _GREEN)),
        "green things": Change(
            "what is grey and lies about is shown green", sensor=_recoloured(_THINGS, _GREY, _GREEN)
        ),
        "lava": Change("what is grey and lies about is shown as lava", sensor=_as_lava),
    },
}
