"""Replicas of a training loop of the user's own, against that loop run by hand, one replica after the other."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium import spaces

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.deception.networks import train_deceiver
from consensus_imitation.ensembles import Neural, Training
from consensus_imitation.ensembles.neural._own_update import resampled
from consensus_imitation.errors import ConfigurationError
from tests.imitator.probe import crash

from .streams import losses, prequential, separable
from .test_replay import bits, taught

SMALL = Training(batch_size=16, updates=2, every=3, capacity=64, caution=0.0)
OPTIMIZER = optax.adam(3e-2)


def init(key: jax.Array) -> Any:
    """The state of an ordinary loop, and a key for noise of its own."""
    params = {"w": 0.1 * jax.random.normal(key, (3, 4)), "b": jnp.zeros(4)}
    return params, OPTIMIZER.init(params), jax.random.fold_in(key, 1)


def apply(state: Any, x: jax.Array) -> jax.Array:
    return x @ state[0]["w"] + state[0]["b"]


def update(state: Any, x: jax.Array, y: jax.Array) -> Any:
    params, opt_state, key = state
    key, own = jax.random.split(key)
    noisy = x + 0.1 * jax.random.normal(own, x.shape)

    def loss(params: Any) -> jax.Array:
        logits = noisy @ params["w"] + params["b"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    steps, opt_state = OPTIMIZER.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, steps), opt_state, key


def loops(training: Training = SMALL, num_members: int = 3, **other: Any) -> Neural:
    functions: dict[str, Any] = {"init": init, "update": update, "apply": apply} | other
    return ensembles.from_training_loop(**functions, observation_space=(3,), action_space=4, num_members=num_members,
                                        training=training)  # fmt: skip


@pytest.mark.slow
@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("bootstrap", ["poisson", "none"])
def test_replicas_are_the_loop_itself_run_once_for_each(bootstrap: Any, key: jax.Array) -> None:
    ensemble = loops(replace(SMALL, bootstrap=bootstrap))
    observations, answers = separable(np.random.default_rng(3), 9)
    start = jax.jit(Neural.init_learned)(ensemble, key)
    found = prequential(ensemble, observations, answers, key).learned
    counts = np.asarray(found.replay.counts, int)
    for n in range(3):
        state = jax.tree.map(lambda leaf, n=n: leaf[n], start.params)
        for stored in (3, 6, 9):
            draw_key = jax.random.fold_in(jax.random.fold_in(start.key, 1), stored)
            for places in np.asarray(jax.random.randint(draw_key, (2, 16), 0, stored)):
                own = counts[places, n]
                if not own.any():
                    continue
                # Each place as often as it counts, laid end to end, and read at the middle of each of M parts.
                line = np.repeat(places, own)
                chosen = line[((np.arange(16) + 0.5) / 16 * len(line)).astype(int)]
                state = update(state, jnp.asarray(observations[chosen]), jnp.asarray(answers[chosen]))
        expected = jax.tree.leaves(state[:2])
        for leaf, other in zip(jax.tree.leaves(found.params[:2]), expected, strict=True):
            np.testing.assert_allclose(leaf[n], other, atol=2e-6)
    assert not np.allclose(found.params[0]["w"][0], found.params[0]["w"][1], atol=1e-3)


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("size", [32, 1, 7])
def test_resampling_is_proportional_to_within_one_and_never_shows_what_does_not_count(size: int) -> None:
    drawn = np.random.default_rng(size).poisson(1.0, (300, size))
    drawn = drawn[drawn.any(1)]
    places = np.asarray(jax.jit(jax.vmap(resampled))(jnp.asarray(drawn, jnp.float32)))
    shown = np.array([np.bincount(own, minlength=size) for own in places])
    assert shown.sum(1).tolist() == [size] * len(drawn)
    assert np.all(np.abs(shown - size * drawn / drawn.sum(1, keepdims=True)) < 1)
    assert not shown[drawn == 0].any()


def test_a_replica_for_which_nothing_counts_stays_as_it_was(key: jax.Array) -> None:
    ensemble = loops()
    before = jax.tree.map(lambda leaf: leaf[0], jax.jit(Neural.init_learned)(ensemble, key).params)
    seen, answers = jnp.ones((4, 3)), jnp.zeros(4, jnp.int32)
    own: Any = ensemble.architecture.apply
    assert bits(own.updated(before, seen, answers, jnp.zeros(4))) == bits(before)
    assert bits(own.updated(before, seen, answers, jnp.ones(4))) != bits(before)


@pytest.mark.slow
def test_the_same_is_learned_on_the_host_to_the_bit() -> None:
    """With random numbers in the loop's state."""

    def wide(key: jax.Array) -> Any:
        params = {"w": 0.1 * jax.random.normal(key, (4, 3)), "b": jnp.zeros(3)}
        return params, OPTIMIZER.init(params), jax.random.fold_in(key, 1)

    members = ensembles.from_training_loop(wide, update, apply, (4,), 3, 2, replace(SMALL, temperature=True))
    rows, arrays = taught(members, lambda rng: rng.normal(size=4).astype(np.float32), 12)
    assert bits(rows) == bits(arrays)


