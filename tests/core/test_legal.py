"""What is legal: members' predictions conditioned on it, one by one, and what is no mask."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, Learner, TopK, aggregation, ensembles, posterior
from consensus_imitation.core.aggregation import MAP, ActionLaw, Minimum
from consensus_imitation.core.learner import random_words
from consensus_imitation.core.legal import as_text, check_legal, check_mask, conditioned, from_text
from consensus_imitation.core.rollout import rollout, start
from consensus_imitation.core.state import AGGREGATION_FAULT
from consensus_imitation.errors import InvalidAnswerError, ObservationError

MASK = np.array([True, False, True, False])


def test_the_definition_on_random_predictions() -> None:
    """By Bayes' rule in float64; what was withheld is withheld, whatever is legal."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.full(6, 0.3), (200, 4)) * rng.uniform(0.05, 1, (200, 4, 1))
    masks = rng.random((200, 6)) < 0.5
    masks[:, 3] = True
    found = np.exp(np.asarray(conditioned(jnp.log(probs), masks)))
    legal = probs * masks[:, None]
    expected = legal * (probs.sum(-1) / legal.sum(-1))[..., None]
    usable = legal.sum(-1) > 1e-30
    np.testing.assert_allclose(found[usable], expected[usable], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found[usable].sum(-1), probs.sum(-1)[usable], rtol=1e-5)
    assert not found[~np.broadcast_to(masks[:, None], found.shape)].any()


def test_a_full_mask_changes_nothing_but_rounding() -> None:
    log_probs = jax.nn.log_softmax(jnp.array(np.random.default_rng(1).normal(size=(3, 5)), jnp.float32))
    np.testing.assert_allclose(conditioned(log_probs, np.ones(5, bool)), log_probs, atol=1e-6)


def test_a_member_that_is_all_but_certain_of_something_illegal_is_conditioned_all_the_same() -> None:
    log_probs = jax.nn.log_softmax(jnp.array([[0.0, 300.0, np.log(3.0), 200.0]]))
    np.testing.assert_allclose(np.exp(conditioned(log_probs, MASK)), [[0.25, 0, 0.75, 0]], atol=1e-5)


UNUSABLE = {
    "NaN on an illegal action": [0.5, np.nan, 0.5, 0.0],
    "NaN on a legal action": [np.nan, 0.5, 0.5, 0.0],
    "a sum above one, though its legal part is below": [0.3, 0.6, 0.3, 0.3],
    "more than one on an illegal action": [0.3, 1.5, 0.3, 0.0],
    "nothing at all": [0.0, 0.0, 0.0, 0.0],
    "nothing legal": [0.0, 0.6, 0.0, 0.4],
}


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_used_vetoes_and_is_named(kind: str, declared: bool) -> None:
    """As the prediction came, whatever conditioning would make of it; also of members that claim to be normalised."""

    class Said(ensembles.PureEnsemble):
        prior: jax.Array
        probs: jax.Array
        num_members = 2
        num_actions = 4
        normalised = declared

        def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
            return jnp.log(self.probs)

    good = [0.25, 0.25, 0.25, 0.25]
    learner = Learner(Said(jnp.array([0.5, 0.5]), jnp.array([good, UNUSABLE[kind]])), TopK(2))
    state = learner.init(jax.random.key(0))
    decision = jax.jit(Learner.decide)(learner, state, 0, action_mask=MASK)
    assert bool(decision.queried)
    assert decision.invalid.tolist() == [False, True]
    assert not np.asarray(decision.min_probs).any()
    after, _ = learner.observe(state, 0, decision, 2)
    # It sleeps: its share of the weight stays.
    np.testing.assert_allclose(posterior.weights(after.posterior), [0.5, 0.5], atol=1e-6)


def decision_of(probs: Any, rule: Any = None, mask: Any = MASK) -> Any:
    learner = Learner(ensembles.tabular(np.asarray(probs)[:, None]), TopK(len(probs)), rule or Minimum())
    return learner, (state := learner.init(jax.random.key(0))), learner.decide(state, 0, action_mask=mask)


def test_the_probabilities_that_were_acted_on_are_scored() -> None:
    probs = np.array([[0.1, 0.4, 0.1, 0.4], [0.1, 0.0, 0.9, 0.0]])
    learner, state, decision = decision_of(probs)
    np.testing.assert_allclose(decision.min_probs, [0.1, 0, 0.5, 0], atol=1e-6)
    after, info = learner.observe(state, 0, decision._replace(queried=jnp.array(True)), 2)
    np.testing.assert_allclose(posterior.weights(after.posterior), np.array([0.5, 0.9]) / 1.4, rtol=1e-5)
    assert float(info.evidence) == pytest.approx(np.log(0.7), abs=1e-5)


def test_an_answer_that_the_mask_forbids_is_one_that_nobody_explains() -> None:
    learner, state, decision = decision_of([[0.25] * 4, [0.1, 0.4, 0.4, 0.1]])
    after, info = learner.observe(state, 0, decision._replace(queried=jnp.array(True)), 1)
    assert not bool(info.explained)
    assert bool(after.unexplained)


@jax.tree_util.register_static
class Even:
    """A rule of a user's own that gives every action the same, whatever the members say."""

    name = "even"

    def check(self, num_members: int) -> None: ...

    def __call__(self, log_probs: jax.Array, log_weights: jax.Array, selected: jax.Array) -> ActionLaw:
        A = log_probs.shape[-1]
        return ActionLaw(jnp.full(A, 1 / A), jnp.zeros(()))


