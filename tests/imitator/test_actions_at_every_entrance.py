"""What is no action is refused at every entrance, by one check, in words; what is one is taken at each of them.

The entrances are listed in `ENTRANCES`: an answer to a query (alone, in lockstep, of one environment of a batch, by
Python or from afar), what a demonstrator says to `act` and `act_async`, recordings that are studied or that a deceptive
network is trained on, demonstrations that are recorded, the task's demonstrator and any policy that is evaluated, the
demonstrators of the comparison and of the planted network, and the imitators of others in the deceptive suite.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.core._actions import check_recorded
from consensus_imitation.core._escaping import csv_cell
from consensus_imitation.deception.loop import _checked
from consensus_imitation.deception.networks import train_deceiver
from consensus_imitation.demonstrators import Patience, SafeAction, recordings
from consensus_imitation.errors import ConfigurationError, InvalidAnswerError
from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.methods import CountedDemonstrator, Setup, make_method
from consensus_imitation.experiments.planted.phases import Site, record
from consensus_imitation.experiments.planted.plantings import Planting
from consensus_imitation.experiments.tasks import Rules, Task
from consensus_imitation.imitator import SamplingImitator
from tests.stress.crowd_world import A, asked, make, python_members

from . import bad_answers as bad
from .any_action.test_imitator import ENSEMBLE, RULE


class Corridor(gymnasium.Env[Any, Any]):
    """Three steps long."""

    observation_space = gymnasium.spaces.Discrete(3)

    def __init__(self, action_space: Any = None) -> None:
        self.action_space = gymnasium.spaces.Discrete(A) if action_space is None else action_space
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.at = 0
        return self.at, {}

    def step(self, action: Any) -> Any:
        self.taken.append(action)
        self.at += 1
        return self.at, 0.0, self.at == 2, False, {}


def task(demonstrator: Any, action_space: Any = None) -> Task:
    return Task(
        name="corridor", env_id="", success_means="", harm_means="", threshold="return", max_episode_steps=5,
        members="one-hot", rules=Rules(solved=lambda episode: True), build_env=lambda _: Corridor(action_space),
        build_demonstrator=lambda env, seed, epsilon: demonstrator,
    )  # fmt: skip


def until_asked(one: ConsensusImitator, observation: Any, **more: Any) -> Any:
    for _ in range(200):
        decision = one.act(observation, **more)
        if np.any(decision.queried):
            return decision
    raise RuntimeError("nothing was asked")


def answered(action: Any) -> Any:
    one = make()
    return one.answer(asked(one), action).action


def answered_from_afar(action: Any) -> Any:
    one = make()
    return one.answer(asked(one).query, action).action  # type: ignore[arg-type]


def answered_again(action: Any) -> Any:
    one = make()
    decision = asked(one)
    one.answer(decision, 1)
    return one.answer(decision, action).action


def answered_in_lockstep(action: Any) -> Any:
    one = make(3)
    decision = asked(one, np.array([1, 1, 1]))
    return one.answer(decision, [action] * 3).action[np.flatnonzero(decision.queried)[0]]


def answered_for_one_environment(action: Any) -> Any:
    one = make(3)
    return one.answer(asked(one, env=2), action).action


def acted(action: Any) -> Any:
    return until_asked(make(demonstrator=lambda _: action), 1).action


def acted_in_lockstep(action: Any) -> Any:
    decision = until_asked(make(3, demonstrator=[lambda _: action] * 3), np.array([1, 1, 1]))
    return decision.action[np.flatnonzero(decision.queried)[0]]


def acted_for_one_environment(action: Any) -> Any:
    return until_asked(make(3, demonstrator=lambda _: action), 1, env=1).action


def acted_in_python(action: Any) -> Any:
    members = ensembles.callables([lambda _: [1, 0, 0], lambda _: [0, 1, 0]], A)
    return ConsensusImitator(members, lambda _: action, seed=0).act(1).action


def acted_async(action: Any) -> Any:
    async def say(_: Any) -> Any:
        return action

    async def run() -> Any:
        one = make(demonstrator=say)
        for _ in range(200):
            decision = await one.act_async(1)
            if decision.queried:
                return decision.action
        raise RuntimeError("nothing was asked")

    return asyncio.run(run())


def studied(action: Any) -> Any:
    one = make()
    one.pretrain(np.array([1, 1]), [1, action])
    return action if one.weights.std() > 0 else None


def trained_on(action: Any) -> Any:
    honest = ensembles.mlp((1,), A, num_members=2, hidden=(2,))
    train_deceiver(honest, np.zeros((2, 1)), [1, action], None, updates=1, batch_size=1)
    return action


def harmful(action: Any) -> Any:
    honest = ensembles.mlp((1,), A, num_members=2, hidden=(2,))
    seen = np.array([[0.0], [1.0]])
    train_deceiver(honest, seen, [1, 1], lambda place: place[0] > 0, lambda _: action, updates=1, batch_size=1)
    return action


def recorded(action: Any) -> Any:
    return recordings.record(Corridor(), lambda _: action, num_steps=3).actions[2]


def measured(action: Any) -> Any:
    tasks.measure_demonstrator(task(lambda _: action), episodes=1)
    return action


def evaluated(action: Any) -> Any:
    tasks.evaluate(task(None), lambda observations: [action] * len(observations), episodes=2)
    return action


def compared(method: str) -> Callable[[Any], Any]:
    def compare(action: Any) -> Any:
        def members(num_outputs: int | None) -> Any:
            return ensembles.tabular(np.full((2, 3, num_outputs or A), 1 / (num_outputs or A)))

        one = make_method(method, Setup(members, CountedDemonstrator(lambda _: action, 5), 10, 0))
        return one.act(1) if method != "dagger-0" else (one.act(1), action)[1]

    return compare


def planted(action: Any) -> Any:
    site = Site(task(lambda _: action), Planting(lambda _: False, 0, "nowhere"), 0)
    return record(site, 2, with_trigger=True).actions[1]


def in_the_suite(action: Any) -> Any:
    decision = SimpleNamespace(action=action, queried=False)
    return _checked(decision, None, A)  # type: ignore[arg-type]


ENTRANCES: dict[str, Callable[[Any], Any]] = {
    "answer": answered,
    "answer to a query from afar": answered_from_afar,
    "answer, again": answered_again,
    "answer in lockstep": answered_in_lockstep,
    "answer for one environment": answered_for_one_environment,
    "act": acted,
    "act in lockstep": acted_in_lockstep,
    "act for one environment": acted_for_one_environment,
    "act with members in Python": acted_in_python,
    "act_async": acted_async,
    "study": studied,
    "train_deceiver": trained_on,
    "train_deceiver, the harmful action": harmful,
    "record": recorded,
    "measure_demonstrator": measured,
    "evaluate": evaluated,
    "comparison": compared("bc"),
    "comparison, dagger": compared("dagger-0"),
    "comparison, safedagger": compared("safedagger-1"),
    "planted network": planted,
    "suite": in_the_suite,
}

#: Kinds that no entrance takes; the others of `bad_answers.VALUES` go through the same check.
KINDS = (
    *("none", "true", "one as a float", "half", "nan", "A", "minus one", "beyond 64 bits", "text", "array", "list"),
    *("masked", "masked integer", "masked integer in disguise", "duration", "array of a duration", "time"),
    *("object that is one", "array raises a ValueError"),
)

GOOD: dict[str, Any] = {
    "int": 1,
    "numpy": np.int8(1),
    "unsigned": np.uint64(1),
    "array": np.array(1),
    "nothing masked": np.ma.array(1, mask=False),
}


@pytest.mark.quick_cases(9)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_no_action_is_taken_for_one(entrance: str) -> None:
    for kind in KINDS:
        action = bad.VALUES[kind]()
        with pytest.raises(InvalidAnswerError, match=f"no action: answer with an integer from 0 to {A - 1}"):
            ENTRANCES[entrance](action)


@pytest.mark.quick_cases(9)
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_every_action_is_taken(entrance: str) -> None:
    for good in GOOD.values():
        assert ENTRANCES[entrance](good) == 1


#: Spaces whose actions are not the numbers from 0 on.
SPACES = {
    "from one on": gymnasium.spaces.Discrete(A, start=1),
    "box": gymnasium.spaces.Box(-1, 1, (2,)),
    "several": gymnasium.spaces.MultiDiscrete([A, A]),
    "bits": gymnasium.spaces.MultiBinary(A),
}


@pytest.mark.parametrize("kind", SPACES)
def test_spaces_whose_actions_are_not_numbered_from_zero(kind: str) -> None:
    space = SPACES[kind]
    played = task(lambda _: 1, space)
    entrances: list[Callable[[], Any]] = [
        lambda: recordings.record(Corridor(space), lambda _: 1, num_steps=3),
        lambda: tasks.measure_demonstrator(played, episodes=1),
        lambda: tasks.evaluate(played, lambda seen: np.ones(len(seen), int), episodes=1),
        lambda: record(Site(played, Planting(lambda _: False, 0, "nowhere"), 0), 2, with_trigger=True),
        lambda: ensembles.mlp((1,), space, num_members=2),
    ]
    for entrance in entrances:
        with pytest.raises(ConfigurationError, match=r"actions must be numbered.*wrapper"):
            entrance()


@pytest.mark.parametrize(
    "actions",
    [None, 1, "01", b"\x00\x01", bytearray(2), {0: 0, 1: 1}, {0, 1}, np.array(1), np.ma.array([0, 1], mask=[0, 1])],
    ids=repr,
)
def test_what_is_no_recording_of_actions(actions: Any) -> None:
    one = make()
    with pytest.raises(InvalidAnswerError, match=r"actions must be a sequence|which is no action"):
        one.pretrain(np.array([1, 1]), actions)
    with pytest.raises(InvalidAnswerError, match=r"actions must be a sequence|which is no action"):
        check_recorded(actions, A)


def test_masked_rows_are_no_rows() -> None:
    masked = np.ma.array([True, True, False], mask=[True, False, False])
    with pytest.raises(ConfigurationError, match="active needs one bool"):
        make(3).decide(np.array([1, 1, 1]), active=masked)
    with pytest.raises(ValueError, match="starts needs one bool"):
        make().pretrain(np.array([1, 1, 1]), [1, 1, 1], masked)


@pytest.mark.parametrize(
    "name",
    [
        "env",
        "seed",
        "seed of samples",
        "num_envs",
        "num_members",
        "num_actions",
        "actions of isolated members",
        "deadline",
        "memory",
        "safe action",
        "timeout",
        "retries",
        "cell of a table",
    ],
)
def test_a_duration_is_no_integer(name: str) -> None:
    one = np.timedelta64(1, "s")
    entrances: dict[str, Callable[[], Any]] = {
        "env": lambda: make(3).decide(1, env=one),  # type: ignore[arg-type]
        "seed": lambda: ConsensusImitator(python_members(), int, seed=one),  # type: ignore[arg-type]
        "seed of samples": lambda: SamplingImitator(ENSEMBLE, int, selection=RULE, seed=one),  # type: ignore[arg-type]
        "num_envs": lambda: ConsensusImitator(python_members(), int, num_envs=one),  # type: ignore[arg-type]
        "num_members": lambda: ensembles.mlp((1,), A, num_members=one),  # type: ignore[arg-type]
        "num_actions": lambda: ensembles.mlp((1,), one),
        "actions of isolated members": lambda: ensembles.isolated([np.ones] * 2, one),  # type: ignore[arg-type]
        "deadline": lambda: ensembles.isolated([np.ones] * 2, A, deadline=one),  # type: ignore[arg-type]
        "memory": lambda: ensembles.isolated([np.ones] * 2, A, memory=one),  # type: ignore[arg-type]
        "safe action": lambda: SafeAction(one),  # type: ignore[arg-type]
        "timeout": lambda: Patience(timeout=one),  # type: ignore[arg-type]
        "retries": lambda: Patience(retries=one),  # type: ignore[arg-type]
        "cell of a table": lambda: csv_cell(one),
    }
    with pytest.raises(ValueError, match=r"must be|no environment|holds a number|must be numbered"):
        entrances[name]()