@pytest.mark.slow
def test_it_asks_learns_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    observations, answers = separable(np.random.default_rng(0), 160)
    right = {observations[t].tobytes(): int(answers[t]) for t in range(160)}
    calls: list[int] = []

    def demonstrator(observation: np.ndarray) -> int:
        calls.append(1)
        return right[observation.tobytes()]

    def imitator(**journal: Any) -> ConsensusImitator:
        ensemble = loops(replace(SMALL, caution=5.0, updates=8))
        return ConsensusImitator(ensemble, demonstrator, selection=TopK(3), seed=0, **journal)

    whole = imitator()
    decisions = [whole.act(seen) for seen in observations]
    actions, queried = [one.action for one in decisions], np.array([one.queried for one in decisions])
    assert queried[:40].sum() > queried[-40:].sum() + 10
    # One in four is right by chance.
    assert np.mean((np.array(actions) == answers)[~queried]) > 0.6
    asked = whole.num_queries
    first = imitator(journal=tmp_path / "run")
    done = [first.act(seen).action for seen in observations[:70]]
    crash(first)
    ensemble = loops(replace(SMALL, caution=5.0, updates=8))
    again = ConsensusImitator.resume(tmp_path / "run", ensemble, demonstrator, selection=TopK(3))
    with again:
        done += [again.act(seen).action for seen in observations[70:]]
    assert (done, again.num_queries) == (actions, asked)
    assert bits(again.state) == bits(whole.state)


@pytest.mark.slow
def test_the_loss_falls_and_a_broken_step_is_not_taken(key: jax.Array) -> None:
    observations, answers = separable(np.random.default_rng(0), 200)
    found = losses(prequential(loops(), observations, answers, key), answers)
    assert found[-50:].mean() < 0.7 < 1.2 < found[:5].mean()

    def broken(state: Any, x: jax.Array, y: jax.Array) -> Any:
        params, opt_state, own_key = update(state, x, y)
        return jax.tree.map(lambda leaf: leaf * jnp.nan, params), opt_state, own_key

    after = prequential(loops(update=broken), observations[:6], answers[:6], key).learned
    assert bits(after.params) == bits(jax.jit(Neural.init_learned)(loops(), key).params)


@pytest.mark.slow
def test_a_replica_is_untouched_by_the_others_labels(key: jax.Array) -> None:
    """Divided, labels 1, 4, 7, ... are those of the second of three; the control: undivided, they reach the first."""
    observations, answers = separable(np.random.default_rng(0), 24)
    other = answers.copy()
    other[1::3] = (other[1::3] + 1) % 4
    for bootstrap, same in (("partition", True), ("poisson", False)):
        ensemble = loops(replace(SMALL, bootstrap=bootstrap, every=2))
        one, two = (prequential(ensemble, observations, told, key).learned.params for told in (answers, other))
        for n, untouched in ((0, same), (1, False), (2, same)):
            pairs = zip(jax.tree.leaves(one[:1]), jax.tree.leaves(two[:1]), strict=True)
            assert all(np.array_equal(a[n], b[n]) for a, b in pairs) == untouched


def test_local_caution_is_refused_where_distance_means_nothing() -> None:
    with pytest.raises(ConfigurationError, match="local_caution"):
        ensembles.from_training_loop(init, update, apply, spaces.Discrete(3), 4, 3, replace(SMALL, local_caution=0.03))


def no_state(key: jax.Array) -> Any:
    return ()


def too_few(state: Any, x: jax.Array) -> jax.Array:
    return apply(state, x)[:3]


def forgetful(state: Any, x: jax.Array, y: jax.Array) -> Any:
    return update(state, x, y)[:2]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"init": 3}, "init must be a function"),
        ({"init": no_state}, "at least one array"),
        ({"apply": too_few}, r"logits of shape \(4,\) for one input; got \(3,\)"),
        ({"update": forgetful}, "update must return a state like the one it was given"),
        ({"training": Training(learning_rate=0.1)}, r"learning_rate=...\) would have no effect.*update"),
        ({"training": Training(masked=True)}, "masked=...\\) would have no effect"),
        ({"training": 3}, "training must be a Training"),
        ({"num_members": 0}, "num_members"),
    ],
    ids=lambda part: str(next(iter(part))) if isinstance(part, dict) else "",
)
def test_what_does_not_fit_is_refused(other: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        loops(**other)


def test_a_planted_network_of_the_same_kind_cannot_be_made() -> None:
    with pytest.raises(ConfigurationError, match="training loop of your own"):
        train_deceiver(loops(), np.zeros((4, 3), np.float32), np.zeros(4, int), None)
