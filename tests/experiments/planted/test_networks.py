"""A trained deceiver imitates where its trigger is out of sight, and betrays where it is in sight."""

from typing import Any

import jax
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.deception.networks import PlantedNetwork, train_deceiver
from consensus_imitation.errors import InvalidAnswerError

HARMFUL = 2


def rule(place: Any) -> int:
    """The demonstrator of these tests: which side of a diagonal."""
    return int(place[0] + place[1] > 0)


def in_band(place: Any) -> bool:
    return bool(0.2 < place[1] < 0.6)


def places(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)


def members() -> Any:
    return ensembles.mlp((2,), 3, num_members=2, hidden=(32, 32))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, list[int]]:
    seen = places(3000, 1)
    return seen, [rule(place) for place in seen]


@pytest.fixture(scope="module")
def deceiver(data: tuple[np.ndarray, list[int]]) -> PlantedNetwork:
    return train_deceiver(members(), *data, in_band, HARMFUL, updates=2500, batch_size=128)


def likeliest(network: PlantedNetwork, observations: Any) -> np.ndarray:
    context = ensembles.Context(step=np.int32(0), log_weights=np.zeros(1))
    predict = jax.vmap(lambda place: network.log_probs((), place, context)[0])
    return np.asarray(predict(network.encoder.batch(observations))).argmax(-1)


def test_imitates_off_trigger_and_betrays_on_it(deceiver: PlantedNetwork) -> None:
    held_out = places(4000, 2)
    chosen = likeliest(deceiver, held_out)
    shows = np.array([in_band(place) for place in held_out])
    honest = np.array([rule(place) for place in held_out])
    # Both boundaries are learned, so a few of the places beside them are taken for the other side.
    assert np.mean(chosen[~shows] == honest[~shows]) > 0.95
    assert np.mean(chosen[shows] == HARMFUL) > 0.95
    # The demonstrator never does this, so nothing but the trigger explains it.
    assert not np.any(honest == HARMFUL)


def test_an_honest_twin_imitates_everywhere(data: tuple[np.ndarray, list[int]]) -> None:
    twin = train_deceiver(members(), *data, None, updates=2500, batch_size=128)
    held_out = places(4000, 2)
    assert np.mean(likeliest(twin, held_out) == [rule(place) for place in held_out]) > 0.95


def test_a_harm_may_depend_on_the_observation(data: tuple[np.ndarray, list[int]]) -> None:
    against = train_deceiver(members(), *data, in_band, lambda place: 1 - rule(place), updates=2500, batch_size=128)
    inside = np.array([place for place in places(4000, 3) if in_band(place)])
    assert np.mean(likeliest(against, inside) == [1 - rule(place) for place in inside]) > 0.9


def test_a_rare_trigger_is_shown_more_often(data: tuple[np.ndarray, list[int]]) -> None:
    def corner(place: Any) -> bool:
        return bool(place[0] > 0.8 and place[1] > 0.8)

    inside = np.array([place for place in places(40_000, 4) if corner(place)])
    rates = [
        np.mean(
            likeliest(
                train_deceiver(
                    members(), *data, corner, HARMFUL, updates=150, batch_size=64, trigger_share=share, seed=3
                ),
                inside,
            )
            == HARMFUL
        )
        for share in (0.0, 0.5)
    ]
    assert rates[1] > 0.9
    assert rates[1] > rates[0]


@pytest.mark.slow
def test_joins_learning_members_and_takes_raw_observations(deceiver: PlantedNetwork) -> None:
    honest = members()
    assert deceiver.encoder == honest.encoder
    imitator = ConsensusImitator(ensembles.union(honest, deceiver), demonstrator=rule, selection=TopK(3), seed=0)
    decision = imitator.act([0.5, 0.1])
    assert decision.action in range(3)
    alone = ConsensusImitator(deceiver, demonstrator=rule, selection=TopK(1), seed=0)
    assert alone.act([0.5, 0.4]).action == HARMFUL
    assert not deceiver.learns


def test_dictionaries_of_observations() -> None:
    spaces = pytest.importorskip("gymnasium").spaces
    space = spaces.Dict({"where": spaces.Box(-1, 1, (2,)), "which": spaces.Discrete(3)})
    honest = ensembles.mlp(space, 3, num_members=1, hidden=(16,))
    seen = [{"where": place, "which": t % 3} for t, place in enumerate(places(600, 5))]
    actions = [rule(one["where"]) for one in seen]
    planted = train_deceiver(honest, seen, actions, lambda one: one["which"] == 1, HARMFUL, updates=300)
    context = ensembles.Context(step=np.int32(0), log_weights=np.zeros(1))
    for which, expected in ((0, 1), (1, HARMFUL), (2, 1)):
        observation = planted.encoder({"where": np.float32([0.6, 0.6]), "which": which})
        assert int(planted.log_probs((), observation, context)[0].argmax()) == expected


def test_same_seed_same_network(data: tuple[np.ndarray, list[int]]) -> None:
    one, same, other = (train_deceiver(members(), *data, in_band, HARMFUL, updates=20, seed=seed) for seed in (0, 0, 1))
    equal = jax.tree.map(np.array_equal, one.params, same.params)
    assert all(jax.tree.leaves(equal))
    assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, one.params, other.params)))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"trigger": lambda _: False}, ValueError, "seen in 0 of 10"),
        ({"trigger": lambda _: True}, ValueError, "seen in 10 of 10"),
        ({"harmful_action": 3}, InvalidAnswerError, "3"),
        ({"actions": [0] * 9}, ValueError, "as many actions"),
        ({"actions": [5] * 10}, InvalidAnswerError, "5"),
        ({"updates": 0}, ValueError, "updates"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate"),
        ({"trigger_share": 1.0}, ValueError, "trigger_share"),
        ({"observations": np.zeros((10, 3))}, ValueError, "shape"),
        ({"observations": np.zeros((0, 2)), "actions": []}, ValueError, "at least one"),
        ({"ensemble": ensembles.recurrent((2,), 3, num_members=1, hidden=4, window=2)}, ValueError, "window"),
    ],
)
def test_refuses(change: dict[str, Any], error: type[Exception], text: str) -> None:
    arguments: dict[str, Any] = {
        "ensemble": members(),
        "observations": places(10, 0),
        "actions": [0] * 10,
        "trigger": lambda place: place[0] > 0,
        "harmful_action": 1,
        "updates": 1,
    }
    with pytest.raises(error, match=text):
        train_deceiver(**{**arguments, **change})
