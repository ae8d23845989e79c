"""Finite decision processes compiled to arrays, with one step function that is a table look-up.

A few arrays hold everything that a world does. So `TabularEnv.step` is pure JAX (it can be compiled, vectorised and
scanned), and you can compute everything about a world exactly (`consensus_imitation.envs.planning`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

StateT = TypeVar("StateT", bound=Hashable)


class EnvState(NamedTuple):
    """What an environment remembers between steps.

    Attributes:
        index: int32 [], number of the state, from 0 to `num_states - 1`.
        time: int32 [], steps since the last reset.
    """

    index: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]  # a field, not tuple.index
    time: jax.Array


class TimeStep(NamedTuple):
    """The result of one step.

    Attributes:
        observation: int32 [], number of the state the step ended in.
        reward: float32 [], the world's visible reward; NaN if the action was out of range.
        terminated: bool [], the step ended in a terminal state.
        truncated: bool [], the horizon was reached in a state that is not terminal.
        harm: bool [], the harmful event happened on this step.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    harm: jax.Array


class Outcome(NamedTuple, Generic[StateT]):
    """One possible result of an action in a state.

    Attributes:
        prob: Probability, above 0 and at most 1.
        state: The state that follows.
        reward: Reward on the way.
        harm: Whether the harmful event happens on the way.
    """

    prob: float
    state: StateT
    reward: float = 0.0
    harm: bool = False


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class TabularEnv:
    """A finite Markov decision process with S states, A actions and up to O outcomes of each action.

    It is a JAX pytree: the arrays are leaves, `name` and `horizon` are static. The observation is the
    number of the state; the time since the reset is not observed.

    The environment does not reset itself: the caller resets it after `terminated` or `truncated`. A step from a
    terminal state stays there, with reward 0 and no harm.

    Attributes:
        next_state: int32 [S, A, O], number of the state that follows.
        outcome_probs: float32 [S, A, O], probability of each outcome; 0 for padding.
        reward: float32 [S, A, O].
        harm: bool [S, A, O].
        terminal: bool [S].
        start_states: int32 [K], the states an episode can start in.
        start_state_probs: float32 [K], their probabilities, all above 0.
        name: Name of the world.
        horizon: Steps after which an episode is truncated; None: never.

    Example:
        >>> import jax
        >>> from consensus_imitation.envs import make
        >>> env = make("cliff").env
        >>> state, observation = env.reset(jax.random.key(0))
        >>> state, step = jax.jit(env.step)(jax.random.key(1), state, 0)
        >>> bool(step.harm), bool(step.terminated), int(state.time)
        (False, False, 1)
    """

    next_state: jax.Array
    outcome_probs: jax.Array
    reward: jax.Array
    harm: jax.Array
    terminal: jax.Array
    start_states: jax.Array
    start_state_probs: jax.Array
    name: str = dataclasses.field(metadata={"static": True})
    horizon: int | None = dataclasses.field(metadata={"static": True})

    @property
    def num_states(self) -> int:
        """Number of states, S."""
        return self.next_state.shape[0]

    @property
    def num_observations(self) -> int:
        """Number of different observations; the observation is the state, so this is S."""
        return self.num_states

    @property
    def num_actions(self) -> int:
        """Number of actions, A."""
        return self.next_state.shape[1]

    @property
    def start_probs(self) -> jax.Array:
        """float32 [S], probability that an episode starts in each state."""
        return jnp.zeros(self.num_states, jnp.float32).at[self.start_states].set(self.start_state_probs)

    def reset(self, key: jax.Array) -> tuple[EnvState, jax.Array]:
        """Start an episode.

        Args:
            key: JAX random key; not used if there is only one possible start.

        Returns:
            The state and the first observation, int32 [].
        """
        # Random bits are the main cost, and the number of starts is known when this is traced.
        if self.start_states.shape[0] == 1:
            index = self.start_states[0]
        else:
            index = self.start_states[_draw(key, self.start_state_probs)]
        return EnvState(index=index, time=jnp.int32(0)), index

    def step(self, key: jax.Array, state: EnvState, action: jax.Array | int) -> tuple[EnvState, TimeStep]:
        """Take one action.

        Args:
            key: JAX random key; not used if every action has only one outcome.
            state: The state from `reset` or the last `step`.
            action: Integer [], from 0 to `num_actions - 1`. Compiled code cannot raise, so an action out of range (a
                negative one too) is not carried out: the agent stays in its state, there is no harm, time continues and
                the reward is NaN.

        Returns:
            The new state and what happened.
        """
        action = jnp.asarray(action, jnp.int32)
        valid = (action >= 0) & (action < self.num_actions)
        row = (state.index, jnp.clip(action, 0, self.num_actions - 1))
        outcome = 0 if self.next_state.shape[2] == 1 else _draw(key, self.outcome_probs[row])
        cell = (*row, outcome)

        index = jnp.where(valid, self.next_state[cell], state.index)
        time = state.time + jnp.int32(1)
        terminated = self.terminal[index]
        truncated = jnp.zeros_like(terminated) if self.horizon is None else ~terminated & (time >= self.horizon)
        step = TimeStep(
            observation=index,
            reward=jnp.where(valid, self.reward[cell], jnp.float32(jnp.nan)),
            terminated=terminated,
            truncated=truncated,
            harm=valid & self.harm[cell],
        )
        return EnvState(index=index, time=time), step


