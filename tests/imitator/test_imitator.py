"""The shell: it equals the core leaf for leaf, and after every error its state is what it was."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import QUERY, AlphaThreshold, ConsensusImitator, Learner, TopK, ensembles
from consensus_imitation.core.selection import SelectionRule
from consensus_imitation.errors import (
    ConsensusImitationError,
    ConsensusWarning,
    InvalidAnswerError,
    NoDemonstratorError,
    PendingQueryError,
    StaleAnswerError,
)
from tests.core.compiled import decide, decide_batch, init, observe, observe_batch
from tests.core.test_learner import A, N, S, assert_same_leaves, random_probs, remembering

PROBS = random_probs(3, (N, S, A))


def scripted(observation: Any) -> int:
    """A deterministic demonstrator."""
    return int(observation) % A


def python_members() -> ensembles.Callables:
    return ensembles.callables([lambda observation, n=n: PROBS[n, int(observation)] for n in range(N)], A)


ENSEMBLES: dict[str, tuple[ensembles.Ensemble, SelectionRule]] = {
    "tabular": (ensembles.tabular(PROBS), TopK(2)),
    "remembering": (remembering(), TopK(3) | AlphaThreshold(0.1)),
    "alpha": (ensembles.tabular(PROBS, prior=[0.4, 0.3, 0.2, 0.1]), AlphaThreshold(0.2)),
}


def snapshot(imitator: ConsensusImitator) -> Any:
    """The state's leaves, copied, with the key as data."""
    return jax.tree.map(
        lambda leaf: (
            np.array(jax.random.key_data(leaf)) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.array(leaf)
        ),
        imitator.state,
    )


def assert_bit_identical(before: Any, imitator: ConsensusImitator) -> None:
    jax.tree.map(np.testing.assert_array_equal, before, snapshot(imitator))


