"""The misspecification alarm: its e-processes, how often it is wrong, what it notices, and what follows."""

import math
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import (
    AlphaThreshold,
    ConsensusImitator,
    InflationBudget,
    Learner,
    MisspecificationAlarm,
    TopK,
    ensembles,
)
from consensus_imitation.core.alarm import SILENCE, AlarmState
from consensus_imitation.ensembles import Carry, Context
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.imitator._health import UNEXPLAINED

from .alarm_oracle import AlarmOracle

UNIVERSAL, AVERAGE, GEOMETRIC = 0, 1, 2
CAUTIOUS = (3, 4, 5)


@jax.jit
def settle(
    alarm: MisspecificationAlarm, contexts: jax.Array, log_probs: jax.Array, answers: jax.Array, asleep: jax.Array
) -> tuple[AlarmState, jax.Array]:
    """All answers [T] in turn: the state, and the log evidence [T, N] after each."""

    def one(state: AlarmState, step: Any) -> Any:
        state = alarm.update(state, *step)
        return state, (state, alarm.log_evidence(state))

    first = alarm.init(log_probs.shape[1], log_probs.shape[2])
    _, (states, evidence) = jax.lax.scan(one, first, (contexts, log_probs, answers, asleep))
    return states, evidence


def logs(probs: Any) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probs)).astype(np.float32)


# --- against the oracle ---

T, N, A, CONTEXTS = 40, 3, 3, 4


