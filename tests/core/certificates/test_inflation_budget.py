"""T5 by exact enumeration: with the budget no event is more than C times as likely, up to alpha / w, at any horizon."""

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus_imitation import AlphaThreshold, ConsensusImitator, InflationBudget, Learner, Minimum, TopK, ensembles
from consensus_imitation.core.aggregation import MAP, ConsensusSampling, UniformMixture
from consensus_imitation.core.budget import enter
from consensus_imitation.core.rollout import rollout, start
from consensus_imitation.demonstrators import TabularDemonstrator

from .trees import SHAPES, Enumeration, Shape, Trees, enumerate_trees, random_trees

FACTORS = [1.2, 2.0, 5.0]
#: Probabilities of histories are products of at most 5 float32 laws, each exact to a few ulps: 1e-6, with room.
TOLERANCE = 1e-5
#: Stands for "no budget" without compiling another program; that it is none is tested.
NO_LIMIT = 1e30


@cache
def trees(shape: Shape) -> Trees:
    return random_trees(shape)


@cache
def enumerated(shape: Shape, factor: float) -> Enumeration:
    return enumerate_trees(trees(shape), factor)


def shape_id(shape: Shape) -> str:
    return f"A{shape.A}-N{shape.N}-T{shape.depth}-{'union' if shape.quorum else 'alpha'}"


#: Each shape is a program of its own: `make test` enumerates the trees of the first two.
every_shape = pytest.mark.parametrize(
    "shape", [*SHAPES[:2], *(pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[2:])], ids=shape_id
)
every_factor = pytest.mark.parametrize("factor", FACTORS)


@every_shape
@every_factor
def test_no_event_exceeds_the_bound(shape: Shape, factor: float) -> None:
    found = enumerated(shape, factor)
    np.testing.assert_allclose(found.imitator.sum(-1), 1.0, atol=TOLERANCE)
    np.testing.assert_allclose(found.demonstrator.sum(-1), 1.0, atol=1e-12)
    assert np.all(found.worst_excess(factor) <= trees(shape).slack + TOLERANCE)


@pytest.mark.slow
@every_factor
def test_without_a_budget_the_bound_fails(factor: float) -> None:
    """The control: on these very trees the same inequality does not hold by itself."""
    beyond = np.concatenate([enumerated(s, NO_LIMIT).worst_excess(factor) - trees(s).slack for s in SHAPES])
    assert len(beyond) >= 200
    assert np.sum(beyond > 100 * TOLERANCE) >= 10
    assert beyond.max() > 0.004


@pytest.mark.slow
def test_no_limit_is_no_budget() -> None:
    shape = SHAPES[0]
    without = enumerate_trees(trees(shape), None)
    np.testing.assert_array_equal(without.imitator, enumerated(shape, NO_LIMIT).imitator)
    assert not any(level.decision.handed_over.any() for level in without.levels)


@pytest.mark.slow
@every_factor
def test_both_ways_of_spending_occur(factor: float) -> None:
    """What makes the comparison worth something: steps handed over because the budget binds, and others."""
    levels = [level for shape in SHAPES for level in enumerated(shape, factor).levels]
    handed = sum(int((level.decision.handed_over & (level.reached > 0)).sum()) for level in levels)
    spent = sum(int((level.decision.log_inflation > 0).sum()) for level in levels)
    assert min(handed, spent) > 1000


@every_shape
@every_factor
def test_the_ledger_counts_what_it_should(shape: Shape, factor: float) -> None:
    limit = math.log(factor)
    for level in enumerated(shape, factor).levels:
        decision = level.decision
        np.testing.assert_allclose(level.ledger, level.exact_ledger, atol=TOLERANCE)
        assert level.ledger.max() <= limit + 1e-6
        assert np.all(level.ledger.astype(np.float64) >= level.summed)
        # Up to the rounding of theta itself the exact sum is never understated either.
        assert np.all(level.ledger >= level.exact_ledger - 1e-6)
        handed = decision.handed_over
        assert np.all(decision.query_prob[handed] == 1)
        assert np.all(decision.min_probs[handed] == 0)
        assert np.all(decision.log_inflation[handed] == 0)
        unchanged = np.broadcast_to(level.ledger[..., None], level.children.shape)
        np.testing.assert_array_equal(level.children[handed], unchanged[handed])
        able = (decision.min_probs.max(-1) > 0) | handed
        over = level.exact_ledger + np.log1p(level.theta) - limit
        assert np.all(handed[able & (over > TOLERANCE)])
        assert not np.any(handed[able & (over < -TOLERANCE)])


