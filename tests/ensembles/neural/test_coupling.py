"""Losses that compare members: against loops and finite differences, what they do, and where they are refused."""

import itertools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium import spaces

from consensus_imitation import ensembles
from consensus_imitation.core.independence import effective_members
from consensus_imitation.ensembles import Context, Plateau, Training
from consensus_imitation.ensembles.neural import _coupling, networks
from consensus_imitation.ensembles.neural import _rounds as rounds
from consensus_imitation.ensembles.neural._learned import Masked
from consensus_imitation.ensembles.neural.replay import Row
from consensus_imitation.errors import ConfigurationError, ConsensusWarning

from .streams import prequential, separable

pytestmark = pytest.mark.filterwarnings("ignore:Training:consensus_imitation.errors.ConsensusWarning")

N, M, A = 4, 6, 5
SMALL = Training(learning_rate=1e-2, batch_size=16, updates=4, every=4, capacity=512, caution=0.0)
#: Each setting by itself, and all of them.
WEIGHTS: dict[str, dict[str, Any]] = {
    "decorrelate": {"decorrelate": 0.7},
    "disagree": {"disagree": 0.4},
    "minimum_explains": {"minimum_explains": 0.6, "minimum_of": 3},
    "minimum_withholds": {"minimum_withholds": 0.3},
    "all": {"decorrelate": 0.7, "disagree": 0.4, "minimum_explains": 0.6, "minimum_withholds": 0.3, "minimum_of": 3},
}


def members(training: Training = SMALL, num_members: int = N) -> Any:
    return ensembles.mlp((3,), 4, num_members, hidden=(16,), training=training)


def some_logits(seed: int = 0, scale: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=(N, M, A))


ANSWERS = np.random.default_rng(7).integers(A, size=M)


# --- an oracle: loops, float64, all choices of members ---


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def correlation_by_hand(probs: np.ndarray) -> float:
    errors = np.array([[1 - probs[n, m, ANSWERS[m]] for m in range(M)] for n in range(N)])
    return float(np.mean([np.corrcoef(errors[i], errors[j])[0, 1] for i, j in itertools.combinations(range(N), 2)]))


def agreement_by_hand(probs: np.ndarray) -> np.ndarray:
    pairs = itertools.combinations(range(N), 2)
    return np.mean([-np.log(1 - (probs[i] * probs[j]).sum(-1)) for i, j in pairs], axis=0)


def minimum_by_hand(probs: np.ndarray, k: int) -> np.ndarray:
    return np.mean([probs[list(chosen)].min(0) for chosen in itertools.combinations(range(N), k)], axis=0)


def penalty_by_hand(training: Training, logits: np.ndarray, foreign: np.ndarray, enough: Any = 1.0) -> float:
    probs, away, k = softmax(logits), softmax(foreign), training.minimum_of
    minimum = minimum_by_hand(probs, k)
    explained = np.log(minimum[np.arange(M), ANSWERS] / minimum.sum(-1))
    return float(
        training.decorrelate * correlation_by_hand(probs)
        + training.disagree * np.mean(enough * agreement_by_hand(away))
        - training.minimum_explains * np.mean(explained)
        - training.minimum_withholds * np.mean(np.log(1 - minimum_by_hand(away, k).sum(-1)))
    )


