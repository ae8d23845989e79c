"""Merging in the learner and in the shell: off by default, the same in both, and measured on answers only."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, Merging, TopK, ensembles
from consensus_imitation.core import bounds as certificate
from consensus_imitation.core import merging as diversity
from consensus_imitation.core.certificate import certify
from consensus_imitation.core.selection import merged
from consensus_imitation.imitator import kernels
from tests.core.compiled import decide, init, observe

N, S, A = 6, 4, 3


def tables() -> ensembles.Tabular:
    """Three copies of one member, a near-copy, and two others."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(A), (N, S))
    probs[1] = probs[2] = probs[0]
    probs[3] = 0.99 * probs[0] + 0.01 / A
    return ensembles.tabular(probs, prior=[0.2, 0.2, 0.2, 0.2, 0.1, 0.1])


def demonstrator(step: int) -> int:
    return (step * 7 + 3) % A


def data(leaf: Any) -> np.ndarray:
    typed = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed else leaf)


def assert_same(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(data(a), data(b)), one, other)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("merging", [Merging(), Merging(tolerance=None), Merging(0.0, 3)], ids=repr)
def test_the_shell_equals_the_core(merging: Merging) -> None:
    rule = TopK(2) | AlphaThreshold(0.1)
    learner = Learner(tables(), rule, merging=merging)
    state = init(learner, kernels.make_key(5))
    imitator = ConsensusImitator(tables(), selection=rule, seed=5, merging=merging)
    for t in range(40):
        decision = decide(learner, state, t % S)
        state, _ = observe(learner, state, t % S, decision, demonstrator(t))
        shown = imitator.decide(t % S)
        np.testing.assert_array_equal(shown.selected, decision.selected)
        if shown.queried:
            imitator.answer(shown, demonstrator(t))
        assert shown.queried == bool(decision.queried)
    assert_same(imitator.state.diversity, state.diversity)
    assert int(state.diversity.count) == imitator.num_queries > 0
    expected = float(diversity.effective_members(state.diversity))
    assert imitator.effective_members == pytest.approx(expected, rel=1e-6)
    assert 1 < imitator.effective_members < 4


def test_the_learner_selects_with_the_duplicates_that_it_has_seen() -> None:
    rule, merging = TopK(2), Merging(tolerance=0.02, min_answers=2)
    learner = Learner(tables(), rule, merging=merging)
    state = init(learner, jax.random.key(0))
    sizes = []
    for t in range(30):
        decision = decide(learner, state, t % S)
        duplicates = diversity.near_duplicates(state.diversity, 0.02, 2)
        expected = merged(rule, state.posterior.log_weights, duplicates)
        np.testing.assert_array_equal(decision.selected, expected)
        sizes.append(int(decision.selected.sum()))
        # Everything is answered, so that nothing depends on the draw.
        asked = decision._replace(queried=jnp.asarray(True))
        state, _ = observe(learner, state, t % S, asked, demonstrator(t))
    assert sizes[0] == 4  # tied from the start
    assert diversity.near_duplicates(state.diversity, 0.02).sum(0).tolist() == [4, 4, 4, 4, 1, 1]


def test_steps_without_an_answer_change_nothing() -> None:
    learner = Learner(tables(), TopK(2), merging=Merging())
    before = init(learner, jax.random.key(0))
    decision = decide(learner, before, 0)._replace(queried=jnp.asarray(False), action=jnp.int32(0))
    after, _ = observe(learner, before, 0, decision, 2)
    assert_same(after.diversity, before.diversity)
    illegal = decision._replace(queried=jnp.asarray(True))
    after, info = observe(learner, before, 0, illegal, A)
    assert not info.explained
    assert_same(after.diversity, before.diversity)


