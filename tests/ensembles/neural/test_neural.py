"""Ensembles of networks where they are used: in the learner, in unions, in one compiled program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from consensus_imitation import Learner, TopK, ensembles
from consensus_imitation.ensembles import Context, Neural, Training

from .streams import losses, prequential, separable

SMALL = Training(batch_size=16, updates=2, every=2, capacity=128, learning_rate=1e-2, caution=0.0)

init = jax.jit(Learner.init, static_argnames="num_streams")
decide = jax.jit(Learner.decide)
observe = jax.jit(Learner.observe)


def linear(rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Linear(3, 4, rngs=rngs)


class Normalised(nnx.Module):
    """A module with more than parameters."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, observation: Any) -> jax.Array:
        return self.norm(self.linear(observation)[None])[0]


def run(ensemble: Any, length: int, key: jax.Array) -> Any:
    """A learner that asks and is answered: its state, and what it asked."""
    learner = Learner(ensemble, TopK(ensemble.num_members))
    state = init(learner, key)
    observations, answers = separable(np.random.default_rng(0), length)
    queried = []
    for observation, answer in zip(observations, answers, strict=True):
        decision = decide(learner, state, observation)
        state, _ = observe(learner, state, observation, decision, answer)
        queried.append(bool(decision.queried))
    return state, queried


def test_only_answers_are_learned_from(key: jax.Array) -> None:
    state, queried = run(ensembles.mlp((3,), 4, 2, hidden=(8,), training=SMALL), 60, key)
    assert int(state.learned.replay.stored) == sum(queried)
    assert 0 < sum(queried) < 60


@pytest.mark.slow
def test_equal_calls_share_compiled_functions(key: jax.Array) -> None:
    """And so do other parameters; another width does not (the control)."""
    before = decide._cache_size()
    observation = np.zeros(3, np.float32)
    for seed in range(3):
        members = ensembles.mlp((3,), 4, 3, hidden=(9,), training=Training(capacity=16), prior=[0.5, 0.3, 0.2])
        learner = Learner(members, TopK(2))
        decide(learner, init(learner, jax.random.fold_in(key, seed)), observation)
        assert decide._cache_size() == before + 1
    learner = Learner(ensembles.mlp((3,), 4, 3, hidden=(10,), training=Training(capacity=16)), TopK(2))
    decide(learner, init(learner, key), observation)
    assert decide._cache_size() == before + 2


@pytest.mark.parametrize("make", [ensembles.mlp, ensembles.recurrent])
def test_factories_make_equal_static_parts(make: Any) -> None:
    first, second = (jax.tree.structure(make((3,), 4, 3)) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)


def test_a_module_of_ones_own(key: jax.Array) -> None:
    members = ensembles.from_module(linear, (3,), 4, 2, SMALL)
    observations, answers = separable(np.random.default_rng(0), 200)
    found = losses(prequential(members, observations, answers, key), answers)
    assert found[-50:].mean() < found[:10].mean() - 0.3


def test_modules_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits of shape \(5,\)"):
        ensembles.from_module(linear, (3,), 5)
    with pytest.raises(ValueError, match="BatchStat"):
        ensembles.from_module(Normalised, (3,), 4)
    with pytest.raises(ValueError, match="num_members"):
        ensembles.from_module(linear, (3,), 4, 0)
    with pytest.raises(ValueError, match="window"):
        ensembles.from_module(linear, (3,), 4, window=-1)
    with pytest.raises(ValueError, match="prior"):
        ensembles.mlp((3,), 4, 2, prior=[1.0, 1.0, 1.0])


@pytest.mark.slow
def test_two_architectures_in_one_union(key: jax.Array) -> None:
    """Each part learns as it would alone, apart from its random numbers; a fixed member may join."""
    parts = (
        ensembles.mlp((3,), 4, 2, hidden=(8,), training=SMALL),
        ensembles.recurrent((3,), 4, 1, hidden=4, window=2, training=SMALL),
        ensembles.stacked(lambda params, observation: params, jnp.zeros((1, 4)), 4),
    )
    state, queried = run(ensembles.union(*parts), 60, key)
    perceptrons, recurrents, fixed = state.learned
    assert fixed == ()
    assert int(perceptrons.replay.stored) == int(recurrents.replay.stored) == sum(queried) > 0
    observation = np.ones(3, np.float32)
    whole = decide(Learner(ensembles.union(*parts), TopK(4)), state, observation).log_probs
    alone = jax.jit(Neural.log_probs)(parts[0], (), observation, Context(jnp.int32(0), jnp.zeros(2), 0, perceptrons))
    np.testing.assert_allclose(whole[:2], alone, atol=1e-6)
    np.testing.assert_allclose(whole[3], -np.log(4), atol=1e-6)


def test_a_member_that_breaks_asks(key: jax.Array) -> None:
    """Parameters that are not numbers make an invalid member, hence a query: nothing is acted on."""
    members = ensembles.mlp((3,), 4, 2, hidden=(8,), training=SMALL)
    learner = Learner(members, TopK(2))
    state = init(learner, key)
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), state.learned.params)
    decision = decide(learner, state.replace(learned=state.learned.replace(params=broken)), np.ones(3, np.float32))
    assert bool(decision.queried)
    assert float(decision.query_prob) == 1
    np.testing.assert_array_equal(decision.invalid, [False, True])


@pytest.mark.slow
def test_seeds_side_by_side(key: jax.Array) -> None:
    """Under ``vmap`` every seed's members are those of a run of its own."""
    members = ensembles.mlp((3,), 4, 2, hidden=(8,), training=SMALL)
    observations, answers = separable(np.random.default_rng(0), 6)

    def learned(key: jax.Array) -> Any:
        start = members.init_learned(key)

        def step(known: Any, part: Any) -> Any:
            return members.learn(known, (), *part, jnp.zeros((2, 4))), None

        return jax.lax.scan(step, start, (observations, jnp.asarray(answers)))[0].params

    keys = jax.random.split(key, 2)
    together = jax.jit(jax.vmap(learned))(keys)
    alone = jax.jit(learned)(keys[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, atol=1e-6), together, alone)


def test_ensembles_hold_arrays_in_leaves_only() -> None:
    members = ensembles.mlp((3,), 4, 2)
    assert [leaf.shape for leaf in jax.tree.leaves(members)] == [(2,)]
    assert isinstance(jax.tree.map(lambda leaf: leaf, members), Neural)
    assert members.learns
    assert members.training == Training()
