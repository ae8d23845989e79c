"""Answers kept in rows beside the state: the same is learned as in arrays, and a state never changes."""

import contextlib
import gc
import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Journal, Learner, LearnerState, TopK, ensembles
from consensus_imitation.ensembles._rows import Rows
from consensus_imitation.ensembles.neural.replay import Elsewhere, Replay, is_replay
from consensus_imitation.errors import ConfigurationError, JournalWriteError
from consensus_imitation.imitator import kernels
from consensus_imitation.imitator._setup import shapes
from tests.stress.interrupts import Interrupter

from .probe import checkpoint, directory_of, run_of

A, WIDTH, SEED = 3, 2, 5
CAPACITY = 12
SMALL = ensembles.Training(
    capacity=CAPACITY, batch_size=8, updates=2, every=3, temperature=True, caution=20.0, averaging=2.0
)
RULE = TopK(2)


def networks(training: ensembles.Training = SMALL) -> Any:
    return ensembles.mlp((WIDTH,), A, 2, hidden=(4,), training=training)


def joined() -> Any:
    return ensembles.union(networks(), ensembles.recurrent((WIDTH,), A, 2, hidden=3, window=2, training=SMALL))


def on_host() -> Any:
    return ensembles.union(networks(), ensembles.callables([lambda observation: [0.2, 0.3, 0.5]], A))


class Wrapped(ensembles.PureEnsemble):
    """A user's class around the library's own, that knows nothing of where answers are kept."""

    inner: Any
    prior: jax.Array

    num_members = property(lambda self: self.inner.num_members)
    num_actions = property(lambda self: self.inner.num_actions)
    learns = property(lambda self: True)
    encoder = property(lambda self: self.inner.encoder)

    def init_learned(self, key: jax.Array) -> Any:
        return self.inner.init_learned(key)

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        return self.inner.log_probs(carry, observation, context)

    def learn(self, learned: Any, *rest: Any) -> Any:
        return self.inner.learn(learned, *rest)


def wrapped() -> Any:
    return Wrapped(networks(), jnp.full(2, 0.5))


def seen(t: int) -> np.ndarray:
    return np.random.default_rng(t).normal(size=WIDTH).astype(np.float32)


def right(observation: Any) -> int:
    return int(np.asarray(observation)[0] > 0)


def make(members: Any = None, **more: Any) -> ConsensusImitator:
    return ConsensusImitator(networks() if members is None else members, right, selection=RULE, seed=SEED, **more)


def go_on(imitator: ConsensusImitator, begin: int, end: int) -> None:
    for t in range(begin, end):
        imitator.act(seen(t))


