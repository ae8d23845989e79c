"""What is timed against each other computes the same; nothing here measures time."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import Learner, TopK, benchmarks, ensembles, envs
from consensus_imitation.benchmarks import decisions, loops, networks, replay
from consensus_imitation.benchmarks.cases import CASES, count_rollout_compilations
from consensus_imitation.benchmarks.measure import Measurement, time_by_turns
from consensus_imitation.core.draw import as_float, from_float
from consensus_imitation.core.learner import random_words

SHAPES = [(7, 3, 5, 1), (64, 8, 16, 3), (3, 4, 1280, 2), (3, 2, 1000, 2), (2, 5, 8192, 5)]


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numpy_decisions_are_the_librarys(shape: tuple[int, int, int, int]) -> None:
    batch, num_members, num_actions, k = shape
    log_probs, log_weights, _ = decisions.inputs(batch, num_members, num_actions)
    for seed in range(5):
        uniforms = np.random.default_rng(seed).random(batch, dtype=np.float32)
        arguments = (log_probs, log_weights, uniforms, k)
        ours = decisions.library(log_probs, log_weights, from_float(uniforms), k)
        for baseline in (
            decisions.textbook_numpy,
            decisions.vectorised_numpy,
            decisions.TunedNumpy(batch, num_actions),
        ):
            actions, query_probs = baseline(*arguments)
            np.testing.assert_allclose(query_probs, ours[1], atol=2e-6)
            np.testing.assert_array_equal(actions, ours[0])


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numpy_decisions_are_those_of_the_learner(shape: tuple[int, int, int, int]) -> None:
    batch, num_members, num_actions, k = shape
    log_probs, log_weights, _ = decisions.inputs(batch, num_members, num_actions)
    learner, state = decisions.learner_of(batch, num_members, num_actions, k, log_weights)
    ours = decisions.decide(learner, state, log_probs)
    decisions.check_same(
        decisions.textbook_numpy(log_probs, log_weights, decisions.uniforms_of(state), k),
        (ours.action, ours.query_prob),
        "textbook NumPy",
    )
    of_logits, state = decisions.learner_of(batch, num_members, num_actions, k, log_weights, logits=True)
    same = decisions.decide(of_logits, state, log_probs + 3.0)
    np.testing.assert_allclose(same.query_prob, ours.query_prob, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_naive_jit_has_the_same_law(shape: tuple[int, int, int, int], key: jax.Array) -> None:
    batch, num_members, num_actions, k = shape
    log_probs, log_weights, uniforms = decisions.inputs(batch, num_members, num_actions)
    actions, query_probs = decisions.naive_jit(log_probs, log_weights, key, k)
    np.testing.assert_allclose(
        query_probs, decisions.library(log_probs, log_weights, from_float(uniforms), k)[1], atol=2e-6
    )
    assert np.all((np.asarray(actions) >= -1) & (np.asarray(actions) < num_actions))


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("make", [loops.LeanNumpyImitator, loops.NumpyImitator])
@pytest.mark.parametrize("k", [1, 2, 5, 8])
def test_numpy_class_follows_the_learner(k: int, make: type[loops.LeanNumpyImitator], key: jax.Array) -> None:
    """Same members, same random numbers, same answers: the same actions, query probabilities and weights."""
    world = envs.make("cliff")
    demonstrator_probs = np.asarray(world.demonstrator_probs, np.float64)
    members = loops.members_around(demonstrator_probs, 8)
    learner = Learner(ensembles.tabular(members), TopK(k))
    in_numpy = make(members, k)
    state = learner.init(key)
    decide, observe = jax.jit(Learner.decide), jax.jit(Learner.observe)
    demonstrator = loops.table_demonstrator(demonstrator_probs, seed=k)
    rng = np.random.default_rng(k)
    queries, evidence = 0, 0.0
    for _ in range(300):
        observation = int(rng.integers(len(demonstrator_probs)))
        answer = demonstrator(observation)
        decision = decide(learner, state, observation)
        action, query_prob = in_numpy.decide(
            observation, float(as_float(random_words(state.stream.key, state.stream.step)))
        )
        assert action == int(decision.action)
        assert query_prob == pytest.approx(float(decision.query_prob), abs=2e-6)
        if action < 0:
            in_numpy.observe(observation, answer)
            queries += 1
        state, info = observe(learner, state, observation, decision, answer)
        evidence += float(info.evidence)
        np.testing.assert_allclose(in_numpy.log_weights, state.posterior.log_weights, atol=1e-4)
    assert (queries > 0) == (k > 1)
    if isinstance(in_numpy, loops.NumpyImitator):
        assert in_numpy.evidence == pytest.approx(evidence, abs=1e-3)


def test_numpy_class_asks_when_a_member_is_invalid() -> None:
    probs = np.tile([0.5, 0.5], (3, 1, 1))
    probs[1, 0] = [0.9, 0.9]
    assert loops.NumpyImitator(probs, 3).decide(0, 0.999) == (-1, 1.0)


def test_numpy_run_adds_up() -> None:
    """A lone member that is the demonstrator never asks and, like it, reaches the goal."""
    world = envs.make("cliff")
    probs = np.asarray(world.demonstrator_probs, np.float64)
    totals = loops.run_numpy(loops.NumpyImitator(probs[None], 1), world, loops.table_demonstrator(probs, 0), 2_000, 0)
    assert totals.queries == 0
    assert totals.reward > 50


def test_numpy_run_refuses_a_world_of_chance() -> None:
    worlds = [envs.make(name) for name in envs.names()]
    noisy = next(world for world in worlds if world.env.next_state.shape[2] > 1 or len(world.env.start_states) > 1)
    probs = np.asarray(noisy.demonstrator_probs, np.float64)
    with pytest.raises(ValueError, match="without chance"):
        loops.run_numpy(loops.NumpyImitator(probs[None], 1), noisy, loops.table_demonstrator(probs, 0), 10, 0)


def test_a_sweep_over_k_compiles_once() -> None:
    assert count_rollout_compilations(range(1, 9)) == 1


def test_the_kernel_compiles_once_for_all_k() -> None:
    traced = 0

    @jax.jit
    def decide(log_probs: jax.Array, log_weights: jax.Array, uniforms: jax.Array, k: jax.Array) -> jax.Array:
        nonlocal traced
        traced += 1
        return decisions.library(log_probs, log_weights, uniforms, k)[0]

    log_probs, log_weights, uniforms = decisions.inputs(4, 8, 5)
    arguments = [jnp.asarray(part) for part in (log_probs, log_weights, from_float(uniforms))]
    for k in range(1, 9):
        decide(*arguments, k)
    assert traced == 1


def test_the_shell_acts_as_the_forward_pass_implies() -> None:
    params = networks.make_params(agreeing=True)
    logits = networks.make_forward(params, batched=True)(networks.observations(3))
    decision = networks.make_imitator(params, num_envs=3).act(networks.observations(3))
    np.testing.assert_allclose(decision.min_probs, jax.nn.softmax(logits[:, 0]), atol=1e-6)
    assert not decision.queried.any()


def test_ratios_and_targets() -> None:
    cost = Measurement("case", "time", ours=3.0, reference="floor", reference_value=2.0, target=2.0)
    assert (cost.ratio, cost.met) == (1.5, True)
    speed_up = Measurement("case", "time", ours=1.0, reference="slow", reference_value=3.0, target=4.0, at_least=True)
    assert (speed_up.ratio, speed_up.met) == (3.0, False)
    alone = Measurement("case", "count", ours=1.0, unit="programs", target=1.0)
    assert (alone.ratio, alone.met) == (None, True)
    assert Measurement("case", "time", ours=1e-4).met is None
    assert cost.as_row() == {
        "case": "case",
        "quantity": "time",
        "ours": "3 s",
        "reference": "floor",
        "its value": "2 s",
        "ratio": "1.5",
        "target": "<= 2",
        "met": True,
    }
    assert Measurement("case", "time", ours=4.2e-5).as_row()["ours"] == "42 us"


def test_functions_take_turns() -> None:
    order: list[str] = []
    times = time_by_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, calls={"a": 2, "b": 1})
    assert order == ["a", "a", "a", "b", "b"] * 2  # the first call of each turn is not timed
    assert all(math.isfinite(seconds) and seconds >= 0 for seconds in times.values())


@pytest.mark.slow
def test_run_reports_progress_and_rejects_unknown_names() -> None:
    seen: list[tuple[int, int]] = []
    results = benchmarks.run(
        ["decide-one", "sweep"], repeats=1, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert {result.case for result in results} == {"decide 1x8x5, k=4", "sweep over 8 values of k"}
    with pytest.raises(ValueError, match="no such case: speed"):
        benchmarks.run(["speed"])
    assert "loop" in CASES


@pytest.mark.slow
def test_what_is_timed_of_the_replay_is_an_answer_without_training() -> None:
    """The two capacities differ in nothing else."""
    for capacity in (64, 16_384):
        answer = replay.make_answer(capacity, side=12)
        assert [answer() for _ in range(6)] == [1, 2, 3, 4, 5, 6]
