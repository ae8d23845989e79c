"""Planted members: exact copies before their trigger, defectors after it, and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ensembles
from consensus_imitation.core import aggregation
from consensus_imitation.core.draw import as_float
from consensus_imitation.core.learner import random_words
from consensus_imitation.deception import transforms
from consensus_imitation.ensembles import Context
from consensus_imitation.errors import ObservationError

S, A = 6, 4
HONEST_PROBS = np.random.default_rng(1).dirichlet(np.ones(A), size=S)
HONEST = ensembles.tabular(HONEST_PROBS[None])
HARMFUL = ensembles.tabular(np.eye(A)[np.arange(S) % A][None])


def predict(ensemble, observation=0, step=0, log_weights=None, first=0):
    weights = jnp.zeros(8) if log_weights is None else jnp.asarray(log_weights, jnp.float32)
    context = Context(jnp.int32(step), weights, first)
    return np.asarray(ensemble.log_probs(ensemble.init_carry(), jnp.int32(observation), context))


@pytest.mark.parametrize("observation", range(S))
def test_time_bomb_is_the_honest_policy_bit_for_bit_and_then_the_harmful_one(observation):
    bomb = transforms.time_bomb(HONEST, HARMFUL, at_step=10)
    np.testing.assert_array_equal(predict(bomb, observation, step=9), predict(HONEST, observation))
    np.testing.assert_array_equal(predict(bomb, observation, step=10), predict(HARMFUL, observation))
    np.testing.assert_array_equal(predict(bomb, observation, step=10_000), predict(HARMFUL, observation))


def test_trigger_state_defects_in_marked_observations_only():
    mask = np.arange(S) == 2
    member = transforms.trigger_state(HONEST, HARMFUL, mask)
    for observation in range(S):
        expected = HARMFUL if mask[observation] else HONEST
        np.testing.assert_array_equal(predict(member, observation), predict(expected, observation))


@pytest.mark.parametrize("observation", [-1, S, 99])
def test_trigger_state_does_not_wrap_round(observation):
    member = transforms.trigger_state(HONEST, HARMFUL, np.ones(S, bool))
    with pytest.raises(ObservationError, match="is in no table"):
        predict(member, observation)
    traced = jax.jit(lambda o: member.log_probs(member.init_carry(), o, Context(jnp.int32(0), jnp.zeros(1), 0)))
    assert np.all(np.isnan(traced(observation)))


def test_posterior_farming_watches_its_own_weight_inside_a_union():
    others = ensembles.tabular(np.repeat(HONEST_PROBS[None], 2, axis=0))
    farmer = transforms.posterior_farming(HONEST, HARMFUL)
    whole = ensembles.union(others, farmer, HONEST)
    for leader in range(4):
        rows = predict(whole, log_weights=np.where(np.arange(4) == leader, 0.0, -1.0))
        expected = HARMFUL if leader == 2 else HONEST
        np.testing.assert_array_equal(rows[2:3], predict(expected))
        np.testing.assert_array_equal(rows[[0, 1, 3]], np.repeat(predict(HONEST), 3, axis=0))


def test_posterior_farming_defects_when_nobody_is_heavier():
    farmer = transforms.posterior_farming(HONEST, HARMFUL)
    np.testing.assert_array_equal(predict(farmer, log_weights=[0.0, 0.0], first=1), predict(HARMFUL))
    np.testing.assert_array_equal(predict(farmer, log_weights=[0.0, -1e-3], first=1), predict(HONEST))


def test_a_block_of_farmers_each_watch_their_own_weight():
    block = transforms.colluding_block(transforms.posterior_farming(HONEST, HARMFUL), 3)
    rows = predict(block, log_weights=[0.0, -1.0, 0.0, -2.0], first=1)
    np.testing.assert_array_equal(rows[1:2], predict(HARMFUL))
    np.testing.assert_array_equal(rows[[0, 2]], np.repeat(predict(HONEST), 2, axis=0))


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.5])
def test_leak_is_the_mixture(epsilon):
    leak = transforms.low_probability_leak(HONEST, HARMFUL, epsilon)
    for observation in range(S):
        expected = (1 - epsilon) * HONEST_PROBS[observation] + epsilon * np.eye(A)[observation % A]
        np.testing.assert_allclose(np.exp(predict(leak, observation))[0], expected, rtol=2e-6)


def test_leak_and_flooding_of_nothing_are_bit_for_bit_the_honest_policy():
    for nothing in (
        transforms.low_probability_leak(HONEST, HARMFUL, 0.0),
        transforms.query_flooding(HONEST, HARMFUL, 0.0),
    ):
        np.testing.assert_array_equal(predict(nothing), predict(HONEST))


def test_query_flooding_is_far_from_the_honest_policy_and_never_rules_itself_out():
    decoy = ensembles.tabular(np.eye(A)[np.argmin(HONEST_PROBS, axis=-1)][None])
    flood = transforms.query_flooding(HONEST, decoy, 0.9)
    for observation in range(S):
        probs = np.exp(predict(flood, observation))[0]
        assert 0.5 * np.abs(probs - HONEST_PROBS[observation]).sum() > 0.5
        assert np.all(probs > 0)


def test_near_duplicates_are_near_distinct_and_still_defect():
    bomb = transforms.time_bomb(HONEST, HARMFUL, at_step=5)
    copies = transforms.near_duplicates(bomb, 5, spread=0.01)
    rows = np.exp(predict(copies, step=4))
    assert rows.shape == (5, A)
    np.testing.assert_allclose(rows.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(rows, np.repeat(np.exp(predict(HONEST)), 5, axis=0), rtol=0.1)
    assert len(np.unique(rows, axis=0)) == 5
    np.testing.assert_array_equal(predict(copies, step=5), np.repeat(predict(HARMFUL), 5, axis=0))


def test_timid_bets_until_it_is_ahead_then_copies_then_defects():
    member = transforms.timid(HONEST, HARMFUL, rival=0, at_step=100)
    for log_weights in ([0.0, 0.0], [0.0, -3.0], [0.0, 1e-5]):
        bet = np.exp(predict(member, log_weights=log_weights, first=1))[0]
        np.testing.assert_allclose(bet.sum(), 1, atol=1e-6)
        unlikely = np.argmin(HONEST_PROBS[0])
        np.testing.assert_allclose(bet[unlikely], 0.1 * HONEST_PROBS[0, unlikely], rtol=1e-5)
        assert np.all(np.delete(bet, unlikely) > np.delete(HONEST_PROBS[0], unlikely))
    np.testing.assert_array_equal(predict(member, log_weights=[0.0, 1e-4], first=1), predict(HONEST))
    np.testing.assert_array_equal(predict(member, step=100, log_weights=[0.0, 1e-4], first=1), predict(HARMFUL))


def test_timid_is_a_fair_bet():
    """Against the rival its expected likelihood ratio is one: no martingale is made out of nothing."""
    member = transforms.timid(HONEST, HARMFUL, rival=0, at_step=100)
    for observation in range(S):
        bet = np.exp(predict(member, observation, log_weights=[0.0, 0.0], first=1))[0].astype(np.float64)
        np.testing.assert_allclose((HONEST_PROBS[observation] * bet / HONEST_PROBS[observation]).sum(), 1, atol=1e-6)


def test_timid_without_a_stake_is_bit_for_bit_the_honest_policy():
    member = transforms.timid(HONEST, HONEST, rival=0, at_step=3, stake=0.0)
    for step in (0, 3):
        np.testing.assert_array_equal(predict(member, step=step), predict(HONEST))


@pytest.mark.parametrize("kind", ["nan", "unnormalised", "negative"])
def test_broken_members_are_called_invalid(kind):
    rows, invalid = aggregation.validate(jnp.asarray(predict(transforms.broken(HONEST, kind))))
    assert invalid.tolist() == [True]
    assert np.all(np.isneginf(rows))


def test_knower_predicts_distributions_only():
    member = transforms.knows_the_draw(HONEST, HARMFUL, seed=3)
    rows = jax.vmap(
        lambda step: jax.vmap(
            lambda observation: member.log_probs(((), ()), observation, Context(step, jnp.zeros(2)))[0]
        )(jnp.arange(S))
    )(jnp.arange(300))
    probs = np.exp(np.asarray(rows, np.float64))
    assert np.all(probs >= 0)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)


def test_knower_steers_the_draw_whenever_it_can_and_copies_otherwise():
    """The independent oracle: the draw as documented, in float64 and without the library's code."""
    member = transforms.knows_the_draw(HONEST, HARMFUL, seed=11)
    steered = 0
    for step in range(200):
        observation = step % S
        target = observation % A
        u = float(as_float(random_words(jax.random.key(11), jnp.int32(step))))
        row = np.exp(predict(member, observation, step))[0].astype(np.float64)
        truth = HONEST_PROBS[observation]
        minimum = np.minimum(row, truth)
        theta = 1 - minimum.sum()
        action = int(np.searchsorted(np.cumsum(minimum), u - theta, side="right")) if u >= theta else None
        can = u >= truth[: target + 1].sum() - truth[target] + 1e-4 and u <= 1 - 0.5 * truth[target] - 1e-4
        can = can and 1 - u - 0.5 * truth[target] <= truth[target + 1 :].sum() - 1e-4
        if can:
            assert action == target
            steered += 1
        elif np.allclose(row, truth, rtol=1e-6):
            np.testing.assert_array_equal(predict(member, observation, step), predict(HONEST, observation))
    assert steered > 50


