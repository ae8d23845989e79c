"""Exact planning and exact forecasts for a `TabularEnv`, in NumPy with float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from consensus_imitation.envs.tabular import TabularEnv

Float64s = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


class HarmForecast(NamedTuple):
    """How likely and how frequent harm is under a policy.

    Attributes:
        probability: P(at least one harm within `num_steps` steps), from 0 to 1.
        expected_harms_per_step: Expected number of harms divided by `num_steps`, from 0 to 1.
        probability_by_step: float64 [num_steps]; entry t is P(at least one harm in the first t + 1 steps).
    """

    probability: float
    expected_harms_per_step: float
    probability_by_step: Float64s


class _Tables(NamedTuple):
    """The environment's arrays on the host; probabilities in float64 that sum to 1 exactly."""

    next_state: npt.NDArray[np.int32]
    probs: Float64s
    reward: Float64s
    harm: Bools
    terminal: Bools
    start: Float64s


def _tables(env: TabularEnv) -> _Tables:
    # float32 holds 0.1 only to 8 digits; dividing by the sum keeps long recursions from losing mass.
    probs = np.asarray(env.outcome_probs, np.float64)
    start = np.asarray(env.start_probs, np.float64)
    return _Tables(
        next_state=np.asarray(env.next_state),
        probs=probs / probs.sum(axis=-1, keepdims=True),
        reward=np.asarray(env.reward, np.float64),
        harm=np.asarray(env.harm),
        terminal=np.asarray(env.terminal),
        start=start / start.sum(),
    )


def q_values(
    env: TabularEnv,
    gamma: float = 0.97,
    reward: npt.ArrayLike | None = None,
    tolerance: float = 1e-10,
) -> Float64s:
    """Return the optimal discounted action values, by value iteration.

    The function ignores the horizon (otherwise the policy would depend on the time, which is not observed), and counts
    nothing after a terminal state.

    Args:
        env: The environment.
        gamma: Discount per step, at least 0 and below 1.
        reward: [S, A] or [S, A, O] in place of the environment's own reward.
        tolerance: Largest error of any value, above 0.

    Returns:
        float64 [S, A]; 0 in terminal states.

    Raises:
        ValueError: For a discount or tolerance out of range, or a reward of another shape or
            that is not finite.

    Example:
        >>> from consensus_imitation.envs import make
        >>> q = q_values(make("cliff").env)
        >>> q.shape, bool(0.5 < q[0].max() < 1.0)
        ((32, 5), True)
    """
    if not 0.0 <= gamma < 1.0:
        raise ValueError(f"gamma must be at least 0 and below 1, got {gamma}")
    if not tolerance > 0.0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    tables = _tables(env)
    gains = tables.reward
    if reward is not None:
        gains = np.asarray(reward, np.float64)
        if gains.shape not in (tables.reward.shape, tables.reward.shape[:2]):
            raise ValueError(f"reward must have shape [S, A] or [S, A, O], got {gains.shape}")
        if gains.ndim == 2:
            gains = gains[:, :, None]
        if not np.isfinite(gains).all():
            raise ValueError("reward must be finite")
    immediate = (tables.probs * gains).sum(axis=-1)
    return _iterate_values(tables, immediate, tables.probs, gamma, tolerance)


def _iterate_values(
    tables: _Tables, immediate: Float64s, weights: Float64s, gamma: float, tolerance: float
) -> Float64s:
    """Solve q = immediate + gamma * sum over outcomes of weights * max q(next), with 0 in terminal states."""
    immediate = np.where(tables.terminal[:, None], 0.0, immediate)
    weights = np.where(tables.terminal[:, None, None], 0.0, weights)
    q = immediate
    while True:
        updated = immediate + gamma * (weights * q.max(axis=1)[tables.next_state]).sum(axis=-1)
        # The contraction turns a change of d into an error of at most d * gamma / (1 - gamma).
        done = float(np.abs(updated - q).max()) * gamma <= tolerance * (1.0 - gamma)
        q = updated
        if done:
            return q


