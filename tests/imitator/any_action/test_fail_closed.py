"""Whatever is undefined is a query, and the member at fault is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import TopK
from consensus_imitation.core import posterior
from consensus_imitation.core.draw import from_float
from consensus_imitation.core.rejection import rejection_draw
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import (
    autoregressive,
    discretised_logistic,
    factored_categorical,
    from_functions,
    gaussian,
    gaussian_mixture,
)

from .worlds import decide

FINE = jnp.array([0.5, 0.2, 0.1])
ALL = jnp.ones(3, bool)
#: The smallest number, one in the middle, and the largest.
NUMBERS = [*from_float([0.0, 0.3]), np.full(2, 2**32 - 1, np.uint32)]

CASES = {
    "nan_of_a_selected_member": (jnp.array([0.5, jnp.nan, 0.1]), 1.0, ALL, 0, [1]),
    "inf_of_a_selected_member": (jnp.array([0.5, 0.2, jnp.inf]), 1.0, ALL, 0, [2]),
    "nan_of_the_proposer": (jnp.array([jnp.nan, 0.2, 0.1]), 1.0, ALL, 0, [0]),
    "inf_of_the_proposer": (jnp.array([jnp.inf, 0.2, 0.1]), 1.0, ALL, 0, [0]),
    "all_inf": (jnp.full(3, jnp.inf), 1.0, ALL, 0, [0, 1, 2]),
    "impossible_for_the_proposer": (jnp.array([-jnp.inf, 0.2, 0.1]), 1.0, ALL, 0, [0]),
    "impossible_for_all": (jnp.full(3, -jnp.inf), 1.0, ALL, 0, [0]),
    "impossible_for_a_selected_member": (jnp.array([0.5, 0.2, -jnp.inf]), 1.0, ALL, 0, []),
    "nobody_selected": (FINE, 1.0, jnp.zeros(3, bool), 0, []),
    "proposer_not_selected": (FINE, 1.0, jnp.array([False, True, True]), 0, []),
    "nan_action": (FINE, jnp.nan, ALL, 0, [0]),
    "infinite_action": (FINE, jnp.inf, ALL, 1, [1]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_draw_asks_whatever_the_uniform(case: tuple) -> None:
    log_densities, action, selected, proposer, invalid = case
    for number in NUMBERS:
        drawn = rejection_draw(number, {"x": jnp.array([0.0, action])}, log_densities, jnp.int32(proposer), selected)
        assert bool(drawn.queried)
        assert float(drawn.query_prob_estimate) == 1
        assert np.isnan(drawn.action["x"]).all()
        assert np.flatnonzero(drawn.invalid).tolist() == invalid
        if invalid and invalid != [0, 1, 2] and bool(selected.any()):
            assert int(drawn.dissenter) == invalid[0]


@pytest.mark.parametrize("number", NUMBERS, ids=["smallest", "middle", "largest"])
def test_no_number_acts_against_a_veto_or_asks_where_all_agree(number: np.ndarray) -> None:
    both = jnp.ones(2, bool)
    assert bool(rejection_draw(number, 1.0, jnp.array([0.0, -jnp.inf]), jnp.int32(0), both).queried)
    assert bool(rejection_draw(number, 1.0, jnp.array([0.0, -1e30]), jnp.int32(0), both).queried)
    assert not bool(rejection_draw(number, 1.0, jnp.zeros(2), jnp.int32(0), both).queried)


def test_one_that_is_not_selected_is_named_and_has_no_say() -> None:
    log_densities, selected = jnp.array([0.5, 0.5, jnp.nan]), jnp.array([True, True, False])
    drawn = rejection_draw(NUMBERS[0], jnp.float32(1.0), log_densities, jnp.int32(0), selected)
    assert not bool(drawn.queried)
    assert float(drawn.action) == 1.0
    assert drawn.invalid.tolist() == [False, False, True]


def test_a_rejected_proposal_cannot_be_carried_out() -> None:
    proposal = {"torque": jnp.ones(3), "gear": jnp.ones(2, jnp.int32), "level": jnp.zeros((), jnp.int8)}
    drawn = rejection_draw(from_float(0.5), proposal, jnp.array([0.0, -jnp.inf]), jnp.int32(0), jnp.ones(2, bool))
    assert np.isnan(drawn.action["torque"]).all()
    assert drawn.action["gear"].tolist() == [-1, -1]
    assert drawn.action["level"].dtype == jnp.int8
    assert int(drawn.action["level"]) == -1


BAD = jnp.array([0.0, jnp.nan])  # the second member predicts NaN
ENSEMBLES = {
    "gaussian": lambda: gaussian(lambda p, o: (p[None], jnp.zeros(1)), BAD, -1.0, 1.0),
    "gaussian_std": lambda: gaussian(lambda p, o: (jnp.zeros(1), p[None]), BAD, -1.0, 1.0),
    "mixture": lambda: gaussian_mixture(
        lambda p, o: (jnp.zeros(2) + p, jnp.zeros((2, 1)), jnp.zeros((2, 1))), BAD, -1.0, 1.0
    ),
    "factored": lambda: factored_categorical(lambda p, o: jnp.zeros(5).at[0].set(p), BAD, (2, 3)),
    "integers": lambda: discretised_logistic(lambda p, o: (p[None], jnp.zeros(1)), BAD, 0, 9),
    "sequences": lambda: autoregressive(
        lambda p, o: ((), jnp.zeros(3)), lambda p, memory, token: ((), jnp.zeros(3).at[2].set(p)), BAD, 4
    ),
    "impossible_sequences": lambda: autoregressive(
        lambda p, o: ((), jnp.zeros(3)),
        lambda p, memory, token: ((), jnp.where(p == 0, jnp.zeros(3), -jnp.inf)),
        BAD,
        length=4,
    ),
    "functions": lambda: from_functions(
        lambda p, o, key: p + jax.random.normal(key), lambda p, o, a: -((a - p) ** 2), BAD
    ),
}


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("make", ENSEMBLES.values(), ids=ENSEMBLES.keys())
def test_a_member_that_predicts_nan_vetoes_keeps_its_share_and_is_named(make, key: jax.Array) -> None:
    ensemble = make()

    def run(prior: jax.Array, key: jax.Array) -> tuple:
        learner = SamplingLearner(ensemble.replace(prior=prior), TopK(2))
        state = learner.init(key)
        decision = learner.decide(state, jnp.zeros(()))
        answer = jax.tree.map(jnp.zeros_like, decision.action)
        after, info = learner.observe(state, jnp.zeros(()), decision, answer)
        return decision, posterior.weights(after.posterior), info.explained

    priors = jnp.array([[0.6, 0.4], [0.4, 0.6]])  # the bad one judges; the bad one proposes
    keys = jax.random.split(key, 100)
    decisions, weights, explained = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(priors, keys)
    assert decisions.queried.all()
    assert decisions.invalid[..., 1].all()
    assert not decisions.invalid[0, :, 0].any()
    fair = ~np.asarray(decisions.invalid[..., 0])  # what a bad proposer samples may be no action to the other either
    assert explained[fair].all()
    np.testing.assert_allclose(weights[fair], np.broadcast_to(priors[:, None], weights.shape)[fair], rtol=1e-5)


def test_a_sampler_that_contradicts_its_own_density_is_named(key: jax.Array) -> None:
    liar = from_functions(
        sample=lambda p, o, key: jnp.float32(5.0),
        log_prob=lambda p, o, a: jnp.where(jnp.abs(a) < 1, -jnp.log(2.0), -jnp.inf),
        params=jnp.zeros(3),
    )
    learner = SamplingLearner(liar, TopK(2))
    decision = decide(learner, learner.init(key), None)
    assert bool(decision.queried)
    assert decision.invalid.tolist() == [True, False, False]


def test_different_proposers_reveal_a_sampler_that_does_not_draw_from_its_density(key: jax.Array) -> None:
    """The second member states N(0, 1) and samples from around 3, where its low density looks like consent."""
    members = from_functions(
        sample=lambda own, o, key: own["shift"] + own["std"] * jax.random.normal(key),
        log_prob=lambda own, o, a: jax.scipy.stats.norm.logpdf(a, 0.0, own["std"]),
        params={"std": jnp.array([2.0, 1.0]), "shift": jnp.array([0.0, 3.0])},
    )
    learner = SamplingLearner(members, TopK(2))
    state = learner.init(key)
    honest, error = learner.estimate_query_prob(state, None, key, 4000, proposer=0)
    lie, other = learner.estimate_query_prob(state, None, key, 4000, proposer=1)
    assert float(honest - lie) > 10 * float(error + other)
