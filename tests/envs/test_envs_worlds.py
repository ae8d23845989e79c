"""What is particular to each world."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from small_processes import tables

from consensus_imitation.envs import Gridworld, harm_probability, make, q_values, reach_probability

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def index(world: Gridworld, **fields: int) -> int:
    """Number of the one state with these fields."""
    found = [i for i, s in enumerate(world.states) if all(getattr(s, k) == v for k, v in fields.items())]
    assert len(found) == 1, found
    return found[0]


def step(world: Gridworld, s: int, action: int) -> tuple[int, bool]:
    """Next state and harm where there is one outcome only."""
    t = tables(world.env)
    assert t.next_state.shape[2] == 1
    return int(t.next_state[s, action, 0]), bool(t.harm[s, action, 0])


def absorbs(world: Gridworld, states: np.ndarray) -> bool:
    """No action leads out of each of these states, pays or does harm."""
    t = tables(world.env)
    numbers = np.flatnonzero(states)
    stays = (t.next_state[numbers] == numbers[:, None, None]).all()
    return bool(stays and not t.harm[numbers].any() and not t.reward[numbers].any())


def shortest(world: Gridworld, *, harmless: bool) -> int:
    """Fewest steps from the start to the goal."""
    t = tables(world.env)
    here, steps = {0}, 0
    while not any(world.goal[s] for s in here):
        here = {
            int(t.next_state[s, a, 0])
            for s in here
            for a in range(world.env.num_actions)
            if not (harmless and t.harm[s, a, 0])
        }
        steps += 1
    return steps


def test_cliff_fall_is_for_ever_and_no_end() -> None:
    world = make("cliff")
    fallen = world.triggers["fallen"]
    assert fallen.sum() == 6
    assert absorbs(world, fallen)
    t = tables(world.env)
    assert not t.terminal[fallen].any()
    enters = fallen[t.next_state] & ~fallen[:, None, None]
    np.testing.assert_array_equal(t.harm, enters)


def test_cliff_size() -> None:
    world = make("cliff", width=5, height=3, horizon=7)
    assert world.env.num_states == 15
    assert world.env.horizon == 7
    assert world.render_text(0) == ".....\n.....\nA~~~G"


@pytest.mark.parametrize("name", ["shifting_lava", "shifting_lava_absorbing"])
def test_lava_shifts_when_the_clock_says(name: str) -> None:
    world = make(name, shift_after=4)
    t = tables(world.env)
    lava = [
        {
            (r, c)
            for r, row in enumerate(world.render_text(index(world, row=2, column=0, clock=k)).split("\n")[:5])
            for c, tile in enumerate(row)
            if tile == "~"
        }
        for k in range(5)
    ]
    assert lava[0] == lava[1] == lava[2] == lava[3] != lava[4]
    assert {(3, 2), (3, 6)} <= lava[0] - lava[4]
    assert {(1, 2), (1, 6)} <= lava[4] - lava[0]
    # Harm is to end a step where the lava is then.
    for s, state in enumerate(world.states):
        sunk = "sunk" in world.triggers and world.triggers["sunk"][s]
        for a in range(5):
            after = world.states[t.next_state[s, a, 0]]
            if not t.terminal[s] and not sunk:
                assert after.clock == min(state.clock + 1, 4)
                assert t.harm[s, a, 0] == ((after.row, after.column) in lava[after.clock])
    np.testing.assert_array_equal(world.triggers["after_shift"], [s.clock == 4 for s in world.states])


def test_lava_can_be_left_and_is_a_harm_each_step() -> None:
    world = make("shifting_lava")
    inside = index(world, row=2, column=2, clock=7)
    assert step(world, inside, STAY) == (inside, True)
    outside, harm = step(world, inside, LEFT)
    assert not harm
    assert world.states[outside][:2] == (2, 1)
    forecast = harm_probability(world.env, world.harmful_probs, 50)
    assert forecast.expected_harms_per_step > 0.8


def test_lava_comes_to_who_waits_in_the_gap() -> None:
    for name in ("shifting_lava", "shifting_lava_absorbing"):
        world = make(name, shift_after=7)
        assert step(world, index(world, row=1, column=2, clock=6), STAY)[1]
        assert not step(world, index(world, row=1, column=2, clock=5), STAY)[1]


def test_absorbing_lava_absorbs() -> None:
    world = make("shifting_lava_absorbing")
    sunk = world.triggers["sunk"]
    assert absorbs(world, sunk)
    t = tables(world.env)
    assert not t.terminal[sunk].any()
    np.testing.assert_array_equal(t.harm, sunk[t.next_state] & ~sunk[:, None, None])
    # One harm an episode of 50 steps, and no more.
    forecast = harm_probability(world.env, world.harmful_probs, 50)
    assert forecast.expected_harms_per_step == pytest.approx(1 / 50)


def test_lava_demonstrator_sees_both_times() -> None:
    world = make("shifting_lava")
    passed = world.triggers["after_shift"] & np.array([s.column > 6 for s in world.states])
    assert reach_probability(world.env, world.demonstrator_probs, passed) > 0.9
    early = np.array([s.column == 3 and s.clock < 7 for s in world.states])
    assert reach_probability(world.env, world.demonstrator_probs, early) > 0.2


@pytest.mark.parametrize(
    ("name", "field", "count"), [("absent_supervisor", "supervised", 2), ("backdoor", "pattern", 8)]
)
def test_what_is_drawn_at_reset_changes_nothing_else(name: str, field: str, count: int) -> None:
    """Neither the dynamics nor the demonstrator; it stays for the episode."""
    world = make(name)
    t = tables(world.env)
    groups: dict[tuple, list[int]] = {}
    for s, state in enumerate(world.states):
        groups.setdefault((state.row, state.column), []).append(s)
    for twins in groups.values():
        assert len(twins) == count
        for s in twins:
            np.testing.assert_array_equal(world.demonstrator_probs[s], world.demonstrator_probs[twins[0]])
            np.testing.assert_array_equal(t.harm[s], t.harm[twins[0]])
            for a in range(5):
                after, other = (world.states[t.next_state[x, a, 0]] for x in (s, twins[0]))
                assert after[:2] == other[:2]
                assert getattr(after, field) == getattr(world.states[s], field)


def test_absent_supervisor() -> None:
    world = make("absent_supervisor", supervised_prob=0.8)
    start = np.asarray(world.env.start_probs)
    assert start[world.triggers["unsupervised"]].sum() == pytest.approx(0.2)
    assert shortest(world, harmless=False) == 6
    assert shortest(world, harmless=True) == 10
    gap = np.array([(s.row, s.column) == (2, 4) for s in world.states])
    t = tables(world.env)
    np.testing.assert_array_equal(t.harm, gap[t.next_state])


def test_backdoor_trigger_is_rare_and_harm_is_the_lever() -> None:
    world = make("backdoor")
    t = tables(world.env)
    assert np.asarray(world.env.start_probs)[world.triggers["pattern"]].sum() == pytest.approx(1 / 8)
    press = world.action_names.index("press")
    lever = np.array([(s.row, s.column) == (1, 3) for s in world.states])
    expected = np.zeros_like(t.harm)
    expected[lever, press] = True
    np.testing.assert_array_equal(t.harm, expected)
    numbers = np.arange(world.env.num_states)
    np.testing.assert_array_equal(t.next_state[:, press, 0], numbers)
    assert make("backdoor", num_lights=2).env.num_states == 72


def test_vase_breaks_once_and_for_good() -> None:
    world = make("vase")
    t = tables(world.env)
    broken = world.triggers["broken"]
    assert broken[t.next_state[broken]].all()
    np.testing.assert_array_equal(t.harm, broken[t.next_state] & ~broken[:, None, None])
    assert shortest(world, harmless=False) == 6
    assert shortest(world, harmless=True) == 8
    # The reward alone prefers to break it.
    path, s = [], 0
    best = q_values(world.env).argmax(axis=1)
    while not world.goal[s]:
        s, harm = step(world, s, int(best[s]))
        path.append(harm)
    assert sum(path) == 1


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_treacherous_turn_needs_power(threshold: int) -> None:
    world = make("treacherous_turn", threshold=threshold)
    t = tables(world.env)
    seize = world.action_names.index("seize")
    for s, state in enumerate(world.states):
        strong = bin(state.held).count("1") >= threshold
        assert world.triggers["powerful"][s] == strong
        can = strong and not state.seized and not t.terminal[s]
        assert bool(t.harm[s, seize, 0]) == can
        after = world.states[t.next_state[s, seize, 0]]
        assert after == (state._replace(seized=True) if can else state)
    assert not t.harm[:, :seize].any()
    seized = world.triggers["seized"]
    assert seized[t.next_state[seized]].all()


def test_treacherous_turn_is_late_and_the_demonstrator_gets_the_chance() -> None:
    world = make("treacherous_turn")
    by_step = harm_probability(world.env, world.harmful_probs, 50).probability_by_step
    assert by_step[6] == 0.0
    assert by_step[-1] == pytest.approx(1.0)
    assert reach_probability(world.env, world.demonstrator_probs, world.triggers["powerful"]) > 0.3


def test_ring_never_ends() -> None:
    world = make("ring")
    assert world.env.horizon is None
    assert not np.asarray(world.env.terminal).any()


def test_ring_law() -> None:
    world = make("ring", num_cells=12, slip=0.25)
    t = tables(world.env)
    number = {state.cell: i for i, state in enumerate(world.states)}
    for cell, s in number.items():
        for action, change in ((0, 1), (1, -1)):
            law = dict(zip(t.next_state[s, action].tolist(), t.probs[s, action].tolist(), strict=True))
            assert law == {number[(cell + change) % 12]: 0.75, s: 0.25}
            np.testing.assert_allclose(t.reward[s, action], [0.1 * change, 0.0])
            assert not t.harm[s, action].any()
        for action in (2, 3):
            assert (t.next_state[s, action] == s).all()
            assert not t.reward[s, action].any()
        assert not t.harm[s, 2].any()
        assert t.harm[s, 3].all() == t.harm[s, 3].any() == (cell % 4 == 2)
    assert make("ring", slip=0.0).env.next_state.shape[2] == 1


@pytest.mark.parametrize("num_cells", [8, 10, 14, 24, 30])
def test_ring_is_drawn_as_a_closed_walk(num_cells: int) -> None:
    world = make("ring", num_cells=num_cells)
    order = np.argsort([state.cell for state in world.states])
    where = []
    for i in order:
        lines = world.render_text(int(i)).split("\n")
        where.append(next((r, line.index("A")) for r, line in enumerate(lines) if "A" in line))
    assert len(set(where)) == num_cells
    for (r, c), (r2, c2) in itertools.pairwise([*where, where[0]]):
        assert abs(r - r2) + abs(c - c2) == 1


def test_history_tree_is_a_tree() -> None:
    world = make("history_tree", depth=4, num_actions=3)
    t = tables(world.env)
    assert set(world.states) == {h for d in range(5) for h in itertools.product(range(3), repeat=d)}
    for s, state in enumerate(world.states):
        assert t.terminal[s] == (len(state) == 4)
        for a in range(3):
            after = world.states[t.next_state[s, a, 0]]
            assert after == (state if t.terminal[s] else (*state, a))
            assert t.harm[s, a, 0] == (not t.terminal[s] and after == (2, 2, 2, 2))


def test_history_tree_harmful_leaves_and_share() -> None:
    leaves = [(0, 0), (1, 0), (1, 1)]
    world = make("history_tree", depth=2, harm_leaves=leaves, harm_share=0.01)
    t = tables(world.env)
    number = {state: i for i, state in enumerate(world.states)}
    assert {(*world.states[s], int(a)) for s, a, _ in np.argwhere(t.harm)} == set(leaves)
    np.testing.assert_allclose(world.demonstrator_probs[number[0,]], [0.01, 0.99], rtol=1e-5)
    # Where every action does harm there is no harmless one to prefer.
    assert (world.demonstrator_probs[number[1,]] > 0.02).all()


def test_history_tree_demonstrator() -> None:
    first, again, other = (make("history_tree", seed=seed).demonstrator_probs for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    given = {(): [0.3, 0.7], (0,): [0.5, 0.5], (1,): [0.9, 0.1]}
    world = make("history_tree", depth=2, demonstrator=given)
    for state, probs in zip(world.states, world.demonstrator_probs, strict=True):
        np.testing.assert_allclose(probs, given.get(state, [0.5, 0.5]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"probabilities above 0 for \(1,\)"):
        make("history_tree", depth=2, demonstrator={(): [0.3, 0.7], (0,): [0.5, 0.5]})
    with pytest.raises(ValueError, match="probabilities above 0"):
        make("history_tree", depth=1, demonstrator={(): [0.0, 1.0]})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cliff", {"width": 2}, "width"),
        ("cliff", {"height": 1}, "height"),
        ("cliff", {"horizon": 0}, "horizon"),
        ("cliff", {"temperature": 0.0}, "temperature"),
        ("cliff", {"harm_cost": -1.0}, "harm_cost"),
        ("shifting_lava", {"shift_after": 0}, "shift_after"),
        ("shifting_lava_absorbing", {"shift_after": 21}, "shift_after"),
        ("absent_supervisor", {"supervised_prob": 1.0}, "supervised_prob"),
        ("treacherous_turn", {"threshold": 4}, "threshold"),
        ("backdoor", {"num_lights": 0}, "num_lights"),
        ("ring", {"num_cells": 9}, "num_cells"),
        ("ring", {"slip": 1.0}, "slip"),
        ("history_tree", {"depth": 0}, "depth"),
        ("history_tree", {"depth": 8, "num_actions": 9}, "10,000 leaves"),
        ("history_tree", {"harm_share": 0.0}, "harm_share"),
        ("history_tree", {"concentration": 0.0}, "concentration"),
        ("history_tree", {"harm_leaves": []}, "harmful leaf"),
        ("history_tree", {"harm_leaves": [(0, 0)]}, "is not 3 actions"),
        ("history_tree", {"harm_leaves": [(0, 0, 2)]}, "is not 3 actions"),
    ],
)
def test_options_out_of_range(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **options)
