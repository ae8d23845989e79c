"""The command ``consensus-imitation tasks``."""

from dataclasses import dataclass

from consensus_imitation.experiments.command import Command, Outcome
from consensus_imitation.experiments.ledger import Stages


@dataclass(frozen=True)
class Tasks:
    """The command has no options."""


def _run(settings: Tasks, _: None, stages: Stages) -> Outcome:
    del settings, stages
    from consensus_imitation.experiments import tasks

    lines: list[str] = []
    for name in tasks.names():
        task = tasks.make(name)
        said = (f"success: {task.success_means}", f"harm: {task.harm_means}")
        lines += [f"{name:<24} {task.env_id}", *(f"{'':<24} {line}" for line in said)]
    return Outcome(lines=lines)


COMMAND = Command("list the real tasks", Tasks, _run)
