"""What an environment has to say before the first step: how it resets, and what actions it has.

The entrances of the loop: `run_gymnasium` with a single environment, with a vector (bare, wrapped), going on from a
checkpoint, with an environment to evaluate in, with a task to evaluate on; `demonstrations.record` and `compare`. And
words that a task or a journal is configured with: an unknown one is an error, nowhere a guess.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import gymnasium.vector
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from consensus_imitation import ConsensusImitator, TopK, ensembles
from consensus_imitation.demonstrators import recordings
from consensus_imitation.errors import ConfigurationError
from consensus_imitation.experiments import CompareConfig, run_compare, run_gymnasium
from consensus_imitation.experiments.results import read_csv
from consensus_imitation.experiments.tasks.lanes import Mode, autoreset_mode
from consensus_imitation.journal import Journal

from .tiny import ROOMS, Rooms, Watching, expert, rooms

SIZE = 3
#: They hardly ever agree, so that each step is a question but for two in a million.
STRANGERS = np.stack([np.tile([1 - 1e-6, 1e-6], (ROOMS, 1)), np.tile([1e-6, 1 - 1e-6], (ROOMS, 1))])


def imitator(num_envs: int | None = None, demonstrator: Any = expert, num_actions: int = 2) -> ConsensusImitator:
    extra = np.zeros((2, ROOMS, num_actions - 2))
    members = ensembles.tabular(np.concatenate([STRANGERS, extra], -1))
    return ConsensusImitator(members, demonstrator, selection=TopK(2), seed=0, num_envs=num_envs)


def saying(mode: Any, said: Any) -> SyncVectorEnv:
    """An environment that keeps to ``mode`` and says something about it."""
    env = SyncVectorEnv([Rooms] * SIZE, autoreset_mode=mode)
    env.metadata = {**env.metadata, "autoreset_mode": said}
    if said is None:
        del env.metadata["autoreset_mode"]
    return env


def run(env: Any, one: ConsensusImitator, **settings: Any) -> Any:
    return run_gymnasium(env, one, **{"num_steps": 40, "progress": False, **settings})


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_a_mode_may_be_said_in_gymnasiums_word_for_it(mode: AutoresetMode, tmp_path: Path) -> None:
    asked = {}
    for said in (mode, mode.value):
        watching = [Watching() for _ in range(SIZE)]
        out = tmp_path / str(said)
        run(saying(mode, said), imitator(SIZE, watching), out=out)
        asked[said] = [one.asked for one in watching], read_csv(out / "episodes.csv")
    assert asked[mode] == asked[mode.value]


def test_episodes_have_their_own_length_in_every_mode(tmp_path: Path) -> None:
    """The demonstrator answers at every step and is right, so an episode lasts six steps: none is made up."""
    for mode in AutoresetMode:
        done = run(saying(mode, mode.value), imitator(SIZE), num_steps=60)
        assert {row["length"] for row in done.episodes} == {6}


UNKNOWN = ["NEXT_STEP", "Next", "nextstep", "", 0, 1, True, ["NextStep"], AutoresetMode, Mode.BY_HAND, "ByHand"]


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
@pytest.mark.parametrize("said", [*UNKNOWN, None], ids=repr)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_mode_that_is_unknown_or_unsaid_is_an_error(mode: AutoresetMode, said: Any, wrapped: bool) -> None:
    env: Any = saying(mode, said)
    watching = [Watching() for _ in range(SIZE)]
    one = imitator(SIZE, watching)
    with pytest.raises(ConfigurationError, match=r"of how it resets.*NextStep, SameStep, Disabled.*env.metadata"):
        run(VectorWrapper(env) if wrapped else env, one)
    assert one.num_steps == 0
    assert not any(part.starts for part in env.envs)
    assert not any(part.asked or part.told or part.resets for part in watching)


def test_where_gymnasium_knows_one_mode_only_nothing_need_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    env = saying(AutoresetMode.NEXT_STEP, None)
    monkeypatch.delattr(gymnasium.vector, "AutoresetMode")
    assert autoreset_mode(env) is Mode.NEXT_STEP
    done = run(env, imitator(SIZE), num_steps=60)
    assert {row["length"] for row in done.episodes} == {6}
    with pytest.raises(ConfigurationError, match="of how it resets"):
        autoreset_mode(saying(AutoresetMode.NEXT_STEP, "Sometimes"))


def test_two_different_things_said_are_an_error() -> None:
    env = SyncVectorEnv([Rooms] * SIZE, autoreset_mode=AutoresetMode.DISABLED)
    assert autoreset_mode(env) is Mode.DISABLED
    env.metadata["autoreset_mode"] = AutoresetMode.SAME_STEP
    for one in (env, VectorWrapper(env)):
        with pytest.raises(ConfigurationError, match="metadata of its own"):
            run(one, imitator(SIZE))


class Watched(Rooms):
    """Counts what it is made to do, all of a kind together."""

    started = 0

    def reset(self, **given: Any) -> Any:
        type(self).started += 1
        return super().reset(**given)


class FromOne(Watched):
    action_space = spaces.Discrete(2, start=1)


class Three(Watched):
    action_space = spaces.Discrete(3)


class Steered(Watched):
    action_space = spaces.Box(-1.0, 1.0, (2,))


class Silent(Watched):
    action_space = None  # type: ignore[assignment]


#: Environments for members of two actions, with words of the error.
UNFIT: dict[str, tuple[type[Watched], str]] = {
    "three": (Three, "has 3 actions, but the members choose among 2: construct the ensemble"),
    "from one": (FromOne, r"numbered from 0; got Discrete\(2, start=1\).*TransformAction.*action \+ 1"),
    "steered": (Steered, "must be numbered"),
    "silent": (Silent, "does not say what actions it has"),
}


def loops(kind: type[Watched], tmp_path: Path) -> dict[str, Callable[[ConsensusImitator, ConsensusImitator], Any]]:
    """Every way in, given an imitator for one environment and one for several."""
    task = rooms(build_env=lambda render_mode: kind())
    every = {"evaluate_every": 10, "evaluation_episodes": 2}
    found: dict[str, Any] = {
        "single": lambda one, _: run(kind(), one),
        "evaluate": lambda one, _: run(Rooms(), one, evaluate=kind(), **every),
        "task": lambda one, _: run(Rooms(), one, task=task, **every),
        "resumed": lambda one, _: run(kind(), one, out=tmp_path, resume=True),
    }
    if kind is not Silent:  # Gymnasium itself refuses to batch it
        found |= {
            "vector": lambda _, many: run(SyncVectorEnv([kind] * SIZE), many),
            "wrapped": lambda _, many: run(VectorWrapper(SyncVectorEnv([kind] * SIZE)), many),
        }
    return found


@pytest.mark.parametrize("name", UNFIT)
def test_other_actions_are_refused_before_the_first_step_at_every_entrance(name: str, tmp_path: Path) -> None:
    kind, message = UNFIT[name]
    for way, enter in loops(kind, tmp_path).items():
        watching, kind.started = [Watching() for _ in range(SIZE)], 0
        one, many = imitator(None, watching[0]), imitator(SIZE, watching)
        with pytest.raises(ConfigurationError, match=message):
            enter(one, many)
        assert (one.num_steps, many.num_steps, kind.started) == (0, 0, 0), way
        assert not any(part.asked or part.resets for part in watching), way
    assert not list(tmp_path.iterdir())


def test_members_with_more_actions_are_refused_too(tmp_path: Path) -> None:
    """And the control: those with as many are not."""
    for enter in loops(Watched, tmp_path).values():
        with pytest.raises(ConfigurationError, match="has 2 actions, but the members choose among 3"):
            enter(imitator(None, num_actions=3), imitator(SIZE, num_actions=3))
        assert enter(imitator(), imitator(SIZE)).steps == 40


@pytest.mark.parametrize("changed", [{"threshold": "returns"}, {"members": "image"}, {"members": None}], ids=str)
def test_a_task_of_ones_own_says_known_words_only(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"of a task must be one of"):
        rooms(**changed)


@pytest.mark.parametrize("observations", ["no", "False", 0, 1, None])
def test_whether_a_journal_keeps_observations_is_said_by_true_or_false(observations: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be True or False"):
        Journal("run", observations=observations)


@pytest.mark.parametrize("kind", [FromOne, Steered])
def test_comparing_and_recording_refuse_other_actions_before_the_first_step(kind: type[Watched]) -> None:
    kind.started = 0
    with pytest.raises(ValueError, match="numbered"):
        recordings.record(kind(), expert, num_steps=3)
    assert kind.started == 0
    task = rooms(build_env=lambda render_mode: kind())
    config = CompareConfig(
        "rooms", ("minimum",), queries=5, num_seeds=1, num_steps=20, num_members=2, evaluations=1, episodes=2
    )
    with pytest.raises(ConfigurationError, match="numbered"):
        run_compare(config, task=task)
    assert kind.started == 0
