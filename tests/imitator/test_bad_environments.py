"""An environment that misbehaves is refused by name; nothing is learned from it, and no action follows."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.errors import ConfigurationError, ConsensusImitationError, ObservationError
from consensus_imitation.experiments import run_gymnasium

from . import bad_environments as bad
from .bad_environments import SOUND, A, Rope
from .fingerprints import fingerprint, taken

TRAINING = ensembles.Training(updates=1, every=2, batch_size=4, capacity=16, caution=4.0)
#: They learn, so that a NaN that got in would stay.
MEMBERS = ensembles.mlp(bad.SPACE, A, num_members=2, hidden=(4,), training=TRAINING)


def imitator() -> ConsensusImitator:
    return ConsensusImitator(MEMBERS, lambda observation: int(observation["room"]) % A, selection=TopK(2), seed=3)


def run(env: Any, one: ConsensusImitator, num_steps: int) -> None:
    run_gymnasium(env, one, num_steps=num_steps, progress=False)


def goes_on_like(one: ConsensusImitator, other: ConsensusImitator) -> None:
    """Both take more steps, which are the same, and end alike."""
    for room in range(4):
        observation = {"place": np.array([0.2, 0.1 * room], np.float32), "room": room}
        assert taken(one.act(observation)) == taken(other.act(observation))
    assert fingerprint(one) == fingerprint(other)
    assert all(np.isfinite(weight) for weight in one.weights)


@pytest.mark.parametrize("kind", bad.OBSERVATIONS)
def test_an_observation_that_cannot_be_shown(kind: str) -> None:
    spoil, said = bad.OBSERVATIONS[kind]
    env, sound, one, twin = Rope(spoil), Rope(), imitator(), imitator()
    run(sound, twin, SOUND + 1)
    with pytest.raises(ObservationError, match=said):
        run(env, one, 10)
    assert env.actions == sound.actions
    assert twin.num_queries > 0
    assert fingerprint(one) == fingerprint(twin)

    # The same by a loop of one's own.
    spoiled = spoil((sound._seen(), 0.0, False, False, {}))[0]
    for call in (one.decide, one.act, lambda seen: one.pretrain([seen], [0]), one.policy().predict):
        with pytest.raises(ObservationError, match=said):
            call(spoiled)
        assert fingerprint(one) == fingerprint(twin)
    goes_on_like(one, twin)


@pytest.mark.parametrize("kind", bad.STEPS)
def test_a_step_that_is_none(kind: str) -> None:
    spoil, said = bad.STEPS[kind]
    env, one, twin = Rope(spoil), imitator(), imitator()
    run(Rope(), twin, SOUND + 1)
    with pytest.raises(ObservationError, match=said):
        run(env, one, 10)
    assert len(env.actions) == SOUND + 1
    assert fingerprint(one) == fingerprint(twin)
    goes_on_like(one, twin)


def test_what_the_environment_raises_passes_through() -> None:
    env, one, twin = Rope(bad.breaks), imitator(), imitator()
    run(Rope(), twin, SOUND + 1)
    with pytest.raises(bad.BrokenError, match="crashed"):
        run(env, one, 10)
    assert len(env.actions) == SOUND + 1
    assert fingerprint(one) == fingerprint(twin)
    goes_on_like(one, twin)


TABLES = ensembles.tabular(np.full((3, 4, A), 1 / A))

#: Observations that no table can be looked up by, with words of the error; and those of a batch of two.
UNNUMBERED: dict[str, tuple[Any, str]] = {
    "float": (1.0, "looked up by one integer in 0 .. 3; got float"),
    "nan": (float("nan"), "holds NaN or infinity"),
    "none": (None, "looked up by one integer"),
    "true": (True, "looked up by one integer.*got bool"),
    "complex": (1j, "complex128: members in JAX take numbers"),
    "vector": (np.array([1]), r"looked up by one integer.*got int64 of shape \(1,\): number the"),
    "list": ([1, 2], "looked up by one integer"),
    "dictionary": ({"room": 1}, "looked up by one integer"),
    "beyond 32 bits": (2**40, "beyond the 32-bit integers"),
}
UNNUMBERED_ROWS: dict[str, tuple[Any, str]] = {
    "one": ([1], r"expected 2 observations, one per environment; got leading axes \[\(1,\)\]"),
    "number": (1, "expected 2 observations, one per environment"),
    "none": (None, "expected 2 observations, one per environment"),
    "text": ("ab", "expected 2 observations, one per environment"),
    "pairs": ([[0, 1], [1, 2]], "looked up by one integer"),
    "nan": (np.array([np.nan, 0.0]), "holds NaN or infinity"),
    "beyond 32 bits": (np.array([0, 2**40]), "beyond the 32-bit integers"),
}


@pytest.mark.parametrize(
    ("num_envs", "kind"), [(None, kind) for kind in UNNUMBERED] + [(2, kind) for kind in UNNUMBERED_ROWS]
)
def test_observations_that_are_no_numbers_of_rows(num_envs: int | None, kind: str) -> None:
    observation, said = (UNNUMBERED if num_envs is None else UNNUMBERED_ROWS)[kind]
    one, twin = (
        ConsensusImitator(TABLES, lambda seen: 1, selection=TopK(2), seed=1, num_envs=num_envs) for _ in range(2)
    )
    sound: Any = 2 if num_envs is None else np.array([2, 3])
    for _ in range(3):
        assert taken(one.act(sound)) == taken(twin.act(sound))
    before = fingerprint(one)
    for call in (one.decide, one.act):
        with pytest.raises(ObservationError, match=said):
            call(observation)
        assert fingerprint(one) == before
    for _ in range(3):
        assert taken(one.act(sound)) == taken(twin.act(sound))
    assert fingerprint(one) == fingerprint(twin)


def test_observations_that_networks_of_ones_own_cannot_take() -> None:
    members = ensembles.stacked(_scaled, np.ones((2, A), np.float32), A)
    one = ConsensusImitator(members, lambda seen: 1, selection=TopK(2), seed=1)
    before = fingerprint(one)
    for wrong in (np.ones(A + 1), {"a": np.ones(A)}, None):
        with pytest.raises(ObservationError, match="the members cannot take an observation of shape"):
            one.act(wrong)
        assert fingerprint(one) == before
    assert one.act(np.ones(A)).action is not None


def _scaled(own: Any, observation: Any) -> Any:
    return own * observation


class OldReset(Rope):
    def reset(self, **_: Any) -> Any:
        return self._seen()


class TwoActions(Rope):
    action_space = spaces.Discrete(2)


class FromOne(Rope):
    action_space = spaces.Discrete(A, start=1)


class Steering(Rope):
    action_space = spaces.Box(-1.0, 1.0, (2,))


#: Environments that cannot be run at all, with words of the error.
UNFIT: dict[str, tuple[Any, type[ConsensusImitationError], str]] = {
    "no environment": (None, ConfigurationError, r"must be a Gymnasium environment, with reset\(\) and step\(\)"),
    "old reset": (OldReset, ObservationError, r"reset\(\) must return \(observation, info\).*wrap"),
    "fewer actions": (TwoActions, ConfigurationError, "has 2 actions, but the members choose among 3: construct"),
    "actions from one": (FromOne, ConfigurationError, "numbered from 0.*wrapper"),
    "continuous actions": (Steering, ConfigurationError, "must be numbered.*consensus_imitation.ensembles.any_action"),
    "vector for one": (
        lambda: gymnasium.vector.SyncVectorEnv([Rope] * 2),
        ConfigurationError,
        r"num_envs=2.*construct it with ConsensusImitator\(..., num_envs=2\)",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_environments_that_do_not_fit(kind: str) -> None:
    make, error, said = UNFIT[kind]
    env, one, twin = None if make is None else make(), imitator(), imitator()
    with pytest.raises(error, match=said):
        run(env, one, 10)
    assert fingerprint(one) == fingerprint(twin)
    assert not getattr(env, "actions", [])
    goes_on_like(one, twin)


def test_the_control_a_sound_environment_is_run() -> None:
    env, one = Rope(), imitator()
    run(env, one, 10)
    assert len(env.actions) == 10
