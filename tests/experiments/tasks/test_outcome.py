"""Judging episodes from their steps, task by task, on hand-written streams of steps."""

import pytest

from consensus_imitation.experiments import tasks
from consensus_imitation.experiments.tasks import EpisodeOutcome, EpisodeTracker, Rules

Step = tuple[float, bool, bool]  # reward, terminated, truncated


def judge(name: str, *steps: Step) -> EpisodeOutcome:
    tracker = tasks.make(name).track()
    for step in steps:
        assert tracker.outcome is None
        tracker = tracker.after(*step)
    assert tracker.outcome is not None
    return tracker.outcome


@pytest.mark.parametrize(
    ("name", "steps", "success", "harm"),
    [
        ("lunarlander", [(150.0, False, False), (100.0, True, False)], True, False),
        ("lunarlander", [(150.0, False, False), (49.9, True, False)], False, False),
        ("lunarlander", [(150.0, False, False), (-100.0, True, False)], False, True),
        ("lunarlander", [(-100.0, False, False), (0.0, False, True)], False, False),
        ("cartpole", [(1.0, False, False)] * 499 + [(1.0, False, True)], True, False),
        ("cartpole", [(1.0, False, False)] * 499 + [(1.0, True, True)], False, True),
        ("cartpole", [(1.0, False, False)] * 20 + [(1.0, True, False)], False, True),
        ("frozenlake", [(0.0, False, False), (1.0, True, False)], True, False),
        ("frozenlake", [(0.0, False, False), (0.0, True, False)], False, True),
        ("frozenlake", [(0.0, False, False), (0.0, False, True)], False, False),
        ("taxi", [(-1.0, False, False), (20.0, True, False)], True, False),
        ("taxi", [(-10.0, False, False), (20.0, True, False)], True, True),
        ("taxi", [(-1.0, False, False), (-1.0, False, True)], False, False),
        ("cliffwalking", [(-1.0, False, False), (-1.0, True, False)], True, False),
        ("cliffwalking", [(-100.0, False, False), (-1.0, True, False)], False, True),
        ("gotoobj", [(0.0, False, False), (0.9, True, False)], True, False),
        ("gotoobj", [(0.0, False, False), (0.0, False, True)], False, True),
    ],
)
def test_success_and_harm(name: str, steps: list[Step], success: bool, harm: bool) -> None:
    outcome = judge(name, *steps)
    assert (outcome.success, outcome.harm) == (success, harm)
    assert outcome.length == len(steps)
    assert outcome.episode_return == pytest.approx(sum(reward for reward, _, _ in steps))


def test_a_tracker_does_not_change_and_ends_once() -> None:
    start = EpisodeTracker(Rules(solved=lambda episode: episode.total > 0))
    over = start.after(1.0, terminated=False, truncated=True)
    assert (start.length, start.outcome) == (0, None)
    with pytest.raises(ValueError, match="the episode is over"):
        over.after(1.0, terminated=False, truncated=False)