def _draw(key: jax.Array, probs: jax.Array) -> jax.Array:
    """Draw an index from probs [n] with a single uniform number (Gumbel noise would need n of them)."""
    uniform = jax.random.uniform(key, dtype=jnp.float32)
    # Without the last entry: the index cannot pass the end if the sum is rounded to just below 1.
    return jnp.sum(uniform >= jnp.cumsum(probs)[:-1], dtype=jnp.int32)


def compile_mdp(
    name: str,
    num_actions: int,
    starts: Mapping[StateT, float],
    transitions: Callable[[StateT, int], Sequence[Outcome[StateT]]],
    is_terminal: Callable[[StateT], bool],
    horizon: int | None,
    max_states: int = 100_000,
) -> tuple[TabularEnv, tuple[StateT, ...]]:
    """Explore the reachable states and store the process as arrays.

    Args:
        name: Name of the world.
        num_actions: Number of actions, at least 1.
        starts: Probability, above 0, of each possible first state; they sum to 1.
        transitions: Gives the outcomes of an action (0 to `num_actions - 1`) in a state; their probabilities
            sum to 1. Not called in terminal states.
        is_terminal: Whether the episode ends in a state.
        horizon: Steps after which an episode is truncated; None: never.
        max_states: Refuse a process with more reachable states than this.

    Returns:
        The environment and its states in the order of their numbers: the starts, then breadth first.

    Raises:
        ValueError: For no action, a horizon below 1, probabilities that are not a distribution, a reward that
            is not finite, a start that is terminal, or too many states.

    Example:
        >>> def walk(cell, action):
        ...     return [Outcome(1.0, cell + (1 if action == 0 else 2), reward=1.0)]
        >>> env, states = compile_mdp("walk", 2, {0: 1.0}, walk, lambda cell: cell >= 3, horizon=10)
        >>> states, env.num_states, env.num_actions
        ((0, 1, 2, 3, 4), 5, 2)
    """
    if num_actions < 1:
        raise ValueError(f"num_actions must be at least 1, got {num_actions}")
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon must be at least 1 or None, got {horizon}")
    _check_distribution(list(starts.values()), "starts")
    for start in starts:
        if is_terminal(start):
            raise ValueError(f"the start {start!r} is terminal: its episodes would have no step")

    states = list(starts)
    number = {state: i for i, state in enumerate(states)}
    table: list[list[list[Outcome[StateT]]]] = []
    for state in states:  # grows during the loop: breadth first
        row: list[list[Outcome[StateT]]] = []
        for action in range(num_actions):
            outcomes = [Outcome(1.0, state)] if is_terminal(state) else list(transitions(state, action))
            _check_distribution([o.prob for o in outcomes], f"outcomes of action {action} in {state!r}")
            for outcome in outcomes:
                if not math.isfinite(outcome.reward):
                    raise ValueError(f"reward {outcome.reward} of action {action} in {state!r} is not finite")
                if outcome.state not in number:
                    if len(states) >= max_states:
                        raise ValueError(f"{name!r} has more than max_states={max_states} reachable states")
                    number[outcome.state] = len(states)
                    states.append(outcome.state)
            row.append(outcomes)
        table.append(row)

    width = max(len(outcomes) for row in table for outcomes in row)
    shape = (len(states), num_actions, width)
    next_state = np.zeros(shape, np.int32)
    probs = np.zeros(shape, np.float32)
    reward = np.zeros(shape, np.float32)
    harm = np.zeros(shape, np.bool_)
    for s, row in enumerate(table):
        for a, outcomes in enumerate(row):
            for o in range(width):
                # Padding repeats the last outcome with probability 0: a draw that rounding pushes into the
                # padding still does something that can happen.
                outcome = outcomes[min(o, len(outcomes) - 1)]
                next_state[s, a, o] = number[outcome.state]
                probs[s, a, o] = outcome.prob if o < len(outcomes) else 0.0
                reward[s, a, o] = outcome.reward
                harm[s, a, o] = outcome.harm
    env = TabularEnv(
        next_state=jnp.asarray(next_state),
        outcome_probs=jnp.asarray(probs),
        reward=jnp.asarray(reward),
        harm=jnp.asarray(harm),
        terminal=jnp.asarray(np.array([is_terminal(state) for state in states], np.bool_)),
        start_states=jnp.arange(len(starts), dtype=jnp.int32),
        start_state_probs=jnp.asarray(np.array(list(starts.values()), np.float32)),
        name=name,
        horizon=horizon,
    )
    return env, tuple(states)


def _check_distribution(probs: Sequence[float], what: str) -> None:
    if not probs or any(not p > 0.0 for p in probs) or abs(math.fsum(probs) - 1.0) > 1e-6:
        raise ValueError(f"{what}: probabilities must be above 0 and sum to 1, got {list(probs)}")
