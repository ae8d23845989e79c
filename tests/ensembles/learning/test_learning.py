"""Members that learn: they predict before they learn, learn from answers only, and what they learned is shared."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, Minimum, TopK, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.core.aggregation import MAP
from consensus_imitation.core.rollout import rollout, rollouts, start
from consensus_imitation.demonstrators import TabularDemonstrator
from consensus_imitation.envs import make
from consensus_imitation.errors import ConsensusWarning, InvalidAnswerError, PendingQueryError

from .counting import counters, imaginary_answers

S, A = 4, 3
SMOOTHING = [0.1, 1.0, 5.0]


class ByHand:
    """The same members and their posterior, in float64 and plain loops."""

    def __init__(self) -> None:
        self.counts = np.zeros((S, A))
        self.log_weights = np.zeros(3)

    def probs(self, s: int) -> np.ndarray:
        smoothed = self.counts[s] + imaginary_answers(SMOOTHING, A)
        return smoothed / smoothed.sum(-1, keepdims=True)

    def learn(self, s: int, a: int) -> None:
        self.log_weights += np.log(self.probs(s)[:, a])
        self.counts[s, a] += 1

    @property
    def weights(self) -> np.ndarray:
        w = np.exp(self.log_weights - self.log_weights.max())
        return w / w.sum()


def scripted(observation: Any) -> int:
    return int(observation) % A


def test_the_shell_learns_from_answers_only_and_scores_before_it_learns() -> None:
    imitator, by_hand = ConsensusImitator(counters(SMOOTHING, S, A), scripted, selection=TopK(3), seed=1), ByHand()
    rng = np.random.default_rng(0)
    asked = 0
    for _ in range(300):
        s = int(rng.integers(S))
        before = by_hand.probs(s)
        decision = imitator.act(s)
        np.testing.assert_allclose(decision.query_prob, 1 - before.min(0).sum(), atol=1e-5)
        if decision.queried:
            by_hand.learn(s, s % A)
            asked += 1
    assert 0 < asked < 300
    np.testing.assert_array_equal(imitator.state.learned, by_hand.counts)
    np.testing.assert_allclose(imitator.weights, by_hand.weights, atol=1e-4)


def test_a_batch_learns_the_answers_of_one_step_in_order_from_what_was_predicted_before_it() -> None:
    B = 5
    imitator = ConsensusImitator(counters(SMOOTHING, S, A), selection=TopK(3), seed=0, num_envs=B)
    by_hand = ByHand()
    rng = np.random.default_rng(1)
    for _ in range(40):
        observations = rng.integers(S, size=B)
        predicted = [by_hand.probs(int(s)) for s in observations]
        decision = imitator.decide(observations)
        if decision.queried.any():
            answers = np.where(decision.queried, observations % A, decision.action)
            imitator.answer(decision, answers)
        for b in np.flatnonzero(decision.queried):
            a = int(observations[b] % A)
            by_hand.log_weights += np.log(predicted[b][:, a])
            by_hand.counts[observations[b], a] += 1
    np.testing.assert_array_equal(imitator.state.learned, by_hand.counts)
    # Not the weights: one of them soon is 1, whatever the others lost.
    relative = by_hand.log_weights - by_hand.log_weights.max()
    np.testing.assert_allclose(imitator.state.posterior.log_weights, relative, atol=1e-3)


@pytest.mark.parametrize("as_list", [True, False])
def test_studying_recordings_equals_answering_queries(as_list: bool) -> None:
    imitator, by_hand = ConsensusImitator(counters(SMOOTHING, S, A), selection=TopK(3), seed=1), ByHand()
    rng = np.random.default_rng(0)
    observations = rng.integers(S, size=301)
    actions = rng.integers(A, size=301)
    imitator.pretrain(list(observations) if as_list else observations, actions)
    for s, a in zip(observations, actions, strict=True):
        by_hand.learn(int(s), int(a))
    np.testing.assert_array_equal(imitator.state.learned, by_hand.counts)
    np.testing.assert_allclose(imitator.weights, by_hand.weights, atol=1e-4)
    assert (imitator.num_steps, imitator.num_queries) == (0, 0)


def test_recordings_that_do_not_fit_change_nothing() -> None:
    imitator = ConsensusImitator(counters(SMOOTHING, S, A), selection=TopK(3), seed=1)
    before = imitator.state
    with pytest.raises(ValueError, match="3 observations and 2 actions"):
        imitator.pretrain([0, 1, 2], [0, 1])
    with pytest.raises(InvalidAnswerError, match="no action"):
        imitator.pretrain([0, 1], [0, A])
    with pytest.raises(ValueError, match="starts"):
        imitator.pretrain([0, 1], [0, 1], [True])
    assert imitator.state is before
    while not imitator.decide(0).queried:
        pass
    with pytest.raises(PendingQueryError):
        imitator.pretrain([0], [0])


def tape() -> ensembles.Ensemble:
    """Members that remember whether an episode began, and nothing else."""

    class Tape(type(ensembles.stacked(lambda p, o: p, jnp.zeros((2, A)), A))):  # type: ignore[misc]
        def begin_episode(self, carry: Any) -> Any:
            return jnp.zeros_like(carry)

    base = ensembles.stacked(
        apply=lambda strength, seen, observation: strength * jax.nn.one_hot(jnp.minimum(seen, A - 1), A),
        params=jnp.array([1.0, 3.0]),
        num_actions=A,
        carry=jnp.zeros(2, jnp.int32),
        update=lambda strength, seen, observation, action, queried: seen + 1,
    )
    return Tape(**{name: getattr(base, name) for name in base.__dataclass_fields__})


def test_an_episode_that_begins_clears_the_memory_of_members_that_want_it() -> None:
    imitator = ConsensusImitator(tape(), lambda observation: 0, selection=TopK(2), seed=0, num_envs=2)
    for _ in range(2):
        imitator.act(np.zeros(2, np.int32))
    np.testing.assert_array_equal(imitator.state.stream.carry, [[2, 2], [2, 2]])
    imitator.begin_episode(env=1)
    np.testing.assert_array_equal(imitator.state.stream.carry, [[2, 2], [0, 0]])
    imitator.begin_episode()
    np.testing.assert_array_equal(imitator.state.stream.carry, 0)


def test_rows_set_aside_are_not_asked_about_and_forget_nothing() -> None:
    asked: list[int] = []

    def demonstrator(observation: Any) -> int:
        asked.append(int(observation))
        return 0

    disjoint = ensembles.tabular(np.array([np.eye(A)[[0, 0, 0, 0]], np.eye(A)[[1, 1, 1, 1]]]) * 0.999 + 0.001 / 3)
    imitator = ConsensusImitator(disjoint, demonstrator, selection=TopK(2), seed=0, num_envs=3)
    for _ in range(10):
        decision = imitator.act(np.array([0, 1, 2]), active=np.array([True, False, True]))
        assert not decision.queried[1]
        assert decision.action[1] == 0
        assert decision.query_prob[1] == 0.0
    assert set(asked) == {0, 2}
    assert imitator.ledger[1] == 0.0
    assert imitator.ledger[0] > 0.0 or 0 in asked
    np.testing.assert_array_equal(imitator.state.stream.step, 10)
    with pytest.raises(ValueError, match="active needs one bool"):
        imitator.decide(np.array([0, 1, 2]), active=np.array([1, 0, 1]))


def test_a_policy_takes_the_likeliest_action_and_changes_nothing() -> None:
    probs = np.array([[[0.7, 0.2, 0.1]], [[0.3, 0.6, 0.1]]])
    imitator = ConsensusImitator(ensembles.tabular(probs, prior=[0.2, 0.8]), selection=TopK(2), seed=0)
    before = imitator.state
    assert imitator.policy().predict(0)[0] == 0  # minimum: 0.3, 0.2, 0.1
    leader = ConsensusImitator(ensembles.tabular(probs, prior=[0.2, 0.8]), aggregation=MAP(), seed=0)
    actions, _ = leader.policy(num_envs=2).predict(np.zeros(2, np.int32))
    np.testing.assert_array_equal(actions, [1, 1])
    assert imitator.state is before


def test_a_policy_may_draw_from_the_law_scaled_up() -> None:
    probs = np.array([[[0.7, 0.2, 0.1]], [[0.3, 0.6, 0.1]]])  # minimum 0.3, 0.2, 0.1, of sum 0.6
    policy = ConsensusImitator(ensembles.tabular(probs), selection=TopK(2), seed=0).policy(num_envs=3000, seed=1)
    actions, _ = policy.predict(np.zeros(3000, np.int32), deterministic=False)
    counts = np.bincount(actions, minlength=A)
    expected = 3000 * np.array([3, 2, 1]) / 6
    assert np.all(np.abs(counts - expected) < 5 * np.sqrt(expected))


def test_where_the_rule_would_certainly_ask_the_policy_follows_the_mixture() -> None:
    disjoint = np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]])
    imitator = ConsensusImitator(ensembles.tabular(disjoint, prior=[0.3, 0.7]), selection=TopK(2), seed=0)
    assert imitator.policy().predict(0)[0] == 1


def test_a_policy_follows_what_is_learned_and_keeps_its_own_memory() -> None:
    imitator = ConsensusImitator(counters(SMOOTHING, S, A), scripted, selection=TopK(3), seed=1)
    policy = imitator.policy()
    imitator.pretrain([2] * 10, [2] * 10)
    assert policy.predict(2)[0] == 2
    remembering = ConsensusImitator(tape(), lambda observation: 0, selection=TopK(2), seed=0)
    own = remembering.policy()
    assert [own.predict(0)[0] for _ in range(3)] == [0, 1, 2]
    assert own.predict(0, episode_start=True)[0] == 0
    assert int(remembering.state.stream.carry[0]) == 0


def test_a_policy_counts_its_own_steps() -> None:
    """A member that bides its time does so in an evaluation, too."""

    class Turncoat(type(ensembles.tabular(np.full((1, 1, 2), 0.5)))):  # type: ignore[misc]
        def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
            return jnp.log(jnp.where(context.step < 2, jnp.array([[0.9, 0.1]]), jnp.array([[0.1, 0.9]])))

    members = Turncoat(table=jnp.zeros((1, 1, 2)), prior=jnp.ones(1))
    imitator = ConsensusImitator(members, selection=TopK(1), seed=0)
    policy = imitator.policy()
    assert [policy.predict(0)[0] for _ in range(4)] == [0, 0, 1, 1]
    assert imitator.num_steps == 0


@pytest.mark.parametrize("num_envs", [None, 2])
def test_a_policy_of_members_on_the_host_forgets_when_an_episode_begins(num_envs: int | None) -> None:
    host = ensembles.union(tape(), ensembles.callables([python_member], A))
    policy = ConsensusImitator(host, aggregation=MAP(), selection=TopK(1), seed=0).policy(num_envs)
    observation = np.zeros(num_envs or (), np.int32)

    def last(**more: Any) -> Any:
        return np.asarray(policy.predict(observation, **more)[0]).reshape(-1)[-1]

    assert [last() for _ in range(2)] == [0, 1]
    start = True if num_envs is None else np.array([False, True])
    assert [last(episode_start=start), last()] == [0, 1]


def python_member(observation: Any) -> list[float]:
    return [1 / A] * A


@pytest.mark.slow
def test_a_union_with_python_members_learns_alike() -> None:
    """Learning members inside a host union know after every step what they know in a pure one."""
    pure = ensembles.union(counters(SMOOTHING, S, A), ensembles.tabular(np.full((1, S, A), 1 / A)))
    host = ensembles.union(counters(SMOOTHING, S, A), ensembles.callables([python_member], A))
    for num_envs in (None, 2):
        one, other = (
            ConsensusImitator(e, scripted, selection=TopK(4), seed=3, num_envs=num_envs) for e in (pure, host)
        )
        rng = np.random.default_rng(0)
        for _ in range(60):
            observation = rng.integers(S, size=num_envs)
            a, b = one.act(observation), other.act(observation)
            np.testing.assert_array_equal(a.action, b.action)
        assert one.num_queries > 5
        np.testing.assert_allclose(one.state.learned[0], other.state.learned[0])
        np.testing.assert_allclose(one.weights, other.weights, atol=1e-5)
    imitator = ConsensusImitator(host, scripted, selection=TopK(4))
    with pytest.raises(ValueError, match="run on the host"):
        imitator.pretrain([0], [0])


def test_a_recording_that_nobody_explains_is_warned_of() -> None:
    imitator = ConsensusImitator(ensembles.tabular(np.array([[[1.0, 0.0]], [[1.0, 0.0]]])), selection=TopK(2), seed=0)
    with pytest.warns(ConsensusWarning, match="no member explains"):
        imitator.pretrain([0, 0], [0, 1])
    assert imitator.decide(0).queried


def test_a_certificate_is_void_if_another_rule_came_before_the_minimum() -> None:
    imitator = ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), aggregation=MAP(), seed=0)
    imitator.aggregation = Minimum()
    assert imitator.certificate().void == ""  # nothing had been done yet
    imitator.act(0)
    imitator.aggregation = Minimum()
    assert imitator.certificate().void == ""  # the same
    imitator.aggregation = MAP()
    assert "no bound on actions" in imitator.certificate().promise
    imitator.aggregation = Minimum()
    assert "rules or the prior were changed" in imitator.certificate().void
    host = ensembles.union(counters(SMOOTHING, S, A), ensembles.callables([python_member], A))
    assert "no network" in ConsensusImitator(host, seed=0).certificate().promise


# --- lock-up ---


def test_a_member_left_alone_is_warned_of_once_and_named() -> None:
    imitator = ConsensusImitator(counters([0.01, 5.0, 5.0], S, A), scripted, selection=AlphaThreshold(0.3), seed=0)

    def run(num_steps: int) -> None:
        for step in range(num_steps):
            imitator.act(step % S)

    with pytest.warns(ConsensusWarning, match="alone") as caught:
        run(400)
    assert len(caught) == 1
    assert "member 0 was selected alone" in imitator.alarms[0]
    late = imitator.num_queries
    run(100)
    assert imitator.num_queries == late  # locked up, as the warning says
    imitator.clear_alarm()
    assert imitator.alarms == ()


@pytest.mark.filterwarnings("error")
def test_the_default_rule_does_not_lock_up() -> None:
    imitator = ConsensusImitator(counters([0.01, 5.0, 5.0], S, A), scripted, seed=0)
    for step in range(400):
        assert imitator.act(step % S).selected.sum() >= 2


@pytest.mark.filterwarnings("error")
def test_fixed_members_may_be_left_alone() -> None:
    imitator = ConsensusImitator(ensembles.tabular(np.full((1, 1, 2), 0.5)), selection=TopK(1), seed=0)
    imitator.act(0)


# --- rollouts ---


@pytest.mark.slow
def test_rollouts_of_learning_members_equal_single_ones() -> None:
    world = make("ring")
    num_observations, num_actions = np.shape(world.demonstrator_probs)
    learner = Learner(counters([0.1, 1.0], num_observations, num_actions), TopK(2))
    expert = TabularDemonstrator.create(world.demonstrator_probs)
    keys = jax.random.split(jax.random.key(0), 3)
    both = rollouts(learner, world.env, expert, keys, 50, TopK(jnp.array([1, 2])))
    for s in range(3):
        state, trajectory = jax.jit(rollout, static_argnames="num_steps")(
            learner, world.env, expert, start(learner, world.env, keys[s]), num_steps=50
        )
        np.testing.assert_array_equal(both[1].action[1, s], trajectory.action)
        np.testing.assert_array_equal(both[0].learner.learned[1, s], state.learner.learned)
        assert int(trajectory.queried.sum()) == float(state.learner.learned.sum()) > 0
    assert float(both[0].learner.learned[0].sum()) == 0.0  # k=1 never asks, hence never learns
    assert posterior.weights(state.learner.posterior).shape == (2,)


def test_a_saved_state_goes_on_as_if_nothing_had_happened() -> None:
    def make_one() -> ConsensusImitator:
        return ConsensusImitator(counters(SMOOTHING, S, A), scripted, selection=TopK(3), seed=1)

    whole, first = make_one(), make_one()
    for step in range(50):
        whole.act(step % S)
        first.act(step % S)
    second = ConsensusImitator.from_state(first.state, counters(SMOOTHING, S, A), scripted, selection=TopK(3))
    for step in range(50):
        assert whole.act(step % S).action == second.act(step % S).action
    np.testing.assert_array_equal(whole.state.learned, second.state.learned)
    with pytest.raises(ValueError, match="does not fit"):
        ConsensusImitator.from_state(first.state, counters(SMOOTHING, S + 1, A), scripted, selection=TopK(3))
