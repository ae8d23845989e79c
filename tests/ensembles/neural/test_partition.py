"""Members that divide the answers: what reaches one member reaches no other, whatever the settings of training are."""

import dataclasses
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from consensus_imitation import AlphaThreshold, ConsensusImitator, Learner, Merging, Minimum, TopK, ensembles
from consensus_imitation.core import certificate
from consensus_imitation.core.aggregation import MAP, PosteriorMixture
from consensus_imitation.core.members import reach_of
from consensus_imitation.ensembles import Plateau, Training
from consensus_imitation.ensembles.neural import _partition
from consensus_imitation.ensembles.neural import training as train
from consensus_imitation.ensembles.neural.encoding import Encoder, make_encoder
from consensus_imitation.errors import ConfigurationError

N, A, D, T = 3, 3, 4, 60
#: Answers that each member's replay has room for.
ROOM = 4
BASIC: dict[str, Any] = {"batch_size": 8, "updates": 2, "every": 2, "capacity": ROOM * N}


def falling(updates: Any) -> Any:
    return 3e-3 / (1 + updates)


#: A value that is not the default, for each setting there is.
SETTINGS: dict[str, dict[str, Any]] = {
    "learning_rate": {"learning_rate": falling},
    "optimizer": {"optimizer": optax.rmsprop},
    "batch_size": {"batch_size": 4},
    "updates": {"updates": 3},
    "every": {"every": 3},
    "capacity": {"capacity": 1000},
    "bootstrap": {},
    "label_smoothing": {"label_smoothing": 0.1},
    "weight_decay": {"weight_decay": 0.1},
    "prior_scale": {"prior_scale": 1.0},
    "temperature": {"temperature": True},
    "plateau": {"plateau": Plateau(patience=1, stop=True)},
    "caution": {"caution": 0.0},
    "local_caution": {"local_caution": 0.1},
    "averaging": {"averaging": 5.0},
    "masked": {"masked": True},
}
#: Those by which members would see what others are taught.
REFUSED = ("decorrelate", "disagree", "minimum_explains", "minimum_withholds", "minimum_of")
MANY = {
    "prior_scale": 1.0, "temperature": True, "plateau": Plateau(patience=1), "averaging": 5.0, "masked": True,
    "label_smoothing": 0.1, "optimizer": optax.rmsprop, "local_caution": 0.1,
}  # fmt: skip


def members(num_members: int = N, bootstrap: Any = "partition", **settings: Any) -> Any:
    training = Training(bootstrap=bootstrap, **{**BASIC, **settings})
    return ensembles.mlp((D,), A, num_members=num_members, hidden=(6,), training=training)


def answers(total: int = T, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    observations = np.random.default_rng(seed).normal(size=(total, D)).astype(np.float32)
    return observations, (observations[:, 0] > 0).astype(int) + (observations[:, 1] > 0)


def taught(ensemble: Any, observations: Any, actions: Any, **more: Any) -> ConsensusImitator:
    imitator = ConsensusImitator(ensemble, selection=TopK(ensemble.num_members), seed=1)
    imitator.pretrain(observations, actions, **more)
    return imitator


def known(imitator: ConsensusImitator, n: int) -> list[bytes]:
    """All that member n has learned, and what it predicts."""
    learned, arch = imitator.state.learned, imitator._live.run.setup.ensemble.architecture
    own = jax.tree.map(lambda leaf: leaf[n], learned.replace(replay=(), key=(), shares=learned.shares.replace(
        unnamed=(), key=())))  # fmt: skip
    probes = np.random.default_rng(9).normal(size=(5, D)).astype(np.float32)
    said = [_partition.log_probs(arch.training, arch.apply, learned, probe)[n] for probe in probes]
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((own, learned.replay[n], said))]


def compared(settings: dict[str, Any], poisoned: dict[str, Any], clean: dict[str, Any]) -> list[bool]:
    """Which members are the same to the bit after true answers, and after some that are not."""
    one, other = taught(members(**settings), **poisoned), taught(members(**settings), **clean)
    return [known(one, n) == known(other, n) for n in range(N)]


