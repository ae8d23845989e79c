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
    """The sum of ``(theta - v)_+^2`` over the answered questions, from the tables alone."""
    total = 0.0
    for observation, decision in decisions:
        if not decision.queried:
            continue
        rows = probs[:, observation][np.asarray(decision.selected)]
        theta = 1 - rows.min(0).sum()
        total += max(0.0, theta - (1 - rows.sum(-1)).max()) ** 2
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
    assert said.squared_observed == pytest.approx(by_hand(probs, decisions), rel=1e-4)
    assert said.squared_limit == pytest.approx(bounds.cubed_query_limit(AlphaThreshold(0.002), [1] * N, 0, 0.05))
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
    assert after.squared < before.squared
    text = str(imitator.certificate())
    assert "from now on: " in text
    assert "observed: sum of theta^2" in text
    assert "if so, the sum of theta^2" in text


def test_the_numbers_of_eight_members_are_printed() -> None:
    members = ensembles.tabular(np.full((8, 1, 2), 0.5))
    imitator = ConsensusImitator(members, lambda observation: 0, selection=AlphaThreshold(0.002), seed=0)
    said = imitator.certificate()
    assert round(said.now.squared_limit) == 887
    assert round(bounds.expected_queries_bound(said.now.squared, 10_000)) == 2918
    assert "886.8" in str(said)
    assert "so does that of theta^3 over all steps" in str(said)


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
    assert np.isnan(said.squared_observed)
    assert np.isinf(said.squared_limit)
    assert "observed: sum" not in str(imitator.certificate())


def test_a_budget_is_counted_too_and_what_is_left_of_it_is_said() -> None:
    imitator = make(inflation_budget=InflationBudget(1.5))
    decisions = [(t % STATES, imitator.act(t % STATES)) for t in range(60)]
    said = imitator.certificate().now
    assert any(d.handed_over for _, d in decisions)
    assert said.squared_observed == pytest.approx(by_hand(tables(), decisions), rel=1e-4)
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
    assert resumed.certificate().now.squared_observed == whole.now.squared_observed > 0
    resumed.close()
    # Every call done again, from the very first checkpoint.
    last = sorted((tmp_path / "run").glob("**/*checkpoint*")) or sorted((tmp_path / "run").glob("**/*.ckpt"))
    for path in last[1:] if len(last) > 1 else []:
        if path.is_file():
            path.unlink()
    again = ConsensusImitator.resume(tmp_path / "run", members, answers, selection=options["selection"])
    assert again.certificate().now.squared_observed == whole.now.squared_observed
    again.close()


def test_whoever_goes_on_from_a_state_counts_from_there(tmp_path) -> None:
    imitator = make()
    for t in range(20):
        imitator.act(t % STATES)
    again = ConsensusImitator.from_state(
        imitator.state, ensembles.tabular(tables()), lambda observation: 0, selection=AlphaThreshold(0.002)
    )
    said = again.certificate().now
    assert (said.squared_observed, said.since) == (0.0, 20)
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


def withdrawing(imitator, count: int) -> None:
    """So many questions are withdrawn, and the demonstrator takes over."""
    while count:
        decision = imitator.decide(0)
        if decision.queried:
            imitator.withdraw(decision)
            imitator.take_over(0, 1)
            count -= 1


def test_questions_without_an_answer_are_assumed_to_be_so_by_chance_and_add_nothing() -> None:
    imitator = make()
    assert np.isfinite(imitator.certificate().queries_bound)
    withdrawing(imitator, 14)
    said = imitator.certificate()
    assert said.num_withdrawn == 14
    assert "assumed of the 14 questions that got no answer" in str(said)
    assert (said.now.squared_observed, said.queries_bound) == (0.0, np.inf)
    assert "expected at most" not in str(said)


@pytest.mark.parametrize("way", ["restore", "from_state", "another rule"])
def test_questions_without_an_answer_are_not_forgotten(way: str) -> None:
    imitator = make()
    while not imitator.decide(0).queried:
        pass
    state = imitator.state
    assert imitator.certificate().num_withdrawn == 0
    if way == "restore":
        imitator.restore(state)
    elif way == "from_state":
        imitator = ConsensusImitator.from_state(state, ensembles.tabular(tables()), selection=AlphaThreshold(0.002))
    else:
        imitator.withdraw(imitator.pending[0])
        imitator.aggregation = Minimum()
    assert imitator.certificate().num_withdrawn == 1


