"""The command ``consensus-imitation envs``."""

from dataclasses import dataclass

from consensus_imitation.experiments.command import Command, Outcome
from consensus_imitation.experiments.ledger import Stages


@dataclass(frozen=True)
class Envs:
    """The command has no options."""


def _run(settings: Envs, _: None, stages: Stages) -> Outcome:
    del settings, stages
    from consensus_imitation import envs

    lines: list[str] = []
    for name in envs.names():
        world = envs.make(name)
        lines += [f"{name:<24} {world.description}", f"{'':<24} harm: {world.harm_description}"]
    return Outcome(lines=lines)


COMMAND = Command("list the worlds of the suite", Envs, _run)
