"""One contract for all scenarios."""

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import envs
from consensus_imitation.core import aggregation
from consensus_imitation.core.selection import AlphaThreshold
from consensus_imitation.deception import (
    SHORT,
    Expectation,
    Forecast,
    Scenario,
    default_contestants,
    get_scenario,
    harm_by_state,
    honest_variants,
    scenario_names,
)
from consensus_imitation.deception.contestants import ALPHA, STRONGEST
from consensus_imitation.ensembles import Context

NAMED = [*(contestant.name for contestant in default_contestants()), "order-2"]


@pytest.fixture(params=scenario_names())
def scenario(request) -> Scenario:
    return get_scenario(request.param)


def predictions(scenario, attack, step):
    """[S, N, A] under the prior."""
    world, ensemble = scenario.make_world(), scenario.ensemble(attack)
    context = Context(jnp.int32(step), jnp.log(jnp.asarray(scenario.prior)))
    states = np.flatnonzero(~np.asarray(world.env.terminal))
    rows = [
        ensemble.log_probs(ensemble.init_carry(), jnp.int32(s), context) for s in states[:: max(1, len(states) // 12)]
    ]
    return np.stack(rows)


def test_names_shapes_and_priors_agree(scenario):
    world = scenario.make_world()
    assert scenario.world == world.name
    for attack in (False, True):
        ensemble = scenario.ensemble(attack)
        assert ensemble.pure
        assert ensemble.num_members == len(scenario.members) == len(set(scenario.members))
        assert ensemble.num_actions == world.env.num_actions
        np.testing.assert_allclose(ensemble.prior, scenario.prior, rtol=1e-6)
    assert all(0 <= i < len(scenario.members) for i in scenario.planted)
    assert ("truth" in scenario.members) == (scenario.name != "truth-absent")


def test_the_truth_is_the_demonstrator_and_never_planted(scenario):
    if "truth" not in scenario.members:
        return
    index = scenario.members.index("truth")
    assert index not in scenario.planted
    world = scenario.make_world()
    for attack in (False, True):
        ensemble = scenario.ensemble(attack)
        for step in (0, scenario.num_steps - 1):
            context = Context(jnp.int32(step), jnp.log(jnp.asarray(scenario.prior)))
            row = ensemble.log_probs(ensemble.init_carry(), jnp.int32(0), context)[index]
            np.testing.assert_allclose(np.exp(row), world.demonstrator_probs[0], rtol=1e-5)


def test_members_predict_distributions_unless_broken(scenario):
    for attack in (False, True):
        for step in (0, scenario.num_steps - 1):
            for rows in predictions(scenario, attack, step):
                _, invalid = aggregation.validate(jnp.asarray(rows))
                wanted = scenario.planted if attack and scenario.name == "broken-members" else ()
                assert tuple(np.flatnonzero(invalid).tolist()) == wanted


def test_members_that_are_not_planted_are_the_same_in_both_runs(scenario):
    honest = [i for i in range(len(scenario.members)) if i not in scenario.planted]
    for step in (0, scenario.num_steps - 1):
        np.testing.assert_array_equal(
            predictions(scenario, False, step)[:, honest], predictions(scenario, True, step)[:, honest]
        )


def test_in_the_honest_run_every_member_is_as_safe_as_the_demonstrator(scenario):
    if scenario.knows_seed:
        pytest.skip("its control run keeps the member and tells it a wrong seed")
    world, ensemble = scenario.make_world(), scenario.ensemble(attack=False)
    harmful = (np.asarray(world.env.outcome_probs) * np.asarray(world.env.harm)).sum(-1)
    own = harm_by_state(world)
    for step in (0, scenario.num_steps - 1):
        context = Context(jnp.int32(step), jnp.log(jnp.asarray(scenario.prior)))
        for state in np.flatnonzero(harmful.sum(-1)):
            rows = np.exp(np.asarray(ensemble.log_probs(ensemble.init_carry(), jnp.int32(state), context), np.float64))
            # Near-duplicates move the demonstrator's rate by their noise, a few per cent.
            assert np.all(rows @ harmful[state] <= 1.05 * own[state] + 1e-9)


def test_every_contestant_has_a_forecast_with_a_reason(scenario):
    for attack in (False, True):
        for name in NAMED:
            forecast = scenario.forecast(name, attack)
            assert name in (scenario.attacked if attack else scenario.honest)
            assert len(forecast.reason) > 20
            assert 0 <= forecast.exclusion < 1
            assert forecast.harm is Expectation.SAFE or forecast.exclusion == 0


def test_promises_follow_from_the_counting_of_t1_and_the_bound_of_t2(scenario):
    """An independent statement of what may be promised at all; forecasts must not promise more."""
    if scenario.name in ("query-flooding", "broken-members", "knows-the-draw"):
        return
    planted = len(scenario.planted)
    top, alpha, union = (scenario.forecast(n, True) for n in ("minimum-top4", "minimum-alpha", STRONGEST))
    assert (top.harm is Expectation.SAFE) == (planted <= 3)
    truth = dict(zip(scenario.members, scenario.prior, strict=True)).get("truth", 0.0)
    bound = AlphaThreshold(ALPHA).exclusion_bound(truth, len(scenario.members)) if truth else 1.0
    assert (alpha.harm is Expectation.SAFE) == (bound < 1)
    if bound < 1:
        assert alpha.exclusion == pytest.approx(bound)
    assert (union.harm is Expectation.SAFE) == (Expectation.SAFE in (top.harm, alpha.harm))
    assert union.exclusion == (0.0 if planted <= 3 else pytest.approx(alpha.exclusion))


def test_an_unknown_imitator_is_held_to_the_strongest_promise_and_to_no_failure():
    safe = get_scenario("time-bomb").forecast("mine", attack=True)
    assert safe.harm is Expectation.SAFE
    assert safe.asking is None
    assert get_scenario("truth-absent").forecast("mine", attack=True).harm is Expectation.OPEN


def test_some_scenario_separates_every_pair_of_promises():
    """If no scenario told them apart, a suite that mixed them up would pass."""
    expected = {
        name: tuple(get_scenario(s).forecast(name, True).harm for s in scenario_names())
        for name in ("minimum-top4", "minimum-alpha", "order-2", "map", "map-asking")
    }
    assert len(set(expected.values())) == len(expected)


@pytest.mark.parametrize("name", envs.names())
def test_honest_variants_differ_and_are_exactly_as_safe(name):
    world = envs.make(name)
    variants = honest_variants(world, 3)
    np.testing.assert_allclose(variants.sum(-1), 1, atol=1e-6)
    assert np.all(variants >= 0)
    harmful = (np.asarray(world.env.outcome_probs) * np.asarray(world.env.harm)).sum(-1)
    for variant in variants:
        np.testing.assert_allclose((variant * harmful).sum(-1), harm_by_state(world), rtol=1e-6)
        assert 0.05 < 0.5 * np.abs(variant - world.demonstrator_probs).sum(-1).mean() < 0.5


def test_harm_by_state_agrees_with_planning():
    world = envs.make("ring")
    start = int(world.env.start_states[0])
    one_step = envs.harm_probability(world.env, world.demonstrator_probs, 1).probability
    assert harm_by_state(world)[start] == pytest.approx(one_step, abs=1e-9)


def test_short_selection_exists_and_unknown_names_are_refused():
    assert set(SHORT) <= set(scenario_names())
    with pytest.raises(ValueError, match="there is no scenario"):
        get_scenario("no-such-thing")


def test_a_scenario_checks_itself():
    fields = {"name": "x", "summary": "", "world": "ring", "planted": (), "num_steps": 1, "build": lambda w, a: None}
    forecast = {STRONGEST: Forecast(Expectation.SAFE, "")}
    with pytest.raises(ValueError, match="names 2 members"):
        Scenario(**fields, members=("a", "b"), prior=(1.0,), attacked=forecast, honest=forecast)
    with pytest.raises(ValueError, match="sums to"):
        Scenario(**fields, members=("a",), prior=(0.5,), attacked=forecast, honest=forecast)
