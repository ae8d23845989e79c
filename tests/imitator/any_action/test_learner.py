"""The pure learner: what it learns, from which steps, and that its draws depend on key and step only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from consensus_imitation import AlphaThreshold, TopK
from consensus_imitation.core import posterior
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles import Context
from consensus_imitation.ensembles.any_action import from_functions, gaussian, union

from .worlds import decide, decide_many, fixed_gaussian, observe

MEANS, STDS = np.array([0.0, 0.02, -0.03, 0.3]), np.array([0.05, 0.06, 0.05, 0.2])


def respond(own: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return own[0] + 0.1 * x, own[1] + 0 * x


def controllers(prior: list[float] | None = None) -> SamplingLearner:
    params = (jnp.asarray(MEANS, jnp.float32), jnp.log(jnp.asarray(STDS, jnp.float32)))
    ensemble = gaussian(respond, params, -0.5, 0.5, prior)
    return SamplingLearner(ensemble, TopK(4))


def test_posterior_is_the_product_of_the_answers_densities(key: jax.Array) -> None:
    """Against float64; densities here are well above one."""
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    learner = controllers(prior.tolist())
    state = learner.init(key)
    rng = np.random.default_rng(0)
    expected, asked = np.log(prior), 0
    for _ in range(150):
        x = np.float32(rng.normal())
        decision = decide(learner, state, x[None])
        answer = np.float32(np.clip(0.1 * x + 0.05 * rng.normal(), -0.5, 0.5))
        state, info = observe(learner, state, x[None], decision, answer[None])
        assert bool(info.explained)
        if bool(decision.queried):
            expected = expected + stats.norm.logpdf(np.float64(answer), MEANS + 0.1 * np.float64(x), STDS)
            asked += 1
            assert float(info.action[0]) == answer
        else:
            assert float(info.evidence) == 0
            assert float(info.action[0]) == float(decision.action[0])
    assert 10 < asked < 140
    assert int(state.stream.queries) == asked
    assert int(state.stream.step) == 150
    np.testing.assert_allclose(
        np.asarray(state.posterior.log_weights), expected - expected.max(), atol=5e-5 * asked, rtol=1e-5
    )


def test_evidence_is_the_mixtures_log_density(key: jax.Array) -> None:
    learner = controllers([0.4, 0.3, 0.2, 0.1])
    state = learner.init(key)
    decision = decide(learner, state, jnp.zeros(1))._replace(queried=jnp.array(True))
    _, info = observe(learner, state, jnp.zeros(1), decision, jnp.array([0.01]))
    want = np.log(np.sum(np.array([0.4, 0.3, 0.2, 0.1]) * stats.norm.pdf(0.01, MEANS, STDS)))
    assert float(info.evidence) == pytest.approx(want, rel=1e-4)
    assert want > 0


def test_own_actions_teach_nothing(key: jax.Array) -> None:
    learner = controllers()
    state = learner.init(key)
    for own in jax.random.split(key, 40):
        seeded = state.replace(stream=state.stream.replace(key=own))
        decision = decide(learner, seeded, jnp.zeros(1))
        after, _ = observe(learner, seeded, jnp.zeros(1), decision, decision.action)
        if not bool(decision.queried):
            break
    else:
        pytest.fail("never acted")
    np.testing.assert_array_equal(after.posterior.log_weights, state.posterior.log_weights)
    assert int(after.stream.step) == 1
    assert int(after.stream.queries) == 0


def test_draws_depend_on_key_and_step_only(key: jax.Array) -> None:
    learner = controllers()
    state = learner.init(key)
    first, again = decide(learner, state, jnp.zeros(1)), decide(learner, state, jnp.zeros(1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    queries = []
    for step in range(60):
        later = state.replace(stream=state.stream.replace(step=jnp.int32(step)))
        queries.append(float(decide(learner, later, jnp.zeros(1)).query_prob_estimate))
    assert len(set(queries)) > 30


def test_runs_under_jit_vmap_and_scan(key: jax.Array) -> None:
    """A scan of 50 steps for 8 seeds and two k: the same as Python calls, leaf for leaf."""
    answers = 0.05 * jax.random.normal(key, (50, 1))

    def run(seed: jax.Array, k: jax.Array) -> tuple:
        learner = SamplingLearner(controllers().ensemble, TopK(k))
        state = learner.init(seed)

        def step(state, answer):
            decision = decide(learner, state, jnp.zeros(1))
            state, _ = observe(learner, state, jnp.zeros(1), decision, answer)
            return state, decision.queried

        return jax.lax.scan(step, state, answers)

    keys, sizes = jax.random.split(key, 8), jnp.array([1, 4])
    states, queried = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(keys, sizes)
    assert queried.shape == (8, 2, 50)
    assert not queried[:, 0].any()
    learner = controllers()
    state = learner.init(keys[3])
    for answer in answers:
        state, _ = observe(learner, state, jnp.zeros(1), decide(learner, state, jnp.zeros(1)), answer)
    got = posterior.weights(jax.tree.map(lambda leaf: leaf[3, 1], states.posterior))
    np.testing.assert_allclose(got, posterior.weights(state.posterior), rtol=1e-3, atol=1e-6)
    assert int(states.stream.queries[3, 1]) == int(state.stream.queries)


def test_an_answer_that_no_member_explains_means_asking_from_then_on(key: jax.Array) -> None:
    learner = controllers()
    for answer in (0.7, jnp.nan, jnp.inf):  # outside the bounds, and no number at all
        state = learner.init(key)
        decision = decide(learner, state, jnp.zeros(1))._replace(queried=jnp.array(True))
        after, info = observe(learner, state, jnp.zeros(1), decision, jnp.array([answer]))
        assert not bool(info.explained)
        np.testing.assert_array_equal(after.posterior.log_weights, state.posterior.log_weights)
        later = decide_many(learner, after, jnp.zeros(1), key, 50)
        assert later.queried.all()
        assert (later.query_prob_estimate == 1).all()
        assert np.isnan(later.action).all()


def test_refusing_to_be_scored_does_not_pay(key: jax.Array) -> None:
    """A member that puts all its density on one half and is unusable on the other does not gain on the truth.

    Truth: uniform over [-1, 1]. The dodger: density 1 on the positive half, NaN on the negative one. Were it asleep
    on the negative answers, it would double against the truth on half of the queries and lose on none.
    """
    dodger = from_functions(
        sample=lambda dodges, o, key: jnp.where(
            dodges, jax.random.uniform(key), jax.random.uniform(key, (), minval=-1)
        ),
        log_prob=lambda dodges, o, a: jnp.where(dodges, jnp.where(a > 0, 0.0, jnp.nan), -jnp.log(2.0)),
        params=jnp.array([False, True]),
        prior=[0.4, 0.6],  # the dodger proposes, so its density of the proposal is usable
    )
    learner = SamplingLearner(dodger, TopK(2))
    state = learner.init(key)
    decision = decide(learner, state, None)
    assert not decision.invalid.any()
    ratios = []
    for answer in (0.5, -0.5):
        after, info = observe(learner, state, None, decision._replace(queried=jnp.array(True)), jnp.float32(answer))
        weights = posterior.weights(after.posterior)
        ratios.append(float(weights[1] / weights[0]) / 1.5)
        assert info.invalid.tolist() == [False, answer < 0]
    assert np.mean(ratios) <= 1 + 1e-6  # the supermartingale of theorem T2


def test_members_with_memory_are_scored_before_they_learn(key: jax.Array) -> None:
    """A member that expects the last action again is scored on the answer with the memory before it."""
    ensemble = gaussian(
        lambda strength, last, o: (strength * last, jnp.zeros(1)),
        jnp.array([[0.0], [1.0]]),
        -10.0,
        10.0,
        carry=jnp.zeros((2, 1)),
        update=lambda strength, last, o, action, queried: action,
    )
    learner = SamplingLearner(ensemble, TopK(2))
    state = learner.init(key)
    for answer in (3.0, 3.0):
        decision = decide(learner, state, None)._replace(queried=jnp.array(True))
        state, _ = observe(learner, state, None, decision, jnp.array([answer]))
    # First answer: both expect 0. Second: N(3; 0, 1) against N(3; 3, 1).
    gap = float(state.posterior.log_weights[0] - state.posterior.log_weights[1])
    assert gap == pytest.approx(-4.5, abs=1e-4)
    np.testing.assert_array_equal(state.stream.carry, [[3.0], [3.0]])


def test_union_samples_and_scores_every_part(key: jax.Array) -> None:
    left = fixed_gaussian([[-3.0], [-2.0]], [[-3.0], [-3.0]], -9.0, 9.0)
    right = fixed_gaussian([[2.0], [3.0], [4.0]], [[-3.0], [-3.0], [-3.0]], -9.0, 9.0)
    both = union(left, right)
    learner = SamplingLearner(both, TopK(1))
    context = (jnp.int32(0), jnp.zeros(5))
    sample = jax.jit(lambda member: both.sample(both.init_carry(), None, Context(*context), key, member))
    samples = [float(sample(jnp.int32(member))[0]) for member in range(5)]
    np.testing.assert_allclose(samples, [-3, -2, 2, 3, 4], atol=0.3)
    log_prob = both.log_prob(both.init_carry(), None, Context(*context), jnp.array([3.0]))
    assert int(jnp.argmax(log_prob)) == 3
    np.testing.assert_allclose(both.prior, np.full(5, 0.2), rtol=1e-6)
    state = learner.init(key)
    state, _ = observe(learner, state, None, decide(learner, state, None), jnp.zeros(1))
    assert int(state.stream.step) == 1
    with pytest.raises(ValueError, match="at least one"):
        union()


def test_rules_and_arguments_are_checked(key: jax.Array) -> None:
    with pytest.raises(ValueError, match="k=9"):
        SamplingLearner(controllers().ensemble, TopK(9)).init(key)
    with pytest.raises(ValueError, match="num_samples"):
        controllers().estimate_query_prob(controllers().init(key), jnp.zeros(1), key, 1)


def test_the_truth_wins_and_questions_die_out(key: jax.Array) -> None:
    """Alpha rule, the truth among four: hardly any question in the last third of 600 steps."""
    learner = SamplingLearner(controllers().ensemble, AlphaThreshold(0.01))

    def step(state, t):
        own = jax.random.fold_in(key, t)
        x = jax.random.normal(own, (1,))
        decision = decide(learner, state, x)
        answer = jnp.clip(0.1 * x + 0.05 * jax.random.normal(jax.random.fold_in(own, 1), (1,)), -0.5, 0.5)
        return observe(learner, state, x, decision, answer)[0], decision.queried

    state, queried = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(600)))(learner.init(jax.random.key(1)))
    assert float(posterior.weights(state.posterior)[0]) > 0.9
    assert float(queried[:50].mean()) > float(queried[400:].mean())
    assert float(queried[400:].mean()) < 0.1
