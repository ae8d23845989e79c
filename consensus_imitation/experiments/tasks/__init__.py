"""Real tasks by name: an environment, a demonstrator for it, and what counts as success and as harm."""

from consensus_imitation.experiments.tasks.evaluation import (
    DemonstratorMeasure,
    episode_seeds,
    evaluate,
    measure_demonstrator,
    stack_observations,
)
from consensus_imitation.experiments.tasks.harm import harm_record, harm_watch
from consensus_imitation.experiments.tasks.outcome import Episode, EpisodeOutcome, EpisodeTracker, Rules
from consensus_imitation.experiments.tasks.registry import make, names
from consensus_imitation.experiments.tasks.task import Task

__all__ = [
    "DemonstratorMeasure",
    "Episode",
    "EpisodeOutcome",
    "EpisodeTracker",
    "Rules",
    "Task",
    "episode_seeds",
    "evaluate",
    "harm_record",
    "harm_watch",
    "make",
    "measure_demonstrator",
    "names",
    "stack_observations",
]
