"""The Gymnasium interface."""

from __future__ import annotations

import importlib
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation.envs import EnvState, make, names

gymnasium = pytest.importorskip("gymnasium")
adapter = importlib.import_module("consensus_imitation.envs.gymnasium_adapter")


@pytest.mark.parametrize("name", names())
def test_gymnasium_is_content(name: str) -> None:
    from gymnasium.utils.env_checker import check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(adapter.gymnasium_id(name), render_mode="rgb_array").unwrapped)


def test_every_world_is_registered_and_made_by_module_and_id() -> None:
    ids = {i for i in gymnasium.registry if i.startswith("ConsensusImitation/")}
    assert ids == {adapter.gymnasium_id(name) for name in names()}
    assert "ConsensusImitation/ShiftingLavaAbsorbing-v0" in ids
    env = gymnasium.make("consensus_imitation.envs.gymnasium_adapter:ConsensusImitation/Cliff-v0", width=5)
    assert env.observation_space == gymnasium.spaces.Discrete(20)
    assert env.action_space == gymnasium.spaces.Discrete(5)


@pytest.mark.parametrize("name", names())
def test_same_steps_as_the_compiled_environment(name: str) -> None:
    world = make(name)
    if world.env.next_state.shape[2] > 1:
        pytest.skip("chance decides what an action does: see test_same_law_as_the_tables")
    env, step = adapter.GridworldEnv(world), jax.jit(world.env.step)
    rng = np.random.default_rng(0)
    for episode in range(3):
        observation, info = env.reset(seed=episode)
        assert info == {"harm": False}
        state = EnvState(jnp.int32(observation), jnp.int32(0))
        done = False
        while not done:
            action = int(rng.integers(world.env.num_actions))
            observation, reward, terminated, truncated, info = env.step(action)
            state, expected = step(jax.random.key(0), state, action)
            assert observation == expected.observation
            assert reward == expected.reward
            assert terminated == expected.terminated
            assert truncated == expected.truncated
            assert info["harm"] == expected.harm
            done = terminated or truncated


def test_same_law_as_the_tables() -> None:
    """Slips of the ring and starts of the backdoor world, within five standard deviations."""
    env = adapter.GridworldEnv("ring", slip=0.3)
    observation, _ = env.reset(seed=1)
    n, slips = 5000, 0
    for _ in range(n):
        before = observation
        observation, reward, *_ = env.step(0)
        slips += int(observation == before)
        assert reward == pytest.approx(0.0 if observation == before else 0.1)
    assert abs(slips - 0.3 * n) < 5 * np.sqrt(n * 0.3 * 0.7)

    env = adapter.GridworldEnv("backdoor")
    counts = np.zeros(env.world.env.num_states)
    env.reset(seed=2)
    for _ in range(n):
        counts[env.reset()[0]] += 1
    start = np.asarray(env.world.env.start_probs)
    assert (np.abs(counts - n * start) <= 5 * np.sqrt(n * start * (1 - start))).all()


def test_seed_decides() -> None:
    def run(seed: int) -> list[int]:
        env = adapter.GridworldEnv("ring", slip=0.5)
        env.reset(seed=seed)
        return [int(env.step(0)[0]) for _ in range(50)]

    assert run(3) == run(3) != run(4)


@pytest.mark.parametrize("action", [-1, 5, 10**6])
def test_actions_out_of_range_raise(action: int) -> None:
    env = adapter.GridworldEnv("cliff")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"action must be from 0 to 4 in 'cliff', got {action}"):
        env.step(action)


def test_misuse() -> None:
    env = adapter.GridworldEnv("cliff", render_mode="ansi")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.render()
    env.reset(seed=0)
    with pytest.raises(TypeError):
        env.step(1.0)
    with pytest.raises(ValueError, match="render_mode"):
        adapter.GridworldEnv("cliff", render_mode="human")
    with pytest.raises(TypeError, match="width"):
        adapter.GridworldEnv(make("cliff"), width=5)


def test_render_shows_the_current_state() -> None:
    for mode in ("ansi", "rgb_array"):
        env = adapter.GridworldEnv("vase", render_mode=mode)
        observation, _ = env.reset(seed=0)
        for action in (1, 1, 1):
            show = env.world.render_text if mode == "ansi" else env.world.render_rgb
            np.testing.assert_array_equal(env.render(), show(int(observation)))
            observation, *_ = env.step(action)
    assert adapter.GridworldEnv("vase").render() is None


def test_without_gymnasium_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    monkeypatch.delitem(sys.modules, adapter.__name__)
    with pytest.raises(ImportError, match=r'pip install "consensus_imitation\[gym\]"'):
        importlib.import_module(adapter.__name__)
