"""Whole runs on a gridworld with tabular members: a NumPy class with a Python demonstrator, step by step."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from consensus_imitation.envs.gridworld import Gridworld

#: Log-weights this close are tied, as in the library's selection rules.
_TIE = 1e-5

#: A prediction that sums above one by more than this is not a distribution.
_MASS = 1e-4


class LeanNumpyImitator:
    """The pointwise minimum of the k heaviest tabular members, as fast as one step at a time goes, unchecked.

    The layout of the tables lets a look-up read one block, and the selection is computed again only after an answer. So
    a step is only one gather, one minimum, one running sum and a few Python floats. It relies on correct tables of
    probabilities, and checks no prediction. (With tables that never change one could also tabulate the whole law for
    every state after each answer.)

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
        """Return the action, or -1 for a query, and the query probability."""
        rows = self._probs[observation].take(self.selected, axis=0)
        cumulative = np.minimum.reduce(rows, axis=0).cumsum().tolist()
        query_prob = 1.0 - cumulative[-1]
        # Members that agree never ask: the rest is rounding.
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


class NumpyImitator(LeanNumpyImitator):
    """The same for members that predict log-probabilities and may fail: it does what the library does at a step.

    Every prediction is checked (an invalid one counts as the zero vector), the query probability is exactly 0 where the
    members agree, and the evidence for each answer is kept. Arrays are preallocated, and the selection is computed
    again only after an answer.
    """

    def __init__(self, probs: np.ndarray, k: int) -> None:
        super().__init__(probs, k)
        with np.errstate(divide="ignore"):
            self._table = np.log(self._probs)  # [S, N, A]
        N, A = probs.shape[0], probs.shape[2]
        self._now, self._mass, self._valid = np.empty((N, A)), np.empty(N), np.empty(N, bool)
        self._minimum, self._gap, self._cumulative = np.empty(A), np.empty(A), np.empty(A)
        self.evidence = 0.0

    def decide(self, observation: int, uniform: float) -> tuple[int, float]:
        """Return the action, or -1 for a query, and the query probability."""
        probs = np.exp(self._table[observation], out=self._now)
        np.add.reduce(probs, axis=1, out=self._mass)
        np.less_equal(self._mass, 1 + _MASS, out=self._valid)
        if not self._valid.all():
            probs[~self._valid] = 0.0
        selected = self.selected
        lowest = np.minimum.reduce(probs.take(selected, axis=0), axis=0, out=self._minimum)
        query_prob = float(np.add.reduce(np.subtract(probs[selected[0]], lowest, out=self._gap)))
        cumulative = np.add.accumulate(lowest, out=self._cumulative)
        total = float(cumulative[-1])
        if 1.0 - (total + query_prob) > _MASS:
            query_prob = 1.0 - total
        if uniform < query_prob or total <= 0:
            return -1, query_prob
        point = min(uniform - query_prob, total * (1 - 1e-12))
        return int(cumulative.searchsorted(point, side="right")), query_prob

    def observe(self, observation: int, answer: int) -> None:
        """Learn from the demonstrator's answer, and add up the log-probability that the mixture had given to it."""
        before = np.log(np.exp(self.log_weights).sum())
        after = self.log_weights + self._log_probs[observation, answer]
        top = after.max()
        self.evidence += top + np.log(np.exp(after - top).sum()) - before
        self.log_weights = after - top
        self._select()


class Totals(NamedTuple):
    """The totals of a run."""

    queries: int
    harms: int
    reward: float


def run_numpy(
    imitator: LeanNumpyImitator, world: Gridworld, demonstrator: Callable[[int], int], num_steps: int, seed: int
) -> Totals:
    """Return one run in NumPy and plain Python, on a world whose moves and starts are deterministic."""
    if world.env.next_state.shape[2] > 1 or len(world.env.start_states) > 1:
        raise ValueError("this loop is for worlds without chance")
    # Lists of Python numbers: indexing them is several times faster than indexing arrays.
    next_state = np.asarray(world.env.next_state)[..., 0].tolist()
    reward = np.asarray(world.env.reward)[..., 0].tolist()
    harm = np.asarray(world.env.harm)[..., 0].tolist()
    terminal = np.asarray(world.env.terminal).tolist()
    start, horizon = int(world.env.start_states[0]), world.env.horizon or num_steps + 1
    uniforms = np.random.default_rng(seed).random(num_steps).tolist()

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
    """Return a Python callback that draws from a table [S, A]."""
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
    """Return the demonstrator [S, A] itself and N - 1 members that mix it with noise: [N, S, A]."""
    noise = np.random.default_rng(seed).dirichlet(np.ones(probs.shape[1]), (num_members - 1, probs.shape[0]))
    return np.concatenate([probs[None], 0.8 * probs + 0.2 * noise])
