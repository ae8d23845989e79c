"""Whole runs: one program for all seeds and rules equals one run at a time, and may be cut anywhere."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from scipy import stats

from consensus_imitation import AlphaThreshold, Learner, TopK, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.core import rollout as run_room
from consensus_imitation.core.rollout import Trajectory, keep_all, rollout, rollouts, start
from consensus_imitation.demonstrators import TabularDemonstrator

from .compiled import decide, observe
from .test_learner import A, N, S, assert_same_leaves, random_probs

STEPS = 60


class Outcome(NamedTuple):
    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    harm: jax.Array


class Walk(struct.PyTreeNode):
    """A walk over S places: action 1 goes on by one, action 2 at random, action 0 stays; place S-1 ends the episode."""

    limit: int = 20

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        place = jax.random.randint(key, (), 0, 2)
        return (place, jnp.int32(0)), place

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Outcome]:
        place, time = state
        jump = jax.random.randint(key, (), 0, S - 1)
        place = jnp.where(action == 1, place + 1, jnp.where(action == 2, jump, place))
        terminated = place >= S - 1
        place = jnp.minimum(place, S - 1)
        outcome = Outcome(place, place.astype(jnp.float32), terminated, time + 1 >= self.limit, action == 2)
        return (place, time + 1), outcome


PROBS = random_probs(4, (N, S, A))
TRUTH = TabularDemonstrator.create(PROBS[0])
LEARNER = Learner(ensembles.tabular(PROBS), TopK(2))

single = jax.jit(rollout, static_argnames="num_steps")
begin = jax.jit(start)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize(
    ("selections", "rules"),
    [
        pytest.param(TopK(jnp.array([1, 2, 4])), [TopK(1), TopK(2), TopK(4)], id="top-k"),
        pytest.param(
            TopK(jnp.array([2, 2])) | AlphaThreshold(jnp.array([0.01, 0.3])),
            [TopK(2) | AlphaThreshold(0.01), TopK(2) | AlphaThreshold(0.3)],
            id="union",
        ),
    ],
)
def test_the_sweep_is_one_run_at_a_time(selections: Any, rules: list[Any], key: jax.Array) -> None:
    keys = jax.random.split(key, 4)
    states, trajectories = rollouts(LEARNER, Walk(), TRUTH, keys, STEPS, selections)
    assert trajectories.action.shape == (len(rules), 4, STEPS)
    for r, rule in enumerate(rules):
        own = LEARNER.replace(selection=rule)
        for s in range(4):
            state, trajectory = single(own, Walk(), TRUTH, begin(own, Walk(), keys[s]), STEPS)
            row = jax.tree.map(lambda leaf, r=r, s=s: leaf[r, s], (states, trajectories))
            # Two programs may round differently in the last place.
            assert_same_leaves(row[1], trajectory, atol=5e-6)
            # The rule is part of neither.
            assert_same_leaves(row[0], state, atol=5e-6)


def test_a_new_rule_does_not_recompile(key: jax.Array) -> None:
    keys = jax.random.split(key, 2)
    traced = chex.assert_max_traces(keep_all, n=1)
    for ks in ([1, 2], [3, 4]):
        rollouts(LEARNER, Walk(), TRUTH, keys, 5, TopK(jnp.array(ks)), traced)


def test_a_run_may_be_cut_anywhere(key: jax.Array) -> None:
    first = begin(LEARNER, Walk(), key)
    whole_state, whole = single(LEARNER, Walk(), TRUTH, first, STEPS)
    state, parts = first, []
    for _ in range(3):
        state, part = single(LEARNER, Walk(), TRUTH, state, STEPS // 3)
        parts.append(part)
    assert_same_leaves(state, whole_state, atol=1e-6)
    assert_same_leaves(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts), whole, atol=1e-6)


def test_a_run_draws_with_what_a_step_alone_draws_with(key: jax.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run, one step after another and with the random numbers of a few steps at a time."""
    monkeypatch.setattr(run_room, "_AT_ONCE", 7)
    first = begin(LEARNER, Walk(), key)
    expected_state, expected = jax.jit(rollout, static_argnames="num_steps")(LEARNER, Walk(), TRUTH, first, 20)
    world, state = Walk(), first.learner
    env_state, observation = first.env, first.observation
    for t in range(20):
        decision = decide(LEARNER, state, observation)
        keys = [jax.random.fold_in(jax.random.fold_in(first.key, t), i) for i in range(3)]
        answer = TRUTH.sample(keys[0], observation)
        state, info = observe(LEARNER, state, observation, decision, answer)
        assert (int(info.action), bool(decision.queried)) == (int(expected.action[t]), bool(expected.queried[t]))
        env_state, outcome = world.step(keys[1], env_state, info.action)
        observation = outcome.observation
        if bool(outcome.terminated | outcome.truncated):
            env_state, observation = world.reset(keys[2])
    assert_same_leaves(state.posterior, expected_state.learner.posterior, atol=5e-6)
    assert expected.action.shape == (20,)
    assert bool(jnp.any(expected.terminated | expected.truncated))