def random_answers(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Contexts, probabilities, answers and sleepers, with now and then zeros, agreement and everybody asleep."""
    probs = rng.dirichlet(np.full(A, rng.choice([0.5, 2.0])), (T, N))
    if rng.random() < 0.6:
        zero = rng.random((T, N, A)) < 0.05
        zero[zero.all(-1)] = False
        probs = np.where(zero, 0.0, probs)
        probs /= probs.sum(-1, keepdims=True)
    if rng.random() < 0.3:
        probs[:, 1] = probs[:, 0]
    if rng.random() < 0.3:
        probs *= rng.choice([1.0, 0.5, 1e-3], (T, N, 1))  # what is left is withheld
    asleep = rng.random((T, N)) < rng.choice([0.0, 0.1, 0.6])
    answers = np.array([rng.choice(A, p=p[0] / p[0].sum() if p[0].sum() else None) for p in probs])
    return rng.integers(0, CONTEXTS, T), np.where(asleep[..., None], 0.0, probs), answers, asleep


@pytest.mark.parametrize("num_contexts", [1, CONTEXTS])
def test_the_e_processes_agree_with_float64(num_contexts: int) -> None:
    rng = np.random.default_rng(21)
    alarm = MisspecificationAlarm(num_contexts=num_contexts)
    infinite, lost = 0, 0
    for _ in range(60):
        contexts, probs, answers, asleep = random_answers(rng)
        states, evidence = settle(alarm, contexts.astype(np.int32), logs(probs), answers, asleep)
        oracle = AlarmOracle(N, A, num_contexts)
        moved = np.zeros((6, N))
        for t in range(T):
            before = oracle.log_e.copy()
            oracle.update(int(contexts[t]) % num_contexts, probs[t], int(answers[t]), asleep[t])
            with np.errstate(invalid="ignore"):
                change = np.abs(oracle.log_e - before)
            moved += np.where(np.isfinite(change), change, 0.0)
            # Each step rounds the running sum and a few logarithms: 1e-6 of what has been moved, per step.
            room = 1e-5 + 1e-6 * moved
            found = np.asarray(states.log_e[t], np.float64)
            np.testing.assert_array_equal(np.isposinf(found), np.isposinf(oracle.log_e))
            np.testing.assert_array_equal(np.isneginf(found), np.isneginf(oracle.log_e))
            finite = np.isfinite(found)
            assert np.all(np.abs(found[finite] - oracle.log_e[finite]) <= room[finite])
            whole = np.asarray(evidence[t], np.float64)
            exact = oracle.log_evidence
            assert not np.isnan(whole).any()
            both = np.isfinite(exact)
            np.testing.assert_array_equal(np.isfinite(whole), both)
            assert np.all(np.abs(whole[both] - exact[both]) <= room.max() + 1e-5)
        infinite += int(np.isposinf(oracle.log_e).sum())
        lost += int(np.isneginf(oracle.log_e).sum())
        np.testing.assert_array_equal(states.counts[-1], oracle.counts)
        np.testing.assert_array_equal(states.silent[-1], oracle.silent)
    assert infinite > 20
    assert lost >= 3


def test_the_predictors_of_the_oracle_are_distributions() -> None:
    """What makes an e-process of them: under a member their ratio to it has expectation at most one."""
    rng = np.random.default_rng(22)
    oracle = AlarmOracle(N, A, 2)
    for _ in range(50):
        probs = rng.dirichlet(np.full(A, 0.5), N)
        asleep = rng.random(N) < 0.2
        found = oracle.predictors(1, probs, asleep)
        np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-12)
        oracle.update(1, probs, int(rng.integers(A)), asleep)


# --- false alarms ---

RUNS, ANSWERS = 4000, 320
DELTAS = [0.3, 0.1, 0.03, 0.01]

#: [contexts, N, A]; member 0 is the demonstrator.
WORLDS = {
    "wrong-members": np.array(
        [[[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]], [[0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7]]]
    ),
    "near-members": np.array(
        [[[0.50, 0.50], [0.55, 0.45], [0.45, 0.55]], [[0.30, 0.70], [0.25, 0.75], [0.35, 0.65]]],
    ),
    "zeros-and-rare": np.array(
        [[[0.999, 0.001, 0.0], [0.5, 0.0, 0.5], [0.9, 0.1, 0.0]], [[0.0, 0.99, 0.01], [0.3, 0.7, 0.0], [1.0, 0.0, 0.0]]]
    ),
    "alone": np.array([[[0.6, 0.4]], [[0.05, 0.95]]]),
}


def upper_limit(bound: float, runs: int) -> float:
    """5 sigma above the bound, and 1 for the grain."""
    return bound + 5 * math.sqrt(bound * (1 - bound) / runs) + 1 / runs


@partial(jax.jit, static_argnames="num_contexts")
def highest_evidence(world: jax.Array, keys: jax.Array, num_contexts: int) -> tuple[jax.Array, jax.Array]:
    """Per run the largest, over time, of the truth's log evidence and of the least among all members."""
    alarm = MisspecificationAlarm(num_contexts=num_contexts)

    def run(key: jax.Array) -> Any:
        contexts = jax.random.randint(jax.random.fold_in(key, 0), (ANSWERS,), 0, world.shape[0])
        numbers = jax.random.uniform(jax.random.fold_in(key, 1), (ANSWERS,))

        def one(carry: Any, step: Any) -> Any:
            state, own, least = carry
            context, number = step
            truth = world[context, 0]
            answer = jnp.sum(jnp.cumsum(truth)[:-1] <= number)
            # By rounding the last action could come although it is impossible.
            answer = jnp.where(truth[answer] > 0, answer, jnp.argmax(truth))
            awake = jnp.zeros(world.shape[1], bool)
            state = alarm.update(state, context, jnp.log(world[context]), answer, awake)
            evidence = alarm.log_evidence(state)
            return (state, jnp.maximum(own, evidence[0]), jnp.maximum(least, jnp.min(evidence))), None

        first = (alarm.init(world.shape[1], world.shape[2]), jnp.float32(-jnp.inf), jnp.float32(-jnp.inf))
        (_, own, least), _ = jax.lax.scan(one, first, (contexts, numbers))
        return own, least

    return jax.vmap(run)(keys)


@pytest.mark.quick_cases(3)
@pytest.mark.parametrize("num_contexts", [1, 2])
@pytest.mark.parametrize("name", WORLDS)
def test_false_alarms_are_as_rare_as_promised(name: str, num_contexts: int) -> None:
    keys = jax.random.split(jax.random.key(31), RUNS)
    own, least = highest_evidence(jnp.asarray(WORLDS[name], jnp.float32), keys, num_contexts)
    assert not np.isnan(own).any()
    assert np.all(np.asarray(least) <= np.asarray(own))
    for delta in DELTAS:
        # The truth alone is refuted at most so often; all members at once even less.
        refuted = float(np.mean(np.asarray(own) >= -math.log(delta)))
        assert refuted <= upper_limit(delta, RUNS)


def test_the_false_alarm_test_has_teeth() -> None:
    """Against a member that is not the demonstrator the same e-process nearly always wins."""
    world = jnp.asarray(WORLDS["wrong-members"], jnp.float32)
    shifted = world.at[:, 0].set(world[:, 1])  # answers from what is now member 0, the truth as member 1
    swapped = shifted.at[:, 1].set(world[:, 0])
    alarm = MisspecificationAlarm(delta=0.01, num_contexts=2)
    rng = np.random.default_rng(3)
    contexts = rng.integers(0, 2, ANSWERS)
    answers = np.array([rng.choice(3, p=WORLDS["wrong-members"][c, 1]) for c in contexts])
    _, evidence = settle(alarm, contexts, jnp.log(swapped[contexts]), answers, np.zeros((ANSWERS, 3), bool))
    refuted = np.asarray(evidence).max(0) >= -math.log(0.01)
    assert refuted.tolist() == [False, True, True]


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("delta", [0.2, 0.02])
def test_false_alarms_through_the_learner(delta: float) -> None:
    """The steps to ask at are chosen by the imitator here; the bound does not mind."""
    runs, steps = 4000, 300
    world = WORLDS["wrong-members"]
    learner = Learner(
        ensembles.tabular(world.transpose(1, 0, 2)), TopK(3), alarm=MisspecificationAlarm(delta, num_contexts=2)
    )

    @jax.jit
    def alarms(learner: Learner, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        def run(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            def one(state: Any, t: jax.Array) -> Any:
                own = jax.random.fold_in(key, t)
                decision = learner.decide(state, t % 2)
                answer = jax.random.categorical(own, jnp.log(jnp.asarray(world))[t % 2, 0])
                return learner.observe(state, t % 2, decision, answer)[0], None

            state, _ = jax.lax.scan(one, learner.init(jax.random.fold_in(key, steps)), jnp.arange(steps))
            return state.unexplained, state.stream.queries

        return jax.vmap(run)(keys)

    raised, queries = alarms(learner, jax.random.split(jax.random.key(32), runs))
    assert float(jnp.mean(raised)) <= upper_limit(delta, runs)
    assert float(jnp.mean(queries)) > 50


# --- power: one scenario for each predictor ---


def first_raised(alarm: MisspecificationAlarm, evidence: jax.Array) -> int:
    """After how many answers every member is refuted; a large number if never."""
    refuted = np.all(np.asarray(evidence) >= -math.log(float(alarm.delta)), axis=-1)
    return int(np.argmax(refuted)) + 1 if refuted.any() else 10**9


def strongest(states: AlarmState, at: int) -> list[int]:
    """The predictor with the highest e-value, for each member, after so many answers."""
    return np.argmax(np.asarray(states.log_e[at - 1]), axis=0).tolist()


def test_a_deviation_that_depends_on_the_context_is_noticed_by_the_counts() -> None:
    rng = np.random.default_rng(41)
    contexts = rng.integers(0, 4, 200)
    favourite = np.array([0, 1, 1, 0])
    answers = np.where(rng.random(200) < 0.9, favourite[contexts], 1 - favourite[contexts])
    probs = logs(np.full((200, 2, 2), 0.5))
    nobody = np.zeros((200, 2), bool)
    alarm = MisspecificationAlarm(delta=0.01, num_contexts=4)
    states, evidence = settle(alarm, contexts, probs, answers, nobody)
    when = first_raised(alarm, evidence)
    assert when <= 80
    assert strongest(states, when) == [UNIVERSAL] * 2
    # Counted together, the deviations cancel: nothing else would have noticed.
    together = MisspecificationAlarm(delta=0.01)
    assert first_raised(together, settle(together, contexts, probs, answers, nobody)[1]) > 200


@pytest.mark.parametrize("predictor", [AVERAGE, GEOMETRIC])
def test_a_demonstrator_between_the_members_is_noticed_by_the_averages(predictor: int) -> None:
    """The actions are shuffled at every step, so that the counts show nothing."""
    rng = np.random.default_rng(42)
    steps = 400
    rows = np.array([[0.90, 0.05, 0.05], [0.30, 0.05, 0.65]])
    if predictor == AVERAGE:
        between = rows.mean(0)
    else:
        rows = np.array([[0.90, 0.0999, 0.0001], [0.0001, 0.0999, 0.90]])
        between = np.sqrt(rows[0] * rows[1]) / np.sqrt(rows[0] * rows[1]).sum()
    order = np.array([rng.permutation(3) for _ in range(steps)])
    drawn = rng.choice(3, steps, p=between)
    answers = np.argmax(order == drawn[:, None], axis=-1)
    probs = rows[:, order].transpose(1, 0, 2)
    alarm = MisspecificationAlarm(delta=0.01)
    states, evidence = settle(alarm, np.zeros(steps, int), logs(probs), answers, np.zeros((steps, 2), bool))
    when = first_raised(alarm, evidence)
    assert when <= 200
    assert strongest(states, steps) == [predictor] * 2


def test_an_answer_that_was_called_nearly_impossible_is_noticed_by_the_cautious() -> None:
    rng = np.random.default_rng(43)
    steps = 60
    rare = rng.integers(0, 3, steps)
    row = np.full((steps, 3), 0.5)
    row[np.arange(steps), rare] = 1e-6
    row /= row.sum(-1, keepdims=True)
    answers = np.where(np.arange(steps) % 10 == 9, rare, (rare + 1 + rng.integers(0, 2, steps)) % 3)
    probs = np.repeat(row[:, None], 2, axis=1)
    alarm = MisspecificationAlarm(delta=0.01)
    states, evidence = settle(alarm, np.zeros(steps, int), logs(probs), answers, np.zeros((steps, 2), bool))
    when = first_raised(alarm, evidence)
    assert when == 10
    assert all(best in CAUTIOUS for best in strongest(states, when))


@pytest.mark.parametrize(("share", "best"), [(0.5, 3), (0.1, 4), (0.01, 5)])
def test_every_share_is_the_best_one_somewhere(share: float, best: int) -> None:
    """A demonstrator that errs with this probability, evenly, where the members nearly never do."""
    rng = np.random.default_rng([44, best])
    steps, A = 3000, 4
    right = rng.integers(0, A, steps)
    row = np.full((steps, A), 1e-5)
    row[np.arange(steps), right] = 1 - 3e-5
    answers = np.where(rng.random(steps) < share, rng.integers(0, A, steps), right)
    alarm = MisspecificationAlarm(delta=0.01)
    states, evidence = settle(alarm, np.zeros(steps, int), logs(row[:, None]), answers, np.zeros((steps, 1), bool))
    assert strongest(states, steps) == [best]
    assert first_raised(alarm, evidence) <= 3 / share + 100


# --- what follows ---

PROBS = np.array([[[0.9, 0.1], [0.9, 0.1]], [[0.8, 0.2], [0.9, 0.1]]])  # [N, S, A]: they agree on observation 1
LEARNER = Learner(ensembles.tabular(PROBS), TopK(2), alarm=MisspecificationAlarm(0.05, num_contexts=2))
decide = jax.jit(Learner.decide)
observe = jax.jit(Learner.observe)


def until_raised(learner: Learner, observation: int, answer: int, most: int = 30) -> tuple[Any, int]:
    """The state once the alarm is raised, with every step forced to be a query."""
    state = learner.init(jax.random.key(0))
    for count in range(1, most + 1):
        decision = decide(learner, state, observation)
        forced = decision._replace(queried=jnp.array(True), action=jnp.int32(-1))
        state, _ = observe(learner, state, observation, forced, answer)
        if bool(state.unexplained):
            return state, count
    raise AssertionError("no alarm")


def test_it_stays_raised_until_it_is_cleared() -> None:
    state, _ = until_raised(LEARNER, 0, answer=1)
    for step in range(30):
        decision = decide(LEARNER, state, 1)
        assert bool(decision.queried)
        assert float(decision.query_prob) == 1
        assert float(decision.log_inflation) == 0
        # Answers that all members would have predicted do not lower it.
        state, _ = observe(LEARNER, state, 1, decision, 0)
        assert bool(state.unexplained), step
    cleared = LEARNER.clear_alarm(state)
    assert not bool(cleared.unexplained)
    assert not bool(decide(LEARNER, cleared, 1).queried)
    fresh = LEARNER.init(jax.random.key(0)).alarm
    jax.tree.map(np.testing.assert_array_equal, cleared.alarm, fresh)
    # The weights have learned what they have learned.
    jax.tree.map(np.testing.assert_array_equal, cleared.posterior, state.posterior)


def test_own_actions_are_no_evidence() -> None:
    state = LEARNER.init(jax.random.key(0))
    decision = decide(LEARNER, state, 0)._replace(queried=jnp.array(False), action=jnp.int32(1))
    after, _ = observe(LEARNER, state, 0, decision, 1)
    jax.tree.map(np.testing.assert_array_equal, after.alarm, state.alarm)


def test_all_members_have_to_be_refuted() -> None:
    """One of two members explains everything."""
    probs = np.array([[[0.999, 0.001]], [[0.05, 0.95]]])
    learner = Learner(ensembles.tabular(probs), TopK(2), alarm=MisspecificationAlarm(0.05))
    with pytest.raises(AssertionError, match="no alarm"):
        until_raised(learner, 0, answer=1)


def test_a_member_of_prior_zero_does_not_block_the_alarm() -> None:
    """The one that would explain the answers has been ruled out by the prior."""
    probs = np.array([[[0.999, 0.001]], [[0.05, 0.95]]])
    learner = Learner(ensembles.tabular(probs, [1.0, 0.0]), TopK(1), alarm=MisspecificationAlarm(0.05))
    assert until_raised(learner, 0, answer=1)[1] <= 3


def test_sleepers_are_not_bet_against() -> None:
    alarm = MisspecificationAlarm(delta=0.05)
    steps = 50
    probs = np.repeat(np.array([[[0.99, 0.01], [0.0, 0.0]]]), steps, axis=0)
    asleep = np.repeat(np.array([[False, True]]), steps, axis=0)
    states, evidence = settle(alarm, np.zeros(steps, int), logs(probs), np.ones(steps, int), asleep)
    assert np.all(np.asarray(states.log_e)[:, :, 1] == 0)
    assert np.all(np.asarray(evidence)[:, 1] == 0)
    assert float(evidence[-1, 0]) > 10
    assert first_raised(alarm, evidence) > steps
    everyone = np.ones((steps, 2), bool)
    states, evidence = settle(alarm, np.zeros(steps, int), logs(np.zeros((steps, 2, 2))), np.ones(steps, int), everyone)
    assert np.all(np.asarray(states.log_e) == 0)


def settled(
    alarm: MisspecificationAlarm, probs: np.ndarray, answers: np.ndarray, asleep: np.ndarray, prior: Any = None
) -> np.ndarray:
    """Whether the alarm is raised after each of T answers, and that the oracle says the same."""
    T, N, A = probs.shape
    prior = np.full(N, 1 / N) if prior is None else np.asarray(prior)
    states, _ = settle(alarm, np.zeros(T, int), logs(probs), answers, asleep)
    raised = np.asarray(jax.vmap(lambda state: alarm.raised(state, jnp.log(prior)))(states))
    oracle = AlarmOracle(N, A)
    for t in range(T):
        oracle.update(0, probs[t], int(answers[t]), asleep[t])
        assert bool(raised[t]) == oracle.raised(prior, float(alarm.delta)), t
    return raised


WRONG = [0.999, 0.001]


@pytest.mark.parametrize("from_the", [0, 12], ids=["always", "breaks"])
def test_a_member_that_is_unusable_does_not_block_the_alarm_for_ever(from_the: int) -> None:
    """One is wrong. The other breaks, at once or after it had explained everything, and is waited for a while."""
    T = 60
    probs = np.tile(np.array([WRONG, [0.001, 0.999]]), (T, 1, 1))
    asleep = np.zeros((T, 2), bool)
    asleep[from_the:, 1] = True
    raised = settled(
        MisspecificationAlarm(delta=0.01), np.where(asleep[..., None], 0.0, probs), np.ones(T, int), asleep
    )
    assert not raised[: from_the + SILENCE - 1].any()
    assert raised[from_the + SILENCE - 1 :].all()


def test_a_member_that_comes_back_in_time_keeps_the_alarm_from_being_raised() -> None:
    """It explains what the other does not, and is silent for as long as it may be, again and again."""
    T = 10 * SILENCE
    probs = np.tile(np.array([WRONG, [0.001, 0.999]]), (T, 1, 1))
    asleep = np.zeros((T, 2), bool)
    asleep[:, 1] = np.arange(T) % SILENCE > 0  # 19 of 20
    raised = settled(
        MisspecificationAlarm(delta=0.01), np.where(asleep[..., None], 0.0, probs), np.ones(T, int), asleep
    )
    assert not raised.any()


def test_what_was_refuted_stays_refuted_in_silence() -> None:
    T = 60
    probs = np.tile(np.array([WRONG, WRONG]), (T, 1, 1))
    asleep = np.zeros((T, 2), bool)
    asleep[5:, 1] = True
    raised = settled(
        MisspecificationAlarm(delta=0.01), np.where(asleep[..., None], 0.0, probs), np.ones(T, int), asleep
    )
    assert raised[5:].all()


def test_where_all_are_silent_nobody_was_wrong() -> None:
    T = 60
    asleep = np.ones((T, 2), bool)
    assert not settled(MisspecificationAlarm(delta=0.01), np.zeros((T, 2, 2)), np.ones(T, int), asleep).any()


@pytest.mark.parametrize("num_envs", [None, 2])
def test_the_shell_stops_beside_a_member_that_is_always_unusable(num_envs: int | None) -> None:
    def broken(observation: Any) -> list[float]:
        raise RuntimeError

    imitator = ConsensusImitator(
        ensembles.callables([lambda observation: WRONG, broken], 2),
        lambda observation: 1,
        selection=TopK(2),
        alarm=MisspecificationAlarm(0.01),
        num_envs=num_envs,
        seed=0,
    )
    observation = 0 if num_envs is None else np.zeros(num_envs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConsensusWarning)
        for _ in range(SILENCE):
            imitator.act(observation)
    assert UNEXPLAINED in imitator.alarms
    assert np.all(imitator.act(observation).queried)


def test_impossible_answers_give_no_nan() -> None:
    """Zero against zero is a lost bet; a refutation is not taken back; both survive what comes later."""
    alarm = MisspecificationAlarm(delta=0.05)
    probs = np.array(
        [
            [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]],  # refutes member 0
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],  # refutes both; the average loses
            [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]],
            [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]],
        ]
    )
    answers = np.array([1, 2, 0, 1])
    states, evidence = settle(alarm, np.zeros(4, int), logs(probs), answers, np.zeros((4, 2), bool))
    assert not np.isnan(np.asarray(states.log_e)).any()
    assert not np.isnan(np.asarray(evidence)).any()
    assert np.isposinf(np.asarray(evidence)[0, 0])
    assert np.isfinite(np.asarray(evidence)[0, 1])
    assert np.all(np.isposinf(np.asarray(evidence)[1:]))
    assert np.all(np.isneginf(np.asarray(states.log_e)[1:, AVERAGE]))


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_a_bad_delta_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="delta must lie in"):
        MisspecificationAlarm(delta)