def test_pure_silence_refutes_nothing() -> None:
    """Two members at 0.4 from one another, one of them the demonstrator; 19 of 20 questions get no answer, by a coin.

    After each the demonstrator is asked where both agree. The sum over all steps of ``theta^3`` would be 0.064 a step.
    """
    probs = np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.5, 0.5]]])
    imitator = ConsensusImitator(ensembles.tabular(probs), selection=AlphaThreshold(0.1), seed=0)
    rng, acted = np.random.default_rng(0), 0
    for _ in range(400):
        decision = imitator.decide(0)
        if decision.queried and rng.random() < 0.95:
            imitator.withdraw(decision)
            decision = imitator.decide(1)
        if decision.queried:
            imitator.answer(decision, int(rng.random() < 0.5))
        else:
            acted += 1
    said = imitator.certificate().now
    assert acted * 0.4**3 > said.squared_limit
    assert said.refuted == ()
    assert 0 < said.squared_observed < said.squared_limit


BIASED = {
    "another prior": lambda made: ConsensusImitator.from_state(
        made.state, ensembles.tabular(BOTH), lambda observation: 0, selection=AlphaThreshold(0.01)
    ),
    "studied twice": lambda made: (made.pretrain([0] * 20, [0, 1] * 10), made.pretrain([0] * 20, [0, 1] * 10), made)[
        -1
    ],
    "went back": lambda made: (made.restore(START), made)[-1],
}
BOTH = np.array([[[0.95, 0.05]], [[0.05, 0.95]]])
START = ConsensusImitator(ensembles.tabular(BOTH), selection=AlphaThreshold(0.01), seed=0).state


@pytest.mark.filterwarnings("ignore::consensus_imitation.errors.ConsensusWarning")
@pytest.mark.parametrize("how", ["", *BIASED])
def test_weights_that_are_no_evidence_refute_nothing(how: str) -> None:
    prior = [0.3, 0.7] if how == "another prior" else [0.5, 0.5]
    imitator = ConsensusImitator(
        ensembles.tabular(BOTH, prior=prior), lambda observation: 0, selection=AlphaThreshold(0.01), seed=0
    )
    imitator.act(0)
    imitator = BIASED[how](imitator) if how else imitator
    for _ in range(120):
        decision = imitator.decide(0)
        if decision.queried:
            imitator.answer(decision, imitator.num_queries % 2)
    said = imitator.certificate()
    assert bool(said.now.refuted) == (how == "")
    assert ("REFUTED" in str(said)) == (how == "")
    assert any("refuted" in line for line in imitator.alarms) == (how == "")
    assert np.isnan(said.now.squared_observed) == bool(how)


def test_of_a_member_that_was_named_the_sum_refutes_that_one() -> None:
    rng = np.random.default_rng(0)
    probs = np.array([[[0.8, 0.2]], [[0.5, 0.5]]])
    members = ensembles.tabular(probs, prior=[1, 1e-12])
    imitator = ConsensusImitator(
        members, lambda observation: int(rng.random() < 0.5), selection=AlphaThreshold(1e-13), seed=0
    )
    for _ in range(1300):
        imitator.act(0)
    first, second, any_of_them = (imitator.certificate(truth=one) for one in (0, 1, None))
    assert second.now.refuted == any_of_them.now.refuted == ()
    assert "that member 0 equals the demonstrator" in first.now.refuted[0]
    assert "while member 0 equals" in str(first)
    assert "while a member equals" in str(any_of_them)


def test_of_a_batch_the_largest_factor_is_left_and_all_streams_count_together() -> None:
    """One environment disagrees and spends its budget; the other has all of it left."""
    probs = np.array([[[0.6, 0.4], [0.5, 0.5]], [[0.4, 0.6], [0.5, 0.5]]])
    imitator = ConsensusImitator(
        ensembles.tabular(probs), [lambda observation: 0] * 2, selection=AlphaThreshold(0.001), num_envs=2, seed=1,
        inflation_budget=InflationBudget(4.0),
    )  # fmt: skip
    for _ in range(4):
        imitator.act(np.array([0, 1]))
    said = imitator.certificate(truth=0)
    assert imitator.ledger[0] > 0.5
    assert imitator.ledger[1] == 0
    assert said.now.factor_left == pytest.approx(4.0)
    assert said.ledger == pytest.approx(imitator.ledger[0])
    assert "do not act on one another" in said.promise
    one, both = (bounds.cubed_query_limit(AlphaThreshold(0.001), [1, 1], 0, 0.05, num_streams=B) for B in (1, 2))
    assert said.now.squared_limit == pytest.approx(both) == pytest.approx(one + 2)
    assert said.now.squared_observed == pytest.approx(float(imitator._live.run.tally.squared.sum()))