def test_a_step_that_could_only_be_asked_about_costs_nothing() -> None:
    probs = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    learner = Learner(ensembles.tabular(probs), TopK(2), budget=InflationBudget(factor=1.0))
    state = learner.init(jax.random.key(0))
    decision = learner.decide(state, 0)
    assert float(decision.query_prob) == 1
    assert not bool(decision.handed_over)
    assert float(decision.log_inflation) == 0


def test_factor_one_asks_at_every_disagreement_and_acts_on_agreement() -> None:
    probs = np.array([[[0.5, 0.5], [0.3, 0.7]], [[0.49, 0.51], [0.3, 0.7]]])
    learner = Learner(ensembles.tabular(probs), TopK(2), budget=InflationBudget(factor=1.0))
    state = learner.init(jax.random.key(0))
    assert bool(learner.decide(state, 0).handed_over)
    agreed = learner.decide(state, 1)
    assert not bool(agreed.handed_over)
    assert float(agreed.query_prob) == 0


# --- the ledger by itself ---


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just(0.0), st.floats(2**-60, 0.75, width=32)), min_size=1, max_size=40))
def test_the_ledger_never_understates(steps: list[float]) -> None:
    ledger = jnp.zeros(())
    for step in steps:
        after = _enter(ledger, jnp.float32(step))
        assert float(after) == float(ledger) if step == 0 else float(after) > float(ledger)
        ledger = after
    exact = math.fsum(steps)
    assert float(ledger) >= exact
    assert float(ledger) <= exact + len(steps) * 2.5e-7 * max(exact, 1e-30) + 1e-37


def test_tiny_amounts_do_not_vanish_in_a_long_sum() -> None:
    """2**16 amounts far below the spacing of float32 at 1: a plain sum would stay where it is."""
    count, amount = 2**16, np.float32(1e-9)
    plain = np.float32(1.0) + amount
    assert plain == 1.0
    total = jax.jit(lambda: jax.lax.fori_loop(0, count, lambda _, ledger: enter(ledger, amount), jnp.float32(1.0)))()
    assert float(total) >= 1 + count * float(amount)


_enter = jax.jit(enter)


@pytest.mark.parametrize("factor", [0.99, 0, -1, math.inf, math.nan, np.float32(0.5)])
def test_a_bad_factor_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="factor must be"):
        InflationBudget(factor=factor)


def test_a_bad_period_is_refused() -> None:
    with pytest.raises(ValueError, match="per must be"):
        InflationBudget(per="step")  # type: ignore[arg-type]


def test_nan_exceeds() -> None:
    assert bool(InflationBudget(2.0).exceeded(jnp.nan, 0.1))
    assert bool(InflationBudget(2.0).exceeded(0.0, jnp.nan))
    assert bool(InflationBudget(2.0).exceeded(0.0, jnp.inf))


@pytest.mark.parametrize("rule", [MAP(), UniformMixture(), ConsensusSampling(1), ConsensusSampling(2, 3)])
def test_a_budget_needs_the_minimum(rule: Any) -> None:
    members = ensembles.tabular(np.full((2, 1, 2), 0.5))
    with pytest.raises(ValueError, match="inflation budget needs the minimum"):
        Learner(members, TopK(2), rule, budget=InflationBudget()).init(jax.random.key(0))
    with pytest.raises(ValueError, match="inflation budget needs the minimum"):
        ConsensusImitator(members, aggregation=rule, inflation_budget=InflationBudget(), seed=0)


# --- per run and per episode ---

#: Both members stay, whatever is answered: theta is 0.2 for ever.
DISAGREEING = np.array([[[0.6, 0.4]], [[0.4, 0.6]]])
STEP = math.log(1.2)
EPISODE = 4


class Outcome(struct.PyTreeNode):
    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    harm: jax.Array


class Clock(struct.PyTreeNode):
    """Episodes of `EPISODE` steps, ended by termination and truncation in turn."""

    def reset(self, key: jax.Array) -> tuple[Any, jax.Array]:
        return jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)

    def step(self, key: jax.Array, state: jax.Array, action: jax.Array) -> tuple[Any, Outcome]:
        over = state + 1 >= EPISODE
        no = jnp.zeros((), bool)
        ends = action == 0
        return state + 1, Outcome(jnp.zeros((), jnp.int32), jnp.zeros(()), over & ends, over & ~ends, no)


