"""Three ways to run a contestant are one: the panel, the plain learner, and anybody's imitator in a Python loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, Minimum, TopK
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.core.posterior import weights
from consensus_imitation.core.rollout import rollout
from consensus_imitation.deception import AsksAtRandom, Contestant, default_contestants, get_scenario, harm_by_state
from consensus_imitation.deception.lanes import _common_form, begin, run_lanes, summarise
from consensus_imitation.deception.loop import run_loop
from consensus_imitation.demonstrators import TabularDemonstrator

SEEDS = np.array([3, 14, 15, 92])


def short(name, num_steps=120):
    return dataclasses.replace(get_scenario(name), num_steps=num_steps)


def arguments(scenario):
    world = scenario.make_world()
    planted = np.isin(np.arange(len(scenario.members)), scenario.planted)
    return world, harm_by_state(world), planted


def lanes(scenario, contestants, attack=True, known=SEEDS):
    world, harm, planted = arguments(scenario)
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    ensemble = scenario.ensemble(attack)
    return run_lanes(contestants, ensemble, world.env, expert, harm, planted, SEEDS, known, scenario.num_steps)


def assert_same(one, other):
    for field, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6, err_msg=field)


@pytest.mark.slow
def test_a_lane_is_the_plain_learner():
    scenario = get_scenario("posterior-farming")
    world, harm, planted = arguments(scenario)
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    law = jnp.asarray(world.demonstrator_probs)
    contestants = default_contestants()
    results = lanes(scenario, contestants)
    for index in (1, 7):
        learner = Learner(scenario.ensemble(True), contestants[index].selection, contestants[index].aggregation)

        @jax.jit
        def plain(seed, learner=learner):
            state, trajectory = rollout(learner, world.env, expert, begin(learner, world.env, seed), scenario.num_steps)
            return summarise(trajectory, weights(state.learner.posterior), jnp.asarray(harm), jnp.asarray(planted), law)

        expected = jax.vmap(plain)(jnp.asarray(SEEDS))
        assert_same(results[index], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "attack"),
    [("supervision-aware", True), ("colluding-block-4", True), ("broken-members", True), ("knows-the-draw", True)],
)
def test_the_loop_runs_the_librarys_imitator_exactly_as_the_lanes_do(name, attack):
    scenario = short(name, 220)
    selection = TopK(4) | AlphaThreshold(0.002)

    def shell(problem):
        return ConsensusImitator(problem.ensemble, problem.demonstrator, selection=selection, seed=problem.seed)

    world, harm, planted = arguments(scenario)
    own = run_loop(shell, scenario.ensemble(attack), world, harm, planted, SEEDS, SEEDS, scenario.num_steps)
    (expected,) = lanes(scenario, [Contestant("c", selection, Minimum())], attack)
    assert expected.queries.sum() > 0 or scenario.knows_seed
    assert_same(own, expected)


def test_rules_brought_to_the_common_form_select_the_same_members():
    rng = np.random.default_rng(0)
    rules = [TopK(2), TopK(4), AlphaThreshold(0.002), AlphaThreshold(0.3), AlphaThreshold(1.0)]
    for _ in range(200):
        log_weights = jnp.asarray(rng.choice([0.0, -0.5, -1.0, -4.0, -20.0, -np.inf], size=7).astype(np.float32))
        log_weights = log_weights - jnp.max(log_weights) if jnp.any(jnp.isfinite(log_weights)) else jnp.zeros(7)
        for rule in rules:
            np.testing.assert_array_equal(_common_form(rule)(log_weights), rule(log_weights))


def test_every_default_contestant_has_the_same_common_form():
    forms = {jax.tree.structure(_common_form(contestant.selection)) for contestant in default_contestants()}
    assert len(forms) == 1  # Hence one compilation a scenario.


@pytest.mark.slow
def test_rules_without_a_common_form_run_too():
    contestants = [Contestant("both", TopK(4) & AlphaThreshold(0.01), Minimum()), Contestant("one", TopK(1), Minimum())]
    both, one = lanes(short("time-bomb"), contestants)
    assert both.queries.sum() > 0
    assert one.queries.sum() == 0


def test_rules_are_checked_against_the_ensemble():
    with pytest.raises(ValueError, match="k=9 exceeds"):
        lanes(short("time-bomb"), [Contestant("c", TopK(9), Minimum())])


def test_asking_at_random_asks_at_that_rate_and_scales_the_rest():
    law = AsksAtRandom(MAP(), 0.1)(jnp.log(jnp.array([[0.2, 0.8]])), jnp.zeros(1), jnp.array([True]))
    np.testing.assert_allclose(law.probs, [0.18, 0.72], rtol=1e-6)
    assert float(law.query_prob) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="rate must lie"):
        AsksAtRandom(MAP(), 1.0)


@pytest.mark.parametrize(
    "rules", [{}, {"selection": TopK(2)}, {"selection": TopK(2), "aggregation": Minimum(), "factory": lambda p: None}]
)
def test_a_contestant_is_either_two_rules_or_a_factory(rules):
    with pytest.raises(ValueError, match="needs a selection and an aggregation rule"):
        Contestant("c", **rules)


class Scripted:
    """An imitator made of one function."""

    def __init__(self, act):
        self.act = act


def run_script(make):
    scenario = short("time-bomb", 40)
    world, harm, planted = arguments(scenario)
    return run_loop(make, scenario.ensemble(True), world, harm, planted, SEEDS, SEEDS, scenario.num_steps)


def test_an_imitator_that_always_asks_only_does_the_demonstrators_harm():
    def always(problem):
        decide = lambda o: dataclasses.make_dataclass("D", ["action", "queried"])(problem.demonstrator(o), True)  # noqa: E731
        return Scripted(decide)

    summary = run_script(always)
    np.testing.assert_array_equal(summary.queries, 40)
    np.testing.assert_array_equal(summary.late_queries, 10)
    assert not summary.own_harmed.any()
    assert np.isnan(summary.planted_weight).all()
    np.testing.assert_array_equal(summary.invalid_steps, -1)


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        (lambda problem, o: (7, False), "returned 7, which is no action: answer with an integer from 0 to 3"),
        (lambda problem, o: (0, True), "reports that the demonstrator chose"),
        (lambda problem, o: ((problem.demonstrator(o) + 1) % 4, True), "reports that the demonstrator chose"),
        (lambda problem, o: (problem.demonstrator(o + 1), True), "this step's is"),
    ],
)
def test_an_imitator_that_cheats_is_refused(decide, message):
    decision = dataclasses.make_dataclass("Decision", ["action", "queried"])
    with pytest.raises(ValueError, match=message):
        run_script(lambda problem: Scripted(lambda o: decision(*decide(problem, o))))
