"""Local caution: what members withhold where few answers lie near, against NumPy; and that nothing else changes."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from scipy.optimize import brentq

from consensus_imitation import ConsensusImitator, Learner, TopK, ensembles
from consensus_imitation.ensembles import Context, Neural, Training
from consensus_imitation.ensembles.neural import _local
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._local import Answered
from consensus_imitation.errors import ConfigurationError

from .streams import prequential, separable

BUDGET = 0.05
NUM_ACTIONS = 3
SMALL = Training(batch_size=16, updates=2, every=3, capacity=64, caution=0.0, local_caution=BUDGET)


def members(training: Training = SMALL, num_members: int = 3) -> Neural:
    return ensembles.mlp((3,), 4, num_members, hidden=(8,), training=training)


def answered(
    points: np.ndarray,
    foreseen: np.ndarray,
    capacity: int,
    answers: np.ndarray | None = None,
    budget: float = BUDGET,
) -> Answered:
    """What there is after answers to inputs [T, D] of which members [T, N] had foreseen so much, one after another."""
    num_members = foreseen.shape[1]
    answers = np.zeros(len(points), np.int32) if answers is None else answers

    def one(known: Answered, part: Any) -> tuple[Answered, None]:
        point, own, answer, stored = part
        # A part is withheld, which must not matter.
        given = jax.nn.one_hot(answer, NUM_ACTIONS)
        predicted = jnp.log(0.5 * jnp.where(given > 0, own[:, None], (1 - own[:, None]) / (NUM_ACTIONS - 1)))
        return known.answered(point, answer, predicted, stored, budget), None

    first = Answered.none(capacity, num_members, points[0])
    parts = (jnp.asarray(points), jnp.asarray(foreseen), jnp.asarray(answers), jnp.arange(len(points)))
    return jax.jit(lambda: jax.lax.scan(one, first, parts)[0])()


class Oracle:
    """The same in NumPy, in float64, one point at a time.

    Args:
        points: [T, D], all that were answered so far.
        foreseen: [T, N].
        answers: [T].
        capacity: C.
        fitted: answers when the constants were fitted.
    """

    def __init__(
        self, points: np.ndarray, foreseen: np.ndarray, answers: np.ndarray, capacity: int, fitted: int
    ) -> None:
        def ring(rows: np.ndarray) -> np.ndarray:
            """Place i holds the latest of rows i, i + C, i + 2C, ..."""
            size = min(len(rows), capacity)
            return np.array([rows[i::capacity][-1] for i in range(size)], float)

        self.points, self.foreseen = ring(points), ring(foreseen)
        then, known, said = ring(points[:fitted]), ring(foreseen[:fitted]), ring(answers[:fitted])
        deviations = then.std(axis=0)
        largest = np.abs(then).max(axis=0)
        never = deviations <= 1e-6 * largest
        deviations[never] = 1e-3 * np.where(largest > 0, largest, 1)[never]
        self.told = np.ones(then.shape[1])
        for d in np.flatnonzero(~never):
            groups = [then[said == action, d] for action in np.unique(said)]
            within = sum(((group - group.mean()) ** 2).sum() for group in groups)
            self.told[d] = max(1 - within / ((then[:, d] - then[:, d].mean()) ** 2).sum(), 1e-4)
        self.deviations = deviations / self.told**0.25
        places = np.arange(_local._SAMPLE) * len(then) // _local._SAMPLE
        apart = [np.sort(np.delete(self.distances(then, then[i]), i))[1] for i in places]
        self.bandwidth = max(float(np.median(apart)), 1e-3)
        near = np.array([self.kernel(np.delete(then, i, 0), then[i]) @ np.delete(known, i, 0) for i in places])
        self.near_sample = near
        self.constant = float(np.exp(brentq(lambda log: np.mean(1 / (1 + near * np.exp(-log))) - BUDGET, -69, 9)))

    def distances(self, points: np.ndarray, point: np.ndarray) -> np.ndarray:
        return np.sqrt((((points - point) / self.deviations) ** 2).sum(axis=1))

    def kernel(self, points: np.ndarray, point: np.ndarray) -> np.ndarray:
        return np.exp(-((self.distances(points, point) / self.bandwidth) ** 2) / 2)

    def near(self, point: np.ndarray) -> np.ndarray:
        return self.kernel(self.points, point) @ self.foreseen

    def withheld(self, point: np.ndarray) -> np.ndarray:
        return self.constant / (self.constant + self.near(point))


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize(
    ("num_answers", "width", "capacity"),
    [(40, 3, 64), (150, 2, 64), (9, 70, 64), (1500, 4, 2048), (5000, 3, 4500)],
    ids=["a few", "a full ring", "many numbers", "more than the smallest room", "a full ring of three rooms"],
)
def test_what_is_withheld_is_the_kernel_sum_by_brute_force(num_answers: int, width: int, capacity: int) -> None:
    rng = np.random.default_rng(num_answers)
    points = (rng.normal(size=(num_answers, width)) * np.logspace(-2, 2, width)).astype(np.float32)
    points[:, 0] = 7.0  # a number that never varied
    foreseen = rng.uniform(0.1, 1, (num_answers, 2)).astype(np.float32)
    # The last number tells much of the answer, others next to nothing.
    answers = np.searchsorted([-0.5, 0.5], points[:, -1] / points[:, -1].std() + rng.normal(size=num_answers) / 2)
    found = answered(points, foreseen, capacity, answers.astype(np.int32))
    fitted = int(found.fitted)
    assert num_answers / _local._GROWTH < fitted <= num_answers
    oracle = Oracle(points, foreseen, answers, capacity, fitted)
    np.testing.assert_allclose(found.scale, 1 / (oracle.deviations * oracle.bandwidth), rtol=1e-4)
    np.testing.assert_allclose(found.constant, oracle.constant, rtol=2e-3)
    for point in (points[0], points[-1], points[:5].mean(axis=0), 3 * points[1], points[2] + np.eye(width)[0]):
        stored = jnp.int32(num_answers)
        np.testing.assert_allclose(found.near(jnp.asarray(point), stored), oracle.near(point), rtol=1e-3, atol=1e-6)
        expected = oracle.withheld(point)
        np.testing.assert_allclose(found.withheld(jnp.asarray(point), stored), expected, rtol=4e-3, atol=1e-4)
    assert np.all(oracle.withheld(points[2] + np.eye(width)[0]) > 0.99)  # what never varied does


def test_answered_inputs_withhold_the_budget_and_foreign_ones_nearly_all() -> None:
    rng = np.random.default_rng(0)
    points, foreseen = rng.normal(size=(400, 3)).astype(np.float32), np.ones((400, 1), np.float32)
    found = answered(points, foreseen, 512)
    oracle = Oracle(points, foreseen, np.zeros(400), 512, int(found.fitted))
    shares = float(found.constant) / (float(found.constant) + oracle.near_sample)
    assert np.mean(shares) == pytest.approx(BUDGET, rel=5e-3)
    fresh = rng.normal(size=(200, 3)).astype(np.float32)
    withheld = jax.vmap(found.withheld, in_axes=(0, None))(jnp.asarray(fresh), jnp.int32(400))
    # Inputs that come as the answered ones did are no more foreign than those: within five standard errors.
    assert abs(np.mean(withheld) - BUDGET) < 5 * (np.std(withheld) / 200**0.5 + np.std(shares) / len(shares) ** 0.5)
    assert float(found.withheld(jnp.full(3, 30.0), jnp.int32(400))[0]) > 0.999


def test_numbers_count_by_what_the_answer_tells_of_them() -> None:
    """One deviation away in the number that the answers depend on is farther than in one that they do not."""
    rng = np.random.default_rng(0)
    points, foreseen = rng.normal(size=(400, 3)).astype(np.float32), np.ones((400, 1), np.float32)
    answers = (points[:, 1] > 0).astype(np.int32)
    found = answered(points, foreseen, 512, answers)
    ratio = found.scale / found.scale[1]
    # Of a normal number its sign tells 2/pi of the variance; of the others nothing, but for chance: 4 deviations of it.
    assert np.all(np.asarray(ratio)[[0, 2]] < (5 / 400**0.5 / (2 / np.pi) ** 0.5) ** 0.5 * 1.2)
    alike = answered(points, foreseen, 512).scale * points.std(axis=0)
    np.testing.assert_allclose(alike / alike[0], 1.0, rtol=0.1)  # one answer tells nothing of any


def test_an_answer_counts_as_much_as_it_was_foreseen() -> None:
    """One that surprised a member does not silence its caution; a member that predicted it need not ask again."""
    rng = np.random.default_rng(0)
    points, foreseen = rng.normal(size=(400, 3)).astype(np.float32), np.ones((400, 2), np.float32)
    far = np.full((4, 3), 30.0, np.float32)
    surprised = np.tile(np.float32([1.0, 0.0]), (4, 1))
    found = answered(np.concatenate([points, far]), np.concatenate([foreseen, surprised]), 512)
    first, second = found.withheld(jnp.asarray(far[0]), jnp.int32(404)).tolist()
    assert first < 2 * BUDGET
    assert second > 0.999


def test_a_member_without_a_prediction_has_foreseen_nothing() -> None:
    predicted = jnp.log(jnp.array([[0.1, 0.2, 0.1], [0.3, 0.2, 0.5], [0.0, 0.0, 0.0], [0.3, 0.3, jnp.nan]]))
    known = Answered.none(4, 4, np.zeros(2)).answered(np.ones(2), jnp.int32(1), predicted, jnp.int32(0), BUDGET)
    np.testing.assert_allclose(known.foreseen[:, 0], [0.5, 0.2, 0, 0], rtol=1e-5)
    assert int(known.answers[0]) == 1


def test_everything_is_withheld_before_there_is_anything_to_go_by(key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 3)
    found = prequential(members(), observations, answers, key)
    np.testing.assert_allclose(np.exp(found.log_probs).sum(-1), 1e-3, rtol=1e-5)
    assert int(found.learned.answered.fitted) == 3


@pytest.mark.slow
def test_both_cautions_multiply_what_is_left(key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 60)
    both, one = members(replace(SMALL, caution=20.0)), members()
    found, other = (prequential(each, observations, answers, key) for each in (both, one))
    mass, alone = (np.exp(each.log_probs[10:]).sum(-1) for each in (found, other))
    stored = np.arange(10, 60)[:, None]
    np.testing.assert_allclose(mass, np.maximum(alone * stored / (stored + 20), 1e-3), rtol=1e-4)
    assert np.ptp(alone) > 0.1


@pytest.mark.slow
def test_it_is_withheld_mass_alone_and_costs_no_weight(key: jax.Array) -> None:
    """The same members predict the same, scaled down, and are weighed the same after an answer."""
    observations, answers = separable(np.random.default_rng(1), 90)
    wary, plain = members(replace(SMALL, caution=20.0)), members(replace(SMALL, caution=20.0, local_caution=0.0))
    known = prequential(wary, observations, answers, key).learned
    for observation in (observations[0], np.full(3, 9.0, np.float32)):
        found = []
        for ensemble, learned in ((wary, known), (plain, known.replace(answered=()))):
            learner = Learner(ensemble, TopK(2))
            state = learner.init(key).replace(learned=learned)
            decision = learner.decide(state, observation)._replace(queried=jnp.array(True))
            after, _ = learner.observe(state, observation, decision, 2, teaches=False)
            found.append((decision.log_probs, after.posterior.log_weights))
        (own, weights), (other, reference) = found
        np.testing.assert_allclose(jax.nn.log_softmax(own), jax.nn.log_softmax(other), atol=1e-4)
        np.testing.assert_allclose(weights, reference, atol=1e-4)
        assert np.all(np.exp(own).sum(-1) < np.exp(other).sum(-1))


@pytest.mark.parametrize("stored", [40, 150], ids=["a few", "a full ring"])
def test_new_answers_far_from_others_are_drawn_oftener(stored: int, key: jax.Array) -> None:
    """Against the weights in NumPy: each place's count within five standard deviations."""
    rng = np.random.default_rng(stored)
    foreign = rng.uniform(size=64).astype(np.float32)
    known = Answered.none(64, 2, np.zeros(3)).replace(foreign=jnp.asarray(foreign))
    size, number = min(stored, 64), 200_000
    latest = np.array([range(place, stored, 64)[-1] for place in range(size)])
    weights = 1 + _local._REPEATED * foreign[:size] * 0.5 ** ((stored - 1 - latest) / _local._HALF_LIFE)
    expected = number * weights / weights.sum()
    found = np.bincount(known.drawn(key, (number,), jnp.int32(stored)), minlength=64)
    assert np.all(found[size:] == 0)
    assert np.all(np.abs(found[:size] - expected) < 5 * np.sqrt(expected))
    assert np.ptp(expected) > 20 * np.sqrt(expected.max())  # a uniform draw would not pass