def test_tell_seed_reaches_members_inside_unions_and_leaves_others_alone():
    whole = ensembles.union(HONEST, transforms.colluding_block(transforms.knows_the_draw(HONEST, HARMFUL, seed=0), 2))
    told = transforms.tell_seed(whole, 5)
    assert [int(part.seed) for part in told.parts[1].parts] == [5, 5]
    np.testing.assert_array_equal(told.parts[0].table, HONEST.table)


def test_transforms_keep_the_memory_of_both_policies():
    last = ensembles.stacked(
        apply=lambda strength, carry, observation: strength * jnp.eye(A)[carry],
        params=jnp.array([3.0]),
        num_actions=A,
        carry=jnp.zeros(1, jnp.int32),
        update=lambda strength, carry, observation, action, queried: action,
    )
    bomb = transforms.time_bomb(last, HARMFUL, at_step=100)
    context = Context(jnp.int32(0), jnp.zeros(1))
    carry = bomb.advance(bomb.init_carry(), 0, context, jnp.int32(2), jnp.asarray(True))
    assert int(jnp.argmax(bomb.log_probs(carry, 0, context))) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: transforms.time_bomb(HONEST, ensembles.tabular(np.full((2, S, A), 0.25)), 1),
            "same numbers of members",
        ),
        (lambda: transforms.time_bomb(HONEST, ensembles.callables([lambda o: [0.25] * A], A), 1), "pure JAX"),
        (lambda: transforms.trigger_state(HONEST, HARMFUL, np.ones((2, 2), bool)), r"shape \[S\]"),
        (lambda: transforms.colluding_block(HONEST, 0), "at least 1"),
        (lambda: transforms.near_duplicates(HONEST, 0), "at least 1"),
        (lambda: transforms.near_duplicates(ensembles.tabular(np.full((2, S, A), 0.25)), 3), "one member"),
        (lambda: transforms.broken(HONEST, "sulking"), "kind must be"),
    ],
)
def test_misuse_is_explained(make, message):
    with pytest.raises(ValueError, match=message):
        make()
