"""What every registered world has to keep."""

from __future__ import annotations

import functools
import re
from collections import deque
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_processes import tables

from consensus_imitation.envs import (
    EnvState,
    Gridworld,
    TabularEnv,
    TimeStep,
    harm_probability,
    make,
    names,
    occupancy,
    reach_probability,
    summary,
)


def sizes(world: Gridworld) -> tuple[int, int, int]:
    s, a, o = world.env.next_state.shape
    return s, a, o


@functools.partial(jax.jit, static_argnums=(2, 3))
def scan_random(env: TabularEnv, key: jax.Array, steps: int, lanes: int) -> TimeStep:
    """Random actions without resets; [steps, lanes]."""

    def body(state: EnvState, key: jax.Array) -> tuple[EnvState, TimeStep]:
        keys = jax.random.split(key, lanes)
        actions = jax.random.randint(key, (lanes,), 0, env.num_actions)
        return jax.vmap(env.step)(keys, state, actions)

    state, _ = jax.vmap(env.reset)(jax.random.split(key, lanes))
    return jax.lax.scan(body, state, jax.random.split(key, steps))[1]


def test_shapes_and_dtypes(world: Gridworld) -> None:
    env = world.env
    S, A, O = sizes(world)  # noqa: E741
    assert (env.num_states, env.num_observations, env.num_actions) == (S, S, A)
    assert 15 <= S <= 1000
    for array, dtype in (
        (env.next_state, jnp.int32),
        (env.outcome_probs, jnp.float32),
        (env.reward, jnp.float32),
        (env.harm, jnp.bool_),
    ):
        assert array.shape == (S, A, O)
        assert array.dtype == dtype
    assert env.terminal.shape == (S,)
    assert env.terminal.dtype == jnp.bool_
    assert len(world.states) == len(set(world.states)) == S
    assert len(world.action_names) == len(set(world.action_names)) == A
    for probs in (world.demonstrator_probs, world.harmful_probs):
        assert probs.shape == (S, A)
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-6)
    for mask in (world.goal, *world.triggers.values()):
        assert mask.shape == (S,)
        assert mask.dtype == np.bool_
        assert 0 < mask.sum() < S
    assert world.name == env.name


def test_host_arrays_are_read_only(world: Gridworld) -> None:
    for array in (world.demonstrator_probs, world.harmful_probs, world.goal, *world.triggers.values()):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(TypeError):
        world.triggers["new"] = world.goal  # pyright: ignore[reportIndexIssue]


def test_tables_are_distributions_over_valid_states(world: Gridworld) -> None:
    t = tables(world.env)
    assert (t.probs >= 0).all()
    np.testing.assert_allclose(t.probs.sum(axis=-1), 1.0, atol=1e-6)
    assert ((t.next_state >= 0) & (t.next_state < len(t.terminal))).all()
    start = np.asarray(world.env.start_probs)
    assert start.shape == t.terminal.shape
    assert start.sum() == pytest.approx(1.0)
    assert not t.terminal[start > 0].any()


def test_every_state_can_be_reached(world: Gridworld) -> None:
    t = tables(world.env)
    seen = set(np.flatnonzero(np.asarray(world.env.start_probs)).tolist())
    queue = deque(seen)
    while queue:
        s = queue.popleft()
        for after in t.next_state[s][t.probs[s] > 0].tolist():
            if after not in seen:
                seen.add(after)
                queue.append(after)
    assert seen == set(range(world.env.num_states))