def softmax_policy(q: npt.ArrayLike, temperature: float) -> Float32s:
    """Return the Boltzmann policy: probabilities proportional to exp(q / temperature).

    Args:
        q: [S, A], action values.
        temperature: In the units of `q`, above 0.

    Returns:
        float32 [S, A]; rows sum to 1. Every entry is above 0 unless the gap between two actions is more than
        about 87 temperatures, where float32 ends.

    Raises:
        ValueError: For a temperature that is not above 0, or values that are not finite.

    Example:
        >>> softmax_policy([[0.0, 0.0]], temperature=0.1)
        array([[0.5, 0.5]], dtype=float32)
    """
    values = np.asarray(q, np.float64)
    if not temperature > 0.0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if not np.isfinite(values).all():
        raise ValueError("q must be finite")
    weights = np.exp((values - values.max(axis=-1, keepdims=True)) / temperature)
    return (weights / weights.sum(axis=-1, keepdims=True)).astype(np.float32)


def harmful_policy(env: TabularEnv) -> Float32s:
    """Return the policy that seeks the first harm as fast as it can.

    Args:
        env: The environment.

    Returns:
        float32 [S, A], one-hot. Where harm cannot be reached it takes action 0, which is then harmless.

    Example:
        >>> from consensus_imitation.envs import harm_probability, make
        >>> env = make("cliff").env
        >>> harm_probability(env, harmful_policy(env), num_steps=10).probability
        1.0
    """
    tables = _tables(env)
    # Worth 1 at the first harm and nothing after it, so that a discount makes sooner better.
    immediate = (tables.probs * tables.harm).sum(axis=-1)
    q = _iterate_values(tables, immediate, tables.probs * ~tables.harm, gamma=0.97, tolerance=1e-10)
    return np.eye(env.num_actions, dtype=np.float32)[q.argmax(axis=1)]


def harm_probability(env: TabularEnv, policy_probs: npt.ArrayLike, num_steps: int) -> HarmForecast:
    """Forecast harm exactly under a policy that acts on the observation alone.

    The recursion starts with a fresh episode and, as a rollout does, begins a new one after each termination
    and each truncation.

    Args:
        env: The environment.
        policy_probs: [S, A], probability of each action in each state.
        num_steps: Number of steps, at least 1, over as many episodes as fit.

    Returns:
        Probabilities and expected frequency of harm.

    Raises:
        ValueError: For a policy that is not [S, A] distributions, or fewer than 1 step.

    Example:
        >>> from consensus_imitation.envs import make
        >>> world = make("vase")
        >>> 0.0 < harm_probability(world.env, world.demonstrator_probs, 100).probability < 0.02
        True
    """
    rollout = _Rollout(env, policy_probs)
    first = np.zeros(_positive(num_steps))
    expected = 0.0
    mass = safe = rollout.fresh()
    for t in range(num_steps):
        first[t] = (safe @ rollout.harm_prob).sum()
        expected += float((mass @ rollout.harm_prob).sum())
        mass = rollout.advance(mass, rollout.moves)
        safe = rollout.advance(safe, rollout.safe_moves)
    # Rounding can carry a sum of probabilities past 1 by a few units in the last place.
    by_step = np.minimum(first.cumsum(), 1.0)
    return HarmForecast(float(by_step[-1]), expected / num_steps, by_step)


def occupancy(env: TabularEnv, policy_probs: npt.ArrayLike, num_steps: int) -> Float64s:
    """Return the share of the first `num_steps` steps that a policy takes in each state, in expectation.

    Args:
        env: The environment.
        policy_probs: [S, A], probability of each action in each state.
        num_steps: Number of steps, at least 1, over as many episodes as fit.

    Returns:
        float64 [S], sums to 1; 0 in terminal states, where no step is taken.

    Raises:
        ValueError: For a policy that is not [S, A] distributions, or fewer than 1 step.

    Example:
        >>> from consensus_imitation.envs import make
        >>> world = make("ring")
        >>> float(occupancy(world.env, world.demonstrator_probs, 1)[0])
        1.0
    """
    rollout = _Rollout(env, policy_probs)
    total = np.zeros(env.num_states)
    mass = rollout.fresh()
    for _ in range(_positive(num_steps)):
        total += mass.sum(axis=0)
        mass = rollout.advance(mass, rollout.moves)
    return total / num_steps