def bits(tree: Any) -> list[bytes]:
    def data(leaf: Any) -> Any:
        return jax.random.key_data(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return [np.asarray(data(leaf)).tobytes() for leaf in jax.tree.leaves(tree)]


def learned_bits(state: LearnerState) -> list[bytes]:
    return bits((state.learned, state.posterior))


def learner_of(imitator: ConsensusImitator) -> Learner:
    return Learner.of(run_of(imitator).setup.ensemble, imitator.rules)


def pure(imitator: ConsensusImitator, state: LearnerState, begin: int, end: int) -> LearnerState:
    """The same steps by the pure learner, in arrays, in one program each."""
    learner = learner_of(imitator)

    @jax.jit
    def step(state: LearnerState, observation: Any, answer: Any) -> LearnerState:
        return learner.observe(state, observation, learner.decide(state, observation), answer)[0]

    for t in range(begin, end):
        state = step(state, seen(t), right(seen(t)))
    return state


def beginning(imitator: ConsensusImitator, num_envs: int | None = None) -> LearnerState:
    keys = kernels.make_keys(SEED)
    return learner_of(imitator).init(keys.draws, num_envs, keys.members)


# --- the same is learned ---


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("members", [networks, joined, wrapped])
def test_the_shell_learns_what_the_pure_learner_learns_to_the_bit(members: Any) -> None:
    """Far beyond the capacity; also with members that know nothing of rows."""
    imitator = make(members())
    go_on(imitator, 0, 45)
    state = imitator.state
    assert int(state.stream.queries) > 2 * CAPACITY
    assert learned_bits(state) == learned_bits(pure(imitator, beginning(imitator), 0, 45))


@pytest.mark.slow
def test_a_batch_in_lockstep_learns_what_the_pure_learner_learns_to_the_bit() -> None:
    B = 3
    imitator = make(joined(), num_envs=B)
    learner, state = learner_of(imitator), beginning(imitator, B)

    @jax.jit
    def step(state: LearnerState, observations: Any, answers: Any) -> LearnerState:
        return learner.observe_batch(state, observations, learner.decide_batch(state, observations), answers)[0]

    for t in range(15):
        observations = np.stack([seen(B * t + b) for b in range(B)])
        imitator.act(observations)
        state = step(state, observations, np.array([right(one) for one in observations]))
    assert imitator.num_queries > 2 * CAPACITY
    assert learned_bits(imitator.state) == learned_bits(state)


def test_environments_by_themselves_and_host_members_learn_the_same_rows() -> None:
    """The rows are the answers, in the order in which they came."""
    for members, num_envs in ((networks(), 2), (on_host(), None), (on_host(), 2)):
        imitator = make(members, num_envs=num_envs)
        came: list[tuple[list[float], int]] = []
        for t in range(24):
            env = None if num_envs is None else t % num_envs
            if imitator.act(seen(t), env=env).queried:
                came.append((seen(t).tolist(), right(seen(t))))
        learned = imitator.state.learned
        replay = learned.replay if isinstance(members, ensembles.Neural) else learned[0].replay
        assert int(replay.stored) == len(came) > CAPACITY
        for number in range(len(came) - CAPACITY, len(came)):
            own = (replay.inputs[number % CAPACITY].tolist(), int(replay.answers[number % CAPACITY]))
            assert own == came[number]


@pytest.mark.slow
def test_recordings_teach_what_they_teach_the_pure_learner() -> None:
    """Before any answer, after some, and more of them than there is room for; then it goes on from there."""
    imitator = make()
    learner, state = learner_of(imitator), beginning(imitator)
    for first, total, steps in ((0, 5, 4), (100, 3, 6), (200, 2 * CAPACITY + 1, 8)):
        observations = np.stack([seen(first + t) for t in range(total)])
        actions = np.array([right(one) for one in observations])
        starts, real = np.arange(total) == 0, np.ones(total, bool)
        imitator.pretrain(observations, actions)
        state, _ = jax.jit(learner.pretrain)(
            state, learner.init_streams(jax.random.key(0)), observations, actions, starts, real
        )
        go_on(imitator, first, first + steps)
        state = pure(imitator, state, first, first + steps)
    assert learned_bits(imitator.state) == learned_bits(state)


# --- a state, given out and taken back ---


def test_a_state_that_was_given_out_never_changes_and_is_gone_on_from_twice() -> None:
    imitator = make()
    go_on(imitator, 0, 10)
    held, copy = imitator.state, jax.tree.map(lambda leaf: leaf, imitator.state)
    go_on(imitator, 10, 30)
    then = learned_bits(imitator.state)
    other = ConsensusImitator.from_state(held, networks(), right, selection=RULE)
    go_on(other, 50, 70)
    assert learned_bits(other.state) == learned_bits(pure(imitator, copy, 50, 70)) != then
    assert learned_bits(imitator.state) == then
    imitator.restore(held)
    assert learned_bits(imitator.state) == learned_bits(held) == learned_bits(copy)
    go_on(imitator, 10, 30)
    assert learned_bits(imitator.state) == then
    imitator.restore(copy)
    go_on(imitator, 10, 30)
    assert learned_bits(imitator.state) == then


def test_the_pure_learner_goes_on_from_a_state_of_the_shell_and_back() -> None:
    imitator = make()
    go_on(imitator, 0, 10)
    learner, observations = learner_of(imitator), np.stack([seen(t) for t in range(10, 20)])

    def step(state: LearnerState, observation: jax.Array) -> tuple[LearnerState, None]:
        return learner.observe(state, observation, learner.decide(state, observation), observation[0] > 0)[0], None

    state, _ = jax.lax.scan(step, imitator.state, observations)
    go_on(imitator, 10, 20)
    assert learned_bits(imitator.state) == learned_bits(state)
    imitator.restore(state)
    go_on(imitator, 20, 30)
    assert learned_bits(imitator.state) == learned_bits(pure(imitator, state, 20, 30))


def test_what_the_caller_gives_is_copied() -> None:
    imitator = make()
    go_on(imitator, 0, 10)
    writeable = jax.tree.map(
        lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.array(leaf), imitator.state
    )
    other = ConsensusImitator.from_state(writeable, networks(), right, selection=RULE)
    for leaf in jax.tree.leaves(writeable):
        if isinstance(leaf, np.ndarray) and leaf.ndim:
            leaf[:] = 0
    assert learned_bits(other.state) == learned_bits(imitator.state)


def test_a_state_that_claims_more_answers_than_it_holds_is_refused() -> None:
    imitator = make()
    go_on(imitator, 0, 5)
    state, before = imitator.state, learned_bits(imitator.state)
    replay = state.learned.replay
    for other in (
        replay.replace(stored=jnp.int32(-1)),
        replay.trimmed(),
        Replay(*jax.tree.map(lambda leaf: leaf[:4], (replay.inputs, replay.answers, replay.counts)), jnp.int32(5), 12),
        Elsewhere(jnp.int32(5)),
        None,
    ):
        bad = state.replace(learned=state.learned.replace(replay=other))
        with pytest.raises(ConfigurationError):
            imitator.restore(bad)
        with pytest.raises(ConfigurationError):
            ConsensusImitator.from_state(bad, networks(), right, selection=RULE)
    assert learned_bits(imitator.state) == before


# --- nothing is learned from nothing ---


def test_members_without_their_answers_learn_nothing_and_say_so() -> None:
    imitator = make()
    go_on(imitator, 0, 5)
    run = run_of(imitator)
    log_probs = np.log(np.full((2, A), 1 / A, np.float32))
    for teach in (networks().learn, networks().learn_on_host):
        with pytest.raises(ConfigurationError, match="elsewhere"):
            teach(run.state.learned, (), seen(0), jnp.int32(1), log_probs)
    for rows in ((), run.rows * 2, make().state.learned.replay.rows and (make().state.learned.replay.rows,)):
        object.__setattr__(run, "rows", rows)
        with pytest.raises(ConfigurationError, match="answers"):
            go_on(imitator, 5, 9)


def test_no_program_takes_or_returns_the_answers() -> None:
    """The structural promise behind an answer's cost: no array of a run's own state has room for the capacity."""
    capacity = 5003
    imitator = make(networks(ensembles.Training(capacity=capacity, every=4, batch_size=8, updates=2)))
    go_on(imitator, 0, 10)
    sizes = [size for leaf in jax.tree.leaves(run_of(imitator).state) for size in leaf.shape]
    assert max(sizes) < capacity
    assert capacity in [size for leaf in jax.tree.leaves(imitator.state) for size in leaf.shape]
    assert not any(is_replay(node) for node in jax.tree.leaves(run_of(imitator).state, is_leaf=is_replay))


def test_an_answer_writes_its_row_and_copies_none(monkeypatch: pytest.MonkeyPatch) -> None:
    imitator = make(networks(ensembles.Training(capacity=5003, every=10**6)))
    go_on(imitator, 0, 3)
    (before,) = run_of(imitator).rows
    go_on(imitator, 3, 9)
    (after,) = run_of(imitator).rows
    assert after.stored > before.stored
    assert after.blocks[-1] is before.blocks[-1]
    assert after.num_bytes < 2 << 20


def test_memory_is_that_of_the_answers_and_old_ones_are_let_go() -> None:
    pictures = ensembles.cnn(
        ensembles.neural.encoding.make_encoder(box(), grid=False), A, 2, channels=(1,), hidden=(2,), kind="image",
        training=ensembles.Training(capacity=40, every=10**6, caution=1e9),
    )  # fmt: skip
    imitator = ConsensusImitator(pictures, lambda picture: 1, selection=RULE, seed=0)
    size = SIDE * SIDE * 3
    for t in range(130):
        imitator.act(np.full((SIDE, SIDE, 3), t % 256, np.uint8))
        (rows,) = run_of(imitator).rows
        assert rows.num_bytes < (min(rows.stored, 40) + 2 * 16) * (size + 100)
    assert rows.stored > 100
    assert rows.blocks[0].leaves[0].dtype == np.uint8
    assert imitator.state.learned.replay.inputs.dtype == np.uint8


SIDE = 160


def box() -> Any:
    from gymnasium import spaces

    return spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)