@pytest.mark.parametrize("per", ["run", "episode"])
def test_rollout_resets_the_ledger_with_the_episode_only_if_asked_to(per: Any) -> None:
    learner = Learner(ensembles.tabular(DISAGREEING), TopK(2), budget=InflationBudget(factor=1.5, per=per))
    expert = TabularDemonstrator.create(np.array([[0.5, 0.5]]))
    one = jax.jit(rollout, static_argnames="num_steps")
    state = start(learner, Clock(), jax.random.key(1))
    ledger, ends = 0.0, set()
    most = math.floor(math.log(1.5) / STEP)  # steps that the budget pays for
    for t in range(5 * EPISODE):
        state, seen = one(learner, Clock(), expert, state, num_steps=1)
        place = t % EPISODE if per == "episode" else t
        handed = place >= most
        assert float(seen.query_prob[0]) == pytest.approx(1.0 if handed else 0.2, abs=1e-6)
        ledger = ledger if handed else ledger + STEP
        done = bool(seen.terminated[0] | seen.truncated[0])
        assert done == (t % EPISODE == EPISODE - 1)
        if done:
            ends.add(bool(seen.terminated[0]))
            ledger = 0.0 if per == "episode" else ledger
        assert float(state.learner.stream.ledger) == pytest.approx(ledger, abs=1e-6)
    assert ends == {True, False}


@pytest.mark.parametrize("per", ["run", "episode"])
@pytest.mark.parametrize("num_envs", [None, 3])
def test_begin_episode_in_the_shell(per: Any, num_envs: int | None) -> None:
    imitator = ConsensusImitator(
        ensembles.tabular(DISAGREEING),
        demonstrator=lambda observation: 0,
        selection=TopK(2),
        inflation_budget=InflationBudget(factor=1.5, per=per),
        seed=3,
        num_envs=num_envs,
    )
    observation: Any = 0 if num_envs is None else np.zeros(num_envs, int)
    for expected in (STEP, 2 * STEP, 2 * STEP):
        decision = imitator.act(observation)
        np.testing.assert_allclose(decision.ledger, expected, atol=1e-6)
        np.testing.assert_allclose(imitator.ledger, expected, atol=1e-6)
    assert np.all(decision.handed_over)
    assert np.all(decision.queried)
    if num_envs is not None:
        imitator.begin_episode(env=1)
        kept = 2 * STEP
        np.testing.assert_allclose(imitator.ledger, [kept, 0.0 if per == "episode" else kept, kept], atol=1e-6)
    imitator.begin_episode()
    np.testing.assert_allclose(imitator.ledger, 0.0 if per == "episode" else 2 * STEP, atol=1e-6)
    assert np.all(imitator.act(observation).handed_over) == (per == "run")


@pytest.mark.slow
def test_the_factor_can_be_swept() -> None:
    learner = Learner(ensembles.tabular(DISAGREEING), AlphaThreshold(0.1))
    state = learner.init(jax.random.key(0))

    def handed(factor: jax.Array) -> jax.Array:
        return learner.replace(budget=InflationBudget(factor)).decide(state, 0).handed_over

    assert jax.vmap(handed)(jnp.array([1.0, 1.19, 1.21, 4.0])).tolist() == [True, True, False, False]


# --- the budget with the two options of the minimum ---


@pytest.mark.parametrize(
    ("rule", "inflation"),
    [
        (Minimum(rounds=2), math.log(1 + 0.2 + 0.04)),
        (Minimum(rounds=3), math.log(1 + 0.2 + 0.04 + 0.008)),
        (Minimum(threshold=0.3), -math.log(0.8)),
        (Minimum(threshold=0.1), 0.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_rounds_and_threshold_are_charged_for_their_own_inflation(rule: Minimum, inflation: float) -> None:
    for above in (True, False):
        factor = math.exp(3 * inflation) * (1 + 1e-4 if above else 1 - 1e-4) if inflation else 1.0
        budget = InflationBudget(factor=max(1.0, factor))
        learner = Learner(ensembles.tabular(DISAGREEING), TopK(2), rule, budget=budget)
        state = learner.init(jax.random.key(0))
        handed = []
        for step in range(4):
            decision = learner.decide(state, 0)
            handed.append(bool(decision.handed_over))
            expected = 0.0 if handed[-1] else inflation
            assert float(decision.log_inflation) == pytest.approx(expected, abs=1e-6)
            state, _ = learner.observe(state, 0, decision, answer=step % 2)
        paid = 4 if inflation == 0 else 3 if above else 2
        assert handed == [False] * paid + [True] * (4 - paid)