@pytest.mark.slow
def test_the_imitator_asks_where_nothing_was_answered() -> None:
    """The answers leave nothing to doubt, and a foreign input is as clear to the members; the control acts on it."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(600, 3)).astype(np.float32)
    actions = np.zeros(600, np.int32)
    asked = {}
    for local in (0.0, 0.03):
        training = Training(local_caution=local)
        members = ensembles.mlp((3,), 4, 3, training=training)
        studied = ConsensusImitator(members, selection=TopK(2), seed=0)
        studied.pretrain(observations, actions)
        asked[local] = [
            ConsensusImitator.from_state(studied.state, members, selection=TopK(2)).decide(seen).query_prob
            for seen in (observations[7] + np.float32(0.01), np.full(3, 25.0, np.float32))
        ]
    assert asked[0.0][0] < 0.1
    assert asked[0.0][1] < 0.1
    assert asked[0.03][0] < 0.15
    assert asked[0.03][1] > 0.95


GRID = spaces.Dict(image=spaces.Box(0, 255, (7, 7, 3), np.uint8), direction=spaces.Discrete(4), mission=spaces.Text(20))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda t: ensembles.mlp(5, 2, training=t), "no vector of floats"),
        (lambda t: ensembles.mlp(spaces.MultiBinary(4), 2, training=t), "no vector of floats"),
        (lambda t: ensembles.mlp(spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3)), 2, training=t), r"'b'"),
        (lambda t: ensembles.mlp((2, 3), 2, training=t), "no vector of floats"),
        (lambda t: ensembles.mlp(spaces.Box(0, 255, (128,), np.uint8), 2, training=t), "no vector of floats"),
        (lambda t: ensembles.cnn(GRID, 2, training=t), "'direction'|'image'|'mission'"),
        (lambda t: ensembles.cnn(spaces.Box(0, 255, (8, 8, 3), np.uint8), 2, training=t, kind="image"), "pictures"),
        (lambda t: ensembles.recurrent((4,), 2, training=t), "window"),
    ],
    ids=["choice", "bits", "mixed", "matrix", "bytes", "view", "picture", "window"],
)
def test_where_distance_means_nothing_it_is_refused(make: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        make(SMALL)
    make(replace(SMALL, local_caution=0.0))


def test_vectors_in_several_parts_are_taken(key: jax.Array) -> None:
    space = spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Tuple([spaces.Box(-50, 50, ()), spaces.Box(-1, 1, (3,))]))
    ensemble = ensembles.mlp(space, 2, 2, training=SMALL)
    learned = ensemble.init_learned(key)
    assert learned.answered.points.shape == (6, 64)
    log_probs = ensemble.log_probs((), ensemble.encoder.zeros(), Context(0, jnp.zeros(2), learned=learned))
    assert log_probs.shape == (2, 2)


@pytest.mark.parametrize("wrong", [-0.1, 1.0, float("nan"), True, "much", [0.1, 0.2]])
def test_a_share_is_wanted(wrong: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError), match="local_caution"):
        Training(local_caution=wrong)


def test_minibatches_are_drawn_so(key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 20)
    learned = prequential(members(), observations, answers, key).learned
    places = train.draw_minibatches(SMALL, learned)
    own_key = jax.random.fold_in(jax.random.fold_in(learned.key, 1), 20)
    np.testing.assert_array_equal(places, learned.answered.drawn(own_key, (2, 16), jnp.int32(20)))
    assert float(learned.answered.foreign[:3].min()) == 1.0  # nothing to go by yet
    plain = train.draw_minibatches(replace(SMALL, local_caution=0.0), learned.replace(answered=()))
    assert not np.array_equal(places, plain)