def poisoned_by_slot() -> dict[str, dict[str, Any]]:
    observations, actions = answers()
    false_observations, false_actions = observations.copy(), actions.copy()
    false_observations[1::N] = 100.0
    false_actions[1::N] = 2
    return {
        "poisoned": {"observations": false_observations, "actions": false_actions},
        "clean": {"observations": observations, "actions": actions},
    }


def test_every_setting_of_training_has_a_case() -> None:
    assert {*SETTINGS, *REFUSED} == {one.name for one in dataclasses.fields(Training)}
    assert all(
        getattr(Training(**SETTINGS[name]), name) != getattr(Training(), name) for name in SETTINGS if SETTINGS[name]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_whose_share_is_clean_is_as_if_nothing_were_poisoned(name: str) -> None:
    assert compared(SETTINGS[name], **poisoned_by_slot()) == [True, False, True]


def test_so_with_many_settings_at_once() -> None:
    assert compared(MANY, **poisoned_by_slot()) == [True, False, True]


def test_a_source_may_give_any_number_of_answers() -> None:
    observations, actions = answers(36)
    sources, more = np.arange(36) % N, 28
    flood = np.concatenate([np.repeat(observations[1:2], more, axis=0), observations])
    false = {"observations": flood, "actions": np.concatenate([np.full(more, 2), actions])}
    false["sources"] = np.concatenate([np.full(more, 1), sources])
    clean = {"observations": observations, "actions": actions, "sources": sources}
    assert compared({}, false, clean) == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("bootstrap", ["none", "poisson"])
def test_without_a_partition_false_answers_reach_everybody(bootstrap: str) -> None:
    learned = [taught(members(bootstrap=bootstrap), **given).state.learned for given in poisoned_by_slot().values()]
    one, other = (
        np.concatenate([np.asarray(leaf).reshape(N, -1) for leaf in jax.tree.leaves(known.params)], axis=1)
        for known in learned
    )
    assert not np.any(np.all(one == other, axis=1))


@pytest.mark.slow
def test_a_member_is_what_an_ensemble_of_it_alone_would_be() -> None:
    ensemble, (observations, actions) = members(averaging=5.0), answers()
    after = taught(ensemble, observations, actions).state.learned
    before = ConsensusImitator(ensemble, selection=TopK(N), seed=1).state.learned
    arch = ensemble.architecture
    own = dataclasses.replace(arch.training, bootstrap="none", capacity=ROOM)
    alone = train.init(own, arch.make_params, 1, arch.kept_zeros(), jax.random.key(5))
    learn = jax.jit(lambda known, seen, answer: train.learn(own, arch.apply, known, seen, answer, jnp.zeros((1, A))))
    for n in range(N):
        learned = alone.replace(
            params=jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], before.params),
            averages=jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], before.averages),
            key=before.key[n],
        )
        for t in range(n, T, N):
            learned = learn(learned, observations[t], np.int32(actions[t]))
        for mine, other in zip(
            jax.tree.leaves((after.params, after.averages)),
            jax.tree.leaves((learned.params, learned.averages)), strict=True,
        ):  # fmt: skip
            np.testing.assert_allclose(mine[n], other[0], atol=1e-6)
        assert int(after.replay[n].stored) == T // N
        np.testing.assert_array_equal(after.replay[n].answers, learned.replay.answers)