def penalty(training: Training, logits: Any, foreign: Any, legal: Any = None) -> jax.Array:
    away = jnp.asarray(foreign, jnp.float32) if _coupling.needs_noise(training) else None
    return _coupling.penalty(training, jnp.asarray(logits, jnp.float32), jnp.asarray(ANSWERS), away, legal)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_losses_are_those_of_the_loops(name: str) -> None:
    for seed, k in itertools.product(range(3), (2, 3, N)):
        training = replace(SMALL, **{**WEIGHTS[name], "minimum_of": k})
        logits, foreign = some_logits(seed), some_logits(seed + 10)
        expected = penalty_by_hand(training, logits, foreign)
        np.testing.assert_allclose(penalty(training, logits, foreign), expected, rtol=2e-5)


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", WEIGHTS)
def test_gradients_are_finite_differences(name: str) -> None:
    training = replace(SMALL, **WEIGHTS[name])
    logits, foreign = some_logits(1), some_logits(2)
    found = jax.grad(lambda both: penalty(training, both[0], both[1]))(jnp.asarray([logits, foreign], jnp.float32))
    rng, step = np.random.default_rng(3), 1e-6
    for _ in range(20):
        toward = rng.normal(size=(2, N, M, A))
        ends = [
            penalty_by_hand(training, logits + sign * step * toward[0], foreign + sign * step * toward[1])
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(np.asarray(found) * toward), slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WEIGHTS)
def test_members_may_change_places(name: str) -> None:
    training, order = replace(SMALL, **WEIGHTS[name]), [2, 0, 3, 1]
    logits, foreign = some_logits(), some_logits(5)
    both = [penalty(training, logits, foreign), penalty(training, logits[order], foreign[order])]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)


@pytest.mark.quick_cases(4)
@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 40.0, 1e4], ids=str)
def test_members_that_agree_have_finite_losses_and_gradients(name: str, scale: float) -> None:
    training, alike = replace(SMALL, **WEIGHTS[name]), np.repeat(some_logits(scale=scale)[:1], N, axis=0)
    value, gradient = jax.value_and_grad(lambda both: penalty(training, *both))(jnp.asarray([alike, alike]))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@pytest.mark.quick_cases(2)
@pytest.mark.parametrize("name", WEIGHTS)
def test_members_that_make_no_error_have_finite_losses_and_gradients(name: str) -> None:
    training, right = replace(SMALL, **WEIGHTS[name]), np.repeat(1e4 * np.eye(A)[ANSWERS][None], N, axis=0)
    value, gradient = jax.value_and_grad(lambda both: penalty(training, *both))(jnp.asarray([right, right]))
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


def test_members_that_agree_would_never_ask() -> None:
    """What would be left for a question is 0 of members that are alike, and never less; all of disjoint ones."""
    alike = np.repeat(np.log(softmax(some_logits()))[:1], N, axis=0)
    disjoint = np.log(np.eye(A)[:N, None].repeat(M, axis=1) + 1e-30)
    for k in (2, N):
        asks = [np.exp(-np.asarray(_coupling.acting(jnp.asarray(laws, jnp.float32), k))) for laws in (alike, disjoint)]
        np.testing.assert_allclose(asks[0], 1e-6, rtol=1e-4)
        np.testing.assert_allclose(asks[1], 1.0, rtol=1e-6)


def test_with_two_actions_pairs_that_disagree_want_uniform_members_and_the_minimum_does_not() -> None:
    """Why `disagree` is refused there: the pull on the fifth of five members, of which two and two are opposed."""
    sure = np.array([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 4.0], [0.0, 0.0]])
    uniform = jnp.zeros((5, 1, 2))
    opposed = jax.nn.log_softmax(jnp.asarray(sure, jnp.float32)[:, None])
    law = jax.nn.log_softmax(uniform)
    assert float(_coupling.agreement(law)[0]) < float(_coupling.agreement(opposed)[0])
    assert float(_coupling.acting(law, 2)[0]) > 5 > 1 > float(_coupling.acting(opposed, 2)[0])


# --- noise ---


