"""Which steps call for a question, how questions are scored, and that the suite follows anybody's members by Bayes."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import TopK
from consensus_imitation.core.aggregation import MAP, RandomQueries
from consensus_imitation.core.posterior import mixture
from consensus_imitation.deception import Contestant, get_scenario, harm_by_state, run
from consensus_imitation.deception.asking import WRONG, asked_at, called, scores
from consensus_imitation.deception.loop import run_loop

SEEDS = np.array([3, 14])


def test_the_mixture_is_the_weighted_mean_of_what_was_said() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        said, mass = rng.dirichlet(np.ones(4), 5), rng.uniform(0.2, 1, 5)
        mass[rng.integers(5)] = 0
        log_weights = rng.normal(size=5).astype(np.float32)
        weights = np.exp(log_weights) * (mass > 0)
        expected = (weights[:, None] * said).sum(0) / weights.sum()
        with np.errstate(divide="ignore"):
            found = mixture(jnp.asarray(log_weights), jnp.asarray(np.log(said * mass[:, None]), jnp.float32))
        np.testing.assert_allclose(found, expected, atol=2e-6)
    assert mixture(jnp.zeros(2), jnp.full((2, 3), -jnp.inf)).tolist() == [0, 0, 0]


def test_a_step_calls_for_a_question_where_acting_would_be_wrong() -> None:
    law = jnp.array([[0.9, 0.1]] * 4)
    expected = jnp.array([[0.9, 0.1], [0.9 - WRONG + 0.01, 0.09 + WRONG], [0.9 - WRONG - 0.01, 0.11 + WRONG], [0, 0]])
    assert called(expected, law).tolist() == [False, False, True, True]


def test_scores_by_counting() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        asked, wanted = rng.random((2, 7, 11)) < rng.random((2, 1, 1))
        found = scores(asked, wanted)
        both = sum(a and w for a, w in zip(asked.ravel(), wanted.ravel(), strict=True))
        if asked.any() and wanted.any():
            precision, recall = both / asked.sum(), both / wanted.sum()
            harmonic = 0.0 if not both else 2 / (1 / precision + 1 / recall)
            assert found == pytest.approx((wanted.mean(), precision, recall, harmonic))
    nothing = np.zeros((2, 3), bool)
    assert np.isnan(scores(nothing, nothing)[1:]).all()
    assert scores(nothing, ~nothing)[2:] == (0.0, 0.0)
    assert scores(~nothing, nothing).precision == 0


def test_at_most_a_tenth_of_the_familiar_steps_lies_above_the_threshold() -> None:
    rng = np.random.default_rng(2)
    for size in (9, 10, 11, 100, 357):
        familiar, doubt = rng.choice([0.0, 0.1, 0.5, 0.9], size), rng.random(50)
        found = asked_at(familiar, doubt, np.ones(50, bool))
        above = [t for t in familiar if (familiar > t).mean() <= 0.1]
        assert found == (doubt > min(above)).mean()
    # Who asks about everything familiar has no threshold left to ask at.
    assert asked_at(np.ones(20), np.ones(5), np.ones(5, bool)) == 0
    assert asked_at(np.zeros(20), np.ones(5), np.ones(5, bool)) == 1
    assert np.isnan(asked_at(np.zeros(20), np.ones(5), np.zeros(5, bool)))
    with pytest.raises(ValueError, match="share must lie"):
        asked_at(np.zeros(2), np.zeros(2), np.zeros(2, bool), 1.0)


@pytest.mark.slow
def test_whoever_asks_at_random_is_right_as_often_as_steps_call() -> None:
    """And one who never asks has called-for steps only, none of which it asked about."""
    top = TopK(4)
    results = run(
        "time-bomb", [Contestant("random", top, RandomQueries(0.5)), Contestant("never", top, MAP())], num_seeds=24
    )
    random, never = results[2:]
    questions = random.query_rate * random.num_seeds * random.num_steps
    assert random.ask_precision == pytest.approx(random.called, abs=5 * np.sqrt(random.called / questions))
    assert never.ask_recall == never.ask_f1 == never.asked_at_10 == 0
    assert never.called == pytest.approx(0.5, abs=0.01)  # A bomb of .8 of the weight turns at half-time.
    assert random.called < 0.05  # Answers expose it.
    assert random.demonstrator_reward == pytest.approx(random.reward, rel=0.1)
    assert never.reward < 0.7 * never.demonstrator_reward


class Scripted:
    """Asks, or takes the action that is given, in turn; reports what it is told to."""

    def __init__(self, problem, told):
        self.problem, self.told, self.step = problem, told, 0

    def act(self, observation):
        self.step += 1
        asks = self.step % 2 == 0
        action = self.problem.demonstrator(observation) if asks else 0
        return dataclasses.make_dataclass("Decision", ["action", "queried", *self.told])(
            action, asks, *self.told.values()
        )


def looped(told):
    scenario = dataclasses.replace(get_scenario("time-bomb"), num_steps=40)
    world, planted = scenario.make_world(), np.arange(8) == 7
    make = lambda problem: Scripted(problem, told)  # noqa: E731
    return run_loop(make, scenario.ensemble(True), world, harm_by_state(world), planted, SEEDS, SEEDS, 40)


def test_what_an_imitator_reports_of_its_doubt_is_taken_and_what_it_does_otherwise() -> None:
    np.testing.assert_array_equal(looped({}).doubt, np.tile([0, 1], (2, 20)))
    np.testing.assert_allclose(looped({"query_prob": 0.25}).doubt, 0.25)
    with pytest.raises(ValueError, match="query_prob must lie"):
        looped({"query_prob": 1.5})
