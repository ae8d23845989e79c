"""The replay, the bootstrap and the updates of N members at once, against one member at a time."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from consensus_imitation import ensembles
from consensus_imitation.ensembles import Neural, Plateau, Training
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural._temperature import Temperature

from .streams import losses, prequential, separable

SMALL = Training(learning_rate=1e-3, batch_size=16, updates=2, every=3, capacity=64, label_smoothing=0.0, caution=0.0)


def members(training: Training = SMALL, num_members: int = 3) -> Neural:
    return ensembles.mlp((3,), 4, num_members, hidden=(8,), training=training)


def stacked_equal(first: Any, second: Any, atol: float = 0.0) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=atol), first, second)


@pytest.mark.slow
def test_loss_falls(key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 600)
    found = losses(
        prequential(
            members(replace(SMALL, batch_size=32, updates=8, learning_rate=3e-3, capacity=1024)),
            observations,
            answers,
            key,
        ),
        answers,
    )
    assert np.all(found[:30].mean(0) > 1.0)
    assert np.all(found[-150:].mean(0) < 0.6)
    shuffled = np.random.default_rng(1).permutation(answers)  # the control: nothing to learn
    found = losses(prequential(members(), observations, shuffled, key), shuffled)
    assert np.all(found[-150:].mean(0) > 1.2)


def test_rounds_come_every_few_answers_only(key: jax.Array) -> None:
    ensemble = members()
    observations, answers = separable(np.random.default_rng(0), 7)
    learned, seen = None, []
    for t in range(7):
        before = learned
        learned = prequential(ensemble, observations[t : t + 1], answers[t : t + 1], key, learned=learned).learned
        if before is not None:
            changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), before.params, learned.params)
            seen.append(all(jax.tree.leaves(changed)))
    assert seen == [False, True, False, False, True, False]
    assert int(learned.replay.stored) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [
        SMALL,
        replace(SMALL, bootstrap="bernoulli", label_smoothing=0.1),
        replace(SMALL, bootstrap="none", weight_decay=0.1, prior_scale=2.0),
        replace(SMALL, temperature=True, learning_rate=optax.exponential_decay(1e-2, 10, 0.5)),
        replace(SMALL, optimizer=optax.sgd),
        replace(SMALL, averaging=1.15),
        replace(SMALL, averaging=3.0),
    ],
    ids=["poisson", "bernoulli", "prior", "schedule", "sgd", "averaging", "averaging from a tenth"],
)
def test_stacked_members_are_single_ones(training: Training, key: jax.Array) -> None:
    """The oracle trains one member after the other: Flax modules, optax, Python loops, no ``vmap``, no ``scan``."""
    ensemble = members(training)
    observations, answers = separable(np.random.default_rng(3), 9)
    start = jax.jit(Neural.init_learned)(ensemble, key)
    found = prequential(ensemble, observations, answers, key).learned
    graphdef, state = nnx.split(ensemble.architecture.make_module(nnx.Rngs(0)))

    def module(stacked: Any, n: int) -> Any:
        own = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(own, jax.tree.map(lambda leaf: leaf[n], stacked))
        return nnx.merge(graphdef, own)

    draws = {}
    for stored in range(training.every, 10, training.every):
        draw_key = jax.random.fold_in(jax.random.fold_in(start.key, 1), stored)
        draws[stored] = np.asarray(jax.random.randint(draw_key, (2, 16), 0, stored))
    counts = np.asarray(found.replay.counts, float)
    for n in range(3):
        member = module(start.params, n)
        decay = {"weight_decay": training.weight_decay}
        adam = (
            optax.adamw(training.learning_rate, **decay)
            if training.weight_decay
            else optax.adam(training.learning_rate)
        )
        optimizer = nnx.Optimizer(member, optax.sgd(1e-3) if training.optimizer else adam, wrt=nnx.Param)
        fixed = module(start.prior_params, n) if training.prior_scale else None
        trained: list[np.ndarray] = []
        for places in (places for stored in draws.values() for places in stored):

            def loss(member: Any, places: Any = places, n: int = n, fixed: Any = fixed) -> jax.Array:
                logits = member.dense(observations[places])
                if fixed is not None:
                    logits = logits + training.prior_scale * fixed.dense(observations[places])
                smooth = training.label_smoothing
                targets = np.eye(4)[answers[places]] * (1 - smooth) + smooth / 4
                cross = -jnp.sum(targets * (logits - jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)), -1)
                return jnp.dot(counts[places, n], cross) / 16

            optimizer.update(member, nnx.grad(loss)(member))
            trained.append(np.asarray(member.dense.layers[0].kernel[...]))
        if training.averaging:
            average = np.asarray(start.averages["dense"]["layers"][0]["kernel"][n])
            for i, newest in enumerate(trained):
                window = min(training.averaging, 1 + i / 10)
                average = average + (newest - average) / window
            assert len(trained) == 6
            assert not np.allclose(average, trained[-1], atol=1e-4)
            np.testing.assert_allclose(found.averages["dense"]["layers"][0]["kernel"][n], average, atol=2e-6)
        expected = nnx.to_pure_dict(nnx.state(member))
        stacked_equal(jax.tree.map(lambda leaf, n=n: leaf[n], found.params), expected, atol=2e-6)
        assert not np.allclose(
            found.params["dense"]["layers"][0]["kernel"][n], start.params["dense"]["layers"][0]["kernel"][n]
        )


@pytest.mark.slow
def test_members_differ_by_initialisation_and_by_bootstrap(key: jax.Array) -> None:
    """From one initialisation, only the bootstrap makes them differ; without it they stay the same (the control)."""
    observations, answers = separable(np.random.default_rng(0), 30)
    for kind, differs in (("poisson", True), ("bernoulli", True), ("none", False)):
        ensemble = members(replace(SMALL, bootstrap=kind))
        start = jax.jit(Neural.init_learned)(ensemble, key)
        kernel = start.params["dense"]["layers"][0]["kernel"]
        assert not np.allclose(kernel[0], kernel[1])
        same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), start.params)
        found = prequential(ensemble, observations, answers, key, learned=start.replace(params=same)).learned
        kernel = np.asarray(found.params["dense"]["layers"][0]["kernel"])
        assert (not np.allclose(kernel[0], kernel[1], atol=1e-5)) == differs


@pytest.mark.parametrize(("kind", "variance"), [("poisson", 1.0), ("bernoulli", 1.0), ("none", 0.0)])
def test_bootstrap_counts(kind: Any, variance: float, key: jax.Array) -> None:
    n = 40_000
    keys = jax.random.split(key, n // 4)
    counts = np.asarray(
        jax.jit(jax.vmap(lambda k: train.bootstrap_counts(Training(bootstrap=kind), k, 4)))(keys)
    ).ravel()
    assert counts.mean() == pytest.approx(1, abs=5 * math.sqrt(variance / n))
    if kind == "poisson":
        for value in range(6):
            p = math.exp(-1) / math.factorial(value)
            assert np.mean(counts == value) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n))
    if kind == "bernoulli":
        assert set(np.unique(counts)) == {0, 2}
    by_member = counts.reshape(-1, 4).astype(float)
    if variance:
        assert abs(np.corrcoef(by_member.T)[0, 1]) < 5 / math.sqrt(n / 4)


def test_replay_is_a_ring(key: jax.Array) -> None:
    ensemble = members(replace(SMALL, capacity=8, updates=1))
    observations, answers = separable(np.random.default_rng(0), 21)
    replay = prequential(ensemble, observations, answers, key).learned.replay
    assert int(replay.stored) == 21
    assert int(replay.size) == 8
    kept = np.arange(13, 21)
    np.testing.assert_array_equal(replay.inputs[kept % 8], observations[kept])
    np.testing.assert_array_equal(replay.answers[kept % 8], answers[kept])


def test_minibatches_hold_stored_answers_only(key: jax.Array) -> None:
    learned = jax.jit(Neural.init_learned)(members(), key)
    for stored in (1, 5, 64, 500):
        now = learned.replace(replay=learned.replay.replace(stored=jnp.int32(stored)))
        places = np.asarray(train.draw_minibatches(replace(SMALL, updates=200), now))
        assert set(np.unique(places)) == set(range(min(stored, 64)))


def test_prediction_comes_before_learning(key: jax.Array) -> None:
    """Each prediction is a function of earlier answers only: altering the last answers alters none before them."""
    observations, answers = separable(np.random.default_rng(0), 60)
    for training in (SMALL, replace(SMALL, temperature=True, every=1)):
        first = prequential(members(training), observations, answers, key).log_probs
        other = answers.copy()
        other[30:] = (other[30:] + 1) % 4
        second = prequential(members(training), observations, other, key).log_probs
        np.testing.assert_array_equal(first[:31], second[:31])
        assert not np.allclose(first[35:], second[35:])


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.25, 4.0])
def test_temperature_mends_a_miscalibrated_network(truth: float, key: jax.Array) -> None:
    """Answers are drawn from the members' own logits divided by ``truth``; the fitted temperature is close to it."""
    training = Training(
        temperature=True, capacity=8, every=10**9, updates=1, caution=0.0
    )  # networks that are never trained
    ensemble = ensembles.mlp((3,), 4, 1, hidden=(8,), training=training)
    rng = np.random.default_rng(0)
    observations = 4 * rng.normal(size=(2500, 3)).astype(np.float32)
    plain = prequential(without_temperature(ensemble), observations, np.zeros(2500, np.int32), key)
    probs = np.exp(plain.log_probs[:, 0] / truth)
    probs /= probs.sum(-1, keepdims=True)
    answers = (rng.random((2500, 1)) > probs.cumsum(-1)).sum(-1).clip(0, 3)
    found = prequential(ensemble, observations, answers, key)
    assert math.log(float(jnp.exp(found.learned.temperature.log[0]))) == pytest.approx(math.log(truth), abs=0.35)
    raw = -plain.log_probs[np.arange(2500), 0, answers]
    assert losses(found, answers)[1000:].mean() < raw[1000:].mean() - 0.02


