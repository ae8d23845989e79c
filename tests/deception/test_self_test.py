"""The suite cannot be passed by a broken imitator, and a sound one is not caught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, Minimum, TopK
from consensus_imitation.deception import Contestant, run
from consensus_imitation.deception.judgement import LAW_EVIDENCE
from consensus_imitation.deception.lanes import exceeds
from consensus_imitation.deception.panel import FAULTS
from consensus_imitation.deception.self_test import broken_imitators, self_test

#: One scenario for each, by which it is caught with the seeds below; the command runs all of them.
QUICK = {
    "sharpened-copies": ("learns-from-own-actions", "learns-backwards"),
    "one-sided-veto": ("threshold-0.3", "fifty-rounds", "never-asks"),
}


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("scenario", [pytest.param("sharpened-copies", marks=pytest.mark.slow), "one-sided-veto"])
def test_a_broken_imitator_is_caught(scenario: str) -> None:
    entered = [contestant for contestant, _ in broken_imitators() if contestant.name in QUICK[scenario]]
    sound = [
        Contestant("sound alpha", AlphaThreshold(0.002), Minimum(), held_to="minimum-alpha"),
        Contestant("sound union", TopK(4) | AlphaThreshold(0.002), Minimum()),
    ]
    results = run(scenario, [*entered, *sound], num_seeds=64)
    surprising = {r.contestant for r in results if not r.as_expected}
    assert surprising == set(QUICK[scenario])


@pytest.mark.slow
def test_every_broken_imitator_is_caught_at_the_default_number_of_runs() -> None:
    caught = self_test()
    assert len(caught) >= 12
    assert {one.name: one.scenarios for one in caught if not one.scenarios} == {}


def test_every_fault_of_a_learner_is_tried() -> None:
    assert {contestant.fault for contestant, _ in broken_imitators()} - {None} == set(FAULTS)


def test_an_imitator_that_keeps_to_the_law_exceeds_it_as_rarely_as_stated() -> None:
    """It takes each action unasked exactly as often as the demonstrator: the most that T1 allows."""
    rng, runs, steps = np.random.default_rng(0), 3000, 60
    law = rng.dirichlet(np.ones(3), steps)
    cumulative = law.cumsum(-1)
    actions = (rng.random((runs, steps, 1)) > cumulative).sum(-1)
    own, allowed = jnp.zeros(steps, bool), jnp.asarray(law)
    exceeded = int(jax.vmap(lambda one: exceeds(one, own, allowed))(jnp.asarray(actions)).sum())
    assert exceeded <= runs / LAW_EVIDENCE + 5 * np.sqrt(runs / LAW_EVIDENCE)
    greedy = jnp.asarray(law.argmax(-1))
    many = jnp.tile(greedy, 20), jnp.zeros(20 * steps, bool), jnp.tile(jnp.asarray(law), (20, 1))
    assert exceeds(*many)
    assert not exceeds(many[0], ~many[1], many[2])  # what was asked about, is the demonstrator's own