def test_noise_goes_by_the_deviation_of_each_number_and_leaves_what_is_no_float() -> None:
    rng, size = np.random.default_rng(0), 4000
    numbers = rng.normal(size=(size, 3)).astype(np.float32) * np.float32([0.1, 1.0, 0.0]) + np.float32([5, 0, 2])
    window = networks.Window({"a": jnp.asarray(numbers)}, jnp.arange(size), jnp.ones(size, bool))
    after = _coupling.noised(jax.random.key(0), window)
    np.testing.assert_array_equal(after.actions, window.actions)
    np.testing.assert_array_equal(after.valid, window.valid)
    noise = np.asarray(after.observations["a"]) - numbers
    expected = _coupling.NOISE * numbers.std(axis=0)
    # Five standard deviations of a standard deviation.
    np.testing.assert_allclose(noise.std(axis=0), expected, atol=5 * expected.max() / np.sqrt(2 * size))
    np.testing.assert_array_equal(noise[:, 2], 0.0)
    assert np.all(np.abs(noise.mean(axis=0)) <= 5 * expected / np.sqrt(size) + 1e-6)


# --- training ---


def taught(training: Training, num_answers: int = 8, num_members: int = N) -> Any:
    return prequential(
        members(training, num_members), *separable(np.random.default_rng(0), num_answers), jax.random.key(1)
    ).learned


def flat(params: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(params)], axis=1)


def test_without_a_weight_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = taught(SMALL)

    def fails(*_: Any) -> Any:
        raise AssertionError("members were compared")

    monkeypatch.setattr(rounds, "slopes", fails)
    # Other settings: what was compiled before is not used again.
    off = taught(replace(SMALL, **dict.fromkeys(_coupling.COUPLED, 0), minimum_of=3))
    np.testing.assert_array_equal(flat(plain.params), flat(off.params))
    with pytest.raises(AssertionError, match="compared"):
        taught(replace(SMALL, decorrelate=1e-3))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_an_update_goes_down_the_objective(masked: bool) -> None:
    """One step of plain gradient descent, against the gradient of the objective as the loops have it."""
    training = replace(SMALL, **WEIGHTS["all"], masked=masked, prior_scale=0.5, label_smoothing=0.1)
    ensemble = members(training)
    arch, learned = ensemble.architecture, ensemble.init_learned(jax.random.key(0))
    rng = np.random.default_rng(0)
    seen = jnp.asarray(rng.normal(size=(M, 3)), jnp.float32)
    counts = jnp.asarray(rng.integers(3, size=(M, N)), jnp.float32)
    answers = jnp.asarray(ANSWERS % 4)
    legal = np.ones((M, 4), bool)
    legal[0] = np.arange(4) == answers[0]
    legal[1, (answers[1] + 1) % 4] = False
    row = Row(Masked(seen, jnp.asarray(legal)) if masked else seen, answers, counts)
    key = jax.random.key(5)
    own, found = rounds._slopes(training, arch.apply, learned.params, learned.prior_params, row, key)
    away = _coupling.noised(key, seen)

    def logits(params: Any, inputs: Any) -> jax.Array:
        apply = jax.vmap(jax.vmap(arch.apply, (None, 0)), (0, None))
        said = apply(params, inputs) + 0.5 * apply(learned.prior_params, inputs)
        return jnp.where(legal, said, -1e9) if masked else said

    def objective(params: Any) -> jax.Array:
        alone = [
            rounds.loss(training, arch.apply, *(jax.tree.map(lambda leaf, n=n: leaf[n], tree) for tree in
                       (params, learned.prior_params)), row.inputs, answers, counts[:, n])
            for n in range(N)
        ]  # fmt: skip
        known = jnp.asarray(legal) if masked else None
        return sum(alone) + N * _coupling.penalty(
            training, logits(params, seen), answers, logits(params, away), known
        )  # fmt: skip

    np.testing.assert_allclose(flat(found), flat(jax.grad(objective)(learned.params)), rtol=1e-4, atol=1e-5)
    alone = rounds.loss(
        training, arch.apply, jax.tree.map(lambda leaf: leaf[1], learned.params),
        jax.tree.map(lambda leaf: leaf[1], learned.prior_params), row.inputs, answers, counts[:, 1],
    )  # fmt: skip
    np.testing.assert_allclose(own[1], alone, rtol=1e-6)