def without_temperature(ensemble: Neural) -> Neural:
    """The same members without a temperature."""
    arch = ensemble.architecture
    return ensemble.replace(architecture=replace(arch, training=replace(arch.training, temperature=False)))


def test_temperature_of_a_calibrated_network_stays(key: jax.Array) -> None:
    log_probs = jnp.log(jnp.array([[0.7, 0.2, 0.1]]))
    answers = np.random.default_rng(0).choice(3, 3000, p=[0.7, 0.2, 0.1])
    state = Temperature(log=jnp.zeros(1), curvature=jnp.full(1, 10.0))

    def step(state: Temperature, answer: jax.Array) -> Any:
        now = jax.nn.log_softmax(log_probs * jnp.exp(-state.log)[:, None])
        return state.step(now, answer), state.log

    _, logs = jax.lax.scan(step, state, jnp.asarray(answers))
    assert abs(np.asarray(logs)[500:].mean()) < 0.1
    assert Temperature(jnp.zeros(1), jnp.ones(1)).step(jnp.full((1, 3), jnp.nan), jnp.int32(0)).log[0] == 0


def test_the_temperatures_step_is_the_gradient_of_the_loss(key: jax.Array) -> None:
    logits = jax.random.normal(key, (2, 5))
    log = jnp.array([0.3, -0.2])

    def loss(log: jax.Array, n: int) -> jax.Array:
        return -jax.nn.log_softmax(logits[n] * jnp.exp(-log))[1]

    stiff = Temperature(log=log, curvature=jnp.full(2, 1e6))
    predicted = jax.nn.log_softmax(logits * jnp.exp(-log)[:, None])
    moved = stiff.step(predicted, jnp.int32(1)).log - log
    # One over the probability with which the minimum of both asks.
    weight = 1 / (1 - np.exp(predicted).min(0).sum())
    assert 1.1 < weight < 49
    expected = [-weight * jax.grad(loss)(log[n], n) / 1e6 for n in range(2)]
    np.testing.assert_allclose(moved, expected, rtol=0.02, atol=1e-7)


