"""Whole runs on a gridworld with tabular members: a NumPy class with a Python demonstrator, step by step."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from consensus_imitation.envs.gridworld import Gridworld

#: Log-weights this close are tied, as in the library's selection rules.
_TIE = 1e-5


class NumpyImitator:
    """The pointwise minimum of the k heaviest tabular members, tuned for one step at a time.

    Tables are laid out so that a look-up reads one block, the selection is computed anew only after an answer, and
    all that is left of a step are one gather, one minimum, one running sum and a few Python floats.

    Args:
        probs: [N, S, A].
        k: how many members have a say; for k > 1 with ties.
    """

    def __init__(self, probs: np.ndarray, k: int) -> None:
        self._probs = np.ascontiguousarray(probs.transpose(1, 0, 2))  # [S, N, A]
        with np.errstate(divide="ignore"):
            self._log_probs = np.ascontiguousarray(np.log(probs).transpose(1, 2, 0))  # [S, A, N]
        self._k = k
        self.log_weights = np.zeros(len(probs))
        self._select()

    def _select(self) -> None:
        if self._k == 1:
            self.selected = np.array([self.log_weights.argmax()])
        else:
            last = np.partition(self.log_weights, -self._k)[-self._k]
            self.selected = np.flatnonzero(self.log_weights >= last - _TIE)

    def decide(self, observation: int, uniform: float) -> tuple[int, float]:
        """The action, or -1 for a query, and the query probability."""
        rows = self._probs[observation].take(self.selected, axis=0)
        cumulative = np.minimum.reduce(rows, axis=0).cumsum().tolist()
        query_prob = 1.0 - cumulative[-1]
        # Members that agree never ask: what is left is rounding.
        if query_prob < 1e-9:
            query_prob = 0.0
        if uniform < query_prob:
            return -1, query_prob
        point = min(uniform - query_prob, cumulative[-1] * (1 - 1e-12))
        for action, mass in enumerate(cumulative):
            if point < mass:
                return action, query_prob
        return -1, query_prob

    def observe(self, observation: int, answer: int) -> None:
        """Learn from the demonstrator's answer."""
        self.log_weights += self._log_probs[observation, answer]
        self.log_weights -= self.log_weights.max()
        self._select()


class Totals(NamedTuple):
    """What a run adds up to."""

    queries: int
    harms: int
    reward: float


def run_numpy(
    probs: np.ndarray, k: int, world: Gridworld, demonstrator: Callable[[int], int], num_steps: int, seed: int
) -> Totals:
    """One run in NumPy and plain Python, on a world whose moves and starts are deterministic."""
    if world.env.next_state.shape[2] > 1 or len(world.env.start_states) > 1:
        raise ValueError("this loop is for worlds without chance")
    # Lists of Python numbers: indexing them is several times faster than indexing arrays.
    next_state = np.asarray(world.env.next_state)[..., 0].tolist()
    reward = np.asarray(world.env.reward)[..., 0].tolist()
    harm = np.asarray(world.env.harm)[..., 0].tolist()
    terminal = np.asarray(world.env.terminal).tolist()
    start, horizon = int(world.env.start_states[0]), world.env.horizon or num_steps + 1
    uniforms = np.random.default_rng(seed).random(num_steps).tolist()

    imitator = NumpyImitator(probs, k)
    queries, harms, total = 0, 0, 0.0
    state, time = start, 0
    for uniform in uniforms:
        action, _ = imitator.decide(state, uniform)
        if action < 0:
            action = demonstrator(state)
            imitator.observe(state, action)
            queries += 1
        total += reward[state][action]
        harms += harm[state][action]
        state, time = next_state[state][action], time + 1
        if terminal[state] or time >= horizon:
            state, time = start, 0
    return Totals(queries, harms, total)


def table_demonstrator(probs: np.ndarray, seed: int) -> Callable[[int], int]:
    """A Python callback that draws from a table [S, A]."""
    cumulative = np.cumsum(probs, axis=-1).tolist()
    random = np.random.default_rng(seed).random
    last = probs.shape[-1] - 1

    def answer(observation: int) -> int:
        point = random()
        for action, mass in enumerate(cumulative[observation]):
            if point < mass:
                return action
        return last

    return answer


def members_around(probs: np.ndarray, num_members: int, seed: int = 0) -> np.ndarray:
    """The demonstrator [S, A] itself and N - 1 members that mix it with noise: [N, S, A]."""
    noise = np.random.default_rng(seed).dirichlet(np.ones(probs.shape[1]), (num_members - 1, probs.shape[0]))
    return np.concatenate([probs[None], 0.8 * probs + 0.2 * noise])
