"""What a run over any action space may claim: T1 to T3 as they are, and nothing that needs theta itself."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, TopK, ensembles
from consensus_imitation.core import bounds
from consensus_imitation.core.harm import HarmRecord
from consensus_imitation.ensembles.any_action import gaussian
from consensus_imitation.imitator import SamplingImitator

ALPHA = AlphaThreshold(0.002)
GAINS = jnp.array([[1.0], [1.2], [1.5], [9.0]])
MEMBERS = gaussian(lambda gain, x: (-gain * x, jnp.array([-1.0])), GAINS, low=-10.0, high=10.0)
SEEN = jnp.array([1.0])


def make(journal=None, selection=ALPHA, ensemble=MEMBERS, **options) -> SamplingImitator:
    rng = np.random.default_rng(3)
    answer = lambda x: -np.asarray(x, np.float32) + np.float32(rng.normal(scale=math.exp(-1)))  # noqa: E731
    return SamplingImitator(ensemble, answer, selection=selection, seed=0, journal=journal, **options)


def resumed(path) -> SamplingImitator:
    return SamplingImitator.resume(path, MEMBERS, lambda x: -x, selection=ALPHA)


def test_it_claims_what_the_same_rules_claim_for_actions_that_can_be_listed() -> None:
    for rule in (ALPHA, TopK(3), TopK(3) | ALPHA):
        listed = ConsensusImitator(ensembles.tabular(np.full((4, 1, 2), 0.5)), selection=rule, seed=0).certificate()
        found = make(selection=rule).certificate()
        assert (found.exclusion, found.tolerated_members, found.quorum, found.prior_weight) == (
            *(listed.exclusion, listed.tolerated_members, listed.quorum, listed.prior_weight),
        )
        assert found.promise.startswith(listed.promise)
        assert "integrates to at most one" in found.promise
        assert found.now.exclusion == listed.now.exclusion


def test_t3_bounds_the_queries_and_what_needs_theta_is_missing() -> None:
    imitator = make()
    before = imitator.certificate().now
    for _ in range(300):
        imitator.act(SEEN)
    said = imitator.certificate(harm=HarmRecord(0, 100))
    cubed = bounds.cubed_query_bound(ALPHA, [0.25] * 4, 0)
    assert said.queries_bound == pytest.approx(min(300, bounds.expected_queries_bound(cubed, 300)))
    assert said.num_queries == imitator.num_queries > 0
    assert said.now.exclusion < before.exclusion
    assert math.isnan(said.now.squared_observed)
    assert math.isinf(said.now.squared)
    assert said.now.factor_left is None
    assert said.harm is not None
    assert said.harm.per_episode == 1
    text = str(said)
    assert "inflation spent" not in text
    assert "theta^2" not in text
    assert "without an inflation budget" in text
    two = make(num_envs=2)
    assert two.certificate().num_steps == 0
    for bad in ({"truth": 9}, {"delta": 0.0}):
        with pytest.raises((ValueError, IndexError)):
            imitator.certificate(**bad)


def broken() -> SamplingImitator:
    """A member whose density is no number at one observation."""
    ensemble = gaussian(
        lambda gain, x: (jnp.where((gain > 5) & (x > 50), jnp.nan, -gain * x), jnp.array([-1.0])),
        GAINS, low=-200.0, high=200.0,
    )  # fmt: skip
    return make(ensemble=ensemble)


@pytest.mark.filterwarnings("ignore::consensus_imitation.errors.ConsensusWarning")
def test_t3_ends_where_its_proof_does(tmp_path) -> None:
    """Unusable densities, also when the alarms are cleared; withdrawn queries, also after a restart; another state."""
    sound = make()
    sound.act(SEEN)
    assert math.isfinite(sound.certificate().queries_bound)
    wrong = broken()
    wrong.act(SEEN)
    assert math.isfinite(wrong.certificate().queries_bound)
    wrong.act(jnp.array([99.0]))
    assert wrong.alarms
    assert math.isinf(wrong.certificate().queries_bound)
    wrong.clear_alarm()
    assert math.isinf(wrong.certificate().queries_bound)
    again = SamplingImitator.from_state(sound.state, MEMBERS, selection=ALPHA)
    assert math.isinf(again.certificate().queries_bound)
    with make(tmp_path / "run") as imitator:
        while not (decision := imitator.decide(SEEN)).queried:
            pass
        assert math.isfinite(imitator.certificate().queries_bound)
    with resumed(tmp_path / "run") as imitator:
        assert math.isfinite(imitator.certificate().queries_bound)
        imitator.withdraw(imitator.pending[0])
        assert math.isinf(imitator.certificate().queries_bound)
    with resumed(tmp_path / "run") as imitator:
        assert math.isinf(imitator.certificate().queries_bound)
    assert decision.query is not None


def test_questions_without_an_answer_and_steps_are_counted(tmp_path) -> None:
    with make(tmp_path / "run") as imitator:
        while not (decision := imitator.decide(SEEN)).queried:
            pass
        steps = imitator.num_steps
        imitator.withdraw(decision)
        assert imitator.certificate().num_withdrawn == 1
    with resumed(tmp_path / "run") as imitator:
        assert "assumed of the 1 questions that got no answer" in str(imitator.certificate())
        state = imitator.state
    again = SamplingImitator.from_state(state, MEMBERS, selection=ALPHA)
    assert again.certificate().num_withdrawn == 1
    assert again.certificate().num_steps == steps
    two = make(num_envs=2)
    two.act(SEEN, env=1)
    assert two.certificate().num_steps == 1


def test_what_voids_the_run_voids_its_certificate() -> None:
    imitator = make()
    imitator.act(SEEN)
    other = SamplingImitator.from_state(imitator.state, MEMBERS, selection=AlphaThreshold(0.5))
    assert other.certificate().void == "; ".join(other.void) != ""
    assert str(other.certificate()).startswith("NOTHING IS GUARANTEED")