def assert_it_only_asks(before: Any, imitator: ConsensusImitator) -> None:
    """Nothing has changed but that a question is open, and that its step's inflation is entered."""
    after = snapshot(imitator)
    assert after.stream.asking.all()
    unasked = after.stream.replace(asking=before.stream.asking, ledger=before.stream.ledger)
    jax.tree.map(np.testing.assert_array_equal, before, after.replace(stream=unasked))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_shell_is_the_core(name: str) -> None:
    """A hundred steps of a single environment, the core fed with the same observations and answers."""
    members, rule = ENSEMBLES[name]
    imitator = ConsensusImitator(members, demonstrator=scripted, selection=rule, seed=5)
    learner = Learner(members, rule)
    state = init(learner, jax.random.key(5))
    assert_same_leaves(imitator.state, state)
    rng = np.random.default_rng(0)
    queries = 0
    for t in range(100):
        observation = int(rng.integers(S))
        decision = imitator.act(observation)
        pure = decide(learner, state, observation)
        state, info = observe(learner, state, observation, pure, scripted(observation))
        assert decision.action == int(info.action)
        assert decision.queried == bool(pure.queried)
        assert decision.step == t
        # The shell's program is another one: the last place may differ.
        assert decision.query_prob == pytest.approx(float(pure.query_prob), abs=2e-6)
        np.testing.assert_allclose(decision.min_probs, pure.min_probs, atol=2e-6)
        np.testing.assert_array_equal(decision.selected, pure.selected)
        np.testing.assert_allclose(decision.dissent, pure.dissent, atol=2e-6)
        assert_same_leaves(imitator.state, state, atol=2e-5)
        queries += bool(pure.queried)
        assert (imitator.num_steps, imitator.num_queries) == (t + 1, queries)
        assert imitator.query_rate == queries / (t + 1)
    assert 0 < queries < 100


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("num_envs", [None, 2], ids=["single", "batch"])
def test_the_shell_is_the_core_over_a_long_run(num_envs: int | None) -> None:
    """And after being taken up again in mid-run: whatever the shell computes ahead runs out and is renewed."""
    members, rule = ENSEMBLES["tabular"]
    imitator = ConsensusImitator(members, scripted, selection=rule, seed=5, num_envs=num_envs)
    learner = Learner(members, rule)
    state = init(learner, jax.random.key(5), num_envs)
    batch = num_envs is not None
    decide_step, observe_step = (decide_batch, observe_batch) if batch else (decide, observe)
    rng = np.random.default_rng(0)
    for t in range(1200):
        if t in (100, 700):
            imitator = ConsensusImitator.from_state(imitator.state, members, scripted, selection=rule)
        observation = rng.integers(S, size=num_envs)
        decision = imitator.act(observation)
        pure = decide_step(learner, state, observation)
        state, info = observe_step(learner, state, observation, pure, observation % A)
        np.testing.assert_array_equal(decision.action, info.action)
        np.testing.assert_array_equal(decision.queried, pure.queried)
    assert_same_leaves(imitator.state, state, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_shell_of_a_batch_is_the_core_of_a_batch(name: str) -> None:
    members, rule = ENSEMBLES[name]
    B = 5
    imitator = ConsensusImitator(members, demonstrator=scripted, selection=rule, seed=5, num_envs=B)
    learner = Learner(members, rule)
    state = init(learner, jax.random.key(5), B)
    assert_same_leaves(imitator.state, state)
    rng = np.random.default_rng(0)
    for _ in range(40):
        observations = rng.integers(S, size=B).astype(np.int32)
        decision = imitator.act(observations)
        pure = decide_batch(learner, state, observations)
        state, info = observe_batch(learner, state, observations, pure, observations % A)
        np.testing.assert_array_equal(decision.action, info.action)
        np.testing.assert_array_equal(decision.queried, pure.queried)
        np.testing.assert_allclose(decision.query_prob, pure.query_prob, atol=2e-6)
        assert decision.min_probs.shape == (B, A)
        assert_same_leaves(imitator.state, state, atol=2e-5)
    assert imitator.num_steps == 40
    assert imitator.num_queries == int(state.stream.queries.sum())
    assert imitator.query_rate == imitator.num_queries / (40 * B)


@pytest.mark.parametrize("num_envs", [None, 3], ids=["single", "batch"])
def test_python_members_are_the_same_as_tables(num_envs: int | None) -> None:
    """The very same members on the host and in the core: the same decisions and weights."""
    on_host = ConsensusImitator(python_members(), scripted, selection=TopK(2), seed=1, num_envs=num_envs)
    in_core = ConsensusImitator(ensembles.tabular(PROBS), scripted, selection=TopK(2), seed=1, num_envs=num_envs)
    rng = np.random.default_rng(0)
    for _ in range(40):
        observation = rng.integers(S, size=num_envs)
        one, other = on_host.act(observation), in_core.act(observation)
        np.testing.assert_array_equal(one.action, other.action)
        np.testing.assert_array_equal(one.queried, other.queried)
        np.testing.assert_allclose(on_host.weights, in_core.weights, atol=1e-5)


class Counting(ensembles.FixedMembers):
    """Members on the host whose memory counts the steps, who took them and what was done."""

    pure = False
    num_members, num_actions = 2, 3
    prior = jnp.array([0.5, 0.5])

    def init_carry(self) -> Any:
        return jnp.zeros(3, jnp.int32)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        assert int(carry[0]) == int(context.step)
        rows = np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1]])
        return jnp.asarray(np.log(rows), jnp.float32)

    def advance(self, carry: Any, observation: Any, context: Any, action: Any, queried: Any) -> Any:
        return carry + jnp.array([1, int(queried), int(action)])


@pytest.mark.parametrize("num_envs", [None, 2], ids=["single", "batch"])
def test_members_on_the_host_remember(num_envs: int | None) -> None:
    imitator = ConsensusImitator(Counting(), lambda observation: 2, selection=TopK(2), seed=0, num_envs=num_envs)
    total = np.zeros((num_envs or 1, 3), int)
    for _ in range(30):
        decision = imitator.act(np.zeros(num_envs or (), int))
        total += np.stack(
            [np.ones(num_envs or 1, int), np.atleast_1d(decision.queried), np.atleast_1d(decision.action)], axis=-1
        )
    np.testing.assert_array_equal(np.atleast_2d(imitator.state.stream.carry), total)


# --- ask and tell ---