@pytest.mark.parametrize("num_steps", [0, 13])
def test_a_run_may_have_any_number_of_steps(num_steps: int, key: jax.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_room, "_AT_ONCE", 5)
    run = jax.jit(rollout, static_argnames="num_steps")
    state, found = run(LEARNER, Walk(), TRUTH, begin(LEARNER, Walk(), key), num_steps)
    assert int(state.learner.stream.step) == num_steps
    assert found.log_weights.shape == (num_steps, N)


def test_a_run_may_be_cut_anywhere_whatever_makes_its_numbers() -> None:
    """Generators need not give the same numbers in a batch."""
    first = begin(LEARNER, Walk(), jax.random.key(0, impl="rbg"))
    _, whole = single(LEARNER, Walk(), TRUTH, first, 20)
    state, half = single(LEARNER, Walk(), TRUTH, first, 10)
    _, other = single(LEARNER, Walk(), TRUTH, state, 10)
    np.testing.assert_array_equal(np.concatenate([half.action, other.action]), whole.action)


@pytest.fixture(scope="module")
def many() -> tuple[Any, Trajectory]:
    """Runs of the rule TopK(2) over 50 seeds, 200 steps each."""
    keys = jax.random.split(jax.random.key(9), 50)
    states, trajectories = rollouts(LEARNER, Walk(), TRUTH, keys, 200, TopK(jnp.array([2])))
    return jax.tree.map(lambda leaf: leaf[0], (states, trajectories))


def test_only_answers_move_the_weights(many: tuple[Any, Trajectory]) -> None:
    states, run = many
    weights = np.concatenate(
        [np.asarray(run.log_weights), np.asarray(states.learner.posterior.log_weights)[:, None]], 1
    )
    moved = np.any(weights[:, 1:] != weights[:, :-1], axis=-1)
    queried = np.asarray(run.queried)
    assert not np.any(moved & ~queried)
    assert moved[:, :5][queried[:, :5]].mean() > 0.5
    np.testing.assert_array_equal(np.asarray(run.evidence)[~queried], 0.0)
    assert 0.01 < queried.mean() < 0.99
    np.testing.assert_array_equal(states.learner.stream.queries, queried.sum(-1))
    np.testing.assert_array_equal(states.learner.stream.step, 200)


def test_the_weights_are_bayes_rule_on_the_answers(many: tuple[Any, Trajectory]) -> None:
    states, run = many
    with np.errstate(divide="ignore"):
        log_probs = np.log(PROBS)
    for s in range(len(run.action)):
        asked = np.asarray(run.queried[s])
        seen = log_probs[:, np.asarray(run.observation[s])[asked], np.asarray(run.action[s])[asked]].sum(-1)
        expected = np.exp(seen - seen.max())
        own = posterior.weights(jax.tree.map(lambda leaf, s=s: leaf[s], states.learner.posterior))
        np.testing.assert_allclose(own, expected / expected.sum(), atol=1e-4)


def test_queries_come_as_often_as_theta_says(many: tuple[Any, Trajectory]) -> None:
    """The difference is a martingale: its standard deviation is that of the sum of theta (1 - theta)."""
    _, run = many
    theta = np.asarray(run.query_prob, np.float64)
    assert abs((np.asarray(run.queried) - theta).sum()) < 5 * np.sqrt((theta * (1 - theta)).sum())


