"""The stateful shell: N calls equal N core calls; errors leave the state as it was."""

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import AlphaThreshold, TopK
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import (
    autoregressive,
    discretised_logistic,
    factored_categorical,
    from_functions,
    gaussian,
)
from consensus_imitation.errors import (
    ConsensusWarning,
    InvalidAnswerError,
    NoDemonstratorError,
    PendingQueryError,
    StaleAnswerError,
)
from consensus_imitation.imitator import SamplingDecision, SamplingImitator

GAINS = jnp.array([[1.0, 0.5], [1.2, 0.5], [0.2, 0.4]])
RULE = TopK(3)


class Space:
    """Like a Gymnasium space, as far as it is used."""

    def contains(self, action: Any) -> bool:
        return bool(np.all(np.abs(action) <= 2))


def proportional(gain: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -gain * x, jnp.full(2, -1.5)


ENSEMBLE = gaussian(proportional, GAINS, [-2.0, -2.0], [2.0, 2.0])


def expert(x: Any) -> np.ndarray:
    return np.clip(-np.array([1.0, 0.5]) * np.asarray(x), -2, 2)


def observations(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)


def until_query(imitator: SamplingImitator, observation: Any = (1.5, 1.5)) -> SamplingDecision:
    for _ in range(200):
        decision = imitator.decide(np.asarray(observation, np.float32))
        if decision.queried:
            return decision
    raise AssertionError("no query in 200 steps")


def leaves(imitator: SamplingImitator) -> list[Any]:
    typed = jax.tree.leaves(imitator.state)
    return [jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf for leaf in typed]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


def test_shell_calls_equal_core_calls() -> None:
    imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=3)
    learner = SamplingLearner(ENSEMBLE, RULE)
    state, asked = learner.init(jax.random.key(3)), 0
    decide, observe = jax.jit(learner.decide), jax.jit(learner.observe)
    for number, x in enumerate(observations(40)):
        pure = decide(state, x)
        state, info = observe(state, x, pure, expert(x))
        decision = imitator.act(x)
        assert decision.queried == bool(pure.queried)
        assert decision.step == number
        assert decision.query_prob_estimate == pytest.approx(float(pure.query_prob_estimate), abs=1e-6)
        assert decision.dissenter == (None if int(pure.dissenter) < 0 else int(pure.dissenter))
        np.testing.assert_allclose(decision.action, info.action, rtol=1e-6)
        asked += decision.queried
    np.testing.assert_allclose(imitator.state.posterior.log_weights, state.posterior.log_weights, rtol=1e-5, atol=1e-5)
    assert 0 < asked < 40
    assert (imitator.num_steps, imitator.num_queries, imitator.query_rate) == (40, asked, asked / 40)
    assert imitator.weights.sum() == pytest.approx(1)
    assert imitator.alarms == ()


def test_decide_and_answer_equal_act() -> None:
    one = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=5)
    two = SamplingImitator(ENSEMBLE, selection=RULE, seed=5)
    for x in observations(30):
        acted, decision = one.act(x), two.decide(x)
        assert decision.queried == acted.queried
        if decision.queried:
            assert decision.action is None
            decision = two.answer(decision, expert(x).tolist())
        np.testing.assert_array_equal(decision.action, acted.action)
        assert decision.action.dtype == np.float32
    assert same(leaves(one), leaves(two))


def test_a_state_goes_on_as_if_nothing_had_happened() -> None:
    one = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=7)
    for x in observations(10):
        one.act(x)
    two = SamplingImitator.from_state(one.state, ENSEMBLE, expert, selection=RULE, action_space=Space())
    assert (two.num_steps, two.num_queries) == (one.num_steps, one.num_queries)
    for x in observations(10):
        np.testing.assert_array_equal(one.act(x).action, two.act(x).action)
    other = gaussian(proportional, GAINS[:2], [-2.0, -2.0], [2.0, 2.0])
    with pytest.raises(ValueError, match=r"weights of shape \[3\], but the ensemble has 2 members"):
        SamplingImitator.from_state(one.state, other, selection=TopK(2))
    with pytest.raises(ValueError, match="k=4"):
        SamplingImitator.from_state(one.state, ENSEMBLE, selection=TopK(4))