def open_query(num_envs: int | None = None) -> tuple[ConsensusImitator, Any]:
    """An imitator whose members disagree about everything, and its open decision."""
    opposed = np.array([[[1.0, 0.0, 0.0]], [[0.0, 0.5, 0.5]]])
    imitator = ConsensusImitator(ensembles.tabular(opposed), selection=TopK(2), seed=0, num_envs=num_envs)
    decision = imitator.decide(0 if num_envs is None else np.zeros(num_envs, int))
    assert np.all(decision.queried)
    return imitator, decision


class Odd:
    """Not a number at all."""


BAD_ANSWERS = [
    -1,
    3,
    2**31,
    2**40,
    QUERY,
    1.0,
    np.float32(1),
    float("nan"),
    True,
    np.bool_(False),
    "1",
    None,
    [],
    [1],
    np.array([1]),
    [1, [2]],
    (0, 1),
    1j,
    {},
    Odd(),
]


@pytest.mark.parametrize("bad", BAD_ANSWERS, ids=lambda value: f"{type(value).__name__}-{value}"[:24])
def test_an_invalid_answer_changes_nothing_and_the_query_stays_open(bad: Any) -> None:
    imitator, decision = open_query()
    before = snapshot(imitator)
    with pytest.raises(InvalidAnswerError, match="no action"):
        imitator.answer(decision, bad)
    assert_bit_identical(before, imitator)
    with pytest.raises(PendingQueryError):
        imitator.decide(0)
    closed = imitator.answer(decision, 1)
    assert closed.action == 1
    assert imitator.num_queries == 1


@pytest.mark.parametrize(
    "good", [2, np.int64(2), np.uint8(2), np.array(2), jnp.int32(2)], ids=lambda v: type(v).__name__
)
def test_any_integer_in_range_is_an_answer(good: Any) -> None:
    imitator, decision = open_query()
    assert imitator.answer(decision, good).action == 2
    np.testing.assert_allclose(imitator.weights, [0, 1], atol=1e-6)


@pytest.mark.parametrize(
    "bad", [0, [0], [0, 1, 2], [0, None], [0, 3], [0, 1.0], [True, 0], None, "ab", {}, [-1, 0]], ids=str
)
def test_an_invalid_answer_to_a_batch_changes_nothing(bad: Any) -> None:
    imitator, decision = open_query(num_envs=2)
    before = snapshot(imitator)
    with pytest.raises(InvalidAnswerError):
        imitator.answer(decision, bad)
    assert_bit_identical(before, imitator)
    with pytest.raises(PendingQueryError):
        imitator.decide([0, 0])
    assert imitator.answer(decision, [1, 2]).action.tolist() == [1, 2]


def test_a_ragged_answer_to_a_batch_is_an_invalid_answer() -> None:
    imitator, decision = open_query(num_envs=2)
    try:
        imitator.answer(decision, [[1], 1])
    except InvalidAnswerError:
        return


def test_only_the_decision_that_waits_can_be_answered_and_with_one_answer() -> None:
    imitator, decision = open_query()
    _, foreign = open_query()
    with pytest.raises(InvalidAnswerError, match="not the decision that waits"):
        imitator.answer(foreign, 1)
    closed = imitator.answer(decision, 1)
    after = snapshot(imitator)
    for repeated in (decision, closed):
        assert imitator.answer(repeated, 1) is closed
        with pytest.raises(StaleAnswerError, match="answered with 1 before"):
            imitator.answer(repeated, 0)
    assert_bit_identical(after, imitator)


def test_a_decision_that_was_no_query_cannot_be_answered() -> None:
    imitator = ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), selection=TopK(2), seed=0)
    decision = imitator.decide(0)
    with pytest.raises(InvalidAnswerError):
        imitator.answer(decision, 0)


@pytest.mark.parametrize("thing", [None, 0, "decision"], ids=str)
def test_what_is_no_decision_cannot_be_answered(thing: Any) -> None:
    imitator, _ = open_query()
    with pytest.raises(InvalidAnswerError):
        imitator.answer(thing, 0)


def test_a_pending_query_blocks_the_next_step() -> None:
    imitator, decision = open_query()
    before = snapshot(imitator)
    for call in (imitator.decide, imitator.act):
        with pytest.raises(PendingQueryError, match="answer"):
            call(0)
    assert_bit_identical(before, imitator)
    imitator.answer(decision, 0)


