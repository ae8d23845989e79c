"""Compiling a process, and the law of its draws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation.envs import EnvState, Outcome, TabularEnv, compile_mdp, make


def fork(horizon: int | None = None) -> TabularEnv:
    """One action with three outcomes, another with one; three starts."""

    def transitions(state: int, action: int) -> list[Outcome[int]]:
        if action == 1:
            return [Outcome(1.0, 0)]
        return [Outcome(0.2, 1, 1.0), Outcome(0.3, 2, 2.0, harm=True), Outcome(0.5, 3, 3.0)]

    starts = {0: 0.6, 1: 0.3, 2: 0.1}
    return compile_mdp("fork", 2, starts, transitions, lambda s: s == 3, horizon)[0]


def within_five_sigma(counts: np.ndarray, probs: np.ndarray) -> None:
    n = counts.sum()
    sigma = np.sqrt(n * probs * (1 - probs))
    assert (np.abs(counts - n * probs) <= 5 * sigma).all(), (counts, n * probs)


def test_compiled_tables() -> None:
    env = fork()
    np.testing.assert_array_equal(env.next_state[0], [[1, 2, 3], [0, 0, 0]])
    np.testing.assert_allclose(env.outcome_probs[1], [[0.2, 0.3, 0.5], [1, 0, 0]])
    np.testing.assert_array_equal(env.reward[2], [[1, 2, 3], [0, 0, 0]])
    np.testing.assert_array_equal(env.harm[0], [[False, True, False], [False] * 3])
    np.testing.assert_array_equal(env.terminal, [False, False, False, True])
    np.testing.assert_allclose(env.start_probs, [0.6, 0.3, 0.1, 0.0])


def test_padding_repeats_the_last_outcome() -> None:
    """So that a draw pushed into it by rounding still does something possible."""
    law = [Outcome(0.5, 1, 1.0), Outcome(0.5, 2, 2.0, harm=True)]
    wide = [Outcome(0.25, state) for state in (0, 1, 2, 0)]
    env, _ = compile_mdp("pad", 2, {0: 1.0}, lambda s, a: wide if a else law, lambda s: False, None)
    np.testing.assert_array_equal(env.next_state[0, 0], [1, 2, 2, 2])
    np.testing.assert_array_equal(env.reward[0, 0], [1, 2, 2, 2])
    np.testing.assert_array_equal(env.harm[0, 0], [False, True, True, True])
    np.testing.assert_array_equal(env.outcome_probs[0, 0], [0.5, 0.5, 0, 0])


def test_outcomes_are_drawn_with_their_probabilities() -> None:
    env, n = fork(), 50_000
    keys = jax.random.split(jax.random.key(0), n)
    state = EnvState(jnp.int32(0), jnp.int32(0))
    _, step = jax.jit(jax.vmap(env.step, (0, None, None)))(keys, state, 0)
    within_five_sigma(np.bincount(np.asarray(step.observation), minlength=4)[1:], np.array([0.2, 0.3, 0.5]))
    # Reward and harm belong to the outcome that was drawn.
    np.testing.assert_array_equal(step.reward, step.observation)
    np.testing.assert_array_equal(step.harm, np.asarray(step.observation) == 2)
    _, sure = jax.vmap(env.step, (0, None, None))(keys[:100], state, 1)
    assert not sure.observation.any()


def test_starts_are_drawn_with_their_probabilities() -> None:
    env = fork()
    state, observation = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), 50_000))
    within_five_sigma(np.bincount(np.asarray(observation), minlength=3), np.array([0.6, 0.3, 0.1]))
    np.testing.assert_array_equal(state.index, observation)
    assert not state.time.any()


@pytest.mark.parametrize(("name", "draws"), [("cliff", False), ("vase", False), ("ring", True)])
def test_random_bits_only_where_there_is_chance(name: str, draws: bool) -> None:
    env = make(name).env
    state = EnvState(jnp.int32(0), jnp.int32(0))
    assert ("random_bits" in str(jax.make_jaxpr(env.step)(jax.random.key(0), state, 0))) == draws
    assert "random_bits" not in str(jax.make_jaxpr(env.reset)(jax.random.key(0)))
    lit = make("backdoor").env
    assert "random_bits" in str(jax.make_jaxpr(lit.reset)(jax.random.key(0)))


def test_raw_keys_are_keys_too() -> None:
    env = fork()
    state, _ = env.reset(jax.random.PRNGKey(3))
    typed, _ = env.reset(jax.random.key(3))
    assert int(state.index) == int(typed.index)


def test_terminal_states_are_left_alone() -> None:
    env = fork()
    for action in (0, 1):
        state, step = env.step(jax.random.key(0), EnvState(jnp.int32(3), jnp.int32(5)), action)
        assert int(state.index) == 3
        assert float(step.reward) == 0.0
        assert bool(step.terminated)
        assert not bool(step.harm)


def test_static_fields_decide_on_compilation() -> None:
    """The horizon is static: two horizons must not share compiled code."""
    step = jax.jit(lambda env, state: env.step(jax.random.key(0), state, 1)[1].truncated)
    state = EnvState(jnp.int32(0), jnp.int32(4))
    assert [bool(step(fork(h), state)) for h in (5, 6, None)] == [True, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_actions": 0}, "num_actions"),
        ({"horizon": 0}, "horizon"),
        ({"starts": {}}, "starts"),
        ({"starts": {0: 0.5}}, "sum to 1"),
        ({"starts": {0: 1.0, 1: 0.0}}, "above 0"),
        ({"is_terminal": lambda s: s == 0}, "terminal"),
        ({"transitions": lambda s, a: []}, "outcomes of action 0 in 0"),
        ({"transitions": lambda s, a: [Outcome(0.9, 0)]}, "sum to 1"),
        ({"transitions": lambda s, a: [Outcome(1.5, 0), Outcome(-0.5, 1)]}, "above 0"),
        ({"transitions": lambda s, a: [Outcome(float("nan"), 0)]}, "above 0"),
        ({"transitions": lambda s, a: [Outcome(1.0, 0, float("nan"))]}, "not finite"),
        ({"transitions": lambda s, a: [Outcome(1.0, s + 1)], "max_states": 50}, "max_states=50"),
    ],
)
def test_compile_refuses(change: dict, message: str) -> None:
    options = {
        "name": "bad",
        "num_actions": 1,
        "starts": {0: 1.0},
        "transitions": lambda s, a: [Outcome(1.0, s)],
        "is_terminal": lambda s: False,
        "horizon": None,
    }
    compile_mdp(**options)
    with pytest.raises(ValueError, match=message):
        compile_mdp(**{**options, **change})
