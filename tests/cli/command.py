"""A command without its printing: what it has to say."""

from typing import Any

from consensus_imitation.cli import main
from consensus_imitation.cli.arguments import parse
from consensus_imitation.experiments.command import Outcome


def outcome_of(*words: Any) -> Outcome:
    """Run the command that the words say."""
    name, *rest = map(str, words)
    command = main.all_commands()[name]
    arguments = parse(command, rest, name, "")
    return command.run(arguments.make_settings(), arguments.results, lambda _: lambda *_: None)
