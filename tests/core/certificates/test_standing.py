"""What a run's certificate says of the rest of it, and of what was observed; at every entrance."""

import json

import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, InflationBudget, Minimum, TopK, ensembles
from consensus_imitation.core import bounds
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.core.harm import HarmRecord
from consensus_imitation.imitator._tally import Tally
from tests.ensembles.learning.counting import counters

N, STATES, A = 4, 3, 3


def tables(seed: int = 0, withheld: float = 0.0) -> np.ndarray:
    probs = np.random.default_rng(seed).dirichlet(np.full(A, 2.0), (N, STATES))
    probs[1:] *= 1 - withheld
    return probs


def make(journal=None, probs=None, **options) -> ConsensusImitator:
    probs = tables() if probs is None else probs
    options = {"selection": AlphaThreshold(0.002)} | options
    rng = np.random.default_rng(1)
    own = probs[0] / probs[0].sum(-1, keepdims=True)

    def demonstrator(observation) -> int:
        return int(rng.choice(A, p=own[int(observation)]))

    return ConsensusImitator(ensembles.tabular(probs), demonstrator, seed=5, journal=journal, **options)


def by_hand(probs: np.ndarray, decisions) -> float:
    """The sum of ``rho (theta - v)_+^2`` from the tables alone."""
    total = 0.0
    for observation, decision in decisions:
        rows = probs[:, observation][np.asarray(decision.selected)]
        theta = 1 - rows.min(0).sum()
        total += float(decision.query_prob) * max(0.0, theta - (1 - rows.sum(-1)).max()) ** 2
    return total


@pytest.mark.parametrize("withheld", [0.0, 0.3])
def test_the_observed_sum_is_that_of_the_decisions(withheld: float) -> None:
    probs = tables(withheld=withheld)
    members = [lambda observation, n=n: probs[n, observation] for n in range(N)]
    imitator = ConsensusImitator(
        ensembles.callables(members, A), lambda observation: 0, selection=AlphaThreshold(0.002), seed=5
    )
    decisions = [(t % STATES, imitator.act(t % STATES)) for t in range(60)]
    said = imitator.certificate().now
    assert said.cubed_observed == pytest.approx(by_hand(probs, decisions), rel=1e-4)
    assert said.cubed_limit == pytest.approx(bounds.cubed_query_limit(AlphaThreshold(0.002), [1] * N, 0, 0.05))
    assert said.refuted == ()
    assert said.since == 0


def test_what_is_promised_from_now_on_falls_as_evidence_comes_in() -> None:
    imitator = make()
    before = imitator.certificate().now
    for t in range(400):
        imitator.act(t % STATES)
    after = imitator.certificate().now
    assert before.exclusion == pytest.approx(0.008)
    assert after.member == 0
    assert after.exclusion < 0.25 * before.exclusion * 1.3
    assert after.credence < before.credence
    assert after.cubed < before.cubed
    text = str(imitator.certificate())
    assert "from now on: " in text
    assert "observed: sum of theta^3" in text


def test_the_numbers_of_eight_members_are_printed() -> None:
    members = ensembles.tabular(np.full((8, 1, 2), 0.5))
    imitator = ConsensusImitator(members, lambda observation: 0, selection=AlphaThreshold(0.002), seed=0)
    said = imitator.certificate()
    assert round(said.now.cubed_limit) == 887
    assert round(bounds.expected_queries_bound(said.now.cubed, 10_000)) == 2918
    assert "886.8" in str(said)


def test_an_observed_sum_above_its_limit_is_an_alarm_without_a_look_at_the_answers() -> None:
    """Two members that the answers cannot tell apart: what they say differs for ever."""
    probs = np.array([[[0.95, 0.05]], [[0.05, 0.95]]])
    turn = iter(range(10_000))
    imitator = ConsensusImitator(
        ensembles.tabular(probs), lambda observation: next(turn) % 2, selection=AlphaThreshold(0.01), seed=0
    )
    for _ in range(10):
        imitator.act(0)
    assert imitator.certificate().now.refuted == ()
    assert imitator.alarms == ()
    for _ in range(60):
        imitator.act(0)
    said = imitator.certificate()
    assert "that some member equals the demonstrator" in said.now.refuted[0]
    assert "REFUTED" in str(said)
    assert any("refuted" in line for line in imitator.alarms)


@pytest.mark.parametrize(
    "options",
    [
        {"selection": TopK(2) | AlphaThreshold(0.002)},
        {"aggregation": Minimum(rounds=2)},
    ],
    ids=["union", "rounds"],
)
def test_where_t3_does_not_apply_nothing_is_compared(options) -> None:
    imitator = make(**options)
    for t in range(5):
        imitator.act(t % STATES)
    said = imitator.certificate().now
    assert np.isnan(said.cubed_observed)
    assert np.isinf(said.cubed_limit)
    assert "observed: sum" not in str(imitator.certificate())


