"""Reweighting against a plain float64 oracle, its degenerate cases, and its theorems by exact enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, LearnerState, Reweighting, TopK, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.core.aggregation import PosteriorMixture

from .counting import counters

apply = jax.jit(lambda rule, state, ll, prior: rule(state, ll, prior))
PRIOR = np.array([0.5, 0.3, 0.2])


def oracle(weights: np.ndarray, prior: np.ndarray, likelihood: np.ndarray, rule: Reweighting) -> np.ndarray:
    """The formula of the docstring in float64, on normalised weights."""
    x = prior * (weights / prior) ** rule.forget * likelihood**rule.temper
    x = x / x.sum()
    return (1 - rule.share) * x + rule.share * prior


@settings(max_examples=40, deadline=None)
@given(
    temper=st.floats(0.01, 1),
    forget=st.floats(0, 1),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 10**6),
)
def test_the_formula(temper: float, forget: float, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rule = Reweighting(temper, forget, share)
    state, weights = posterior.init(PRIOR), PRIOR
    for _ in range(5):
        likelihood = rng.uniform(0.01, 1, 3)
        state, info = apply(rule, state, jnp.log(likelihood), PRIOR)
        assert float(info.evidence) == pytest.approx(np.log(weights @ likelihood), abs=1e-4)
        weights = oracle(weights, PRIOR, likelihood, rule)
    np.testing.assert_allclose(posterior.weights(state), weights, atol=1e-5)


def test_the_default_is_bayes() -> None:
    rng = np.random.default_rng(0)
    bayes = ours = posterior.init(PRIOR)
    for _ in range(200):
        ll = jnp.asarray(np.log(rng.uniform(0.1, 1, 3)), jnp.float32)
        bayes, _ = posterior.update(bayes, ll)
        ours, _ = apply(Reweighting(), ours, ll, PRIOR)
    # To the last bit: a rounding at each answer would add up.
    np.testing.assert_array_equal(ours.log_weights, bayes.log_weights)
    np.testing.assert_array_equal(ours.residual, bayes.residual)


def test_a_member_ruled_out_comes_back_by_the_share_and_only_so() -> None:
    impossible = jnp.array([0.0, -jnp.inf, 0.0])
    plain, _ = apply(Reweighting(temper=0.5), posterior.init(PRIOR), impossible, PRIOR)
    shared, _ = apply(Reweighting(share=0.1), posterior.init(PRIOR), impossible, PRIOR)
    assert float(posterior.weights(plain)[1]) == 0.0
    assert float(posterior.weights(shared)[1]) == pytest.approx(0.1 * 0.3)
    never = np.array([0.5, 0.5, 0.0])
    kept, _ = apply(Reweighting(share=0.1, forget=0.5), posterior.init(never), jnp.zeros(3), never)
    assert float(posterior.weights(kept)[2]) == 0.0


def test_an_answer_that_nobody_explains_changes_nothing() -> None:
    state = posterior.init(PRIOR)
    after, info = apply(Reweighting(0.5, 0.5, 0.1), state, jnp.full(3, -jnp.inf), PRIOR)
    assert not bool(info.explained)
    np.testing.assert_array_equal(after.log_weights, state.log_weights)


def test_sleepers_keep_their_share_of_the_weight() -> None:
    asleep = jnp.array([False, False, True])
    rule = Reweighting(temper=0.5)
    state, _ = rule(posterior.init(PRIOR), jnp.log(jnp.array([0.9, 0.1, 0.5])), jnp.asarray(PRIOR), asleep)
    assert float(posterior.weights(state)[2]) == pytest.approx(0.2, abs=1e-6)


# --- theorems, by enumeration of every sequence of answers: member 0 is the demonstrator ---

PROBS = np.array([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.3, 0.6, 0.1]])


def expected_inverse_weight(rule: Reweighting, num_answers: int) -> float:
    """E[1 / weight of the truth] after so many answers."""
    total = 0.0
    for answers in itertools.product(range(3), repeat=num_answers):
        weights = PRIOR
        for a in answers:
            weights = oracle(weights, PRIOR, PROBS[:, a], rule)
        total += np.prod(PROBS[0, list(answers)]) / weights[0]
    return total


@pytest.mark.parametrize(
    "rule",
    [Reweighting(temper=0.3), Reweighting(forget=0.7), Reweighting(share=0.2), Reweighting(0.5, 0.8, 0.1)],
    ids=["temper", "forget", "share", "all"],
)
def test_the_expected_inverse_weight_of_the_truth_never_exceeds_where_it_began(rule: Reweighting) -> None:
    for num_answers in (1, 3, 6):
        assert expected_inverse_weight(rule, num_answers) <= 1 / PRIOR[0] + 1e-9


def test_control_an_exponent_above_one_breaks_it() -> None:
    # No rule of the library: it refuses such an exponent.
    beyond = Reweighting()
    object.__setattr__(beyond, "temper", 3.0)
    assert expected_inverse_weight(beyond, 6) > 1 / PRIOR[0] + 0.1


# The truth, and one that makes much of the rarer answer. Neither ever loses more than that at once.
TWO = np.array([[[0.05, 0.95]], [[0.6, 0.4]]])
ALPHA = 0.1


def share_left_out(reweighting: Reweighting | None, num_steps: int = 200, num_seeds: int = 200) -> np.ndarray:
    """[T], how often the truth is out after each step, if asked is what the minimum asks."""
    learner = Learner(ensembles.tabular(TWO), AlphaThreshold(ALPHA), reweighting=reweighting)

    def run(key: jax.Array) -> jax.Array:
        own_key, answers_key = jax.random.split(key)

        def step(state: LearnerState, key: jax.Array) -> tuple[LearnerState, jax.Array]:
            decision = learner.decide(state, 0)
            answer = (jax.random.uniform(key) >= TWO[0, 0, 0]).astype(jnp.int32)
            state, _ = learner.observe(state, 0, decision, answer)
            return state, ~learner.selection(state.posterior.log_weights)[0]

        return jax.lax.scan(step, learner.init(own_key), jax.random.split(answers_key, num_steps))[1]

    return np.asarray(jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), num_seeds))).mean(axis=0)


def test_what_one_answer_does_is_bounded_but_not_what_has_become_of_it_at_a_late_step() -> None:
    """Whoever forgets is asked no more once the truth is out: why nothing is promised of single steps."""
    bound, spread = ALPHA / 0.5, 5 * np.sqrt(0.25 / 200)
    forgetful, bayes = share_left_out(Reweighting(forget=0.0)), share_left_out(None)
    assert 0 < forgetful[0] <= bound + spread
    assert forgetful[-1] > 0.9  # 1 - 0.9775**200 = 0.989
    assert np.all(bayes <= bound + spread)


def test_a_share_above_alpha_leaves_nobody_out_ever() -> None:
    """And without the share the same answers leave two members out."""
    members = ensembles.tabular(np.array([[[0.98, 0.02]], [[0.5, 0.5]], [[0.02, 0.98]]]))

    def smallest_set(reweighting: Reweighting | None) -> int:
        imitator = ConsensusImitator(members, selection=AlphaThreshold(0.02), seed=0, reweighting=reweighting)
        sizes = []
        for _ in range(60):
            decision = imitator.decide(0)
            sizes.append(int(decision.selected.sum()))
            if decision.queried:
                imitator.answer(decision, 0)
        return min(sizes)

    assert smallest_set(Reweighting(share=0.07)) == 3
    assert smallest_set(None) < 3


# --- the collapse that the remedies are for ---


def leader_share(reweighting: Reweighting | None) -> float:
    """Largest posterior weight after 300 answers, of four members that all learn the same thing."""
    members = counters([0.1, 0.3, 1.0, 4.0], num_observations=20, num_actions=5)
    learner = Learner(members, TopK(4), PosteriorMixture(), reweighting=reweighting)
    state = learner.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(5, 0.3), size=20)
    observations = rng.integers(20, size=300)
    answers = np.array([rng.choice(5, p=truth[s]) for s in observations])
    study = jax.jit(Learner.pretrain)
    state, _ = study(learner, state, state.stream, observations, answers, np.zeros(300, bool), np.ones(300, bool))
    return float(posterior.weights(state.posterior).max())


def test_remedies_keep_the_others_in_play() -> None:
    assert leader_share(None) > 0.99
    assert leader_share(Reweighting(temper=0.02)) < 0.7
    assert leader_share(Reweighting(forget=0.8)) < 0.9
    assert leader_share(Reweighting(share=0.3)) < 0.95


@pytest.mark.parametrize("bad", [{"temper": 0.0}, {"temper": 1.5}, {"forget": -0.1}, {"share": 1.0}])
def test_numbers_out_of_range_are_refused(bad: dict[str, float]) -> None:
    name = next(iter(bad))
    with pytest.raises(ValueError, match=name):
        ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), reweighting=Reweighting(**bad))


def test_new_numbers_do_not_recompile() -> None:
    members = counters([0.5, 1.0], 3, 2)
    learner = Learner(members, TopK(2), reweighting=Reweighting(share=0.1))
    # A function of its own: what other tests compiled is none of its business.
    observe = jax.jit(lambda *operands: Learner.observe(*operands))
    state = learner.init(jax.random.key(0))
    decision = learner.decide(state, 0)
    for share in (0.1, 0.2, 0.3):
        observe(learner.replace(reweighting=Reweighting(share=share)), state, 0, decision, 0)
    assert observe._cache_size() == 1


def test_what_is_said_of_the_guarantee() -> None:
    members = ensembles.tabular(np.full((2, 1, 2), 0.5))
    rules = {"bayes": None, "temper": Reweighting(temper=0.5), "forget": Reweighting(forget=0.9)}
    said = {
        name: ConsensusImitator(members, selection=AlphaThreshold(0.05), reweighting=rule).certificate()
        for name, rule in rules.items()
    }
    assert said["bayes"].exclusion == said["temper"].exclusion == pytest.approx(0.1)
    assert said["forget"].exclusion == 1.0
    assert (
        "the k-th answer, for any one k, leaves that member out with probability at most 0.1" in said["forget"].promise
    )
    assert "any one k" not in said["temper"].promise
    assert np.isinf(said["temper"].queries_bound)
    assert np.isfinite(said["bayes"].queries_bound)
    learning = ConsensusImitator(counters([1.0, 1.0], 1, 2)).certificate()
    assert "no network" in learning.promise