@pytest.mark.parametrize("contexts", [0, -1])
def test_a_bad_number_of_contexts_is_refused(contexts: int) -> None:
    with pytest.raises(ValueError, match="num_contexts must be"):
        MisspecificationAlarm(num_contexts=contexts)


# --- batch and shell ---


def test_a_batch_settles_one_answer_after_another() -> None:
    rng = np.random.default_rng(51)
    B = 4
    learner = LEARNER
    state = learner.init(jax.random.key(7), num_streams=B)
    alarm, expected = learner.alarm, learner.init(jax.random.key(7)).alarm
    assert alarm is not None
    decide_batch, observe_batch = jax.jit(Learner.decide_batch), jax.jit(Learner.observe_batch)
    update = jax.jit(MisspecificationAlarm.update)
    asked = 0
    for _ in range(100):
        observations = rng.integers(0, 2, B)
        answers = (rng.random(B) < 0.15).astype(np.int32)
        decisions = decide_batch(learner, state, observations)
        state, info = observe_batch(learner, state, observations, decisions, answers)
        for b in np.flatnonzero(decisions.queried):
            asked += 1
            expected = update(
                alarm, expected, observations[b], decisions.log_probs[b], info.action[b], decisions.invalid[b]
            )
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), state.alarm, expected)
    assert asked >= 10