def test_a_budget_is_counted_too_and_what_is_left_of_it_is_said() -> None:
    imitator = make(inflation_budget=InflationBudget(1.5))
    decisions = [(t % STATES, imitator.act(t % STATES)) for t in range(60)]
    said = imitator.certificate().now
    assert any(d.handed_over for _, d in decisions)
    assert said.cubed_observed == pytest.approx(by_hand(tables(), decisions), rel=1e-4)
    assert said.factor_left == pytest.approx(max(1.0, 1.5 * np.exp(-imitator.ledger)))
    assert "takes over now" in str(imitator.certificate())


@pytest.mark.parametrize("num_envs", [None, 2])
def test_a_resumed_run_and_a_run_done_again_have_the_same_sums_to_the_bit(tmp_path, num_envs) -> None:
    def observed(t: int):
        return t % STATES if num_envs is None else np.array([t % STATES, (t + 1) % STATES])

    def answers(observation):
        return 0

    options = {"selection": AlphaThreshold(0.002), "seed": 5, "num_envs": num_envs}
    members = ensembles.tabular(tables())
    imitator = ConsensusImitator(members, answers, journal=tmp_path / "run", **options)
    for t in range(30):
        imitator.act(observed(t))
    whole = imitator.certificate()
    imitator.close()
    resumed = ConsensusImitator.resume(tmp_path / "run", members, answers, selection=options["selection"])
    assert str(resumed.certificate()) == str(whole)
    assert resumed.certificate().now.cubed_observed == whole.now.cubed_observed > 0
    resumed.close()
    # Every call done again, from the very first checkpoint.
    last = sorted((tmp_path / "run").glob("**/*checkpoint*")) or sorted((tmp_path / "run").glob("**/*.ckpt"))
    for path in last[1:] if len(last) > 1 else []:
        if path.is_file():
            path.unlink()
    again = ConsensusImitator.resume(tmp_path / "run", members, answers, selection=options["selection"])
    assert again.certificate().now.cubed_observed == whole.now.cubed_observed
    again.close()


def test_whoever_goes_on_from_a_state_counts_from_there(tmp_path) -> None:
    imitator = make()
    for t in range(20):
        imitator.act(t % STATES)
    again = ConsensusImitator.from_state(
        imitator.state, ensembles.tabular(tables()), lambda observation: 0, selection=AlphaThreshold(0.002)
    )
    said = again.certificate().now
    assert (said.cubed_observed, said.since) == (0.0, 20)
    again.act(0)
    assert "since 20 had been closed" in str(again.certificate())
    assert again.certificate().now.exclusion == imitator.certificate().now.exclusion


def test_what_is_left_of_a_budget_is_promised_of_no_more_than_the_budget_is() -> None:
    without = make(aggregation=MAP())
    assert without.certificate().now.factor_left is None
    assert without.certificate(harm=HarmRecord(0, 100)).harm.per_episode == 1
    assert "<=" not in str(without.certificate())
    batch = make(inflation_budget=InflationBudget(1.5), num_envs=2)
    assert "for every event in any one environment, if so" in str(batch.certificate())
    episodes = make(inflation_budget=InflationBudget(1.5, per="episode"))
    assert "for every event within this episode" in str(episodes.certificate())


def test_a_withdrawn_question_is_named_where_the_sum_refutes() -> None:
    imitator = make()
    for t in range(40):
        decision = imitator.decide(t % STATES)
        if decision.queried:
            imitator.withdraw(decision)
            break
    assert imitator._live.run.tally.withdrawn == 1


def test_sums_are_kept_in_checkpoints_as_they_are() -> None:
    imitator = make()
    for t in range(20):
        imitator.act(t % STATES)
    tally = imitator._live.run.tally
    again = tally.loaded(json.loads(json.dumps(tally.saved())))
    np.testing.assert_array_equal(again.cubed, tally.cubed)
    fresh = Tally.begin(imitator._live.run.setup.learner, False, np.array([7]))
    assert fresh.loaded(None).since == 7  # a checkpoint of before there were sums


def test_harm_per_episode_is_a_number_to_act_on() -> None:
    record = HarmRecord(1, 400)
    said = make(inflation_budget=InflationBudget(2.0)).certificate(delta=0.01, harm=record).harm
    assert said.per_episode == pytest.approx(2 * record.upper(0.01) + 0.008)
    text = str(make(inflation_budget=InflationBudget(2.0)).certificate(harm=record))
    assert "harm per episode at most" in text
    assert "with confidence 0.95" in text
    without = make().certificate(harm=record)
    assert without.harm.per_episode == 1
    assert "no number bounds" in str(without)
    for delta in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="delta"):
            make().certificate(delta=delta)


def test_members_that_learn_are_told_how_close_they_are() -> None:
    imitator = ConsensusImitator(
        counters([1.0, 1.0], 1, 2), lambda observation: 0, selection=AlphaThreshold(0.001), seed=0
    )
    for _ in range(30):
        imitator.act(0)
    said = imitator.certificate().now
    assert said.close_excess >= 0
    assert 0 < said.close_exclusion <= 1
    assert "assuming that they exceed its prediction by no more" in str(imitator.certificate())
    assert np.isnan(said.cubed_observed)
