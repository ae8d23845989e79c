"""Environments of a batch that go on by themselves: the core, stream by stream, in the order of the calls."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, LearnerState, Minimum, Reweighting, TopK
from consensus_imitation.core.draw import as_float
from consensus_imitation.core.learner import random_words
from consensus_imitation.core.members import FixedMembers
from consensus_imitation.errors import ConfigurationError, PendingQueryError
from consensus_imitation.journal.store import Store
from tests.core.compiled import decide, decide_batch, init, observe, observe_batch
from tests.core.test_learner import assert_same_leaves, remembering
from tests.ensembles.learning.counting import Counters
from tests.stress.crowd_world import PROBS, A, S, asked, log_posterior, make, members, python_members, query_of

B = 4

OPINIONS = 0.5 + 4 * np.eye(A)


def counters(num_observations: int = S) -> Counters:
    imaginary = jnp.asarray(OPINIONS, jnp.float32)
    return Counters(jnp.full(A, 1 / A), imaginary, num_rows=num_observations, num_actions=A)


# --- who waits for whom ---


def test_a_query_that_waits_stops_its_own_environment_only() -> None:
    imitator = make(3)
    waits = query_of(asked(imitator, 1, env=1))
    for env in (0, 2):
        query = query_of(asked(imitator, 2, env=env))
        imitator.answer(query, 0)
        imitator.begin_episode(env)
    refused: list[Callable[[], Any]] = [
        lambda: imitator.decide(1, env=1),
        lambda: imitator.act(1, env=1),
        lambda: imitator.begin_episode(1),
        lambda: imitator.decide(np.array([0, 1, 2])),
        lambda: imitator.act(np.array([0, 1, 2]), active=np.array([True, False, True])),
        lambda: imitator.begin_episode(),
        lambda: imitator.pretrain([1, 2], [0, 1]),
    ]
    for call in refused:
        with pytest.raises(PendingQueryError, match="of environment 1"):
            call()
    assert [query_of(one) for one in imitator.pending] == [waits]
    imitator.answer(waits, 2)
    for call in refused[2:3] + refused[5:]:
        call()


def test_others_act_beside_a_query_that_waits() -> None:
    imitator = ConsensusImitator(members(), lambda seen: 0, selection=TopK(2), seed=5, num_envs=3)
    waits = query_of(asked(imitator, 1, env=1))
    steps = [imitator.act(t % S, env=2) for t in range(40)]
    assert {bool(step.queried) for step in steps} == {True, False}
    assert [step.env for step in steps] == [2] * 40
    assert [step.action for step in steps if step.queried] == [0] * sum(step.queried for step in steps)
    assert [query_of(one) for one in imitator.pending] == [waits]


def test_a_query_of_all_in_lockstep_stops_every_environment() -> None:
    imitator = make(3)
    decision = asked(imitator, np.array([0, 1, 2]))
    for env in range(3):
        with pytest.raises(PendingQueryError):
            imitator.decide(0, env=env)
        with pytest.raises(PendingQueryError):
            imitator.begin_episode(env)
    imitator.answer(decision, np.zeros(3, int))
    imitator.decide(0, env=1)


@pytest.mark.parametrize("env", [-1, 3, 1.0, True, "1", np.int64(3), np.array(1), [1]])
def test_there_is_no_such_environment(env: Any) -> None:
    imitator = make(3)
    for call in (lambda: imitator.decide(1, env=env), lambda: imitator.begin_episode(env)):
        with pytest.raises(ConfigurationError, match="no environment"):
            call()
    with pytest.raises(ConfigurationError, match="active needs"):
        imitator.decide(1, active=np.ones(3, bool), env=1)
    with pytest.raises(ConfigurationError, match="num_envs is None"):
        make().decide(1, env=0)


# --- what is decided and learned ---


@jax.jit
def by_row(state: LearnerState, b: int) -> LearnerState:
    return state.replace(stream=jax.tree.map(lambda leaf: leaf[b], state.stream))


@jax.jit
def with_row(state: LearnerState, after: LearnerState, b: int) -> LearnerState:
    """All streams again, after that of environment b has gone on."""
    key = state.stream.key
    streams, row = state.stream.replace(key=None), after.stream.replace(key=None)
    stream = jax.tree.map(lambda leaf, new: leaf.at[b].set(new), streams, row)
    return after.replace(stream=stream.replace(key=key))


SETTINGS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "tables": (members(), TopK(2), {}),
    "memory": (remembering(), TopK(3) | AlphaThreshold(0.1), {}),
    "learning": (counters(), TopK(3), {}),
    "forgetting": (members(), TopK(2), {"reweighting": Reweighting(forget=0.7, share=0.05)}),
    "python": (python_members(), TopK(2), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_the_core_stream_by_stream(name: str) -> None:
    """Decisions, answers after any delay and in any order, steps in lockstep and episodes in between, as they come."""
    ensemble, rule, more = SETTINGS[name]
    imitator = ConsensusImitator(ensemble, selection=rule, seed=11, num_envs=B, **more)
    learner = Learner(members() if name == "python" else ensemble, rule, Minimum(), **more)
    state = init(learner, jax.random.key(11), B)
    rng = np.random.default_rng(2)
    waiting: dict[int, Any] = {}
    seen = {"out of order": 0, "lockstep": 0}

    def settle(b: int) -> None:
        nonlocal state
        decision, pure, observation = waiting.pop(b)
        seen["out of order"] += any(decision.query.id > other[0].query.id for other in waiting.values())
        action = int(rng.integers(A))
        assert imitator.answer(decision.query, action).env == b
        state = with_row(state, observe(learner, by_row(state, b), observation, pure, action)[0], b)

    def lockstep() -> None:
        nonlocal state
        observations, actions = rng.integers(S, size=B).astype(np.int32), rng.integers(A, size=B)
        decision = imitator.decide(observations)
        pure = decide_batch(learner, state, observations)
        np.testing.assert_array_equal(decision.action, pure.action)
        if np.any(decision.queried):
            imitator.answer(decision, actions)
        state = observe_batch(learner, state, observations, pure, actions)[0]
        seen["lockstep"] += 1

    for t in range(160):
        if t % 40 == 39:
            for other in list(waiting):
                settle(other)
            lockstep()
        b = int(rng.integers(B))
        if b in waiting:
            settle(b)
            continue
        if rng.random() < 0.1:
            imitator.begin_episode(b)
            row = by_row(state, b)
            state = with_row(state, row.replace(stream=learner.begin_episode(row.stream)), b)
        observation = np.int32(rng.integers(S))
        decision = imitator.decide(observation, env=b)
        row = by_row(state, b)
        pure = decide(learner, row, observation)
        assert (decision.queried, decision.env, decision.step) == (bool(pure.queried), b, int(row.stream.step))
        assert decision.query_prob == pytest.approx(float(pure.query_prob), abs=2e-5)
        if decision.queried:
            waiting[b] = (decision, pure, observation)
        else:
            assert decision.action == int(pure.action)
            state = with_row(state, observe(learner, row, observation, pure, -1)[0], b)
        assert imitator.num_queries == int(state.stream.queries.sum())
    assert min(seen.values()) >= 4
    for b in list(waiting):
        settle(b)
    assert_same_leaves(imitator.state, state, atol=5e-5)


def test_an_answer_is_scored_by_what_was_predicted_when_it_was_asked_for() -> None:
    """In float64, from the counts of the answers that had been given by then; what is learned is learned late."""
    imitator = ConsensusImitator(counters(1), selection=TopK(3), seed=0, num_envs=B)
    rng = np.random.default_rng(0)
    counts, scores, stale = np.zeros(A), list[np.ndarray](), 0
    waiting: dict[int, tuple[Any, np.ndarray]] = {}
    for _ in range(200):
        b = int(rng.integers(B))
        if b not in waiting:
            decision = imitator.decide(0, env=b)
            predicted = (counts + OPINIONS) / (counts + OPINIONS).sum(-1, keepdims=True)
            if decision.queried:
                waiting[b] = (decision, predicted)
            continue
        decision, predicted = waiting.pop(b)
        action = int(rng.choice(A, p=[0.6, 0.3, 0.1]))
        imitator.answer(decision, action)
        scores.append(np.log(predicted[:, action]))
        now = (counts + OPINIONS) / (counts + OPINIONS).sum(-1, keepdims=True)
        stale += not np.allclose(now, predicted)
        counts[action] += 1
    assert stale > 5
    np.testing.assert_allclose(imitator.state.posterior.log_weights, log_posterior(scores, A), atol=1e-5)
    np.testing.assert_array_equal(imitator.state.learned, counts[None])


def test_only_the_order_of_the_answers_counts() -> None:
    """Fixed members, plain Bayes: whatever the order; members that forget: the order of the calls."""
    found: dict[str, list[np.ndarray]] = {"plain": [], "forgetting": []}
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        for name, weights in found.items():
            reweighting = Reweighting(forget=0.5) if name == "forgetting" else None
            imitator = make(B, reweighting=reweighting)
            queries = [query_of(asked(imitator, b, env=b)) for b in range(B)]
            for b in order:
                imitator.answer(queries[b], b % A)
            weights.append(np.asarray(imitator.state.posterior.log_weights))
    np.testing.assert_allclose(*found["plain"], atol=1e-6)
    np.testing.assert_allclose(
        found["plain"][0], log_posterior([np.log(PROBS[:, b, b % A]) for b in range(B)]), atol=1e-5
    )
    assert np.abs(found["forgetting"][0] - found["forgetting"][1]).max() > 0.1


def test_the_numbers_are_those_of_the_streams(tmp_path: Path) -> None:
    """Each environment's own, by its own step: beyond those computed at a time, and after steps in lockstep."""
    imitator = make(2, demonstrator=lambda observation: 0, journal=tmp_path / "run")
    keys = imitator.state.stream.key
    schedule = [0] * 300 + [1] * 3 + [None] * 4 + [1] * 5 + [None] * 2 + [0] * 10
    for env in schedule:
        imitator.act(1 if env is not None else np.array([1, 2]), env=env)
    imitator.close()
    store = Store.open(tmp_path / "run" / "journal.sqlite")
    steps, number = [0, 0], jax.jit(random_words)
    for entry in store.entries():
        record = entry.record
        if record.kind not in ("act", "ask"):
            continue
        b = record.env
        assert b is not None
        assert record.draw == float(as_float(number(keys[b], jnp.int32(steps[b]))))
        # Where members disagree, the law sums to one only but for rounding.
        assert (record.kind == "ask") == (record.draw < record.query_prob) or abs(
            record.draw - record.query_prob
        ) < 1e-6
        steps[b] += 1
    store.close()
    assert steps == [316, 14]