def test_one_query_at_a_time() -> None:
    imitator = SamplingImitator(ENSEMBLE, selection=RULE, seed=0)
    decision = until_query(imitator)
    before = leaves(imitator)
    with pytest.raises(PendingQueryError, match=f"step {decision.step}"):
        imitator.decide(np.zeros(2, np.float32))
    with pytest.raises(PendingQueryError):
        imitator.act(np.zeros(2, np.float32))
    assert same(before, leaves(imitator))
    closed = imitator.answer(decision, expert([1.5, 1.5]))
    after = leaves(imitator)
    assert imitator.answer(decision, expert([1.5, 1.5])) is closed
    with pytest.raises(StaleAnswerError, match="that stands"):
        imitator.answer(decision, [0.0, 0.0])
    assert same(after, leaves(imitator))


def test_a_demonstrator_that_fails_withdraws_the_step() -> None:
    answers = iter([KeyboardInterrupt, RuntimeError("away"), [np.nan, 0.0], [0.1, 0.2]])

    def moody(observation: Any) -> Any:
        answer = next(answers)
        if isinstance(answer, list):
            return answer
        raise answer

    imitator = SamplingImitator(ENSEMBLE, selection=RULE, seed=0)
    decision = until_query(imitator)
    steps = imitator.num_steps
    imitator = SamplingImitator.from_state(imitator.state, ENSEMBLE, moody, selection=RULE)
    weights, x = imitator.weights, np.full(2, 1.5, np.float32)
    for error in (KeyboardInterrupt, RuntimeError, InvalidAnswerError):
        with pytest.raises(error):
            imitator.act(x)
        np.testing.assert_array_equal(imitator.weights, weights)
        assert (imitator.num_steps, imitator.num_queries) == (steps, 0)
    closed = imitator.act(x)
    assert closed.queried
    assert closed.step == decision.step
    np.testing.assert_allclose(closed.action, [0.1, 0.2], rtol=1e-6)


def test_no_demonstrator() -> None:
    imitator = SamplingImitator(ENSEMBLE, selection=RULE, seed=0)
    until_query(imitator)
    imitator = SamplingImitator.from_state(imitator.state, ENSEMBLE, selection=RULE)
    steps = imitator.num_steps
    with pytest.raises(NoDemonstratorError, match="decide"):
        imitator.act(np.full(2, 1.5, np.float32))
    assert imitator.num_steps == steps
    assert [one.step for one in imitator.pending] == [steps]


def test_an_answer_that_no_member_explains_is_an_alarm() -> None:
    imitator = SamplingImitator(ENSEMBLE, selection=RULE, seed=0)
    decision = until_query(imitator)
    before = leaves(imitator)
    with pytest.raises(ConsensusWarning):  # where warnings are errors, nothing has happened
        imitator.answer(decision, [5.0, 0.0])
    assert same(before, leaves(imitator))
    with pytest.warns(ConsensusWarning, match="no member explains"):
        imitator.answer(decision, [5.0, 0.0])
    for _ in range(5):
        decision = imitator.decide(np.zeros(2, np.float32))
        assert decision.queried
        assert decision.query_prob_estimate == 1
        imitator.answer(decision, [0.0, 0.0])  # warned of already; a second warning would be an error here
    assert "no member explains" in imitator.alarms[0]
    imitator.clear_alarm()
    assert imitator.alarms == ()
    assert any(not imitator.act(np.zeros(2, np.float32)).queried for _ in range(3) if not imitator.pending)


def test_an_invalid_member_is_named_once_and_counted() -> None:
    broken = gaussian(proportional, GAINS.at[1, 0].set(jnp.nan), [-2.0, -2.0], [2.0, 2.0])
    imitator = SamplingImitator(broken, lambda x: np.zeros(2), selection=RULE, seed=0)
    with pytest.warns(ConsensusWarning, match="member 1 gave an unusable density at step 0"):
        decision = imitator.act(np.zeros(2, np.float32))
    assert decision.queried
    assert decision.dissenter == 1
    assert decision.invalid.tolist() == [False, True, False]
    imitator.act(np.zeros(2, np.float32))  # warned of already; a second warning would be an error here
    assert "member 1" in imitator.alarms[0]
    assert "2 times" in imitator.alarms[0]
    assert imitator.weights[1] == pytest.approx(1 / 3, rel=1e-5)