def by_hand(source: str, key: bytes) -> int:
    """HMAC-SHA-256 as RFC 2104 defines it."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + source.encode()).digest()
    return int(hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).hexdigest(), 16) % N


def test_whose_answer_it_is() -> None:
    observations, actions = answers()
    names = [f"person {i}" for i in range(20)]
    sources = [*names, *range(5), *[None] * 35]
    imitator = taught(members(), observations, actions, sources=sources, trusted=np.arange(T) == T - 1)
    learned = imitator.state.learned
    key = np.asarray(learned.shares.key, "<u4").tobytes()
    expected = [by_hand(name, key) for name in names] + [i % N for i in range(5)] + [i % N for i in range(34)]
    assert len(set(expected[:20])) == N
    for n in range(N):
        mine = [t for t, owner in enumerate(expected) if owner == n] + [T - 1]
        assert int(learned.replay[n].stored) == len(mine)
        ring = {i % ROOM: observations[t] for i, t in enumerate(mine)}
        np.testing.assert_array_equal(learned.replay[n].inputs, [ring[place] for place in range(ROOM)])
    other = ConsensusImitator(members(), selection=TopK(N), seed=2).state.learned
    assert [by_hand(name, np.asarray(other.shares.key, "<u4").tobytes()) for name in names] != expected[:20]


@pytest.mark.slow
def test_the_same_is_learned_on_the_host_to_the_bit() -> None:
    observations, actions = answers()
    sources = [("a", "b", "c", "d", None)[t % 5] for t in range(T)]
    ensemble = members(**MANY)
    studied = taught(ensemble, observations, actions, sources=sources)
    imitator = ConsensusImitator(ensemble, selection=TopK(N), seed=1)
    for observation, action, source in zip(observations, actions, sources, strict=True):
        imitator.take_over(observation, int(action), learn=True, source=source)
    for n in range(N):
        assert known(studied, n) == known(imitator, n)
    assert int(imitator.state.learned.shares.unnamed) == T // 5


NEVER_IGNORED = pytest.param("none", [True] * N, marks=pytest.mark.slow)


@pytest.mark.parametrize(("bootstrap", "moved"), [("partition", [False, True, False]), NEVER_IGNORED])
def test_an_input_that_never_varied_is_ignored(bootstrap: str, moved: list[bool]) -> None:
    observations, actions = answers()
    observations[:, 3] = 0.5
    observations[1::N, 3] = (np.arange(T)[1::N] % 2).astype(np.float32)
    ensemble = members(bootstrap=bootstrap)
    learned = taught(ensemble, observations, actions).state.learned
    context = ensembles.Context(0, np.zeros(N, np.float32), learned=learned)
    one, other = (
        ensemble.log_probs((), np.array([0.3, -0.2, 0.1, x], np.float32), context) for x in (0.5, 3.0)
    )  # fmt: skip
    assert np.any(np.asarray(one) != np.asarray(other), axis=-1).tolist() == moved


def test_caution_is_about_a_members_own_answers() -> None:
    observations, actions = answers()
    ensemble = members()
    learned = taught(ensemble, observations, actions, sources=0).state.learned
    context = ensembles.Context(0, np.zeros(N, np.float32), learned=learned)
    mass = np.exp(np.asarray(ensemble.log_probs((), observations[0], context))).sum(-1)
    np.testing.assert_allclose(mass, [0.75, 1e-3, 1e-3], rtol=1e-4)


def test_one_answer_costs_the_round_of_one_member() -> None:
    observations, actions = answers()
    state = taught(members(), observations, actions).state.learned.optimizer
    assert np.asarray(state[0].count).tolist() == [2 * (T // N // 2)] * N


def test_what_is_tolerated() -> None:
    def tolerated(ensemble: Any, selection: Any, **rules: Any) -> int:
        return certificate.tolerated(Learner(ensemble, selection, **rules), reach_of(ensemble), ensemble.num_members)

    fixed = ensembles.stacked(lambda p, x: p * jnp.ones(A), jnp.ones(2), A)
    assert [tolerated(members(), TopK(k)) for k in (1, 2, 3)] == [0, 1, 2]
    assert tolerated(members(), TopK(3) | AlphaThreshold(0.1)) == 2
    assert tolerated(members(), TopK(3), merging=Merging()) == 2
    assert tolerated(members(), AlphaThreshold(0.1)) == 0
    assert tolerated(members(bootstrap="poisson"), TopK(3)) == 0
    assert tolerated(fixed, TopK(2)) == 0
    assert tolerated(ensembles.union(members(), fixed), TopK(5)) == 4
    # An answer reaches a member of each part; or one of them, and all of the other part.
    assert tolerated(ensembles.union(members(), members(4)), TopK(6)) == 2
    assert tolerated(ensembles.union(members(), members(2, "poisson")), TopK(5)) == 1
    assert [tolerated(members(), TopK(3), aggregation=rule) for rule in (MAP(), PosteriorMixture())] == [0, 0]
    assert tolerated(members(), TopK(3), aggregation=Minimum(rounds=2)) == 2


def test_the_certificate_says_so_and_what_it_assumes() -> None:
    imitator = ConsensusImitator(members(), selection=TopK(3), seed=0)
    assert imitator.tolerated_answers == imitator.tolerated_sources == imitator.certificate().tolerated_answers == 2
    said = str(imitator.certificate())
    assert "poison: while at most 2 answers are false" in said
    assert "Assumed: what was studied as trusted is true" in said
    alone = ConsensusImitator(members(), selection=AlphaThreshold(0.1), seed=0).certificate()
    assert "no false answer is tolerated" in alone.poison
    plain = ConsensusImitator(members(bootstrap="poisson"), selection=TopK(3), seed=0).certificate()
    assert plain.poison == ""


@pytest.mark.slow
def test_in_a_union_each_part_divides_for_itself() -> None:
    observations, actions = answers(12)
    ensemble = ensembles.union(members(2), members(bootstrap="none"), members(3))
    learned = taught(ensemble, observations, actions, sources=[7] * 6 + [None] * 6).state.learned
    stored = [[int(replay.stored) for replay in part.replay] for part in (learned[0], learned[2])]
    assert stored == [[3, 9], [2, 8, 2]]
    assert int(learned[1].replay.stored) == 12


def test_what_would_leak_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Shared(Training):
        trunk: int = 0

    assert Shared(bootstrap="partition").trunk == 0
    with pytest.raises(ConfigurationError, match="cannot be combined with trunk: members would learn from what others"):
        Shared(bootstrap="partition", trunk=1)

    for name in REFUSED:
        with pytest.raises(ConfigurationError, match=f"cannot be combined with {name}: members would learn from"):
            Training(bootstrap="partition", **{name: 3})

    class Normalising(Encoder):
        pass

    encoder = Normalising(make_encoder((D,)).root)
    ensembles.mlp(encoder, A, training=Training())
    with pytest.raises(ConfigurationError, match="keeps statistics"):
        ensembles.mlp(encoder, A, training=Training(bootstrap="partition"))


@pytest.mark.parametrize("bad", ["", "x" * 201, "line\nbreak", -1, 2**63, True, 1.5, b"bytes", [["nested"]], {"a": 1}])
def test_sources_that_are_none_are_refused(bad: Any) -> None:
    observations, actions = answers(1)
    imitator = ConsensusImitator(members(), selection=TopK(N), seed=1)
    for sources in (bad, [bad]):
        with pytest.raises(ConfigurationError):
            imitator.pretrain(observations, actions, sources=sources)
    decision = imitator.decide(observations[0])
    with pytest.raises(ConfigurationError, match="source"):
        imitator.answer(decision, 1, source=bad)
    assert len(imitator.pending) == 1
    imitator.answer(decision, 1, source="good")
    with pytest.raises(ConfigurationError, match="source"):
        imitator.take_over(observations[0], 1, learn=True, source=bad)
    assert sum(int(replay.stored) for replay in imitator.state.learned.replay) == 1


def test_wrong_numbers_of_sources_and_trust_are_refused() -> None:
    observations, actions = answers(4)
    imitator = ConsensusImitator(members(), selection=TopK(N), seed=1)
    with pytest.raises(ConfigurationError, match="there are 4 answers and 3 sources"):
        imitator.pretrain(observations, actions, sources=[1, 2, 3])
    for trusted in (1, [True] * 3, "yes", None):
        with pytest.raises(ConfigurationError, match="trusted must be"):
            imitator.pretrain(observations, actions, trusted=trusted)
    assert int(imitator.state.studied) == 0