@pytest.mark.parametrize("num_envs", [None, 2], ids=["single", "batch"])
def test_nobody_to_ask(num_envs: int | None) -> None:
    opposed = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    imitator = ConsensusImitator(ensembles.tabular(opposed), selection=TopK(2), seed=0, num_envs=num_envs)
    before = snapshot(imitator)
    observation = 0 if num_envs is None else np.zeros(num_envs, int)
    for _ in range(2):
        with pytest.raises(NoDemonstratorError, match="demonstrator"):
            imitator.act(observation)
        assert_it_only_asks(before, imitator)


class Unreliable:
    """A demonstrator that fails on some of its calls."""

    def __init__(self, failures: list[Any]) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self, observation: Any) -> Any:
        self.calls += 1
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, BaseException):
            raise failure
        return 0 if failure is None else failure


@pytest.mark.parametrize("num_envs", [None, 2], ids=["single", "batch"])
@pytest.mark.parametrize(
    "failure", [RuntimeError("lost"), KeyboardInterrupt(), 7, "north", 0.0], ids=lambda failure: type(failure).__name__
)
def test_a_demonstrator_that_fails_leaves_all_but_a_question(failure: Any, num_envs: int | None) -> None:
    opposed = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    build = lambda expert: ConsensusImitator(  # noqa: E731
        ensembles.tabular(opposed), expert, selection=TopK(2), seed=0, num_envs=num_envs
    )
    observation = 0 if num_envs is None else np.zeros(num_envs, int)
    expert = Unreliable([failure, failure])
    imitator, reference = build(expert), build(lambda observation: 0)
    before = snapshot(imitator)
    expected = type(failure) if isinstance(failure, BaseException) else InvalidAnswerError
    for _ in range(2):
        with pytest.raises(expected):
            imitator.act(observation)
        assert_it_only_asks(before, imitator)
        assert (imitator.num_steps, imitator.num_queries) == (0, 0)
    assert np.all(imitator.act(observation).queried)
    reference.act(observation)
    assert_same_leaves(imitator.state, reference.state)


# --- seeds and states ---


def decisions(imitator: ConsensusImitator, steps: int, first: int = 0) -> list[tuple[int, bool, float]]:
    made = [imitator.act((first + t) % S) for t in range(steps)]
    return [(decision.action, decision.queried, decision.query_prob) for decision in made]


@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_same_seed_gives_the_same_run_and_another_one_another(name: str) -> None:
    members, rule = ENSEMBLES[name]
    build = lambda seed: ConsensusImitator(members, scripted, selection=rule, seed=seed)  # noqa: E731
    assert decisions(build(3), 60) == decisions(build(3), 60)
    assert decisions(build(3), 60) != decisions(build(4), 60)


def test_without_a_seed_two_imitators_differ() -> None:
    members = ensembles.tabular(np.full((2, S, A), 1 / A))
    one, other = (ConsensusImitator(members, selection=TopK(2)) for _ in range(2))
    # 60 draws out of three actions agree with probability 3 ^ -60.
    assert decisions(one, 60) != decisions(other, 60)


def test_seeds_that_differ_in_their_upper_half_differ() -> None:
    members = ensembles.tabular(np.full((2, S, A), 1 / A))
    one, other = (ConsensusImitator(members, selection=TopK(2), seed=seed) for seed in (5, 5 + 2**40))
    assert decisions(one, 60) != decisions(other, 60)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_from_state_goes_on_exactly(name: str) -> None:
    members, rule = ENSEMBLES[name]
    whole = ConsensusImitator(members, scripted, selection=rule, seed=8)
    decisions(whole, 30)
    resumed = ConsensusImitator.from_state(whole.state, members, scripted, selection=rule)
    assert (resumed.num_steps, resumed.num_queries) == (whole.num_steps, whole.num_queries)
    assert decisions(resumed, 30, first=30) == decisions(whole, 30, first=30)
    assert_same_leaves(resumed.state, whole.state)


def test_from_state_goes_on_exactly_with_a_batch() -> None:
    members, rule = ENSEMBLES["tabular"]
    whole = ConsensusImitator(members, scripted, selection=rule, seed=8, num_envs=3)
    observations = np.arange(3)
    for _ in range(10):
        whole.act(observations)
    resumed = ConsensusImitator.from_state(whole.state, members, scripted, selection=rule)
    assert resumed.num_envs == 3
    for _ in range(10):
        np.testing.assert_array_equal(resumed.act(observations).action, whole.act(observations).action)
    assert_same_leaves(resumed.state, whole.state)