def test_step_follows_the_tables(world: Gridworld) -> None:
    """Every state and action, under jit and vmap, with the environment as an argument."""
    S, A, _ = sizes(world)
    t = tables(world.env)
    s, a = (grid.ravel() for grid in np.mgrid[:S, :A])
    keys = jax.random.split(jax.random.key(0), S * A)
    state = EnvState(jnp.asarray(s, jnp.int32), jnp.full(S * A, 3, jnp.int32))
    step_all = jax.jit(lambda env, *args: jax.vmap(env.step)(*args))
    after, step = step_all(world.env, keys, state, jnp.asarray(a))
    matches = (
        (t.next_state[s, a] == np.asarray(step.observation)[:, None])
        & (t.reward[s, a] == np.asarray(step.reward)[:, None])
        & (t.harm[s, a] == np.asarray(step.harm)[:, None])
        & (t.probs[s, a] > 0)
    )
    assert matches.any(axis=1).all()
    np.testing.assert_array_equal(after.index, step.observation)
    np.testing.assert_array_equal(after.time, 4)
    np.testing.assert_array_equal(step.terminated, t.terminal[np.asarray(step.observation)])
    for array, dtype in zip(step, (jnp.int32, jnp.float32, jnp.bool_, jnp.bool_, jnp.bool_), strict=True):
        assert array.dtype == dtype


def test_same_key_same_result(world: Gridworld) -> None:
    first = scan_random(world.env, jax.random.key(5), 40, 16)
    again = scan_random(world.env, jax.random.key(5), 40, 16)
    other = scan_random(world.env, jax.random.key(6), 40, 16)
    for x, y in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, y)
    assert (first.observation != other.observation).any()


def test_terminated_and_truncated_are_apart(world: Gridworld) -> None:
    t = tables(world.env)
    horizon = world.env.horizon
    steps = scan_random(world.env, jax.random.key(1), (horizon or 60) + 2, 64)
    terminated, truncated = np.asarray(steps.terminated), np.asarray(steps.truncated)
    time = np.arange(1, len(terminated) + 1)[:, None]
    np.testing.assert_array_equal(terminated, t.terminal[np.asarray(steps.observation)])
    if horizon is None:
        assert not truncated.any()
    else:
        assert truncated[horizon - 1].any()
        np.testing.assert_array_equal(truncated, (time >= horizon) & ~terminated)
        # A step into the goal on the last step of the horizon terminates and does not truncate.
        s, a, _ = np.argwhere(t.terminal[t.next_state] & ~t.terminal[:, None, None])[0]
        last = EnvState(jnp.int32(s), jnp.int32(horizon - 1))
        _, step = world.env.step(jax.random.key(0), last, int(a))
        assert bool(step.terminated)
        assert not bool(step.truncated)


@pytest.mark.parametrize("offset", [-1, 0, 1000])
def test_an_action_out_of_range_is_not_carried_out(world: Gridworld, offset: int) -> None:
    action = -1 if offset < 0 else world.env.num_actions + offset
    S = world.env.num_states
    state = EnvState(jnp.arange(S, dtype=jnp.int32), jnp.zeros(S, jnp.int32))
    keys = jax.random.split(jax.random.key(0), S)
    after, step = jax.jit(jax.vmap(world.env.step, (0, 0, None)))(keys, state, action)
    np.testing.assert_array_equal(after.index, state.index)
    np.testing.assert_array_equal(after.time, 1)
    assert np.isnan(step.reward).all()
    assert not step.harm.any()


def test_near_harm_is_where_harm_is_one_step_away(world: Gridworld) -> None:
    t = tables(world.env)
    S, A, O = sizes(world)  # noqa: E741
    expected = [any(t.harm[s, a, o] and t.probs[s, a, o] > 0 for a in range(A) for o in range(O)) for s in range(S)]
    np.testing.assert_array_equal(world.triggers["near_harm"], expected)


def test_harm_seeker_does_harm_within_an_episode(world: Gridworld) -> None:
    steps = world.env.horizon or 60
    forecast = harm_probability(world.env, world.harmful_probs, steps)
    chance = world.env.next_state.shape[2] > 1
    assert forecast.probability > (0.99 if chance else 1.0 - 1e-9)
    assert ((world.harmful_probs == 0) | (world.harmful_probs == 1)).all()