def test_every_step_draws_afresh(key: jax.Array) -> None:
    """The demonstrator's answers within one run are independent: each action as often as its probability says."""
    steps = 600
    opposed = np.zeros((2, S, A))
    opposed[0, :, 0], opposed[1, :, 1:] = 1.0, 0.5
    # The supports are disjoint: every step is a query, also after the first answer that nobody explains.
    learner = Learner(ensembles.tabular(opposed), TopK(2))
    uniform = TabularDemonstrator.create(np.full((S, A), 1 / A))
    _, run = single(learner, Walk(), uniform, begin(learner, Walk(), key), steps)
    assert run.queried.all()
    counts = np.bincount(np.asarray(run.action), minlength=A)
    # Binomial(600, 1/3): 5 sigma is 58.
    assert np.all(np.abs(counts - steps / A) < 5 * np.sqrt(steps * 2 / 9))
    jumps = np.asarray(run.observation)[1:][np.asarray(run.action)[:-1] == 2]
    assert len(set(jumps.tolist())) == S - 1  # the world's own chance, too


def test_an_episode_that_ends_is_followed_by_a_reset(many: tuple[Any, Trajectory]) -> None:
    _, run = many
    done = np.asarray(run.terminated | run.truncated)
    observation = np.asarray(run.observation)
    assert done.sum() > 50
    assert np.asarray(run.terminated).any()
    assert np.all(observation < S - 1)  # nobody acts in a place that ends the episode
    assert np.all(observation[:, 1:][done[:, :-1]] <= 1)  # where resets lead
    lengths = [np.diff(np.flatnonzero(row)) for row in done]
    assert max(length.max() for length in lengths if length.size) <= 20
    stayed = (np.asarray(run.action)[:, :-1] == 0) & ~done[:, :-1]
    np.testing.assert_array_equal(observation[:, 1:][stayed], observation[:, :-1][stayed])


def test_truncation_is_told_apart_from_termination(key: jax.Array) -> None:
    """A demonstrator that stays is truncated at the limit, and never terminated."""
    stays = np.zeros((1, S, A))
    stays[..., 0] = 1.0
    learner = Learner(ensembles.tabular(stays), TopK(1))
    _, run = single(
        learner, Walk(limit=7), TabularDemonstrator.create(stays[0]), start(learner, Walk(limit=7), key), 21
    )
    assert np.flatnonzero(run.truncated).tolist() == [6, 13, 20]
    assert not run.terminated.any()


@pytest.mark.slow
def test_a_summary_sees_the_whole_run(key: jax.Array) -> None:
    keys = jax.random.split(key, 3)
    _, run = rollouts(LEARNER, Walk(), TRUTH, keys, STEPS, TopK(jnp.array([1, 3])))
    counts = rollouts(LEARNER, Walk(), TRUTH, keys, STEPS, TopK(jnp.array([1, 3])), count_queries)
    np.testing.assert_array_equal(counts, run.queried.sum(-1))
    assert not counts[0].any()


def count_queries(state: Any, trajectory: Trajectory) -> jax.Array:
    return trajectory.queried.sum()


# --- the tabular demonstrator ---


def test_the_demonstrator_follows_its_table() -> None:
    """Chi-square at the 5 sigma level for every observation."""
    n = 100_000
    probs = random_probs(8, (S, A))
    expert = TabularDemonstrator.create(probs)
    sample = jax.jit(jax.vmap(expert.sample, in_axes=(0, None)))
    for observation in range(S):
        actions = np.asarray(sample(jax.random.split(jax.random.key(observation), n), observation))
        counts = np.bincount(actions, minlength=A)
        possible = probs[observation] > 0
        assert counts[~possible].sum() == 0
        expected = n * probs[observation][possible]
        statistic = ((counts[possible] - expected) ** 2 / expected).sum()
        assert stats.chi2.sf(statistic, possible.sum() - 1) > 6e-7


def test_the_demonstrator_takes_its_rare_actions() -> None:
    expert = TabularDemonstrator.create(np.array([[1 - 5e-5, 5e-5]]))
    actions = jax.vmap(expert.sample, in_axes=(0, None))(jax.random.split(jax.random.key(0), 1_000_000), 0)
    # Poisson(50): more than 10 but for a probability of 1e-12.
    assert int(actions.sum()) > 10


@pytest.mark.parametrize("probs", [[[0.5, 0.4]], [[1.5, -0.5]], [[np.nan, 1.0]], [0.5, 0.5], [[0.6, 0.6]]], ids=str)
def test_a_demonstrator_that_is_no_distribution_is_refused(probs: Any) -> None:
    with pytest.raises(ValueError, match="probs"):
        TabularDemonstrator.create(probs)