def test_members_that_are_sure_and_disagree_are_not_taken_for_members_that_are_sure_of_noise() -> None:
    """Both are right where they agree, nine steps in ten, which are asked about as rarely as the minimum does.

    The control: where they agree as surely, and answers are as random, they are sure of noise.
    """
    rng = np.random.default_rng(0)
    sure = np.log(np.array([[0.98, 0.02], [0.98, 0.02]]))
    apart = np.log(np.array([[0.98, 0.02], [0.02, 0.98]]))

    def fitted(answered: list[tuple[np.ndarray, int]]) -> float:
        state = Temperature(log=jnp.zeros(2), curvature=jnp.full(2, 10.0))
        step = jax.jit(Temperature.step)
        for log_probs, answer in answered:
            scaled = jax.nn.log_softmax(jnp.asarray(log_probs, jnp.float32) * jnp.exp(-state.log)[:, None])
            state = step(state, scaled + jnp.log(0.97), jnp.int32(answer))  # 3% are withheld
        return float(jnp.exp(state.log).mean())

    agreed = [(sure, int(rng.random() < 0.02)) for _ in range(150)]
    split = [(apart, int(rng.integers(2))) for _ in range(150)]
    both = [pair for pairs in zip(agreed, split, strict=True) for pair in pairs]
    assert fitted(both) < 1.5
    noisy = [(sure, int(rng.random() < 0.25)) for _ in range(300)]
    assert fitted(noisy) > 2.0


