"""Exact experts for environments that publish their transitions as a table, as Gymnasium's toy-text ones do."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

#: ``table[state][action]``: outcomes (probability, next state, reward, terminated).
Transitions = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]

_Floats = npt.NDArray[np.float64]


class Plan(NamedTuple):
    """The result of value iteration.

    Attributes:
        action_values: float64 [S, A]: expected discounted return of an action, followed by the best policy.
        state_values: float64 [S], under that policy.
        sweeps: number of sweeps made.
    """

    action_values: _Floats
    state_values: _Floats
    sweeps: int


def value_iteration(
    transitions: Transitions,
    discount: float,
    epsilon: float = 0.0,
    tolerance: float = 1e-9,
    max_sweeps: int = 100_000,
) -> Plan:
    """Return the best policy among those that take a uniformly random action with probability ``epsilon``.

    With ``epsilon`` positive the plan allows for its own slips: it keeps its distance from a cliff that the plan
    without slips would walk along.

    Args:
        transitions: of every state and action, as ``env.unwrapped.P``.
        discount: from 0 to below 1.
        epsilon: probability of a uniformly random action.
        tolerance: largest error of any state's value.
        max_sweeps: give up after this many.

    Raises:
        ValueError: for a discount or a tolerance that guarantees no convergence, an ``epsilon`` outside [0, 1], a
            malformed table, or no convergence within ``max_sweeps``.

    Example:
        >>> from consensus_imitation.demonstrators.bots.planning import value_iteration
        >>> over = [(1.0, 1, 0.0, True)]
        >>> chain = {0: {0: [(1.0, 0, 0.0, False)], 1: [(1.0, 1, 1.0, True)]}, 1: {0: over, 1: over}}
        >>> value_iteration(chain, discount=0.9).action_values[0].round(3).tolist()  # wait, or take the 1 now
        [0.9, 1.0]
    """
    if not 0 <= discount < 1:
        raise ValueError(f"discount must lie in [0, 1), got {discount}")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    probs, following, reward, going_on = _arrays(transitions)
    immediate = np.sum(probs * reward, axis=-1)  # [S, A]
    weights = discount * probs * going_on
    values = np.zeros(len(probs))
    for sweep in range(1, max_sweeps + 1):
        action_values = immediate + np.sum(weights * values[following], axis=-1)
        after = (1 - epsilon) * action_values.max(axis=-1) + epsilon * action_values.mean(axis=-1)
        change = float(np.max(np.abs(after - values)))
        values = after
        # The sweep is a contraction by the discount, so the error left is at most this.
        if change * discount <= tolerance * (1 - discount):
            return Plan(immediate + np.sum(weights * values[following], axis=-1), values, sweep)
    raise ValueError(f"no convergence to {tolerance:g} within {max_sweeps} sweeps: lower the discount")


class PlanningDemonstrator:
    """A demonstrator that acts on action values from `value_iteration`.

    Args:
        plan: whose action values are used.
        epsilon: probability of a uniformly random action in place of the best one. Of equally good actions (within
            1e-6) the lowest-numbered one is the best.
        temperature: draw from the soft-max of ``action values / temperature`` instead of taking the best; in units
            of return. None for the best.
        seed: of the draws; None takes it from the operating system.

    Attributes:
        table: float64 [S, A], the probabilities of the answers; `TabularDemonstrator.create` takes it.

    Raises:
        ValueError: if ``epsilon`` lies outside [0, 1] or the temperature is not positive.

    Example:
        >>> import numpy as np
        >>> from consensus_imitation.demonstrators.bots.planning import Plan, PlanningDemonstrator
        >>> plan = Plan(np.array([[0.0, 1.0]]), np.array([1.0]), 1)
        >>> PlanningDemonstrator(plan, epsilon=0.1).probs(0).round(3).tolist()
        [0.05, 0.95]
        >>> PlanningDemonstrator(plan, temperature=1.0).probs(0).round(3).tolist()
        [0.269, 0.731]
    """

    def __init__(
        self, plan: Plan, *, epsilon: float = 0.0, temperature: float | None = None, seed: int | None = None
    ) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must lie in [0, 1], got {epsilon}")
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}: leave it out for the best action")
        values = plan.action_values
        best = values.max(axis=-1, keepdims=True)
        if temperature is None:
            first = np.argmax(values >= best - 1e-6, axis=-1)
            policy = np.eye(values.shape[-1])[first]
        else:
            policy = np.exp((values - best) / temperature)
            policy /= policy.sum(axis=-1, keepdims=True)
        self.table: _Floats = (1 - epsilon) * policy + epsilon / values.shape[-1]
        # Divided by its own last column: exactly one at the end, and no action of probability zero is ever drawn.
        cumulative = np.cumsum(self.table, axis=-1)
        self._cumulative = cumulative / cumulative[:, -1:]
        self._rng = np.random.default_rng(seed)

    @classmethod
    def for_env(
        cls,
        env: Any,
        *,
        discount: float,
        epsilon: float = 0.0,
        temperature: float | None = None,
        seed: int | None = None,
    ) -> "PlanningDemonstrator":
        """Plan on the table of a Gymnasium environment, ``env.unwrapped.P``.

        Args:
            env: whose observations are the numbers of its states.
            discount: from 0 to below 1.
            epsilon: probability of a uniformly random action, which the plan allows for.
            temperature: as above.
            seed: as above.

        Raises:
            ValueError: if the environment has no such table, or an argument is out of range.
        """
        transitions = getattr(env.unwrapped, "P", None)
        if transitions is None:
            raise ValueError(
                f"{env} has no transition table env.unwrapped.P: value iteration works for FrozenLake, Taxi, "
                "CliffWalking and their like"
            )
        plan = value_iteration(transitions, discount, epsilon)
        return cls(plan, epsilon=epsilon, temperature=temperature, seed=seed)

    def probs(self, observation: Any) -> _Floats:
        """Return the distribution of the answers in this state, [A]."""
        return self.table[int(observation)].copy()

    def __call__(self, observation: Any) -> int:
        """Draw an action."""
        return int(np.searchsorted(self._cumulative[int(observation)], self._rng.random(), side="right"))


def _arrays(transitions: Transitions) -> tuple[_Floats, npt.NDArray[np.int64], _Floats, _Floats]:
    """Return probabilities, next states, rewards and whether an episode continues, each [S, A, K]; 0 in empty places.

    Raises:
        ValueError: if states or actions are not numbered from 0, or an action's probabilities do not sum to one.
    """
    num_states = len(transitions)
    num_actions = len(transitions[0]) if 0 in transitions else 0
    numbered = set(transitions) == set(range(num_states)) and num_actions > 0
    if not numbered or any(set(row) != set(range(num_actions)) for row in transitions.values()):
        raise ValueError("transitions must be numbered from 0, with the same actions in every state")
    most = max(len(outcomes) for row in transitions.values() for outcomes in row.values())
    shape = (num_states, num_actions, most)
    probs, reward, going_on = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    following = np.zeros(shape, np.int64)
    for state, row in transitions.items():
        for action, outcomes in row.items():
            for k, (prob, after, gained, terminated) in enumerate(outcomes):
                probs[state, action, k], following[state, action, k] = prob, after
                reward[state, action, k], going_on[state, action, k] = gained, not terminated
    sound = np.all(probs >= 0) and np.all(np.abs(probs.sum(-1) - 1) <= 1e-6)
    if not sound or following.min() < 0 or following.max() >= num_states:
        raise ValueError("each action's outcomes must have probabilities that sum to one and states of the table")
    return probs, following, reward, going_on
