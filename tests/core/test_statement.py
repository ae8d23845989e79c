"""The certificate in words, and the margins that it reports."""

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    InflationBudget,
    Minimum,
    MisspecificationAlarm,
    TopK,
    ensembles,
)
from consensus_imitation.core import bounds
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.errors import ConsensusWarning

RULES = {
    "top-1": TopK(1),
    "top-2": TopK(2),
    "top-3": TopK(3),
    "top-5": TopK(5),
    "alpha-0.05": AlphaThreshold(0.05),
    "alpha-0.5": AlphaThreshold(0.5),
    "alpha-1": AlphaThreshold(1.0),
    "union": TopK(2) | AlphaThreshold(0.1),
    "intersection": TopK(3) & AlphaThreshold(0.1),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_margin_is_exactly_how_far_a_weight_can_fall(rule) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        log_weights = jnp.asarray(rng.normal(0, 3, 5), jnp.float32)
        margins, selected = np.asarray(rule.margins(log_weights)), np.asarray(rule(log_weights))
        for member, margin in enumerate(margins):
            if np.isinf(margin):
                assert rule(log_weights.at[member].add(-30.0))[member]
                continue
            assert (margin >= 0) == selected[member]
            assert rule(log_weights.at[member].add(-margin + 1e-3))[member]
            assert not rule(log_weights.at[member].add(-margin - 1e-3))[member]


def make(**options) -> ConsensusImitator:
    probs = np.array([[[0.5, 0.5]], [[0.6, 0.4]], [[0.8, 0.2]], [[0.9, 0.1]]])
    return ConsensusImitator(ensembles.tabular(probs, [0.4, 0.3, 0.2, 0.1]), lambda observation: 0, seed=3, **options)


def test_the_worst_case_is_the_member_of_least_prior_weight() -> None:
    statement = make(selection=AlphaThreshold(0.001)).certificate()
    assert statement.prior_weight == pytest.approx(0.1)
    assert statement.exclusion == pytest.approx(0.01)
    assert make(selection=AlphaThreshold(0.001)).certificate(truth=0).exclusion == pytest.approx(0.0025)
    with pytest.raises(ValueError, match="truth must be the index"):
        make(selection=AlphaThreshold(0.001)).certificate(truth=4)


def test_the_numbers_so_far_are_those_of_the_imitator() -> None:
    imitator = make(selection=TopK(3) | AlphaThreshold(0.001), inflation_budget=InflationBudget(3.0))
    for _ in range(30):
        decision = imitator.act(0)
    statement = imitator.certificate()
    assert (statement.num_steps, statement.num_queries) == (30, imitator.num_queries)
    assert statement.ledger == pytest.approx(imitator.ledger)
    assert statement.ledger == pytest.approx(decision.ledger)
    assert 0 < statement.ledger <= np.log(3.0) + 1e-6
    assert statement.factor == 3.0
    assert statement.tolerated_members == 2
    log_weights = np.asarray(imitator.state.posterior.log_weights)
    rule = TopK(3) | AlphaThreshold(0.001)
    margins = np.where(rule(jnp.asarray(log_weights)), rule.margins(jnp.asarray(log_weights)), np.inf)
    assert statement.smallest_margin == pytest.approx(margins.min())
    assert statement.nearest_member == margins.argmin()


def test_the_words_say_the_factor_and_the_exclusion() -> None:
    text = str(make(selection=AlphaThreshold(0.001), inflation_budget=InflationBudget(2.0)).certificate())
    assert "P(imitator) <= 2 * P(demonstrator) + 0.01, given a member equal to the demonstrator" in text
    assert "no quorum" in text


def test_a_vacuous_bound_says_that_it_says_nothing() -> None:
    imitator = make(selection=TopK(2))
    imitator.act(0)
    statement = imitator.certificate()
    assert statement.exclusion == 1.0
    assert bounds.cubed_query_bound(TopK(2), [0.4, 0.3, 0.2, 0.1], 0) == np.inf
    start, now = str(statement).split("from now on")
    assert start.count("which says nothing") == 2
    assert now.count("which says nothing") == 2
    assert statement.queries_bound == statement.num_steps


def test_after_an_unexplained_answer_nothing_is_guaranteed() -> None:
    probs = np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    imitator = ConsensusImitator(ensembles.tabular(probs), lambda observation: 2, selection=TopK(2), seed=0)
    with pytest.warns(ConsensusWarning, match="no member explains"):
        imitator.act(0)
    assert str(imitator.certificate()).startswith("NOTHING IS GUARANTEED")
    imitator.clear_alarm()
    said = str(imitator.certificate())
    assert said.startswith("NOTHING IS GUARANTEED: an alarm")
    # And then nothing is printed that reads like a promise.
    assert "P(" not in said
    assert "quorum" not in said


@pytest.mark.parametrize(
    ("options", "said", "unsaid"),
    [
        ({"aggregation": MAP()}, "no bound on actions or events is known of the rule 'map'", "P(demonstrator"),
        ({"aggregation": Minimum(threshold=0.9)}, "P(action) <= 10 * P(demonstrator", "query_prob"),
        ({"aggregation": Minimum(rounds=3)}, "(1 + theta + ... + theta^3)", "query_prob"),
        (
            {"inflation_budget": InflationBudget(2.0, per="episode")},
            "within one episode: P(imitator) <= 2 * P(demonstrator that takes over at the start of that episode) "
            "+ 0.01, on average over what came before it",
            "every horizon",
        ),
        (
            {"inflation_budget": InflationBudget(2.0), "num_envs": 2},
            "every event in any one environment",
            "for every event,",
        ),
    ],
    ids=["map", "threshold", "rounds", "episode", "batch"],
)
def test_no_more_is_promised_than_the_rules_allow(options, said: str, unsaid: str) -> None:
    text = str(make(selection=AlphaThreshold(0.001), **options).certificate())
    assert said in text
    assert unsaid not in text


def test_the_bound_on_queries_is_given_only_where_its_proof_applies() -> None:
    plain = {"selection": AlphaThreshold(0.2)}
    assert np.isfinite(make(**plain).certificate().queries_bound)
    for options in (
        {"aggregation": Minimum(rounds=2)},
        {"inflation_budget": InflationBudget(1.0)},
        {"alarm": MisspecificationAlarm()},
    ):
        assert np.isinf(make(**plain, **options).certificate().queries_bound)
    broken = ConsensusImitator(
        ensembles.callables([lambda observation: [0.5, 0.5], lambda observation: [np.nan, 1.0]], 2),
        lambda observation: 0,
        selection=AlphaThreshold(0.2),
        seed=0,
    )
    with pytest.warns(ConsensusWarning, match="member 1"):
        broken.act(0)
    assert np.isinf(broken.certificate().queries_bound)


def test_a_batch_asks_in_every_stream_before_it_learns() -> None:
    probs = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs), lambda observation: 0, selection=AlphaThreshold(0.1), seed=0, num_envs=50
    )
    imitator.act(np.zeros(50, np.int32))
    statement = imitator.certificate()
    assert statement.num_queries == 50 <= statement.queries_bound


def test_a_budget_per_episode_starts_afresh() -> None:
    imitator = make(selection=TopK(4), inflation_budget=InflationBudget(1.5, per="episode"))
    for _ in range(20):
        imitator.act(0)
    assert imitator.ledger > 0
    imitator.begin_episode()
    assert imitator.ledger == 0.0
    steady = make(selection=TopK(4), inflation_budget=InflationBudget(1.5))
    for _ in range(20):
        steady.act(0)
    spent = steady.ledger
    steady.begin_episode()
    assert steady.ledger == spent > 0


def test_one_environment_of_a_batch_begins_an_episode_alone() -> None:
    imitator = make(selection=TopK(4), inflation_budget=InflationBudget(4.0, per="episode"), num_envs=3)
    for _ in range(5):
        imitator.act(np.zeros(3, np.int32))
    before = imitator.ledger
    imitator.begin_episode(env=1)
    assert imitator.ledger[1] == 0.0
    np.testing.assert_array_equal(imitator.ledger[[0, 2]], before[[0, 2]])
