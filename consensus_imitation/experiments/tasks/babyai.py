"""Levels of BabyAI in MiniGrid."""

from collections.abc import Callable

from consensus_imitation.experiments.tasks.task import Task

MAKERS: dict[str, Callable[[], Task]] = {}
