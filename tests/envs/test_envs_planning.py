"""Planning and forecasts against oracles that enumerate policies, trajectories or draw samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_processes import random_mdp, tables

from consensus_imitation.envs import (
    Gridworld,
    Outcome,
    TabularEnv,
    compile_mdp,
    harm_probability,
    harmful_policy,
    make,
    occupancy,
    q_values,
    reach_probability,
    softmax_policy,
)


def random_policy(env: TabularEnv, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(env.num_actions), size=env.num_states)


def trajectories(env: TabularEnv, policy: np.ndarray, steps: int) -> Iterator[tuple[float, list, list]]:
    """Every (probability, states in which steps are taken, harm at each) with new episodes; no cleverness."""
    t = tables(env)
    start = np.asarray(env.start_probs, np.float64)

    def extend(p: float, s: int, time: int, states: list, harms: list) -> Iterator[tuple[float, list, list]]:
        if len(harms) == steps:
            yield p, states, harms
            return
        for a, o in itertools.product(range(env.num_actions), range(t.probs.shape[2])):
            q = p * policy[s, a] * t.probs[s, a, o]
            if q == 0:
                continue
            after, path = t.next_state[s, a, o], ([*states, s], [*harms, bool(t.harm[s, a, o])])
            if t.terminal[after] or time + 1 == env.horizon:
                for fresh in np.flatnonzero(start):
                    yield from extend(q * start[fresh], fresh, 0, *path)
            else:
                yield from extend(q, after, time + 1, *path)

    for s in np.flatnonzero(start):
        yield from extend(start[s], s, 0, [], [])


@pytest.mark.parametrize("seed", range(3))
def test_q_values_are_those_of_the_best_policy(seed: int) -> None:
    env, gamma = random_mdp(seed, horizon=None), 0.9
    t = tables(env)
    values = []
    for choice in itertools.product(range(2), repeat=4):
        move, gain = np.zeros((4, 4)), np.zeros(4)
        for s in np.flatnonzero(~t.terminal):
            for o in range(2):
                p = float(t.probs[s, choice[s], o])
                move[s, t.next_state[s, choice[s], o]] += p
                gain[s] += p * float(t.reward[s, choice[s], o])
        values.append(np.linalg.solve(np.eye(4) - gamma * move, gain))
    q = q_values(env, gamma)
    assert q.dtype == np.float64
    np.testing.assert_allclose(q.max(axis=1), np.max(values, axis=0), atol=1e-6)


def test_bellman_residual(world: Gridworld) -> None:
    t = tables(world.env)
    q = q_values(world.env, 0.97, tolerance=1e-9)
    v = np.where(t.terminal, 0.0, q.max(axis=1))
    backup = (t.probs.astype(np.float64) * (t.reward + 0.97 * v[t.next_state])).sum(axis=-1)
    np.testing.assert_allclose(q, np.where(t.terminal[:, None], 0.0, backup), atol=1e-6)


def test_q_values_of_a_tree_by_enumeration() -> None:
    world = make("history_tree", depth=4, num_actions=3)
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(world.env.num_states, 3))
    number = {state: i for i, state in enumerate(world.states)}
    totals = {
        path: sum(0.8**k * reward[number[path[:k]], path[k]] for k in range(4))
        for path in itertools.product(range(3), repeat=4)
    }
    q = q_values(world.env, 0.8, reward=reward)
    for action in range(3):
        assert q[0, action] == pytest.approx(max(v for path, v in totals.items() if path[0] == action))
    np.testing.assert_array_equal(q[np.asarray(world.env.terminal)], 0.0)
    np.testing.assert_allclose(q_values(world.env, 0.8, reward=reward[:, :, None]), q)
    assert (q != q_values(world.env, 0.8)).any()


def test_tolerance_bounds_the_error() -> None:
    env = make("ring").env
    exact = q_values(env, tolerance=1e-12)
    for tolerance in (1e-1, 1e-3):
        error = np.abs(q_values(env, tolerance=tolerance) - exact).max()
        assert 1e-12 < error <= tolerance
    np.testing.assert_allclose(q_values(env, 0.0), (env.outcome_probs * env.reward).sum(axis=-1), atol=1e-7)


def test_softmax_policy() -> None:
    probs = softmax_policy([[0.0, np.log(3.0)], [1e6, 1e6 - 1.0]], 1.0)
    np.testing.assert_allclose(probs, [[0.25, 0.75], [1 / (1 + np.exp(-1)), 1 / (1 + np.e)]], rtol=1e-6)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(softmax_policy([[0.0, 2 * np.log(3.0)]], 2.0), [[0.25, 0.75]], rtol=1e-6)
    assert softmax_policy([[0.0, -80.0]], 1.0)[0, 1] > 0


@pytest.mark.parametrize(("seed", "horizon"), [(0, 3), (1, 1), (2, None), (3, 4)])
def test_forecasts_by_enumeration(seed: int, horizon: int | None) -> None:
    env, steps = random_mdp(seed, horizon), 5
    policy = random_policy(env, seed)
    by_step, expected, visits, total = np.zeros(steps), 0.0, np.zeros(env.num_states), 0.0
    for p, states, harms in trajectories(env, policy, steps):
        total += p
        by_step += p * np.maximum.accumulate(harms)
        expected += p * sum(harms)
        np.add.at(visits, states, p)
    assert total == pytest.approx(1.0, abs=1e-6)
    forecast = harm_probability(env, policy, steps)
    assert 0.01 < by_step[-1] < 1.0
    np.testing.assert_allclose(forecast.probability_by_step, by_step, atol=1e-6)
    assert forecast.probability == forecast.probability_by_step[-1]
    assert forecast.expected_harms_per_step == pytest.approx(expected / steps, abs=1e-6)
    np.testing.assert_allclose(occupancy(env, policy, steps), visits / steps, atol=1e-6)


def test_harm_in_the_tree_by_enumeration() -> None:
    """Seven steps: two whole episodes and the first step of a third."""
    world = make("history_tree", harm_leaves=[(0, 1, 0), (1, 1, 1)], harm_share=0.2)
    probs = world.demonstrator_probs.astype(np.float64)
    number = {state: i for i, state in enumerate(world.states)}
    bad = sum(np.prod([probs[number[leaf[:k]], leaf[k]] for k in range(3)]) for leaf in [(0, 1, 0), (1, 1, 1)])
    forecast = harm_probability(world.env, world.demonstrator_probs, 7)
    np.testing.assert_allclose(
        forecast.probability_by_step, [0, 0, bad, bad, bad, *[1 - (1 - bad) ** 2] * 2], atol=1e-6
    )
    assert forecast.expected_harms_per_step == pytest.approx(2 * bad / 7, abs=1e-6)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", ["shifting_lava", "backdoor", "ring", "cliff"])
def test_forecast_against_samples(name: str) -> None:
    """Half-way between the demonstrator and chance, so that harm is neither rare nor sure."""
    world = make(name)
    env, lanes, steps = world.env, 4096, 70
    policy = 0.6 * world.demonstrator_probs + 0.4 / env.num_actions
    logits = jnp.log(policy)

    def body(state, key):
        act, move, fresh = (jax.random.split(k, lanes) for k in jax.random.split(key, 3))
        action = jax.vmap(jax.random.categorical)(act, logits[state.index])
        after, step = jax.vmap(env.step)(move, state, action)
        begun, _ = jax.vmap(env.reset)(fresh)
        done = step.terminated | step.truncated
        return jax.tree.map(lambda new, old: jnp.where(done, new, old), begun, after), step.harm

    state, _ = jax.vmap(env.reset)(jax.random.split(jax.random.key(7), lanes))
    _, harm = jax.jit(lambda s, k: jax.lax.scan(body, s, k))(state, jax.random.split(jax.random.key(8), steps))
    harm = np.asarray(harm)
    forecast = harm_probability(env, policy, steps)
    p = forecast.probability
    assert 0.05 < p < 0.999
    assert abs(harm.any(axis=0).mean() - p) < 5 * np.sqrt(p * (1 - p) / lanes)
    rates = harm.mean(axis=0)
    assert abs(rates.mean() - forecast.expected_harms_per_step) < 5 * rates.std() / np.sqrt(lanes)


@pytest.mark.parametrize("seed", range(4))
def test_reach_probability_by_enumeration(seed: int) -> None:
    env = random_mdp(seed, horizon=4)
    t = tables(env)
    policy = random_policy(env, seed)
    start = np.asarray(env.start_probs, np.float64)

    def reach(s: int, left: int, target: np.ndarray) -> float:
        if target[s]:
            return 1.0
        if left == 0 or t.terminal[s]:
            return 0.0
        return sum(
            policy[s, a] * t.probs[s, a, o] * reach(t.next_state[s, a, o], left - 1, target)
            for a, o in itertools.product(range(2), range(2))
        )

    for wanted in range(4):
        target = np.arange(4) == wanted
        for steps in (1, 3, None):
            expected = start @ [reach(s, steps or 4, target) for s in range(4)]
            assert reach_probability(env, policy, target, steps) == pytest.approx(expected, abs=1e-6)


def test_reach_probability_counts_one_episode() -> None:
    """Time beyond the horizon does not count."""
    env = random_mdp(0, horizon=2)
    policy, target = random_policy(env, 0), np.arange(4) == 3
    assert reach_probability(env, policy, target, 50) == reach_probability(env, policy, target, 2)
    longer = random_mdp(0, horizon=None)
    assert reach_probability(longer, policy, target, 50) > reach_probability(env, policy, target, 2) + 0.01


def test_harmful_policy_prefers_a_sure_and_a_near_harm() -> None:
    law = {
        (0, 0): [Outcome(1.0, 3)],
        (0, 1): [Outcome(0.5, 3, harm=True), Outcome(0.5, 3)],  # one half now
        (0, 2): [Outcome(1.0, 1)],  # for sure, one step later
        (1, 0): [Outcome(1.0, 1)],
        (1, 1): [Outcome(1.0, 3, harm=True)],
        (1, 2): [Outcome(1.0, 2)],  # for sure, but later
        (2, 0): [Outcome(1.0, 3, harm=True)],
        (2, 1): [Outcome(1.0, 2)],
        (2, 2): [Outcome(1.0, 2)],
        **{(3, a): [Outcome(1.0, 3)] for a in range(3)},  # nothing to be done
        (4, 0): [Outcome(1.0, 5)],  # harm for ever, but one step later
        (4, 1): [Outcome(1.0, 3, harm=True)],  # one harm now
        (4, 2): [Outcome(1.0, 3)],
        **{(5, a): [Outcome(1.0, 5, harm=True)] for a in range(3)},
    }
    env, states = compile_mdp("choice", 3, {0: 0.5, 4: 0.5}, lambda s, a: law[s, a], lambda s: False, None)
    chosen = dict(zip(states, harmful_policy(env).argmax(axis=1).tolist(), strict=True))
    assert chosen == {0: 2, 1: 1, 2: 0, 3: 0, 4: 1, 5: 0}


def test_refusals() -> None:
    env = make("ring").env
    policy = np.full((24, 4), 0.25)
    with pytest.raises(ValueError, match="gamma"):
        q_values(env, 1.0)
    with pytest.raises(ValueError, match="tolerance"):
        q_values(env, tolerance=0.0)
    with pytest.raises(ValueError, match="reward must have shape"):
        q_values(env, reward=np.zeros(24))
    # Its iteration would go on for ever.
    for reward in (np.nan, np.inf):
        with pytest.raises(ValueError, match="reward must be finite"):
            q_values(env, reward=np.full((24, 4), reward))
    with pytest.raises(ValueError, match="temperature"):
        softmax_policy([[0.0]], 0.0)
    with pytest.raises(ValueError, match="finite"):
        softmax_policy([[np.nan]], 1.0)
    for forecast in (harm_probability, occupancy):
        with pytest.raises(ValueError, match="num_steps"):
            forecast(env, policy, 0)
        with pytest.raises(ValueError, match="policy_probs must have shape"):
            forecast(env, policy.T, 5)
        with pytest.raises(ValueError, match="sum to 1"):
            forecast(env, 2 * policy, 5)
        with pytest.raises(ValueError, match="non-negative"):
            forecast(env, np.tile([1.5, -0.5, 0.0, 0.0], (24, 1)), 5)
    with pytest.raises(ValueError, match="no horizon"):
        reach_probability(env, policy, np.ones(24, bool))
    with pytest.raises(ValueError, match="target must have shape"):
        reach_probability(env, policy, np.ones(3, bool), 5)
