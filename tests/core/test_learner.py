"""The learner as pure functions: batches, vmap and what may change the posterior."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, Learner, LearnerState, TopK, ensembles
from consensus_imitation.core import posterior
from consensus_imitation.core.state import PureDecision

from .compiled import decide, decide_batch, init, observe, observe_batch
from .histories import HistoryTables

S, N, A, B = 5, 4, 3, 64


def random_probs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    probs[..., 0] *= rng.random(shape[:-1]) < 0.7  # some impossible actions
    return probs / probs.sum(-1, keepdims=True)


def remembering() -> ensembles.Stacked:
    """Members whose prediction depends on what was done before and by whom."""
    return ensembles.stacked(
        apply=lambda strength, last, observation: strength * jnp.eye(A)[last] + 0.3 * observation,
        params=jnp.array([0.5, 1.0, 2.0, 4.0]),
        num_actions=A,
        carry=jnp.zeros(N, jnp.int32),
        update=lambda strength, last, observation, action, queried: jnp.where(queried, action, (last + 1) % A),
    )


LEARNERS = {
    "tabular": Learner(ensembles.tabular(random_probs(0, (N, S, A))), TopK(2)),
    "remembering": Learner(remembering(), TopK(3) | AlphaThreshold(0.1)),
    "history": Learner(
        HistoryTables(table=jnp.log(jnp.asarray(random_probs(1, (43, N, A)), jnp.float32)), prior=jnp.full(N, 0.25)),
        TopK(2) & AlphaThreshold(0.01),
    ),
}


def assert_same_leaves(one: Any, other: Any, atol: float = 0.0) -> None:
    def data(leaf: Any) -> np.ndarray:
        typed = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if typed else leaf)

    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(data(a), data(b), atol=atol, rtol=0), one, other)


def step(learner: Learner, state: LearnerState, observation: Any, answer: Any) -> tuple[LearnerState, PureDecision]:
    decision = decide(learner, state, observation)
    return observe(learner, state, observation, decision, answer)[0], decision


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_vmapped_learner_is_many_learners(name: str, key: jax.Array) -> None:
    """64 streams, each with its own posterior, side by side and one by one."""
    learner = LEARNERS[name]
    keys = jax.random.split(key, B)
    one_by_one = [init(learner, own) for own in keys]
    together = jax.vmap(learner.init)(keys)
    single, batch = jax.jit(step), jax.jit(jax.vmap(step, in_axes=(None, 0, 0, 0)))
    rng = np.random.default_rng(0)
    for _ in range(4):
        observations, answers = rng.integers(S, size=B).astype(np.int32), rng.integers(A, size=B).astype(np.int32)
        together, decisions = batch(learner, together, observations, answers)
        results = [single(learner, *row) for row in zip(one_by_one, observations, answers, strict=True)]
        one_by_one = [state for state, _ in results]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *one_by_one)
        own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[decision for _, decision in results])
        # Two programs may round differently in the last place.
        assert_same_leaves(stacked, together, atol=2e-6)
        assert_same_leaves(own, decisions, atol=2e-6)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_batch_is_single_streams_that_answer_in_turn(name: str, key: jax.Array) -> None:
    """`decide_batch` decides all under one posterior; `observe_batch` lets the answers in, in stream order."""
    learner, streams = LEARNERS[name], 6
    state = init(learner, key, streams)
    rng = np.random.default_rng(1)
    asked = 0
    for _ in range(5):
        observations = rng.integers(S, size=streams).astype(np.int32)
        answers = rng.integers(A, size=streams).astype(np.int32)
        own = [jax.tree.map(lambda leaf, b=b: leaf[b], state.stream) for b in range(streams)]
        decisions = [decide(learner, state.replace(stream=own[b]), observations[b]) for b in range(streams)]
        together = decide_batch(learner, state, observations)
        assert_same_leaves(jax.tree.map(lambda *leaves: jnp.stack(leaves), *decisions), together, atol=2e-6)
        shared, closed, taken = state, [], []
        for b in range(streams):
            new, info = observe(learner, shared.replace(stream=own[b]), observations[b], decisions[b], answers[b])
            shared = new.replace(stream=None)
            closed.append(new.stream)
            taken.append(int(info.action))
        state, info = observe_batch(learner, state, observations, together, answers)
        expected = shared.replace(stream=jax.tree.map(lambda *leaves: jnp.stack(leaves), *closed))
        assert_same_leaves(expected, state, atol=2e-6)
        assert info.action.tolist() == taken
        asked += int(together.queried.sum())
    assert asked > 5


@pytest.mark.parametrize("name", LEARNERS)
def test_only_answers_are_learned_from(name: str, key: jax.Array) -> None:
    """On a step that the imitator takes by itself the posterior stays, bit for bit, whatever the answer passed."""
    learner = LEARNERS[name]
    state = init(learner, key)
    for _ in range(3):
        state, _ = step(learner, state, 0, 1)
    decision = decide(learner, state, 0)
    for answer in (0, 2, -7, 99):
        own = decision._replace(action=jnp.int32(1), queried=jnp.array(False))
        after, info = observe(learner, state, 0, own, answer)
        assert_same_leaves(after.posterior, state.posterior)
        assert (int(info.action), float(info.evidence), bool(info.explained)) == (1, 0.0, True)
        assert int(after.stream.step) == int(state.stream.step) + 1
        assert int(after.stream.queries) == int(state.stream.queries)
        assert not bool(after.unexplained)


def test_deciding_changes_nothing_and_repeats(key: jax.Array) -> None:
    learner = LEARNERS["remembering"]
    state = init(learner, key)
    assert_same_leaves(decide(learner, state, 1), decide(learner, state, 1))


def test_streams_of_a_batch_draw_independently(key: jax.Array) -> None:
    learner = Learner(ensembles.tabular(np.array([[[1.0, 0.0]], [[0.5, 0.5]]])), TopK(2))
    queried = decide_batch(learner, init(learner, key, 256), jnp.zeros(256, jnp.int32)).queried
    # Binomial(256, 1/2): 5 sigma is 40.
    assert abs(int(queried.sum()) - 128) < 40


def test_the_members_are_not_shown_the_key(key: jax.Array) -> None:
    """No guarantee survives a member that can foresee the draw."""
    seen: list[Any] = []

    class Curious(HistoryTables):
        def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
            seen.extend(jax.tree.leaves((carry, context)))
            return super().log_probs(carry, observation, context)

        def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
            seen.extend(jax.tree.leaves((carry, context)))
            return super().advance(carry, observation, context, action, queried)

    tables = LEARNERS["history"].ensemble
    learner = Learner(Curious(table=tables.table, prior=tables.prior), TopK(2))
    step(learner, init(learner, key), 0, 1)
    assert seen
    assert not any(jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key) for leaf in seen)


def test_members_are_scored_by_what_they_predicted_before_the_answer(key: jax.Array) -> None:
    """Prequential: a member that turns with hindsight to the answer gains nothing by it."""
    learner = Learner(remembering(), TopK(4))
    state = init(learner, key)
    decision = decide(learner, state, 0)
    forced = decision._replace(queried=jnp.array(True), action=jnp.int32(-1))
    after, info = observe(learner, state, 0, forced, 2)
    expected = posterior.weights(state.posterior) * jnp.exp(decision.log_probs[:, 2])
    np.testing.assert_allclose(posterior.weights(after.posterior), expected / expected.sum(), atol=1e-6)
    assert float(info.evidence) == pytest.approx(float(jnp.log(expected.sum())), abs=1e-6)


class Watching(HistoryTables):
    """Members that remember the posterior they were told of when their memory was last advanced."""

    def init_carry(self) -> Any:
        return jnp.zeros(self.num_members)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        return self.table[0]

    def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
        return context.log_weights


def test_all_streams_of_a_batch_advance_under_the_posterior_they_decided_under(key: jax.Array) -> None:
    table = jnp.log(jnp.array([[[0.9, 0.1], [0.2, 0.8]]]))
    learner = Learner(Watching(table=table, prior=jnp.array([0.5, 0.5])), TopK(2))
    state = init(learner, key, 2)
    observations = jnp.zeros(2, jnp.int32)
    decisions = decide_batch(learner, state, observations)._replace(queried=jnp.array([True, True]))
    after, _ = observe_batch(learner, state, observations, decisions, jnp.array([0, 0]))
    np.testing.assert_array_equal(after.stream.carry[0], state.posterior.log_weights)
    np.testing.assert_array_equal(after.stream.carry[1], state.posterior.log_weights)
