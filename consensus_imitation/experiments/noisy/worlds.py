"""Worlds of few situations, in each of which the demonstrator's law is known exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

#: Iterations of CFR+; its average strategy is then within .01 chips a game of a Nash equilibrium.
_ITERATIONS = 200


class Walk(Protocol):
    """A way through the situations of a world."""

    @property
    def situation(self) -> int:
        """The index of the present one."""
        ...

    @property
    def begins(self) -> bool:
        """Whether an episode begins with it."""
        ...

    def take(self, action: int) -> None:
        """Go on."""
        ...


class World(NamedTuple):
    """A world with S situations.

    Attributes:
        observations: float32 [S, D].
        legal: bool [S, A].
        laws: float64 [S, A], the demonstrator's.
        weights: float64 [S], how often it meets each situation, summing to one.
        walk: begins a way through them, with these random numbers.
    """

    observations: np.ndarray
    legal: np.ndarray
    laws: np.ndarray
    weights: np.ndarray
    walk: Callable[[np.random.Generator], Walk]


def make(name: str) -> World:
    """Return a world by its name, one of `config.WORLDS`.

    Raises:
        ImportError: if the game's library is missing, naming the extra that brings it.
    """
    return _leduc() if name == "leduc" else softmax()


def softmax(num_situations: int = 24, num_actions: int = 4, sharpness: float = 1.5, seed: int = 0) -> World:
    """Return situations that come independently, with a softmax policy over linear functions of their features.

    Args:
        num_situations: S.
        num_actions: A.
        sharpness: factor of the logits.
        seed: of features and policy.

    Example:
        >>> from consensus_imitation.experiments.noisy.worlds import softmax
        >>> world = softmax(num_situations=5)
        >>> world.laws.shape, bool(abs(world.laws.sum(1) - 1).max() < 1e-12)
        ((5, 4), True)
    """
    rng = np.random.default_rng(seed)
    observations = rng.normal(size=(num_situations, 6)).astype(np.float32)
    logits = sharpness * observations.astype(np.float64) @ rng.normal(size=(6, num_actions)) / np.sqrt(6)
    laws = np.exp(logits - logits.max(1, keepdims=True))
    laws /= laws.sum(1, keepdims=True)
    legal = np.ones((num_situations, num_actions), bool)
    weights = np.full(num_situations, 1 / num_situations)
    return World(observations, legal, laws, weights, lambda rng: _Independent(rng, num_situations))


class _Independent:
    begins = True

    def __init__(self, rng: np.random.Generator, num_situations: int) -> None:
        self._rng, self._num = rng, num_situations
        self.take(0)

    def take(self, action: int) -> None:
        del action
        self.situation = int(self._rng.integers(self._num))


def _leduc() -> World:
    try:
        import pyspiel
    except ModuleNotFoundError as error:
        if error.name != "pyspiel":
            raise
        raise ImportError('Leduc hold\'em needs open_spiel: pip install "consensus_imitation[games]"') from error
    library: Any = pyspiel
    game = library.load_game("leduc_poker")
    solver = library.CFRPlusSolver(game)
    for _ in range(_ITERATIONS):
        solver.evaluate_and_update_policy()
    found: dict[str, _Met] = {}
    _meet(game.new_initial_state(), solver.average_policy(), 1.0, found)
    numbers = {name: number for number, name in enumerate(found)}
    met = found.values()
    weights = np.array([one.reach for one in met])
    return World(
        np.array([one.observation for one in met], np.float32),
        np.array([one.legal for one in met], bool),
        np.array([one.law for one in met]),
        weights / weights.sum(),
        lambda rng: _Game(rng, game, numbers),
    )


class _Met:
    """A situation of a game: what the player sees, may do, and does; and how often it is reached."""

    def __init__(self, state: Any, policy: Any) -> None:
        self.observation, self.legal = state.information_state_tensor(), state.legal_actions_mask()
        probs = policy.action_probabilities(state)
        self.law = np.array([probs.get(action, 0.0) for action in range(len(self.legal))])
        self.law /= self.law.sum()
        self.reach = 0.0


def _meet(state: Any, policy: Any, reach: float, found: dict[str, _Met]) -> None:
    """Walk through the whole game tree, and add up with which probability each situation is reached."""
    if state.is_terminal():
        return
    if state.is_chance_node():
        for action, prob in state.chance_outcomes():
            _meet(state.child(action), policy, reach * prob, found)
        return
    name = state.information_state_string()
    if name not in found:
        found[name] = _Met(state, policy)
    here = found[name]
    here.reach += reach
    for action in state.legal_actions():
        _meet(state.child(action), policy, reach * float(here.law[action]), found)


class _Game:
    """Game after game, both seats played by whoever acts."""

    def __init__(self, rng: np.random.Generator, game: Any, numbers: dict[str, int]) -> None:
        self._rng, self._game, self._numbers = rng, game, numbers
        self._begin()

    def _begin(self) -> None:
        self._state, self.begins = self._game.new_initial_state(), True
        self._deal()

    def _deal(self) -> None:
        while self._state.is_chance_node():
            actions, probs = zip(*self._state.chance_outcomes(), strict=True)
            self._state.apply_action(int(self._rng.choice(actions, p=probs)))

    @property
    def situation(self) -> int:
        return self._numbers[self._state.information_state_string()]

    def take(self, action: int) -> None:
        self._state.apply_action(action)
        self.begins = False
        self._deal()
        if self._state.is_terminal():
            self._begin()
