"""Both imitators are made of the same kind of key, and refuse the same things, however they are made."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, Learner, TopK, ensembles
from consensus_imitation.core.members import PureEnsemble
from consensus_imitation.core.sampling_learner import SamplingLearner
from consensus_imitation.ensembles.any_action import from_functions, gaussian
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.imitator import SamplingImitator, kernels

TABLES = ensembles.tabular(np.full((3, 1, 2), 0.5))
BOXES = gaussian(lambda gain, x: (-gain * x, jnp.zeros(2)), jnp.ones((3, 2)), [-2.0, -2.0], [2.0, 2.0])
RULE = TopK(2)

Make = Callable[..., Any]


def again(kind: Any, members: Any) -> Make:
    """`from_state`; whatever is not given is as it has to be."""

    def make(ensemble: Any = members, demonstrator: Any = None, **options: Any) -> Any:
        state = options.pop("state", None) or kind(members, selection=RULE, seed=0).state
        return kind.from_state(state, ensemble, demonstrator, **{"selection": RULE, **options})

    return make


def new(kind: Any, members: Any) -> Make:
    def make(ensemble: Any = members, demonstrator: Any = None, **options: Any) -> Any:
        return kind(ensemble, demonstrator, **{"selection": RULE, **options})

    return make


#: Every way to make an imitator (the way from a journal is the first's alone, and takes no seed).
ENTRANCES: dict[str, Make] = {
    "ConsensusImitator": new(ConsensusImitator, TABLES),
    "SamplingImitator": new(SamplingImitator, BOXES),
    "ConsensusImitator.from_state": again(ConsensusImitator, TABLES),
    "SamplingImitator.from_state": again(SamplingImitator, BOXES),
}
FRESH = [name for name in ENTRANCES if "." not in name]


def bits(key: jax.Array) -> list[int]:
    return np.asarray(jax.random.key_data(key)).tolist()


def keys_of(imitator: Any) -> list[list[int]]:
    stream = imitator.state.stream
    return [bits(stream.key), *([bits(stream.proposals)] if hasattr(stream, "proposals") else [])]


@pytest.mark.parametrize("shell", FRESH)
@pytest.mark.parametrize(
    "seed", [-1, np.int64(-3), True, np.True_, 1.0, np.float64(2), "1", [1], np.array([1])], ids=repr
)
def test_what_is_no_seed_is_refused(shell: str, seed: Any) -> None:
    with pytest.raises(ConfigurationError, match="seed must"):
        ENTRANCES[shell](seed=seed)


@pytest.mark.parametrize("shell", FRESH)
def test_every_bit_of_a_seed_counts(shell: str) -> None:
    seeds = [1, *(1 + (1 << place) for place in (7, 31, 32, 33, 63, 64, 127))]
    found = [keys_of(ENTRANCES[shell](seed=seed)) for seed in seeds]
    for part in zip(*found, strict=True):
        assert len({tuple(key) for key in part}) == len(seeds)


@pytest.mark.parametrize("shell", FRESH)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint64])
def test_a_seed_may_be_of_any_integer_type(shell: str, kind: Any) -> None:
    assert keys_of(ENTRANCES[shell](seed=kind(5))) == keys_of(ENTRANCES[shell](seed=5))


@pytest.mark.parametrize("shell", FRESH)
def test_both_shells_make_the_same_key_of_a_seed(shell: str) -> None:
    for seed in (3, 2**40 + 3):
        assert bits(ENTRANCES[shell](seed=seed).state.stream.key) == bits(kernels.make_key(seed))
    assert bits(kernels.make_key(3)) == bits(jax.random.key(3))


@pytest.mark.parametrize("shell", FRESH)
def test_a_secret_key_has_64_bits_of_its_own(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def randbits(count: int) -> int:
        asked.append(count)
        return (1 << (count - 1)) + len(asked)

    monkeypatch.setattr(kernels.secrets, "randbits", randbits)
    ENTRANCES[shell]()
    assert asked == [64, 64]  # for the draws, and for what the members do at random
    monkeypatch.undo()
    found = [keys_of(ENTRANCES[shell]()) for _ in range(4)]
    for part in zip(*found, strict=True):
        for word in zip(*part, strict=True):
            assert len(set(word)) == 4  # both halves are secret


def test_nothing_that_a_proposer_sees_is_computed_from_the_key_of_the_draws() -> None:
    """Members whose action is the key that they are shown."""
    telltale = from_functions(
        sample=lambda own, observation, key: jax.random.key_data(key).astype(jnp.int32),
        log_prob=lambda own, observation, action: jnp.zeros(()),
        params=jnp.zeros(2),
    )
    learner = SamplingLearner(telltale, TopK(2))
    state = learner.init(jax.random.key(0), jax.random.key(1))

    def seen(key: int, step: int = 0) -> list[int]:
        stream = state.stream.replace(key=jax.random.key(key), step=jnp.int32(step))
        decision = learner.decide(state.replace(stream=stream), None)
        assert not bool(decision.queried)
        return decision.action.tolist()

    assert seen(0) == seen(5)
    # And each step has its own.
    assert len({tuple(seen(0, step)) for step in range(20)}) == 20


class Keeper(PureEnsemble):
    """Members who keep the key that they are given to learn with."""

    num_members, num_actions, learns = 2, 2, True

    @property
    def prior(self) -> jax.Array:
        return jnp.full(2, 0.5)

    def init_learned(self, key: jax.Array) -> Any:
        return jax.random.key_data(key)

    def learn(self, learned: Any, *rest: Any) -> Any:
        return learned

    def log_probs(self, carry: Any, observation: Any, context: Any) -> jax.Array:
        return jnp.log(jnp.full((2, 2), 0.5))


def test_nor_what_members_learn_with() -> None:
    learner = Learner(Keeper(), TopK(2))
    members = jax.random.key(1)
    kept = [learner.init(jax.random.key(own), members=members).learned.tolist() for own in (0, 5)]
    assert kept == [bits(members), bits(members)]
    one, other = (ConsensusImitator(Keeper(), selection=TopK(2)).state for _ in range(2))
    assert one.learned.tolist() != other.learned.tolist()
    assert one.learned.tolist() != bits(kernels.learning_key(one.stream.key))


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("nobody", [5, "left", object(), 0.5, {}], ids=lambda nobody: type(nobody).__name__)
def test_whoever_cannot_answer_is_refused(entrance: str, nobody: Any) -> None:
    with pytest.raises((TypeError, ConfigurationError), match="demonstrator"):
        ENTRANCES[entrance](demonstrator=nobody)


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("members", ["none", "number", "of the other", "class"])
def test_what_are_no_members_is_refused(entrance: str, members: str) -> None:
    sampling = "Sampling" in entrance
    others = {
        "none": None,
        "number": 5,
        "of the other": TABLES if sampling else BOXES,
        "class": type(BOXES if sampling else TABLES),
    }
    with pytest.raises(ConfigurationError, match="ensemble"):
        ENTRANCES[entrance](others[members])


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize("rule", [5, TopK, "TopK", TopK(4)], ids=["number", "class", "text", "too many"])
def test_a_rule_that_is_none_or_does_not_fit_is_refused(entrance: str, rule: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"selection must be a rule|k=4"):
        ENTRANCES[entrance](selection=rule)


@pytest.mark.parametrize("entrance", [name for name in ENTRANCES if "Sampling" in name])
def test_a_space_that_cannot_be_asked_is_refused(entrance: str) -> None:
    with pytest.raises(ConfigurationError, match="contains"):
        ENTRANCES[entrance](action_space=5)


def test_a_state_of_something_else_is_refused() -> None:
    remembering = gaussian(
        lambda gain, memory, x: (-gain * x, jnp.zeros(2)),
        jnp.ones((3, 2)),
        [-2.0, -2.0],
        [2.0, 2.0],
        carry=jnp.zeros(3),
        update=lambda gain, memory, x, action, queried: memory,
    )
    for state in (
        ENTRANCES["ConsensusImitator"](seed=0).state,
        5,
        SamplingLearner(remembering, RULE).init(jax.random.key(0)),
    ):
        with pytest.raises(ConfigurationError, match="state"):
            ENTRANCES["SamplingImitator.from_state"](state=state)
