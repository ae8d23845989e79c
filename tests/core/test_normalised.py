"""Members that declare themselves normalised decide as others do, and a declaration that is a lie is caught."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import Learner, ensembles
from consensus_imitation.benchmarks.decisions import learner_of
from consensus_imitation.core import posterior
from consensus_imitation.core.members import are_normalised
from consensus_imitation.core.state import AGGREGATION_FAULT, LearnerState, PureDecision

from .compiled import decide_batch, observe
from .own_rules import mine

#: Two ways to add up probabilities in float32.
ROUNDING = 1e-6

NAN = np.nan
GOOD = [0.6, 0.3, 0.1]

#: Predictions that a softmax cannot give.
LIES = {
    "nan-inside": [0.5, NAN, 0.5],
    "last-nan": [0.5, 0.5, NAN],
    "sum-above-one": [0.9, 0.7, 0.4],
    "one-above-one": [1.2, 0.0001, 0.0001],
    "infinite": [np.inf, 0.0, 0.0],
    "nothing": [0.0, 0.0, 0.0],
}


def learner_and_state(rows: int, shape: tuple[int, int], k: int, weights: Any, declared: bool) -> Any:
    return learner_of(rows, *shape, k, np.asarray(weights, np.float32), normalised=declared)


def decided(probs: Any, k: int, weights: Any, declared: bool = True, rows: int = 200) -> PureDecision:
    """Decisions of ``rows`` streams that all see the same predictions [N, A]."""
    log_probs = jnp.log(jnp.asarray(probs, jnp.float32))
    learner, state = learner_and_state(rows, log_probs.shape, k, weights, declared)
    return decide_batch(learner, state, jnp.broadcast_to(log_probs, (rows, *log_probs.shape)))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("shape", [(4, 5), (3, 300)], ids=["few actions", "many"])
def test_honest_members_decide_the_same(shape: tuple[int, int], key: jax.Array) -> None:
    log_probs = jax.nn.log_softmax(2.0 * jax.random.normal(key, (64, *shape)))
    weights = -np.arange(shape[0], dtype=np.float32)
    both = [decide_batch(*learner_and_state(64, shape, 2, weights, declared), log_probs) for declared in (True, False)]
    for name in ("query_prob", "min_probs", "dissent", "log_inflation"):
        np.testing.assert_allclose(*(getattr(each, name) for each in both), atol=ROUNDING, err_msg=name)
    for name in ("action", "selected", "invalid", "rule_fault"):
        np.testing.assert_array_equal(*(getattr(each, name) for each in both), err_msg=name)
    asked = np.asarray(both[0].queried)
    assert 0 < asked.sum() < 64
    np.testing.assert_allclose(both[0].excess[asked], both[1].excess[asked], atol=ROUNDING)
    np.testing.assert_array_equal(both[0].excess[~asked], 0)


@pytest.mark.parametrize("kind", LIES)
def test_alone_a_liar_never_acts_and_is_named(kind: str) -> None:
    found = decided([LIES[kind], GOOD], 1, [0.0, -1.0])
    assert found.queried.all()
    assert not found.min_probs.any()
    assert np.all(np.asarray(found.invalid) == [True, False])
    assert not found.rule_fault.any()
    assert np.all(np.isfinite(found.dissent))


@pytest.mark.parametrize("kind", ["nan-inside", "last-nan", "nothing"])
def test_a_selected_liar_without_a_prediction_stops_the_others(kind: str) -> None:
    found = decided([GOOD, LIES[kind], GOOD], 3, [0.0, 0.0, 0.0])
    assert found.queried.all()
    assert np.all(np.asarray(found.invalid) == [False, True, False])
    np.testing.assert_array_equal(found.min_probs, 0)


@pytest.mark.parametrize("shape", [(1024, 8, 4), (120, 8, 15), (4096, 2, 2)], ids=str)
def test_a_nan_stops_a_step_wherever_it_is_in_a_batch(shape: tuple[int, int, int]) -> None:
    """Minima over an axis of a large batch lose it, on CPU."""
    rows, num_members, num_actions = shape
    log_probs = np.full(shape, np.log(1 / num_actions), np.float32)
    row = np.arange(rows)
    log_probs[row, row // num_actions % num_members, row % num_actions] = NAN
    learner, state = learner_and_state(rows, shape[1:], num_members, np.zeros(num_members), True)
    assert np.all(decide_batch(learner, state, log_probs).queried)


@pytest.mark.parametrize("kind", LIES)
def test_no_answer_is_learned_from_a_lie(kind: str) -> None:
    """Whether or not the liar is selected, it keeps its weight: what it claims of the answer is no evidence."""
    probs = [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6], LIES[kind]]
    for weights in ([0.0, 0.0, 0.0], [0.0, 0.0, -1.0]):
        learner, state = learner_and_state(1, (3, 3), 2, weights, declared=True)
        one: LearnerState = state.replace(stream=jax.tree.map(lambda leaf: leaf[0], state.stream))
        asking = one.replace(stream=one.stream.replace(asking=jnp.ones((), bool)))
        seen = jnp.log(jnp.asarray(probs, jnp.float32))
        decision = jax.jit(Learner.decide)(learner, asking, seen)
        assert decision.invalid.tolist() == [False, False, True]
        for answer in range(3):
            after, _ = observe(learner, asking, seen, decision, answer)
            expected = posterior.weights(one.posterior)[2]
            np.testing.assert_allclose(posterior.weights(after.posterior)[2], expected, atol=ROUNDING)
            assert after.stream.unusable


def test_recordings_are_checked_although_nothing_was_asked() -> None:
    """Members that withhold, and liars, learn from recordings as if nothing had been declared."""
    log_probs = jnp.log(jnp.array([[0.6, 0.3, 0.1], [0.03, 0.01, 0.01], [0.9, 0.7, 0.4], [0.1, 0.3, 0.6]]))
    seen, answers = jnp.tile(log_probs, (4, 1, 1)), jnp.array([0, 1, 0, 2])
    starts, real = jnp.zeros(4, bool), jnp.ones(4, bool)
    both = []
    for declared in (True, False):
        learner, state = learner_and_state(1, log_probs.shape, 1, np.zeros(4), declared)
        stream = jax.tree.map(lambda leaf: leaf[0], state.stream)
        both.append(
            jax.jit(Learner.pretrain)(learner, state.replace(stream=stream), stream, seen, answers, starts, real)
        )
    np.testing.assert_allclose(*(after.posterior.log_weights for after, _ in both), atol=ROUNDING)
    assert all(stream.unusable for _, stream in both)


def test_a_diverged_network_is_named_at_every_step_although_nobody_asks() -> None:
    """A softmax with a NaN anywhere is NaN everywhere, which the first entry tells."""
    found = decided([GOOD, GOOD, [NAN] * 3], 2, [0.0, 0.0, -1.0])
    assert not found.queried.any()
    assert np.all(np.asarray(found.invalid) == [False, False, True])


def test_a_rule_that_gives_no_law_is_at_fault_where_the_members_are_not() -> None:
    learner, state = learner_and_state(1, (2, 3), 2, [0.0, 0.0], declared=True)
    found = decide_batch(learner.replace(aggregation=mine()), state, jnp.log(jnp.array([[[0.1, 0.3, 0.6]] * 2])))
    assert found.rule_fault.tolist() == [AGGREGATION_FAULT]


def test_softmaxes_are_declared_and_a_union_if_all_its_parts_are() -> None:
    networks = ensembles.stacked(lambda row, observation: row, jnp.zeros((2, 3)), num_actions=3)
    tables = ensembles.tabular(np.tile(np.array(GOOD), (2, 1, 1)))
    assert are_normalised(networks)
    assert not are_normalised(tables)
    assert are_normalised(ensembles.union(networks, networks))
    assert not are_normalised(ensembles.union(networks, tables))
    assert are_normalised(ensembles.mlp(2, 3, num_members=2, hidden=(4,)))
    assert not are_normalised(object())


@pytest.mark.slow
def test_the_check_at_many_actions_keeps_every_nan(key: jax.Array) -> None:
    """Minima and maxima over long rows lose a NaN on CPU; what is checked are sums."""
    log_probs = jax.nn.log_softmax(jax.random.normal(key, (8, 3, 40_000)))
    spoiled = log_probs.at[:, 1, 31_234].set(NAN)
    weights = np.zeros(3, np.float32)
    for declared in (True, False):
        found = decide_batch(*learner_and_state(8, (3, 40_000), 3, weights, declared), spoiled)
        assert found.queried.all()
        assert np.all(np.asarray(found.invalid) == [False, True, False])
