"""Whatever plays until an episode ends comes to an end in a world that never does, and says so.

The loops: `tasks.evaluate`, `tasks.measure_demonstrator`, `run_gymnasium`'s evaluations on a task and in an
environment, and the recording of a planted network that waits for steps without the trigger. All others count their
steps (`demonstrations.record`, the comparison, the runs).
"""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.demonstrators import recordings
from consensus_imitation.errors import ConsensusWarning
from consensus_imitation.experiments import run_gymnasium, tasks
from consensus_imitation.experiments.planted.phases import MOST_STEPS_FOR_ONE, Site, record
from consensus_imitation.experiments.planted.plantings import Planting
from consensus_imitation.experiments.tasks import EpisodeOutcome, EpisodeTracker, Rules, Task, loop

LIMIT = 7


class Endless(gymnasium.Env[Any, Any]):
    """Counts its steps, for ever."""

    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return 0, {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        assert self.steps < 100_000, "it was not stopped"
        return 1, 1.0, False, False, {}


def endless(**changes: Any) -> Task:
    settings: dict[str, Any] = {
        "name": "endless", "env_id": "", "success_means": "", "harm_means": "", "threshold": "return",
        "max_episode_steps": LIMIT, "members": "one-hot", "rules": Rules(lambda episode: episode.terminated),
        "build_env": lambda _: Endless(), "build_demonstrator": lambda env, seed, epsilon: lambda seen: 0,
    }  # fmt: skip
    return Task(**(settings | changes))


CUT = EpisodeOutcome(episode_return=float(LIMIT), length=LIMIT, success=False, harm=True)
SAID = f"did not end an episode within {LIMIT} steps: it is cut off there.*TimeLimit"


def imitator() -> ConsensusImitator:
    return ConsensusImitator(ensembles.tabular(np.full((2, 2, 2), 0.5)), lambda seen: 0, seed=0)


def test_evaluate() -> None:
    with pytest.warns(ConsensusWarning, match=SAID):
        outcomes = tasks.evaluate(endless(), lambda seen: np.zeros(len(seen), int), episodes=2)
    assert outcomes == (CUT, CUT)


def test_measure_demonstrator() -> None:
    with pytest.warns(ConsensusWarning, match=SAID):
        measure = tasks.measure_demonstrator(endless(), episodes=2)
    assert measure.outcomes == (CUT, CUT)


@pytest.mark.parametrize("env", [None, Endless()], ids=["its own", "another"])
def test_evaluations_on_a_task(env: Any) -> None:
    with pytest.warns(ConsensusWarning, match=SAID):
        run = run_gymnasium(
            Endless(), imitator(), num_steps=3, task=endless(), evaluate=env, evaluate_every=3, evaluation_episodes=2,
            progress=False,
        )  # fmt: skip
    assert [row["mean_length"] for row in run.evaluations] == [LIMIT]


def evaluated(env: Any, **more: Any) -> float:
    run = run_gymnasium(
        Endless(),
        imitator(),
        num_steps=2,
        evaluate=env,
        evaluate_every=2,
        evaluation_episodes=1,
        progress=False,
        **more,
    )
    return float(run.evaluations[-1]["mean_length"])


def test_evaluations_in_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loop.EVALUATION_STEPS == 10_000
    monkeypatch.setattr(loop, "EVALUATION_STEPS", 12)
    with pytest.warns(ConsensusWarning, match="within 12 steps"):
        assert evaluated(Endless()) == 12
    with pytest.warns(ConsensusWarning, match="within 4 steps"):
        assert evaluated(Endless(), evaluation_steps=4) == 4
    with pytest.raises(ValueError, match="evaluation_steps must be at least 1"):
        evaluated(Endless(), evaluation_steps=0)
    # A limit that the environment has, and says.
    registered = gymnasium.spec("CartPole-v1")
    limited = gymnasium.make(
        gymnasium.envs.registration.EnvSpec("Endless-v0", entry_point=lambda **_: Endless(), max_episode_steps=20),
        disable_env_checker=True,
    )
    assert registered.max_episode_steps == 500
    assert evaluated(limited) == 20


def test_recording_until_the_trigger_is_out_of_sight() -> None:
    always = Site(endless(), Planting(lambda seen: True, 0, "everywhere"), 0)
    with (
        pytest.warns(ConsensusWarning, match=SAID),
        pytest.raises(ValueError, match=f"0 of {2 * MOST_STEPS_FOR_ONE} steps did not show the trigger, and 2 were"),
    ):
        record(always, 2, with_trigger=False)
    never = dataclasses.replace(always, planting=Planting(lambda seen: False, 0, "nowhere"))
    assert len(record(never, 5, with_trigger=False).actions) == 5


def test_recordings_count_their_steps() -> None:
    walk = recordings.record(Endless(), lambda seen: 1, num_steps=9)
    assert (len(walk), walk.starts.sum()) == (9, 1)


def test_an_episode_that_ends_with_the_limit_is_not_cut_off() -> None:
    """Warnings are errors here: there is none."""
    for terminated, truncated in ((True, False), (False, True)):
        tracker = EpisodeTracker(Rules(lambda episode: episode.terminated), limit=2)
        tracker = tracker.after(1.0, False, False)
        assert tracker.outcome is None
        assert tracker.after(1.0, terminated, truncated).outcome == EpisodeOutcome(2.0, 2, terminated, truncated)
    without = EpisodeTracker(Rules(lambda episode: False))
    for _ in range(1000):
        without = without.after(0.0, False, False)
    assert without.outcome is None


def test_every_task_ends_by_itself_within_its_limit() -> None:
    """The limit is no shorter than the environment's own, or episodes would be judged that go on."""
    for name in ("cartpole", "frozenlake", "taxi", "cliffwalking"):
        task = tasks.make(name)
        env = task.make_env()
        assert env.spec.max_episode_steps == task.max_episode_steps