class Historians(FixedMembers):
    """On the host: they remember their own environment's steps, and learn from all environments' answers."""

    prior = jnp.array([0.5, 0.5])
    num_members, num_actions, pure, learns = 2, A, False, True  # type: ignore[assignment]

    def init_carry(self) -> Any:
        return jnp.zeros(3, jnp.int32)

    def init_learned(self, key: jax.Array) -> Any:
        return jnp.zeros(A)

    def begin_episode(self, carry: Any) -> Any:
        return jnp.zeros(3, jnp.int32)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        rows = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]]) + 0.01 * float(np.asarray(context.learned).sum() % 7)
        return jnp.asarray(np.log(rows / rows.sum(-1, keepdims=True)), jnp.float32)

    def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
        return carry + jnp.array([1, int(queried), int(action)])

    def learn(self, learned: Any, carry: Any, observation: Any, answer: Any, log_probs: Any) -> Any:
        return learned.at[int(answer)].add(1.0)


def test_members_on_the_host_remember_their_own_environment_and_learn_from_all() -> None:
    imitator = ConsensusImitator(Historians(), selection=TopK(2), seed=0, num_envs=B)
    rng = np.random.default_rng(0)
    carry, learned = np.zeros((B, 3), int), np.zeros(A)
    waiting: dict[int, Any] = {}
    for _ in range(80):
        b = int(rng.integers(B))
        if b in waiting:
            action = int(rng.integers(A))
            imitator.answer(waiting.pop(b), action)
            carry[b] += [1, 1, action]
            learned[action] += 1
        elif rng.random() < 0.05:
            imitator.begin_episode(b)
            carry[b] = 0
        else:
            decision = imitator.decide(1, env=b)
            if decision.queried:
                waiting[b] = decision
            else:
                carry[b] += [1, 0, decision.action]
    np.testing.assert_array_equal(imitator.state.stream.carry, carry)
    np.testing.assert_array_equal(imitator.state.learned, learned)
    assert learned.sum() > 10
    assert (carry[:, 0] > carry[:, 1]).any()


def test_mixing_both_leaves_each_environment_its_own_count_of_steps() -> None:
    imitator = make(3, demonstrator=lambda observation: int(observation) % A)
    own = np.zeros(3, int)
    for t in range(60):
        env = None if t % 5 == 0 else t % 3
        decision = imitator.act(np.array([0, 1, 2]) if env is None else 1, env=env)
        own[slice(None) if env is None else env] += 1
        assert decision.step == (own.max() - 1 if env is None else own[env] - 1)
    np.testing.assert_array_equal(imitator.state.stream.step, own)
    assert imitator.num_steps == own.max()
    assert imitator.query_rate == imitator.num_queries / own.sum()