def reach_probability(
    env: TabularEnv, policy_probs: npt.ArrayLike, target: npt.ArrayLike, num_steps: int | None = None
) -> float:
    """Return P(an episode visits one of the target states), including the start.

    Args:
        env: The environment.
        policy_probs: [S, A], probability of each action in each state.
        target: bool [S].
        num_steps: Count visits within this many steps of the episode; None: within the horizon.

    Returns:
        Probability from 0 to 1.

    Raises:
        ValueError: For a policy that is not [S, A] distributions, a target that is not [S], or no number of
            steps where the horizon is None.

    Example:
        >>> from consensus_imitation.envs import make
        >>> world = make("cliff")
        >>> reach_probability(world.env, world.demonstrator_probs, world.goal) > 0.9
        True
    """
    limits = [n for n in (num_steps, env.horizon) if n is not None]
    if not limits:
        raise ValueError(f"{env.name!r} has no horizon: give num_steps")
    wanted = np.asarray(target, np.bool_)
    if wanted.shape != (env.num_states,):
        raise ValueError(f"target must have shape [S] = [{env.num_states}], got {wanted.shape}")
    rollout = _Rollout(env, policy_probs)
    mass = rollout.start.copy()
    reached = 0.0
    for t in range(_positive(min(limits)) + 1):
        if t > 0:
            mass = mass @ rollout.moves
        reached += float(mass[wanted].sum())
        mass[wanted] = 0.0
    return min(reached, 1.0)


def _positive(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    return num_steps


class _Rollout:
    """The Markov chain of an environment under a policy, over (time in the episode, state)."""

    def __init__(self, env: TabularEnv, policy_probs: npt.ArrayLike) -> None:
        tables = _tables(env)
        policy = np.asarray(policy_probs, np.float64)
        if policy.shape != (env.num_states, env.num_actions):
            raise ValueError(
                f"policy_probs must have shape [S, A] = [{env.num_states}, {env.num_actions}], got {policy.shape}"
            )
        if not (policy >= 0.0).all() or not np.allclose(policy.sum(axis=1), 1.0, atol=1e-4):
            raise ValueError("policy_probs must be non-negative and each row must sum to 1")
        policy = policy / policy.sum(axis=1, keepdims=True)

        weights = policy[:, :, None] * tables.probs
        self.harm_prob: Float64s = (weights * tables.harm).sum(axis=(1, 2))
        self.moves: Any = _sparse(weights, tables.next_state)
        self.safe_moves: Any = _sparse(weights * ~tables.harm, tables.next_state)
        self.start = tables.start
        self.terminal = tables.terminal
        self._horizon = env.horizon

    def fresh(self) -> Float64s:
        """Return [H, S] with all mass at the starts at time 0; without a horizon the time does not matter: H = 1."""
        mass = np.zeros((self._horizon or 1, len(self.start)))
        mass[0] = self.start
        return mass

    def advance(self, mass: Float64s, moves: Any) -> Float64s:
        """Return one step of [H, S], then a new episode for whatever terminated or was truncated."""
        after: Float64s = mass @ moves
        ended = float(after[:, self.terminal].sum())
        after[:, self.terminal] = 0.0
        if self._horizon is not None:
            ended += float(after[-1].sum())
            after = np.vstack([np.zeros_like(after[:1]), after[:-1]])
        after[0] += ended * self.start
        return after


def _sparse(weights: Float64s, next_state: npt.NDArray[np.int32]) -> Any:
    """Return the [S, S] transition matrix from weights [S, A, O]."""
    size = weights.shape[0]
    source = np.broadcast_to(np.arange(size)[:, None, None], weights.shape)
    entries = (weights.ravel(), (source.ravel(), next_state.ravel()))
    return sparse.csr_array(entries, shape=(size, size))
