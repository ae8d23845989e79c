"""Fail closed: what is invalid asks, is named, and is neither rewarded nor dropped."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import QUERY, AlphaThreshold, ConsensusImitator, Learner, Minimum, TopK, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.errors import ConsensusWarning, ObservationError

from .compiled import decide, decide_batch, init, observe, observe_batch

NAN, INF = np.nan, np.inf
GOOD = [0.6, 0.3, 0.1]

INVALID_LOG_PROBS = {
    "all-nan": [NAN, NAN, NAN],
    "one-nan": [np.log(0.5), NAN, np.log(0.5)],
    "last-nan": [np.log(0.5), np.log(0.5), NAN],
    "plus-inf": [INF, -INF, -INF],
    "all-inf": [INF, INF, INF],
    "inf-and-nan": [INF, NAN, -INF],
    "sum-above-one": np.log([0.5, 0.5, 0.1]).tolist(),
    "one-above-one": np.log([1.2, 0.0001, 0.0001]).tolist(),
}


def member_one_is(row: list[float]) -> ensembles.Tabular:
    """Three members on one observation; the middle one predicts ``row``, which need not be a distribution."""
    sound = ensembles.tabular(np.tile(np.array(GOOD), (3, 1, 1)))
    return sound.replace(table=sound.table.at[0, 1].set(jnp.asarray(row, jnp.float32)))


decide_many = jax.jit(lambda learner, keys: jax.vmap(lambda key: learner.decide(learner.init(key), jnp.int32(0)))(keys))


@pytest.mark.quick_cases(8)
@pytest.mark.parametrize("kind", INVALID_LOG_PROBS)
@pytest.mark.parametrize(
    "selection", [TopK(3), AlphaThreshold(0.01), TopK(2) | AlphaThreshold(0.9)], ids=["top-3", "alpha", "union"]
)
def test_no_action_while_an_invalid_member_is_selected(kind: str, selection: Any, key: jax.Array) -> None:
    learner = Learner(member_one_is(INVALID_LOG_PROBS[kind]), selection)
    decisions = decide_many(learner, jax.random.split(key, 500))
    assert decisions.queried.all()
    assert set(decisions.action.tolist()) == {QUERY}
    assert not decisions.min_probs.any()
    assert decisions.invalid[0].tolist() == [False, True, False]
    assert np.all(np.isfinite(decisions.dissent))


@pytest.mark.parametrize("kind", INVALID_LOG_PROBS)
def test_an_invalid_member_keeps_its_weight(kind: str, key: jax.Array) -> None:
    learner = Learner(member_one_is(INVALID_LOG_PROBS[kind]), TopK(3))
    state = init(learner, key)
    decision = decide(learner, state, 0)
    for answer in range(3):
        after, info = observe(learner, state, 0, decision, answer)
        np.testing.assert_allclose(posterior.weights(after.posterior), 1 / 3, atol=1e-6)
        assert bool(info.explained)
        assert not bool(after.unexplained)


@pytest.mark.parametrize("kind", INVALID_LOG_PROBS)
def test_an_invalid_member_that_is_not_selected_does_not_stop_the_others(kind: str, key: jax.Array) -> None:
    members = member_one_is(INVALID_LOG_PROBS[kind]).replace(prior=jnp.array([0.5, 0.1, 0.4]))
    decisions = decide_many(Learner(members, TopK(2)), jax.random.split(key, 200))
    assert not decisions.queried.any()
    assert decisions.invalid[0].tolist() == [False, True, False]


def test_a_member_that_predicts_nothing_at_all_is_never_acted_over(key: jax.Array) -> None:
    """All -inf: the zero vector."""
    decisions = decide_many(Learner(member_one_is([-INF] * 3), TopK(3)), jax.random.split(key, 500))
    assert decisions.queried.all()


def test_a_member_that_predicts_nothing_at_all_is_named(key: jax.Array) -> None:
    learner = Learner(member_one_is([-INF] * 3), TopK(3))
    state = init(learner, key)
    decision = decide(learner, state, 0)
    assert decision.invalid.tolist() == [False, True, False]
    after, _ = observe(learner, state, 0, decision, 0)
    assert float(posterior.weights(after.posterior)[1]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("observation", [-1, 1, 7, 2**31 - 1, -(2**31)])
def test_an_observation_outside_the_table_is_a_query(observation: int, key: jax.Array) -> None:
    learner = Learner(ensembles.tabular(np.tile(np.array(GOOD), (3, 1, 1))), TopK(1))
    decide = jax.jit(jax.vmap(lambda own, seen: learner.decide(learner.init(own), seen), in_axes=(0, None)))
    decisions = decide(jax.random.split(key, 500), observation)
    assert decisions.queried.all()


def test_an_observation_outside_the_table_makes_every_member_invalid_under_jit(key: jax.Array) -> None:
    learner = Learner(ensembles.tabular(np.tile(np.array(GOOD), (3, 1, 1))), TopK(2))
    decision = decide(learner, init(learner, key), -1)
    assert decision.invalid.all()
    assert np.all(np.isfinite(decision.dissent))
    assert np.all(np.isneginf(decision.usable))


@pytest.mark.parametrize("observation", [2**32, 2**40, -(2**32)])
def test_an_observation_beyond_32_bits_is_not_another_row(observation: int) -> None:
    imitator = ConsensusImitator(ensembles.tabular(np.tile(np.array(GOOD), (2, 1, 1))), selection=TopK(1), seed=0)
    with pytest.raises(ObservationError):
        imitator.decide(np.int64(observation))


# --- members that are Python functions ---


def fails(observation: Any) -> list[float]:
    raise RuntimeError("no prediction today")


INVALID_OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "raises": fails,
    "nan": lambda observation: [0.5, NAN, 0.5],
    "inf": lambda observation: [INF, 0.0, 0.0],
    "negative": lambda observation: [1.1, -0.1, 0.0],
    "sum-above-one": lambda observation: [0.5, 0.5, 0.5],
    "too-short": lambda observation: [0.5, 0.5],
    "too-long": lambda observation: [0.25] * 4,
    "scalar": lambda observation: 0.3,
    "matrix": lambda observation: [GOOD],
    "none": lambda observation: None,
    "text": lambda observation: "abc",
    "ragged": lambda observation: [[0.5], [0.5, 0.1], 0.2],
}


@pytest.mark.parametrize("num_envs", [None, 3], ids=["single", "batch"])
@pytest.mark.parametrize("kind", INVALID_OUTPUTS)
def test_an_invalid_python_member_asks_is_named_and_keeps_its_weight(kind: str, num_envs: int | None) -> None:
    sound = lambda observation: GOOD  # noqa: E731
    members = ensembles.callables([sound, sound, INVALID_OUTPUTS[kind]], num_actions=3)
    imitator = ConsensusImitator(
        members, demonstrator=lambda observation: 0, selection=TopK(3), seed=0, num_envs=num_envs
    )
    observation = 0 if num_envs is None else np.zeros(num_envs, int)
    assert imitator.alarms == ()
    with pytest.warns(ConsensusWarning, match="member 2 "):
        decision = imitator.act(observation)
    for _ in range(20):
        assert np.all(decision.queried)
        assert np.all(decision.invalid == [False, False, True])
        assert np.all(np.asarray(decision.dissenter) == 2)
        decision = imitator.act(observation)  # warns once only: warnings are errors here
    np.testing.assert_allclose(imitator.weights, 1 / 3, atol=1e-5)
    assert len(imitator.alarms) == 1
    assert imitator.alarms[0].startswith("member 2 ")
    assert imitator.query_rate == 1.0
    imitator.clear_alarm()
    assert imitator.alarms == ()


def test_a_member_that_recovers_is_acted_on_again() -> None:
    healthy = False
    flaky = lambda observation: GOOD if healthy else [NAN] * 3  # noqa: E731
    members = ensembles.callables([lambda observation: GOOD, flaky], num_actions=3)
    imitator = ConsensusImitator(members, demonstrator=lambda observation: 0, selection=TopK(2), seed=0)
    with pytest.warns(ConsensusWarning):
        assert imitator.act(0).queried
    healthy = True
    assert not any(imitator.act(0).queried for _ in range(50))
    assert imitator.alarms


@pytest.mark.parametrize("kind", INVALID_LOG_PROBS)
def test_in_a_union_the_invalid_member_is_named_by_its_place(kind: str) -> None:
    tables = ensembles.tabular(np.tile(np.array(GOOD), (2, 1, 1)))
    members = ensembles.union(tables, member_one_is(INVALID_LOG_PROBS[kind]))
    imitator = ConsensusImitator(members, demonstrator=lambda observation: 0, selection=TopK(5), seed=0)
    with pytest.warns(ConsensusWarning, match="member 3 "):
        assert imitator.act(0).queried


@pytest.mark.parametrize("params", [[NAN, 0.0], [INF, 0.0], [-INF, -INF]], ids=str)
def test_a_network_that_diverged_is_a_query(params: list[float]) -> None:
    members = ensembles.stacked(lambda row, observation: row, jnp.array([[0.0, 0.0], params]), num_actions=2)
    imitator = ConsensusImitator(members, selection=TopK(2), seed=0)
    with pytest.warns(ConsensusWarning, match="member 1 "):
        assert imitator.decide(0).queried


# --- an answer that nobody explains ---


def test_an_unexplained_answer_leads_to_queries_until_the_alarm_is_cleared() -> None:
    probs = np.array([[[0.5, 0.5, 0.0]], [[0.4, 0.6, 0.0]]])
    answers = iter([2] + [0] * 1000)
    imitator = ConsensusImitator(
        ensembles.tabular(probs), demonstrator=lambda observation: next(answers), selection=TopK(2), seed=0
    )
    while not (decision := imitator.decide(0)).queried:
        pass
    with pytest.warns(ConsensusWarning, match="no member explains"):
        imitator.answer(decision, next(answers))
    np.testing.assert_allclose(imitator.weights, 0.5)
    assert any("no member explains" in line for line in imitator.alarms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        for _ in range(100):
            decision = imitator.act(0)
            assert decision.queried
            assert decision.query_prob == 1.0
            assert not decision.min_probs.any()
    learned = imitator.weights
    assert learned[0] > 0.99  # explained answers are still learned from: ratio (0.5 / 0.4) ^ 100
    imitator.clear_alarm()
    assert imitator.alarms == ()
    assert not all(imitator.act(0).queried for _ in range(20))


def test_an_unexplained_answer_in_one_stream_stops_them_all(key: jax.Array) -> None:
    learner = Learner(ensembles.tabular(np.array([[[1.0, 0.0]], [[1.0, 0.0]]])), TopK(2), Minimum())
    state = init(learner, key, 3)
    observations = jnp.zeros(3, jnp.int32)
    decisions = decide_batch(learner, state, observations)
    assert not decisions.queried.any()
    forced = decisions._replace(queried=jnp.array([False, True, False]))
    state, info = observe_batch(learner, state, observations, forced, jnp.array([0, 1, 0]))
    assert bool(state.unexplained)
    assert info.explained.tolist() == [True, False, True]
    assert decide_batch(learner, state, observations).queried.all()


@pytest.mark.parametrize("answer", [-1, 3, 2**31 - 1, -(2**31)])
def test_the_core_takes_an_answer_out_of_range_for_unexplained(answer: int, key: jax.Array) -> None:
    """Never for the nearest action: an out-of-range index would read the last element."""
    learner = Learner(member_one_is([NAN] * 3), TopK(3))
    state = init(learner, key)
    decision = decide(learner, state, 0)
    after, info = observe(learner, state, 0, decision, answer)
    assert not bool(info.explained)
    assert bool(after.unexplained)
    np.testing.assert_array_equal(after.posterior.log_weights, state.posterior.log_weights)
    assert decide(learner, after, 0).queried


def test_only_the_prior_counts_for_a_member_of_prior_zero(key: jax.Array) -> None:
    members = ensembles.tabular(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), prior=[1.0, 0.0])
    learner = Learner(members, AlphaThreshold(1e-6))
    state = init(learner, key)
    decision = decide(learner, state, 0)._replace(queried=jnp.array(True))
    after, info = observe(learner, state, 0, decision, 1)
    assert not bool(info.explained)
    np.testing.assert_array_equal(posterior.weights(after.posterior), [1.0, 0.0])