def test_few_legal_actions_are_left_alone_by_pairs() -> None:
    training, legal = replace(SMALL, disagree=1.0), np.ones((M, A), bool)
    legal[:3, 3:] = False
    logits, foreign = some_logits(), some_logits(4)
    enough = legal.sum(-1) >= 4
    foreign = np.where(legal, foreign, -1e9)
    expected = penalty_by_hand(training, logits, foreign, enough)
    np.testing.assert_allclose(penalty(training, logits, foreign, jnp.asarray(legal)), expected, rtol=1e-5)


@pytest.mark.slow
def test_a_member_without_numbers_does_not_stop_the_others() -> None:
    ensemble = members(replace(SMALL, **WEIGHTS["all"]))
    learned = ensemble.init_learned(jax.random.key(0))
    broken = learned.replace(params=jax.tree.map(lambda leaf: leaf.at[1].mul(1e30), learned.params))
    observations, answers = separable(np.random.default_rng(0), 4)
    after = prequential(ensemble, observations, answers, jax.random.key(1), learned=broken).learned
    moved = np.any(flat(after.params) != flat(broken.params), axis=1)
    assert moved.tolist() == [True, False, True, True]


@pytest.mark.slow
def test_every_update_has_noise_of_its_own() -> None:
    """The same minibatch twice, with gradient steps too small to matter: the second is another step."""
    training = replace(SMALL, minimum_withholds=1.0, optimizer=optax.sgd, learning_rate=1e-3)
    ensemble = members(training)
    observations, answers = separable(np.random.default_rng(0), 8)
    learned = prequential(ensemble, observations, answers, jax.random.key(1)).learned
    fitted = (learned.params, (), learned.optimizer)
    row = Row(jnp.asarray(observations), jnp.asarray(answers), jnp.ones((8, N)))
    after = [
        rounds.updated(
            training, ensemble.architecture.apply, learned, fitted, first, jnp.zeros((1,)), lambda _: row
        )[0]
        for first in (0, 1, 0)
    ]  # fmt: skip
    np.testing.assert_array_equal(flat(after[0]), flat(after[2]))
    assert np.all(np.any(flat(after[0]) != flat(after[1]), axis=1))


@pytest.mark.slow
def test_the_plateau_goes_by_a_members_own_loss() -> None:
    training = replace(SMALL, decorrelate=50.0, plateau=Plateau(patience=1))
    state = taught(training).optimizer[-1]
    assert np.all(np.asarray(state.best_value) >= 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decorrelate", "disagree", "minimum_explains", "minimum_withholds"])
def test_each_does_what_it_says(name: str) -> None:
    """With a control: the same members, answers and draws without it."""
    observations, answers = separable(np.random.default_rng(0), 240)
    fresh, right = separable(np.random.default_rng(1), 400)
    found = []
    for weight in (0.0, 2.0):
        ensemble = members(replace(SMALL, **{name: weight}))
        learned = prequential(ensemble, observations, answers, jax.random.key(1), learned=None).learned
        context = Context(0, np.zeros(N, np.float32), learned=learned)
        predict = jax.jit(jax.vmap(lambda one: ensemble.log_probs((), one, context)))  # noqa: B023
        laws = np.swapaxes(np.asarray(predict(fresh)), 0, 1)
        away = np.swapaxes(np.asarray(predict(_coupling.noised(jax.random.key(2), jnp.asarray(fresh)))), 0, 1)
        errors = 1 - np.exp(laws)[:, np.arange(400), right]
        found.append({
            "decorrelate": -float(effective_members(errors.T).estimate),
            "disagree": float(np.mean(np.asarray(_coupling.agreement(jnp.asarray(away))))),
            "minimum_explains": float(np.mean(_coupling.unexplained(jnp.asarray(laws), jnp.asarray(right), 2))),
            "minimum_withholds": float(np.mean(_coupling.acting(jnp.asarray(away), 2))),
        }[name])  # fmt: skip
    assert found[1] < found[0] - 0.02 * abs(found[0])


# --- where it can be had ---


def test_it_is_said_what_was_measured() -> None:
    for name in _coupling.COUPLED:
        with pytest.warns(ConsensusWarning, match=f"Training: {name}= was measured: .*docs/shift.md") as said:
            members(replace(SMALL, **{name: 1.0}))
        assert said[0].filename == __file__
    with pytest.warns(ConsensusWarning, match=r"decorrelate= .* is not safety.*; disagree= .*"):
        members(replace(SMALL, decorrelate=1.0, disagree=1.0))


def floats_and_choice() -> spaces.Dict:
    return spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "mode": spaces.Discrete(3)})