def test_from_state_refuses_another_ensemble() -> None:
    members, rule = ENSEMBLES["tabular"]
    state = ConsensusImitator(members, selection=rule, seed=0).state
    with pytest.raises(ValueError, match="4 weights"):
        ConsensusImitator.from_state(state, ensembles.tabular(PROBS[:3]), selection=rule)


def test_a_state_taken_while_a_query_waits_asks_it_again() -> None:
    imitator, decision = open_query()
    opposed = np.array([[[1.0, 0.0, 0.0]], [[0.0, 0.5, 0.5]]])
    resumed = ConsensusImitator.from_state(imitator.state, ensembles.tabular(opposed), selection=TopK(2))
    again = resumed.decide(0)
    assert again.queried
    assert again.query_prob == decision.query_prob


# --- arguments ---


def test_arguments_are_checked() -> None:
    members = ensembles.tabular(PROBS)
    with pytest.raises(ValueError, match="num_envs"):
        ConsensusImitator(members, num_envs=0)
    with pytest.raises(ValueError, match="k <= 4"):
        ConsensusImitator(members, selection=TopK(5))
    batch = ConsensusImitator(members, scripted, num_envs=3, seed=0)
    with pytest.raises(ValueError, match="3 observations"):
        batch.decide(np.zeros(2, int))
    assert issubclass(InvalidAnswerError, ConsensusImitationError)


def test_observations_of_a_batch_may_be_dictionaries() -> None:
    members = ensembles.stacked(
        lambda row, observation: row * observation["place"] + observation["time"], jnp.ones((2, 3)), num_actions=3
    )
    imitator = ConsensusImitator(members, selection=TopK(2), num_envs=3, seed=0)
    observation = {"place": np.zeros((3, 3), np.float32), "time": np.zeros((3, 3), np.float32)}
    assert imitator.decide(observation).action.shape == (3,)


def test_the_default_rule_is_the_documented_one() -> None:
    members = ensembles.tabular(PROBS)
    default = ConsensusImitator(members, scripted, seed=2)
    explicit = ConsensusImitator(members, scripted, selection=TopK(2) | AlphaThreshold(0.01), seed=2)
    assert decisions(default, 40) == decisions(explicit, 40)
    alone = ConsensusImitator(ensembles.tabular(PROBS[:1]), seed=0)
    assert not any(queried for _, queried, _ in decisions(alone, 40))


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_query_rate_is_theta(k: int) -> None:
    """Nothing renormalises the minimum on the way through the shell: the number of queries is within 5 sigma."""
    imitator = ConsensusImitator(ensembles.tabular(PROBS), selection=TopK(k), seed=6)
    thetas, asked = [], 0
    for t in range(800):
        decision = imitator.decide(t % S)
        thetas.append(decision.query_prob)
        if decision.queried:
            asked += 1
            # Resume before the query so that nothing is learned, but with another key.
            state = imitator.state
            stream = state.stream.replace(step=state.stream.step + 1)
            imitator = ConsensusImitator.from_state(
                state.replace(stream=stream), ensembles.tabular(PROBS), selection=TopK(k)
            )
    theta = np.array(thetas)
    assert abs(asked - theta.sum()) <= 5 * np.sqrt((theta * (1 - theta)).sum())
    if k > 1:
        assert asked > 40


def test_weights_begin_as_the_prior() -> None:
    imitator = ConsensusImitator(ensembles.tabular(PROBS, prior=[1, 2, 3, 4]), selection=TopK(2), seed=0)
    np.testing.assert_allclose(imitator.weights, [0.1, 0.2, 0.3, 0.4], atol=1e-6)


def test_a_warning_turned_into_an_error_leaves_the_state_as_it_was() -> None:
    """Warnings are errors in these tests, as they are for some users."""
    members = ensembles.tabular(np.array([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]]))
    imitator = ConsensusImitator(members, selection=TopK(2), seed=0)
    decision = imitator.decide(0)
    before = snapshot(imitator)
    with pytest.raises(ConsensusWarning):
        imitator.answer(decision, 2)
    assert_bit_identical(before, imitator)