def test_a_rule_that_gives_an_illegal_action_anything_is_named_and_everything_is_a_query() -> None:
    _, _, decision = decision_of([[0.25] * 4] * 2, Even())
    assert bool(decision.queried)
    assert float(decision.query_prob) == 1
    assert int(decision.rule_fault) == AGGREGATION_FAULT
    _, _, free = decision_of([[0.25] * 4] * 2, Even(), mask=None)
    assert int(free.rule_fault) == 0


RULES = [
    Minimum(),
    Minimum(rounds=3),
    Minimum(threshold=0.5),
    MAP(),
    aggregation.PosteriorMixture(),
    aggregation.UniformMixture(),
    aggregation.MajorityVote(),
    aggregation.PointwiseMedian(),
    aggregation.OrderStatistic(2),
    aggregation.ConsensusSampling(2),
    aggregation.MaxProbGate(0.3),
    aggregation.EntropyGate(1.0),
    aggregation.RandomQueries(0.2),
]


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_under_no_rule_anything_illegal_is_done(rule: Any) -> None:
    rng = np.random.default_rng(3)
    learner = Learner(ensembles.tabular(rng.dirichlet(np.ones(4), (3, 1))), AlphaThreshold(0.01), rule)
    state = learner.init(jax.random.key(0))
    masks = rng.random((500, 4)) < 0.4
    masks[:, 0] |= ~masks.any(-1)
    numbers = jax.vmap(random_words, in_axes=(None, 0))(jax.random.key(1), jnp.arange(500))
    decide = jax.jit(jax.vmap(Learner.decide, in_axes=(None, None, None, 0, 0)))
    actions = np.asarray(decide(learner, state, 0, numbers, masks).action)
    own = actions >= 0
    assert own.sum() > 50
    assert masks[np.flatnonzero(own), actions[own]].all()


class Outcome(NamedTuple):
    observation: Any
    reward: Any = jnp.zeros(())
    terminated: Any = jnp.zeros((), bool)
    truncated: Any = jnp.zeros((), bool)
    harm: Any = jnp.zeros((), bool)


class Round:
    """An environment in JAX: four places in turn; at each of them the action of its number is illegal."""

    def reset(self, key: jax.Array) -> Any:
        return jnp.int32(0), jnp.int32(0)

    def action_mask(self, state: Any) -> jax.Array:
        return jnp.arange(4) != state

    def step(self, key: jax.Array, state: Any, action: jax.Array) -> Any:
        return (state + 1) % 4, Outcome((state + 1) % 4)


class Next:
    """A demonstrator that keeps to what is legal."""

    def sample(self, key: jax.Array, observation: Any) -> jax.Array:
        return (observation + 1) % 4


def test_a_rollout_asks_the_environment_what_is_legal() -> None:
    probs = np.random.default_rng(6).dirichlet(np.ones(4), (2, 4))
    learner = Learner(ensembles.tabular(probs), TopK(2))
    state = start(learner, Round(), jax.random.key(0))
    _, trajectory = rollout(learner, Round(), Next(), state, num_steps=200)
    assert 0 < int(trajectory.queried.sum()) < 200
    assert not (np.asarray(trajectory.action) == np.asarray(trajectory.observation)).any()


BAD: dict[str, Any] = {
    "nothing is legal": [False] * 4,
    "too short": [True] * 3,
    "a batch": [[True] * 4],
    "floats": [1.0, 0.0, 1.0, 0.0],
    "two": np.array([2, 0, 1, 0]),
    "minus one": np.array([-1, 0, 1, 0]),
    "masked": np.ma.array([1, 0, 1, 0], mask=[0, 0, 1, 0]),
    "texts": ["a", "b", "c", "d"],
    "ragged": [[True], [True, False]],
    "a number": 1,
    "durations": np.array([1, 0, 1, 0], "m8[s]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_mask_is_refused(kind: str) -> None:
    with pytest.raises(ObservationError, match="action_mask"):
        check_mask(BAD[kind], 4)


def test_masks_are_copied_and_may_be_integers() -> None:
    given = np.array([1, 0, 0, 1], np.int8)
    kept = check_mask(given, 4)
    given[:] = 0
    assert kept.tolist() == [True, False, False, True]
    assert not kept.flags.writeable
    both = check_mask(np.array([[0, 0], [0, 1]]), 2, rows=2, active=np.array([False, True]))
    assert both.tolist() == [[True, True], [False, True]]
    with pytest.raises(ObservationError, match="in row 0"):
        check_mask(np.array([[0, 0], [0, 1]]), 2, rows=2)


def test_a_refusal_lists_what_is_legal() -> None:
    with pytest.raises(InvalidAnswerError, match=r"answered 1, which the action mask forbids here: legal are 0, 2$"):
        check_legal(1, MASK)
    with pytest.raises(InvalidAnswerError, match=r"18, 19 and 80 more$"):
        check_legal(100, np.arange(101) < 100)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 200])
def test_text_and_back(size: int) -> None:
    mask = np.random.default_rng(size).random(size) < 0.5
    assert len(as_text(mask)) == 2 * -(-size // 8)
    np.testing.assert_array_equal(from_text(as_text(mask), size), mask)
    with pytest.raises(ValueError, match="no mask"):
        from_text(as_text(mask), size + 8)
