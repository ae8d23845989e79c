"""Members around one frozen network: masks on it, and directions in its tangent space."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.deception import plant
from consensus_imitation.ensembles import Context, Training
from consensus_imitation.ensembles.neural import _masks, _tangent
from consensus_imitation.ensembles.neural.encoding import make_encoder
from consensus_imitation.errors import ConfigurationError, ConsensusWarning

from .streams import losses, prequential, separable

A, WIDTH = 4, 3
QUICK = Training(batch_size=32, updates=4, every=2, capacity=512, learning_rate=1e-2, caution=0.0)


def masks(training: Training = QUICK, **options: Any) -> ensembles.Masks:
    return ensembles.masks((WIDTH,), A, 3, hidden=(64,), training=training, **options)


def tangent(training: Training = QUICK) -> ensembles.Neural:
    return ensembles.tangent((WIDTH,), A, 3, hidden=(16,), training=training)


def last_layer(training: Training = QUICK) -> ensembles.Neural:
    return ensembles.tangent((WIDTH,), A, 3, hidden=(32,), layers="last", training=training)


KINDS = [masks, *(pytest.param(make, marks=pytest.mark.slow) for make in (tangent, last_layer))]


# --- What every kind of member has to do. ---


@pytest.mark.parametrize("make", KINDS)
def test_they_learn_online_and_predict_before_they_learn(make: Any, key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 240)
    found = losses(prequential(make(), observations, answers, key), answers)
    assert found[160:].mean() < 0.6 < 1.0 < found[:20].mean()
    # The control: nothing can be learned where answers have nothing to do with observations.
    shuffled = np.random.default_rng(1).permutation(answers)
    assert losses(prequential(make(), observations, shuffled, key), shuffled)[160:].mean() > np.log(A) - 0.2


def expert(observation: np.ndarray) -> int:
    return int(np.argmax(np.abs(observation)))


@pytest.mark.slow
@pytest.mark.parametrize("make", [masks, tangent])
def test_a_resumed_run_is_the_run_bit_for_bit(make: Any, tmp_path: Path) -> None:
    training = Training(batch_size=8, updates=2, every=3, capacity=64, caution=4.0)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(40, WIDTH)).astype(np.float32)
    never = ConsensusImitator(make(training), expert, selection=TopK(3), seed=1)
    broken = ConsensusImitator(make(training), expert, selection=TopK(3), seed=1, journal=tmp_path / "run")
    for t, observation in enumerate(seen):
        if t in (7, 25):
            broken.close()
            broken = ConsensusImitator.resume(tmp_path / "run", make(training), expert, selection=TopK(3))
        assert never.act(observation).action == broken.act(observation).action
    states = (jax.tree.leaves(one.state.learned) for one in (never, broken))
    for one, other in zip(*states, strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one, other)
    assert 6 < never.num_queries < 40
    broken.close()


@pytest.mark.parametrize("make", [masks, pytest.param(last_layer, marks=pytest.mark.slow)])
def test_a_deceiver_among_them_is_vetoed(make: Any) -> None:
    """The suite in an environment of one's own: harm where the trigger shows, unless an honest member has a say."""

    def triggered(observation: np.ndarray) -> bool:
        return bool(observation[0] > 5)

    trigger = np.array([6.0, 0.0, 0.0], np.float32)
    deceived = ConsensusImitator(plant(make(), triggered, 3), expert, selection=TopK(1), seed=0)
    with pytest.warns(ConsensusWarning, match="selected alone"):
        assert deceived.decide(trigger).action == 3
    # Four members, the deceiver among them: the three untrained ones do not agree with it.
    careful = ConsensusImitator(plant(make(), triggered, 3), expert, selection=TopK(4), seed=0)
    assert careful.decide(trigger).query_prob > 0.1


# --- Masks. ---


@pytest.mark.parametrize("kept", [0.01, 0.2, 0.5, 1.0])
def test_the_best_share_of_the_scores_is_chosen(kept: float) -> None:
    scores = np.random.default_rng(0).normal(size=(40, 13)).astype(np.float32)
    found = np.asarray(_masks.chosen(jnp.asarray(scores), kept))
    best = np.sort(scores.ravel())[-round(kept * scores.size)]
    np.testing.assert_array_equal(found, (scores >= best).astype(np.float32))


def test_scores_that_are_all_equal_are_all_chosen() -> None:
    assert _masks.chosen(jnp.full((5, 5), -2.0), 0.2).sum() == 25


def test_the_frozen_network_is_the_same_for_ever() -> None:
    found = _masks.signs(3, 1, (4, 6))
    np.testing.assert_array_equal(np.abs(found), 1)
    assert "".join("+" if one > 0 else "-" for one in found.ravel()) == "---+--++--++--+--++-++-+"
    assert not np.array_equal(found, _masks.signs(4, 1, (4, 6)))
    assert abs(_masks.signs(0, 0, (200, 200)).mean()) < 5 / 200  # five standard deviations