@pytest.mark.parametrize("name", names())
def test_harm_seeker_takes_the_shortest_way(name: str) -> None:
    world = make(name, slip=0.0) if name == "ring" else make(name)
    t = tables(world.env)
    if t.next_state.shape[2] > 1:
        pytest.skip("where chance decides what an action does, no way has a length")
    nexts, harm = t.next_state[:, :, 0], t.harm[:, :, 0]
    distance = np.where(harm.any(axis=1), 1.0, np.inf)
    for _ in range(len(distance)):
        distance = np.minimum(distance, np.where(harm, np.inf, 1.0 + distance[nexts]).min(axis=1))
    chosen = world.harmful_probs.argmax(axis=1)
    for s in range(len(distance)):
        here, steps = s, 0
        while not harm[here, chosen[here]] and steps < 100:
            here, steps = nexts[here, chosen[here]], steps + 1
        assert (steps + 1 if steps < 100 else np.inf) == distance[s]


def test_demonstrator_is_good_stochastic_and_rarely_harmful(world: Gridworld) -> None:
    env, probs = world.env, world.demonstrator_probs
    assert (probs > 0).all()
    harmed = harm_probability(env, probs, 100).probability
    assert 0.001 < harmed < 0.02, (
        f"the demonstrator does harm within 100 steps with probability {harmed:.3%}, not 0.1% to 2%: choose "
        "another default of `temperature` (a higher one makes more mistakes)"
    )
    assert reach_probability(env, probs, world.goal, env.horizon or 100) > 0.95
    entropy = -(probs * np.log(probs)).sum(axis=1)
    assert occupancy(env, probs, 100) @ entropy > 0.4


def test_demonstrator_passes_by_harm(world: Gridworld) -> None:
    """Otherwise nothing could be learnt about the dangerous states."""
    seen = occupancy(world.env, world.demonstrator_probs, 100)
    near = seen[world.triggers["near_harm"]].sum()
    assert near > 0.02, f"one step from harm on {near:.2%} of steps only: lead the way past it on more than 2%"


def test_summary_tells_the_same() -> None:
    rows = summary()
    assert tuple(row.name for row in rows) == names() == tuple(sorted(names()))
    row = rows[names().index("cliff")]
    world = make("cliff")
    assert row[1:4] == (32, 5, 50)
    expected = harm_probability(world.env, world.demonstrator_probs, 100).probability
    assert row.harm_per_100_steps == pytest.approx(expected)
    assert row.goal_rate == pytest.approx(reach_probability(world.env, world.demonstrator_probs, world.goal, 50))
    assert 0.5 < row.mean_entropy < np.log(5)


def test_the_page_of_worlds_has_a_row_for_each() -> None:
    """With the probability of the last column, which a change of a demonstrator must not leave behind."""
    page = (Path(__file__).parents[2] / "docs" / "environments.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d\.\d\d%) \|$", page, flags=re.M))
    expected = {row.name: f"{row.harm_per_100_steps:.2%}" for row in summary()}
    assert said == expected, "the table of worlds in docs/environments.md needs a row for each world, with this P(harm)"


def test_pictures_tell_states_apart(world: Gridworld) -> None:
    texts = [world.render_text(i) for i in range(len(world.states))]
    assert len(set(texts)) == len(texts)
    assert all(text.count("A") == 1 for text in texts)
    lines = texts[0].split("\n")
    pictures = [world.render_rgb(i, tile=8) for i in range(len(world.states))]
    assert {p.shape for p in pictures} == {(8 * len(lines), 8 * len(lines[0]), 3)}
    assert {p.dtype for p in pictures} == {np.dtype(np.uint8)}
    assert len({p.tobytes() for p in pictures}) == len(pictures)
    assert world.render_rgb(0).shape == (24 * len(lines), 24 * len(lines[0]), 3)
    for render in (world.render_text, world.render_rgb):
        for index in (-1, len(world.states)):
            with pytest.raises(IndexError, match="has states 0 to"):
                render(index)


def test_descriptions_are_one_line(world: Gridworld) -> None:
    for text in (world.description, world.harm_description):
        assert text.endswith(".")
        assert "\n" not in text


def test_unknown_names_and_options() -> None:
    with pytest.raises(ValueError, match="did you mean 'cliff'") as error:
        make("clif")
    assert all(name in str(error.value) for name in names())
    with pytest.raises(TypeError, match="colour"):
        make("cliff", colour="red")
