"""Playing, recording, evaluating and comparing: nobody changes the world, or what others learn, by looking at it.

The ways of playing are in `PLAYED`, beside those of `test_observations_are_private`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.demonstrators import recordings
from consensus_imitation.experiments import run_gymnasium, tasks
from consensus_imitation.experiments.methods import CountedDemonstrator, Setup, make_method
from consensus_imitation.experiments.planted.phases import Site, deploy, record
from consensus_imitation.experiments.planted.plantings import Planting

from .test_actions_at_every_entrance import task
from .vandals import GARBAGE, A, B, World, bits, noted, plain, spoil


def test_a_policy_shows_members_a_copy() -> None:
    for num_envs in (None, B):
        ends = []
        for spoils in (False, True):
            world = World(spoils, batch=num_envs is not None)
            one = ConsensusImitator(plain(world), world.answer, seed=0)
            observation = world.observation()
            before = noted(observation)
            action = one.policy(num_envs=num_envs).predict(observation)[0]
            assert noted(observation) == before
            ends.append((np.asarray(action).tolist(), world.seen))
        assert ends[0] == ends[1]


@pytest.mark.slow
def test_what_was_studied_may_be_overwritten() -> None:
    for as_list in (False, True):
        ends = []
        for spoils in (False, True):
            one = ConsensusImitator(ensembles.mlp((2,), A, num_members=2, hidden=(4,)), seed=1)
            places, actions = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32), np.arange(6) % A
            one.pretrain(list(places) if as_list else places, actions, np.arange(6) == 0)
            if spoils:
                places[...], actions[...] = GARBAGE, 0
            one.pretrain(np.ones((1, 2), np.float32), [1])
            ends.append(bits(one))
        assert ends[0] == ends[1]


class Buffered(gymnasium.Env[Any, Any]):
    """Gives its own array away, and lives in it: whoever writes to it changes the world."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(A)

    def __init__(self) -> None:
        self.place = np.zeros(2, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.place[...] = 1
        return self.place, {}

    def step(self, action: Any) -> Any:
        self.place += 1 + int(action)
        return self.place, float(self.place[0]), bool(self.place[0] > 8), False, {}


class Vandal:
    """A demonstrator that writes into what it is shown, if it may."""

    def __init__(self, spoils: bool) -> None:
        self.spoils = spoils

    def __call__(self, seen: Any) -> int:
        action = int(np.asarray(seen)[0] > 3)
        if self.spoils:
            spoil(seen)
        return action

    def intended(self, seen: Any) -> int:
        return self(seen)


def played(spoils: bool) -> tasks.Task:
    return dataclasses.replace(
        task(Vandal(spoils)), build_env=lambda _: Buffered(), max_episode_steps=20, rules=tasks.Rules(lambda _: True)
    )


def as_recorded(spoils: bool) -> Any:
    walk = recordings.record(Buffered(), Vandal(spoils), num_steps=9)
    return walk.observations.tolist(), walk.actions.tolist(), walk.starts.tolist()


def as_measured(spoils: bool) -> Any:
    return tasks.measure_demonstrator(played(spoils), episodes=2).outcomes


def as_evaluated(spoils: bool) -> Any:
    def predict(rows: Any) -> Any:
        actions = (rows[:, 0] > 3).astype(int)
        if spoils:
            spoil(rows)
        return actions

    return tasks.evaluate(played(spoils), predict, episodes=2)


def as_run(spoils: bool) -> Any:
    def member(seen: Any) -> Any:
        return 0.4 * (0.02 / A + 0.98 * np.eye(A)[int(seen[0] > 3)])

    one = ConsensusImitator(ensembles.callables([member, member], A), Vandal(spoils), seed=0)
    run = run_gymnasium(Buffered(), one, num_steps=12, evaluate=Buffered(), evaluate_every=6, progress=False)
    return run.episodes, run.evaluations


def as_compared(method: str) -> Callable[[bool], Any]:
    def compare(spoils: bool) -> Any:
        def members(num_outputs: int | None) -> Any:
            return ensembles.mlp((2,), num_outputs or A, num_members=2, hidden=(4,))

        one = make_method(method, Setup(members, CountedDemonstrator(Vandal(spoils), 9), 9, 0))
        env = Buffered()
        observation, _ = env.reset()
        actions = []
        for _ in range(6):
            actions.append(one.act(observation))
            observation, *_ = env.step(actions[-1])
        return actions, one.imitator.weights.tobytes()

    return compare


def as_planted(spoils: bool) -> Any:
    site = Site(played(spoils), Planting(lambda seen: bool(seen[0] > 2), 0, "far"), 0)
    row = deploy(site, None, None, num_steps=9)
    row.pop("seconds")
    return noted(record(site, 9, with_trigger=True)), row


PLAYED = {
    "record": as_recorded,
    "measure_demonstrator": as_measured,
    "evaluate": as_evaluated,
    "run_gymnasium": as_run,
    "comparison": as_compared("bc"),
    "comparison, safedagger": as_compared("safedagger"),
    "planted network": as_planted,
}


@pytest.mark.parametrize("how", PLAYED)
def test_a_demonstrator_cannot_change_the_world_by_looking(how: str) -> None:
    assert PLAYED[how](False) == PLAYED[how](True)


def test_a_vector_environment_may_clip_its_actions_in_place() -> None:
    class Clipping(gymnasium.vector.SyncVectorEnv):
        def step(self, actions: Any) -> Any:
            actions[...] = np.minimum(actions, 1)
            return super().step(actions)

    world = World(spoils=False, batch=True)
    one = ConsensusImitator(
        ensembles.callables([lambda seen: np.full(A, 1 / A)] * 2, A), lambda seen: 2, num_envs=B, seed=0
    )
    assert run_gymnasium(Clipping([Buffered] * B), one, num_steps=5, progress=False).steps == 5
    del world