def test_a_mask_chooses_connections_of_the_frozen_network() -> None:
    """By NumPy: signs times mask times scale, ReLU, and a constant input for the bias."""
    members = masks(kept=0.3)
    params = jax.tree.map(np.asarray, members.architecture.make_params(jax.random.key(2)))
    observation = np.array([0.3, -1.0, 2.0], np.float32)
    features = np.asarray(members.encoder.features(members.encoder(observation)))
    for layer, shape in ((0, (WIDTH + 1, 64)), (1, (65, A))):
        scores = params["scores"][layer]
        mask = scores >= np.sort(scores.ravel())[-round(0.3 * scores.size)]
        weights = _masks.signs(0, layer, shape) * mask * np.sqrt(2 / (0.3 * shape[0]))
        features = np.append(np.maximum(features, 0) if layer else features, 1.0) @ weights
    found = members.architecture.apply(params, members.encoder(observation))
    np.testing.assert_allclose(found, features, rtol=1e-4, atol=1e-5)


def test_gradients_go_straight_through_the_choice() -> None:
    members = ensembles.masks((WIDTH,), A, 1, hidden=(), kept=0.5)
    params = members.architecture.make_params(jax.random.key(0))
    seen = members.encoder(np.array([0.3, -1.0, 2.0], np.float32))
    slope = jax.grad(lambda params: members.architecture.apply(params, seen)[1])(params)["scores"][0]
    inputs = np.append(np.asarray(members.encoder.features(seen)), 1.0)
    wanted = np.zeros((WIDTH + 1, A))
    wanted[:, 1] = inputs * _masks.signs(0, 0, (WIDTH + 1, A))[:, 1] * np.sqrt(2 / (0.5 * (WIDTH + 1)))
    np.testing.assert_allclose(slope, wanted, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"averaging": 3.0, "temperature": True, "caution": 30.0}],
    ids=["plain", "all"],
)
def test_frozen_members_predict_what_they_predicted_and_learn_no_more(options: Any, key: jax.Array) -> None:
    members = masks(Training(**{"batch_size": 16, "updates": 2, "every": 2, "capacity": 128, "caution": 0.0} | options))
    observations, answers = separable(np.random.default_rng(0), 80)
    learned = prequential(members, observations, answers, key).learned
    frozen = members.freeze(learned)
    for observation in observations[:5]:
        before = members.log_probs((), observation, Context(0, jnp.zeros(3), 0, learned))
        np.testing.assert_allclose(frozen.log_probs((), observation, Context(0, jnp.zeros(3))), before, atol=2e-5)
    connections = (WIDTH + 1) * 64 + 65 * A
    assert frozen.bits.nbytes == 3 * -(-connections // 8)
    assert not frozen.learns
    imitator = ConsensusImitator(ensembles.union(frozen, last_layer()), expert, selection=TopK(6), seed=0)
    imitator.act(observations[0])
    assert imitator.weights.shape == (6,)


def test_what_is_no_mask_cannot_be_frozen() -> None:
    for settings in ({"prior_scale": 1.0}, {"local_caution": 0.03}, {"bootstrap": "partition"}):
        members = masks(Training(capacity=16, **settings))
        with pytest.raises(ConfigurationError, match="no masks alone"):
            members.freeze(members.init_learned(jax.random.key(0)))
    for bad in ({"kept": 0.0}, {"kept": 1.5}, {"network_seed": -1}, {"hidden": (0,)}):
        with pytest.raises(ConfigurationError):
            ensembles.masks((WIDTH,), A, **bad)


# --- Tangent space. ---


@pytest.mark.parametrize("make", [tangent, last_layer])
def test_members_are_linear_in_their_parameters(make: Any) -> None:
    members = make()
    one, other = (members.architecture.make_params(jax.random.key(seed)) for seed in (0, 1))
    seen = members.encoder(np.array([0.3, -1.0, 2.0], np.float32))
    apply = members.architecture.apply
    joined = jax.tree.map(lambda a, b: 2 * a - 3 * b, one, other)
    np.testing.assert_allclose(apply(joined, seen), 2 * apply(one, seen) - 3 * apply(other, seen), rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(apply(one, seen)).max()) > 0.01


def test_all_layers_are_the_derivative_of_the_shared_network() -> None:
    """By central differences around its parameters."""
    encoder = make_encoder((WIDTH,))
    shared = _tangent._Shared(encoder, A, (16,), 0)
    direction = nnx.to_pure_dict(nnx.state(shared.make(nnx.Rngs(5))))
    center, observation = _tangent._frozen(shared), np.array([0.3, -1.0, 2.0], np.float32)

    def at(step: float) -> jax.Array:
        network = shared.make(nnx.Rngs(0))
        nnx.update(network, jax.tree.map(lambda base, way: base + step * way, center, direction))
        return network(encoder(observation))

    members = ensembles.tangent(encoder, A, 1, hidden=(16,))
    found = members.architecture.apply({"direction": direction}, encoder(observation))
    np.testing.assert_allclose(found, (at(1e-2) - at(-1e-2)) / 2e-2, rtol=2e-2, atol=2e-2)


def test_layers_are_named() -> None:
    with pytest.raises(ConfigurationError, match="layers"):
        ensembles.tangent((WIDTH,), A, layers="first")  # type: ignore[arg-type]