@pytest.mark.slow
def test_a_large_capacity_takes_no_memory_when_an_imitator_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for 2**30 pictures would be 80 terabytes: nobody asks for it, at no entrance."""
    pictures = ensembles.cnn(
        ensembles.neural.encoding.make_encoder(box(), grid=False), A, 2, channels=(1,), hidden=(2,), kind="image",
        training=ensembles.Training(capacity=2**30, every=2, batch_size=2, updates=1),
    )  # fmt: skip
    imitator = ConsensusImitator(pictures, lambda picture: 1, selection=RULE, seed=0)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert imitator.act(picture).queried
    state = imitator.state
    imitator.pretrain(picture[None], [1])
    imitator.restore(state)
    other = ConsensusImitator.from_state(imitator.state, pictures, lambda picture: 1, selection=RULE)
    assert shapes(run_of(other).setup).learned.replay.answers.shape == (2**30,)
    assert other.policy().predict(picture)[0] in range(A)
    assert other.act(picture).queried


# --- half a step ---


class Stopped(BaseException):
    """Ctrl-C, or whatever it was."""


@pytest.mark.parametrize("place", ["appended", "_copy", "memory"])
def test_an_exception_between_rows_and_parameters_leaves_the_run_as_it_was(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consensus_imitation.ensembles import _rows

    imitator, other = make(), make()
    go_on(imitator, 0, 5)
    go_on(other, 0, 5)
    owner: Any = _rows.Kind if place == "memory" else _rows.Rows
    made = getattr(owner, place)
    for t in range(5, 20):
        before = learned_bits(imitator.state)

        def stops(*arguments: Any, **more: Any) -> Any:
            made(*arguments, **more)
            raise Stopped

        monkeypatch.setattr(owner, place, stops)
        try:
            imitator.act(seen(t))
        except Stopped:
            monkeypatch.setattr(owner, place, made)
            assert learned_bits(imitator.state) == before
            imitator.act(seen(t))
        monkeypatch.setattr(owner, place, made)
        other.act(seen(t))
    assert learned_bits(imitator.state) == learned_bits(other.state)


def test_ctrl_c_at_any_instruction_of_an_answer_leaves_it_over_or_not_begun() -> None:
    imitator, other = make(), make()
    for one in (imitator, other):
        go_on(one, 0, 20)
    counting = Interrupter(None)
    counting.during(lambda: imitator.act(seen(20)))
    other.act(seen(20))
    rng = np.random.default_rng(0)
    for t in range(21, 81):
        steps = imitator.num_steps
        with contextlib.suppress(KeyboardInterrupt):
            Interrupter(int(rng.integers(counting.passed))).during(lambda t=t: imitator.act(seen(t)))
        if imitator.num_steps == steps:
            imitator.act(seen(t))
        other.act(seen(t))
    assert imitator.num_queries == other.num_queries > 3 * CAPACITY
    assert learned_bits(imitator.state) == learned_bits(other.state)


def test_an_answer_that_cannot_be_written_down_teaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imitator = make(journal=tmp_path / "run")
    go_on(imitator, 0, 5)
    before, directory = learned_bits(imitator.state), directory_of(imitator)
    append, left = directory.append, 1

    def fails(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise JournalWriteError("the disk is full")
        return append(*arguments)

    monkeypatch.setattr(directory, "append", fails)
    with pytest.raises(JournalWriteError):
        imitator.act(seen(5))
    assert learned_bits(imitator.state) == before
    assert len(imitator.pending) == 1
    directory.close()
    again = ConsensusImitator.resume(tmp_path / "run", networks(), right, selection=RULE)
    assert learned_bits(again.state) == before
    again.act(seen(5))
    alike = make()
    go_on(alike, 0, 6)
    assert learned_bits(again.state) == learned_bits(alike.state)
    again.close()


def test_two_threads_that_go_on_from_one_state_do_not_meet() -> None:
    imitator = make()
    go_on(imitator, 0, 6)
    state, expected = imitator.state, []
    for begin in (100, 200):
        own = ConsensusImitator.from_state(jax.tree.map(jnp.copy, state), networks(), right, selection=RULE)
        go_on(own, begin, begin + 20)
        expected.append(learned_bits(own.state))
    both = [ConsensusImitator.from_state(state, networks(), right, selection=RULE) for _ in range(2)]
    threads = [
        threading.Thread(target=go_on, args=(own, begin, begin + 20))
        for own, begin in zip(both, (100, 200), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [learned_bits(own.state) for own in both] == expected


# --- on the disk ---


@pytest.mark.quick_cases(1)
@pytest.mark.parametrize("members", [networks, joined, on_host])
def test_a_run_that_is_resumed_goes_on_as_one_that_was_not_interrupted(members: Any, tmp_path: Path) -> None:
    whole = make(members())
    go_on(whole, 0, 40)
    imitator = make(members(), journal=Journal(tmp_path / "run", checkpoint_every=7))
    go_on(imitator, 0, 25)
    directory_of(imitator).close()  # as if the process had ended
    again = ConsensusImitator.resume(tmp_path / "run", members(), right, selection=RULE)
    go_on(again, 25, 40)
    assert learned_bits(again.state) == learned_bits(whole.state)
    again.close()


def test_checkpoints_grow_with_the_answers_and_not_with_the_capacity(tmp_path: Path) -> None:
    sizes: dict[int, list[int]] = {}
    for capacity in (64, 100_000):
        training = ensembles.Training(capacity=capacity, every=10**6, caution=10**9)
        imitator = make(networks(training), journal=Journal(tmp_path / str(capacity), checkpoint_every=10**6))
        sizes[capacity] = []
        for t in range(0, 60, 20):
            go_on(imitator, t, t + 20)
            checkpoint(imitator)
            sizes[capacity].append(max((tmp_path / str(capacity) / "checkpoints").iterdir()).stat().st_size)
        imitator.close()
    assert sizes[64][2] > sizes[64][0]
    # The numbers of the capacity itself are longer in letters.
    np.testing.assert_allclose(sizes[64], sizes[100_000], atol=64)


def test_recordings_and_what_was_learned_from_them_are_in_the_checkpoint(tmp_path: Path) -> None:
    imitator, alike = make(journal=tmp_path / "run"), make()
    observations = np.stack([seen(t) for t in range(30)])
    actions = np.array([right(one) for one in observations])
    for one in (imitator, alike):
        one.pretrain(observations, actions)
    directory_of(imitator).close()
    again = ConsensusImitator.resume(tmp_path / "run", networks(), right, selection=RULE)
    for one in (again, alike):
        go_on(one, 0, 10)
    assert learned_bits(again.state) == learned_bits(alike.state)
    again.close()


# --- many steps ---


@pytest.mark.slow
def test_nobody_keeps_the_rows_of_earlier_steps() -> None:
    """But who holds a state of then."""
    imitator = make()
    go_on(imitator, 0, 60)
    before = num_held()
    go_on(imitator, 60, 260)
    assert num_held() == before
    state = imitator.state
    go_on(imitator, 260, 270)
    assert state.learned.replay.rows is not run_of(imitator).rows[0]
    assert num_held() == before + 1


def num_held() -> int:
    """Values of rows that somebody holds."""
    gc.collect()
    return sum(isinstance(one, Rows) for one in gc.get_objects())