def shell(**options: Any) -> ConsensusImitator:
    return ConsensusImitator(
        ensembles.tabular(PROBS),
        demonstrator=lambda observation: 1,
        selection=TopK(2) | AlphaThreshold(0.01),
        alarm=MisspecificationAlarm(0.05, num_contexts=2),
        seed=5,
        **options,
    )


def until_alarmed(imitator: ConsensusImitator, observation: Any) -> None:
    for _ in range(20):
        imitator.act(observation)
        if UNEXPLAINED in imitator.alarms:
            return


@pytest.mark.parametrize("num_envs", [None, 2])
def test_the_shell_asks_until_the_alarm_is_cleared(num_envs: int | None) -> None:
    imitator = shell(num_envs=num_envs, inflation_budget=InflationBudget(1.0))  # asks at every disagreement

    def at(place: int) -> Any:
        return place if num_envs is None else np.full(num_envs, place)

    with pytest.warns(ConsensusWarning, match="no member explains"):
        until_alarmed(imitator, at(0))
    assert imitator.alarms.count(UNEXPLAINED) == 1
    for _ in range(10):
        assert np.all(imitator.act(at(1)).queried)
    assert imitator.alarms.count(UNEXPLAINED) == 1
    imitator.clear_alarm()
    assert imitator.alarms == ()
    assert not np.any(imitator.act(at(1)).queried)
    state = imitator.state.alarm
    assert state is not None
    assert not np.any(state.log_e)
    assert not np.any(state.counts)


