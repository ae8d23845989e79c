"""Hand-written controllers: the lunar lander's, which Gymnasium ships, and one for the cart with the pole."""

import importlib
import warnings
from typing import Any

from consensus_imitation.demonstrators.bots.scripted import ScriptedDemonstrator


class LunarLanderHeuristic(ScriptedDemonstrator):
    """Gymnasium's own heuristic for the LunarLander with four discrete actions, with random actions mixed in.

    It has no memory, so one object may serve several environments.

    Args:
        epsilon: probability of a uniformly random action.
        seed: of the random actions; None takes it from the operating system.

    Raises:
        ImportError: without Gymnasium's Box2D environments; the message names the extra that brings them.
        ValueError: if ``epsilon`` lies outside [0, 1].

    Example:
        >>> from consensus_imitation.demonstrators.bots.controllers import LunarLanderHeuristic
        >>> low_and_falling = [0.0, 0.5, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0]
        >>> LunarLanderHeuristic()(low_and_falling)  # the main engine
        2
    """

    #: The heuristic asks its environment only whether actions are continuous.
    continuous = False

    def __init__(self, epsilon: float = 0.0, seed: int | None = None) -> None:
        super().__init__(4, epsilon, seed)
        self._heuristic = import_lunar_lander().heuristic

    @property
    def unwrapped(self) -> "LunarLanderHeuristic":
        """A stand-in for the environment that the heuristic asks."""
        return self

    def intended(self, observation: Any) -> int:
        """Return the heuristic's action."""
        return int(self._heuristic(self, observation))


class CartPoleController(ScriptedDemonstrator):
    """A linear controller that keeps Gymnasium's CartPole up for all of its 500 steps.

    It pushes to the side that the pole falls to, a little earlier the farther the cart is from the middle. It has no
    memory, so one object may serve several environments.

    Args:
        epsilon: probability of a uniformly random action.
        seed: of the random actions; None takes it from the operating system.

    Raises:
        ValueError: if ``epsilon`` lies outside [0, 1].

    Example:
        >>> from consensus_imitation.demonstrators.bots.controllers import CartPoleController
        >>> CartPoleController()([0.0, 0.0, 0.05, 0.0])  # the pole leans to the right: push right
        1
    """

    #: Of the cart's position and speed, and the pole's angle and angular speed.
    gains = (0.1, 0.3, 3.0, 1.0)

    def __init__(self, epsilon: float = 0.0, seed: int | None = None) -> None:
        super().__init__(2, epsilon, seed)

    def intended(self, observation: Any) -> int:
        """Return 1 (right) where the weighted sum of the observation is positive, else 0 (left)."""
        return int(sum(gain * float(part) for gain, part in zip(self.gains, observation, strict=True)) > 0)


def import_lunar_lander() -> Any:
    """Return Gymnasium's module of the lunar lander.

    Raises:
        ImportError: without Gymnasium or Box2D; the message names the extra that brings them.
    """
    try:
        with warnings.catch_warnings():
            # An old SWIG made Box2D's binding; Python 3.12 and later warn about it at the first import.
            warnings.filterwarnings(
                "ignore", r"builtin type \w+ has no __module__ attribute", category=DeprecationWarning
            )
            return importlib.import_module("gymnasium.envs.box2d.lunar_lander")
    except Exception as error:
        if not isinstance(error, ImportError) and type(error).__name__ != "DependencyNotInstalled":
            raise
        raise ImportError(
            'the lunar lander needs Gymnasium and Box2D: pip install "consensus_imitation[tasks]"'
        ) from error