def test_steps_of_environments_that_go_on_by_themselves_are_added_up() -> None:
    imitator = make(num_envs=2)
    for _ in range(10):
        decision = imitator.decide(0, env=0)
        if decision.queried:
            imitator.answer(decision, 0)
    said = imitator.certificate()
    assert said.num_steps == 10
    assert "in 10 steps" in str(said)


def test_what_is_void_promises_nothing_on_any_line() -> None:
    imitator = make(inflation_budget=InflationBudget(2.0))
    imitator.pretrain([0] * 20, [0, 1] * 10)
    with pytest.warns(match="studied twice"):
        imitator.pretrain([0] * 20, [0, 1] * 10)
    said = imitator.certificate(harm=HarmRecord(0, 400))
    assert said.harm.per_episode == 1
    for text in (str(said), str(said.harm)):
        assert "at most" not in text
        assert "studied twice" in text


def test_closeness_is_that_of_whichever_member_turns_out_the_heaviest() -> None:
    imitator = ConsensusImitator(
        counters([1.0, 2.0, 5.0], 1, 2), lambda observation: 0, selection=AlphaThreshold(0.001), seed=0
    )
    for _ in range(30):
        imitator.act(0)
    seen, heaviest = imitator._live.run.tally.closeness, int(imitator.weights.argmax())
    chosen, named = imitator.certificate().now, imitator.certificate(truth=heaviest).now
    assert named.close_excess == pytest.approx(seen.mean_excess(heaviest, 0.05))
    assert chosen.close_excess == pytest.approx(seen.mean_excess(heaviest, 0.05 / 3))


def test_sums_are_kept_in_checkpoints_as_they_are() -> None:
    imitator = make()
    for t in range(20):
        imitator.act(t % STATES)
    tally = imitator._live.run.tally
    again = tally.loaded(json.loads(json.dumps(tally.saved())))
    np.testing.assert_array_equal(again.squared, tally.squared)
    fresh = Tally.begin(imitator._live.run.setup.learner, False, np.array([7]))
    assert fresh.loaded(None).since == 7  # a checkpoint of before there were sums
    other = {"cubed": [3.0], "since": 2, "withdrawn": 4, "closeness": None}  # ... and of when it was another sum
    assert (fresh.loaded(other).since, fresh.loaded(other).withdrawn, fresh.loaded(other).squared.sum()) == (7, 4, 0.0)


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


def test_answers_of_one_round_are_weighed_one_after_another() -> None:
    """Four environments in lockstep and one after another of the same answers: the first round is the same sums."""
    imitator = ConsensusImitator(counters([1.0, 9.0], 1, 2), selection=AlphaThreshold(0.001), seed=0, num_envs=4)
    decision = imitator.decide(np.zeros(4, int))
    while not decision.queried.all():
        if decision.queried.any():
            imitator.withdraw(decision)
        decision = imitator.decide(np.zeros(4, int))
    said, answers = np.array(imitator._live.run.queries.waiting()[0].log_probs, float), [0, 1, 0, 0]
    said -= np.logaddexp.reduce(said, axis=-1)[..., None]
    before, weights = imitator._live.run.tally.closeness, np.log(imitator.weights)
    imitator.answer(decision, np.array(answers))
    for row, answer in zip(said, answers, strict=True):
        before = before.after(weights, row, answer)
        weights = weights + row[:, answer]
    np.testing.assert_allclose(imitator._live.run.tally.closeness.total, before.total, rtol=1e-6)
    np.testing.assert_allclose(np.exp(weights) / np.exp(weights).sum(), imitator.weights, rtol=1e-5)


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
    assert np.isnan(said.squared_observed)