class OnTheHost(ensembles.FixedMembers):
    """The same members, predicting outside JAX."""

    @property
    def pure(self) -> bool:
        return False

    @property
    def prior(self) -> jax.Array:
        return jnp.full(2, 0.5)

    @property
    def num_members(self) -> int:
        return 2

    @property
    def num_actions(self) -> int:
        return 2

    def init_carry(self) -> Carry:
        return ()

    def log_probs(self, carry: Carry, observation: Any, context: Context) -> jax.Array:
        return jnp.log(jnp.asarray(PROBS[:, int(observation)]))

    def advance(self, carry: Carry, observation: Any, context: Context, action: jax.Array, queried: jax.Array) -> Carry:
        return carry


def on_the_host(num_contexts: int) -> ConsensusImitator:
    return ConsensusImitator(
        OnTheHost(),
        demonstrator=lambda observation: 0,
        selection=TopK(2),
        alarm=MisspecificationAlarm(0.05, num_contexts=num_contexts),
        inflation_budget=InflationBudget(1.0),
        seed=5,
    )


def test_members_that_run_on_the_host_can_have_an_alarm() -> None:
    imitator = on_the_host(num_contexts=1)
    imitator.act(0)
    state = imitator.state.alarm
    assert state is not None
    np.testing.assert_array_equal(np.asarray(state.counts)[0], [1, 0])