def test_structured_actions() -> None:
    ensemble = from_functions(
        sample=lambda p, o, key: {"speed": p + jax.random.normal(key), "gear": jnp.int32(2)},
        log_prob=lambda p, o, a: jnp.where(a["gear"] == 2, jax.scipy.stats.norm.logpdf(a["speed"], p), -jnp.inf),
        params=jnp.array([0.0, 3.0]),
    )
    imitator = SamplingImitator(ensemble, selection=TopK(2), seed=0)
    decision = until_query(imitator, 0.0)
    for bad in ({"speed": 1.0}, {"speed": 1.0, "gear": 2.0}, {"speed": 1.0, "gear": 2**40}, [1.0, 2]):
        with pytest.raises(InvalidAnswerError):
            imitator.answer(decision, bad)
    closed = imitator.answer(decision, {"speed": 1.0, "gear": 2})
    assert closed.action == {"speed": 1.0, "gear": 2}


def test_gymnasium_spaces() -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    box = spaces.Box(-2.0, 2.0, (2,))
    ensemble = gaussian(proportional, GAINS, box.low, box.high)
    imitator = SamplingImitator(ensemble, selection=RULE, seed=0, action_space=box)
    decisions = [imitator.decide(np.full(2, 1.5, np.float32))]
    while not decisions[-1].queried:
        decisions.append(imitator.decide(np.full(2, 1.5, np.float32)))
    assert all(box.contains(decision.action) for decision in decisions[:-1])
    with pytest.raises(InvalidAnswerError, match="not in Box"):
        imitator.answer(decisions[-1], [2.5, 0.0])
    assert box.contains(imitator.answer(decisions[-1], [2.0, 0.0]).action)

    gears = spaces.MultiDiscrete([2, 3])
    logits = jnp.array([[0.0, 0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0, 9.0]])
    imitator = SamplingImitator(
        factored_categorical(lambda own, o: own, logits, gears.nvec), selection=TopK(2), seed=0, action_space=gears
    )
    decision = until_query(imitator)
    with pytest.raises(InvalidAnswerError, match="not in MultiDiscrete"):
        imitator.answer(decision, [2, 0])
    assert gears.contains(imitator.answer(decision, [1, 2]).action)


def test_sequences_and_integers() -> None:
    chains = autoregressive(
        start=lambda table, last: ((), table[last]),
        step=lambda table, memory, token: (memory, table[token]),
        params=jax.random.normal(jax.random.key(1), (3, 4, 4)),
        length=6,
    )
    words = SamplingImitator(chains, lambda last: [0, 1, 2, 3, 0, 1], selection=RULE, seed=0)
    doses = discretised_logistic(lambda dose, o: (dose, jnp.zeros(1)), jnp.array([[10.0], [12.0]]), 0, 50)
    doctor = SamplingImitator(doses, lambda patient: [11], selection=AlphaThreshold(0.01), seed=0)
    for imitator, shape in ((words, (6,)), (doctor, (1,))):
        decisions = [imitator.act(0) for _ in range(30)]
        assert {decision.action.shape for decision in decisions} == {shape}
        assert {decision.action.dtype for decision in decisions} == {np.dtype(np.int32)}
        assert all((decision.action >= 0).all() for decision in decisions)
        assert 0 < imitator.num_queries <= 30


def test_seeds() -> None:
    x = np.full(2, 1.5, np.float32)

    def run(seed: int | None) -> list[float]:
        imitator = SamplingImitator(ENSEMBLE, expert, selection=RULE, seed=seed)
        return [imitator.act(x).query_prob_estimate for _ in range(8)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(None) != run(None)


def test_the_default_rule_has_a_quorum_and_keeps_the_truth() -> None:
    imitator = SamplingImitator(ENSEMBLE)
    decision = imitator.decide(np.zeros(2, np.float32))
    assert decision.selected.sum() >= 2


def test_import_needs_no_gymnasium() -> None:
    code = (
        "import sys, consensus_imitation.imitator.sampling\n"
        "sys.exit('gymnasium' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