@pytest.mark.parametrize(
    ("make", "settings", "said"),
    [
        (lambda t: ensembles.mlp((3,), 4, 1, training=t), {"decorrelate": 1.0}, "make at least 2, got 1"),
        (lambda t: ensembles.mlp((3,), 4, training=t), {"decorrelate": 1.0, "batch_size": 1}, "batch_size must be at"),
        (lambda t: ensembles.mlp((3,), 3, training=t), {"disagree": 1.0}, "minimum_withholds has no such optimum"),
        (
            lambda t: ensembles.mlp((3,), 3, 2, training=t),
            {"minimum_explains": 1.0, "minimum_of": 3},
            "minimum_of must be at most the number of members, 2",
        ),
        (
            lambda t: ensembles.mlp(floats_and_choice(), 4, training=t),
            {"minimum_withholds": 1.0},
            r"the observation\['mode'\] is not of floats",
        ),
        (
            lambda t: ensembles.cnn(spaces.Box(0, 255, (8, 8, 3), np.uint8), 4, training=t, kind="image"),
            {"disagree": 1.0},
            "the observation is not of floats",
        ),
        (lambda t: ensembles.mlp((9000,), 4, training=t), {"decorrelate": 1.0}, "lower batch_size to at most 58"),
    ],
    ids=["one member", "one answer", "two actions", "k", "a choice", "bytes", "too large"],
)
def test_where_it_means_nothing_it_is_refused(make: Any, settings: dict[str, Any], said: str) -> None:
    make(Training())
    with pytest.raises(ConfigurationError, match=said):
        make(Training(**settings))


def test_what_needs_no_noise_takes_any_observation() -> None:
    learned = ensembles.mlp(
        floats_and_choice(), 3, 2, training=Training(decorrelate=1.0, minimum_explains=1.0)
    ).init_learned(jax.random.key(0))
    assert jax.tree.leaves(learned.params)


@pytest.mark.parametrize("name", _coupling.COUPLED)
@pytest.mark.parametrize("wrong", [-0.1, float("inf"), float("nan"), True, "much", [0.1, 0.2]], ids=str)
def test_a_weight_is_wanted(name: str, wrong: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError), match=name):
        Training(**{name: wrong})


@pytest.mark.parametrize("wrong", [1, 0, 2.5, True])
def test_a_minimum_is_of_two_at_least(wrong: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError), match="minimum_of"):
        Training(minimum_of=wrong)


@pytest.mark.parametrize("name", _coupling.COUPLED)
def test_a_partition_and_a_training_loop_refuse_it(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: members would learn from what others are taught"):
        Training(bootstrap="partition", **{name: 1.0})

    def init(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (3, 4))

    with pytest.raises(ConfigurationError, match=f"{name}=.* compares members.*from_module"):
        ensembles.from_training_loop(
            init, lambda state, *_: state, lambda state, x: x @ state, (3,), 4, training=Training(**{name: 1.0})
        )  # fmt: skip


def test_other_settings_are_others() -> None:
    """Compiled functions are shared by equal settings: a loss that is not among them would be another's."""
    assert len({Training(), *(Training(**{name: 1.0}) for name in _coupling.COUPLED), Training(minimum_of=3)}) == 6