def test_a_batch_counts_every_answer_in_stream_order() -> None:
    imitator = ConsensusImitator(tables(), selection=TopK(3), seed=1, num_envs=3, merging=Merging())
    state, answered = diversity.init(N), 0
    for t in range(10):
        observations = np.array([t % S, (t + 1) % S, (t + 2) % S])
        decision = imitator.decide(observations)
        if not decision.queried.any():
            continue
        answers = np.array([demonstrator(t), demonstrator(t + 1), demonstrator(t + 2)])
        imitator.answer(decision, answers)
        for row in np.flatnonzero(decision.queried):
            state = diversity.update(state, tables().table[observations[row]], int(answers[row]))
            answered += 1
    assert answered > 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), imitator.state.diversity, state)


def test_off_by_default_and_then_nothing_is_different() -> None:
    runs = []
    for merging in (None, Merging(tolerance=None)):
        imitator = ConsensusImitator(tables(), selection=TopK(2), seed=3, merging=merging)
        actions = []
        for t in range(40):
            decision = imitator.decide(t % S)
            if decision.queried:
                decision = imitator.answer(decision, demonstrator(t))
            actions.append((decision.action, decision.queried, decision.query_prob, decision.selected.tolist()))
        runs.append((actions, imitator.state))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1].diversity is None
    # Nothing but what says that the rules are others.
    assert_same(runs[0][1], runs[1][1].replace(diversity=None, rules=runs[0][1].rules))
    assert ConsensusImitator(tables()).state.diversity is None
    assert Learner(tables(), TopK(2)).merging is None


def test_without_measuring_the_error_names_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"merging=Merging\(tolerance=None\)"):
        _ = ConsensusImitator(tables()).effective_members


def test_a_state_goes_on_with_the_same_merging_only() -> None:
    first = ConsensusImitator(tables(), lambda observation: 1, selection=TopK(2), seed=2, merging=Merging())
    for t in range(20):
        first.act(t % S)
    again = ConsensusImitator.from_state(
        first.state, tables(), lambda observation: 1, selection=TopK(2), merging=Merging()
    )
    assert again.effective_members == first.effective_members
    assert again.act(0).action == first.act(0).action
    with pytest.raises(ValueError, match="merging"):
        ConsensusImitator.from_state(first.state, tables(), selection=TopK(2))


@pytest.mark.slow
def test_the_tolerance_is_a_leaf() -> None:
    """New values do not recompile, and can be mapped over."""
    state = init(Learner(tables(), TopK(2), merging=Merging()), jax.random.key(0))
    seen = state.replace(diversity=diversity.update(state.diversity, tables().table[0], 0))

    def selected(tolerance: jax.Array) -> jax.Array:
        return Learner(tables(), AlphaThreshold(1.0), merging=Merging(tolerance)).decide(seen, 0).selected.sum()

    assert jax.vmap(selected)(jnp.array([0.0, 0.02, 0.99])).tolist() == [4, 4, 6]


def test_the_certificate_counts_what_merging_costs() -> None:
    answered = 1000
    bounds = [
        certify(
            Learner(tables(), AlphaThreshold(0.5), merging=merging),
            [0.5, 0.5],
            [0.0, 0.0],
            truth=0,
            num_steps=answered // 2,
            num_streams=2,
            num_queries=0,
            ledger=0.0,
        ).queries_bound
        for merging in (None, Merging(tolerance=None), Merging(0.0), Merging(0.01), Merging(0.99))
    ]
    assert bounds[1] == bounds[0] < answered / 2
    assert bounds[2:] == [pytest.approx(bounds[0] + 2), pytest.approx(bounds[0] + 2 + 10), answered]
    imitator = ConsensusImitator(tables(), lambda observation: 1, selection=AlphaThreshold(0.5), merging=Merging())
    for t in range(5):
        imitator.act(t % S)
    assert imitator.certificate().queries_bound == 5


@pytest.mark.parametrize("arguments", [(0, 0.1, 1), (2, 1.1, 1), (2, 0.1, -1), (2, 0.1, 1, 0)])
def test_merging_cost_refuses_arguments_out_of_range(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="must"):
        certificate.merging_cost(*arguments)