def test_an_alarm_with_contexts_is_refused_for_members_that_run_on_the_host() -> None:
    with pytest.raises(ValueError, match="num_contexts=1"):
        on_the_host(num_contexts=2)


def test_mass_that_is_withheld_is_not_held_against_a_member() -> None:
    """Members that know little withhold most of their mass: that asks, and is no reason to think the truth absent."""
    alarm, awake = MisspecificationAlarm(delta=0.01), jnp.array([False, False])
    whole = jnp.log(jnp.array([[0.7, 0.3], [0.4, 0.6]]))
    cautious = whole + jnp.log(jnp.array([[1e-3], [0.5]]))
    plain = held_back = alarm.init(2, 2)
    for answer in np.random.default_rng(0).choice(2, 50, p=[0.7, 0.3]):
        plain = alarm.update(plain, 0, whole, int(answer), awake)
        held_back = alarm.update(held_back, 0, cautious, int(answer), awake)
    np.testing.assert_allclose(alarm.log_evidence(held_back), alarm.log_evidence(plain), atol=1e-3)
    assert not bool(alarm.raised(held_back, jnp.zeros(2)))
    nothing = jnp.full((2, 2), -jnp.inf)  # the control: no mass anywhere explains nothing
    assert bool(alarm.raised(alarm.update(held_back, 0, nothing, 0, awake), jnp.zeros(2)))