@pytest.mark.slow
def test_prior_networks_are_added_and_never_trained(key: jax.Array) -> None:
    training = replace(SMALL, prior_scale=3.0)
    observations, answers = separable(np.random.default_rng(0), 30)
    start = jax.jit(Neural.init_learned)(members(training), key)
    found = prequential(members(training), observations, answers, key)
    stacked_equal(found.learned.prior_params, start.prior_params)
    apply = members().architecture.apply
    one = observations[0]
    parts = [jax.tree.map(lambda leaf: leaf[1], tree) for tree in (start.params, start.prior_params)]
    expected = jax.nn.log_softmax(apply(parts[0], one) + 3 * apply(parts[1], one))
    np.testing.assert_allclose(found.log_probs[0, 1], expected, atol=1e-5)
    assert members().init_learned(key).prior_params == ()


@pytest.mark.slow
def test_averages_predict_and_newest_parameters_are_trained(key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 60)
    averaged = members(replace(SMALL, averaging=5.0))
    plain, found = (prequential(one, observations, answers, key).learned for one in (members(), averaged))
    stacked_equal(found.params, plain.params)
    context = ensembles.Context(step=0, log_weights=np.zeros(3), learned=found)
    exchanged = members().log_probs((), observations[0], context._replace(learned=found.replace(params=found.averages)))
    np.testing.assert_allclose(averaged.log_probs((), observations[0], context), exchanged, atol=1e-6)
    newest = members().log_probs((), observations[0], context)
    assert not np.allclose(newest, exchanged, atol=1e-3)
    assert members().init_learned(key).averages == ()


@pytest.mark.slow
def test_averages_of_small_floats_are_kept_in_float32(key: jax.Array) -> None:
    """A hundredth of a step is lost in bfloat16."""

    def linear(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Linear(3, 4, param_dtype=jnp.bfloat16, rngs=rngs)

    training = replace(SMALL, averaging=100.0, every=1, learning_rate=1e-2)
    ensemble = ensembles.from_module(linear, (3,), 4, 2, training)
    observations, answers = separable(np.random.default_rng(0), 20)
    found = prequential(ensemble, observations, answers, key)
    assert found.learned.params["kernel"].dtype == jnp.bfloat16
    assert found.learned.averages["kernel"].dtype == jnp.float32
    assert np.isfinite(found.log_probs).all()


@pytest.mark.slow
def test_plateau_lowers_the_rate_and_can_stop(key: jax.Array) -> None:
    rng = np.random.default_rng(0)
    observations, answers = separable(rng, 240)[0], rng.integers(0, 4, 240)
    for stop in (False, True):
        plateau = Plateau(patience=2, factor=0.1, smallest=0.01, stop=stop)
        ensemble = members(replace(SMALL, plateau=plateau, every=1, optimizer=optax.sgd, learning_rate=0.1))
        found = prequential(ensemble, observations, answers, key).learned
        assert np.all(np.asarray(found.optimizer[-1].scale) <= 0.01 + 1e-6)
        later = prequential(ensemble, observations, answers, key, learned=found).learned
        same = jax.tree.map(np.array_equal, found.params, later.params)
        assert all(jax.tree.leaves(same)) == stop
        assert int(later.replay.stored) == 480


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"updates": 0},
        {"every": 0},
        {"capacity": 0},
        {"bootstrap": "jackknife"},
        {"label_smoothing": 1.0},
        {"weight_decay": -1.0},
        {"prior_scale": math.nan},
        {"temperature": "False"},
        {"averaging": 0.5},
        {"averaging": -1.0},
        {"averaging": math.inf},
        {"caution": -1.0},
        {"optimizer": optax.sgd, "weight_decay": 0.1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_settings_are_checked(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting)) if len(setting) == 1 else "weight_decay"):
        Training(**setting)


def test_caution_withholds_mass_until_there_are_answers(key: jax.Array) -> None:
    """And changes nothing else: what is left has the same proportions, and the same is learned."""
    observations, answers = separable(np.random.default_rng(0), 30)
    plain = prequential(members(), observations, answers, key)
    careful = prequential(members(replace(SMALL, caution=10.0)), observations, answers, key)
    stored = np.arange(30)
    np.testing.assert_allclose(np.exp(careful.log_probs).sum(-1)[1:, 0], (stored / (stored + 10))[1:], rtol=1e-4)
    assert 0 < np.exp(careful.log_probs[0]).sum(-1).max() <= 0.01
    gap = careful.log_probs - plain.log_probs
    np.testing.assert_allclose(gap, np.broadcast_to(gap[..., :1], gap.shape), atol=1e-4)
    stacked_equal(careful.learned.params, plain.learned.params)


def test_plateaus_are_checked() -> None:
    for setting in ({"factor": 1.0}, {"patience": 0}, {"smallest": 1.0}):
        with pytest.raises(ValueError, match=next(iter(setting))):
            Plateau(**setting)


def test_equal_settings_are_one() -> None:
    assert hash(Training(plateau=Plateau())) == hash(Training(plateau=Plateau()))
    assert Training(updates=2) == Training(updates=2)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30], ids=str)
def test_a_round_that_leaves_no_numbers_is_not_taken(poison: float) -> None:
    """The control: without poison the same round changes the parameters."""
    training = Training(updates=1, every=1, batch_size=4, caution=0.0, bootstrap="none")
    members = ensembles.mlp((2,), 2, num_members=2, hidden=(4,), training=training)
    before = members.init_learned(jax.random.key(0))
    inputs = np.array([0.5, -0.5], np.float32)
    log_probs = np.log(np.full((2, 2), 0.5, np.float32))
    step = jax.jit(lambda learned, seen: members.learn(learned, (), seen, jnp.int32(1), log_probs))
    for seen, same in ((inputs, False), (inputs * np.float32(poison), True)):
        after = step(before, seen)
        for new, old in zip(jax.tree.leaves(after.params), jax.tree.leaves(before.params), strict=True):
            assert np.isfinite(new).all()
            assert np.array_equal(new, old) == same
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.optimizer))
