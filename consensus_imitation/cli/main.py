"""The command ``consensus-imitation``. It reads arguments, calls the experiments, and prints what they return.

Exit codes: 0 success; 1 a check failed (`redteam`: a result differs from what theory expects; `bounds`: a bound is
exceeded; `bench`: a target missed; `journal verify`: the journal is damaged); 2 wrong usage; 3 a missing optional
dependency; 130 interrupted by Ctrl-C, 143 by SIGTERM (see `interrupts`).
"""

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from consensus_imitation.cli.arguments import Arguments, parse
from consensus_imitation.cli.commands import bench, envs, journal, play, tasks
from consensus_imitation.core._escaping import visible
from consensus_imitation.errors import ConsensusImitationError
from consensus_imitation.experiments.command import Command, find_commands
from consensus_imitation.experiments.printing import print_table, say
from consensus_imitation.experiments.progress import show_progress

if TYPE_CHECKING:
    from consensus_imitation.cli.interrupts import Interrupts

EXIT_CHECK_FAILED, EXIT_USAGE, EXIT_MISSING_EXTRA = 1, 2, 3

_PROG = "consensus-imitation"
_DESCRIPTION = "Safe imitation learning: act where every plausible model of the demonstrator agrees, ask where not."
_EXIT_CODES = (
    "exit codes: 0 success, 1 a check failed, 2 wrong usage, 3 an optional dependency is missing, 130 interrupted"
)

#: What an interrupt costs: of a command that saves what is finished (the parts' name), and of the others.
_CONTINUES = "finished {parts} are saved in {out}, and the same command{without} continues with the rest"
_BEGINS_ANEW = "unfinished work is not kept, and the same command starts from the beginning"


class _Parser(argparse.ArgumentParser):
    """A parser that prints a mistake in one clear line, and where to read more."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, visible(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def main(argv: Sequence[str] | None = None, interrupts: "Interrupts | None" = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; None for those of the process.
        interrupts: receives the message on what an interrupt costs; None if nobody watches for signals.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    commands = all_commands()
    # The command alone: the words behind it belong to it.
    chosen = _parser(commands).parse_args(words[:1]).command
    command, name = commands[chosen], f"{_PROG} {chosen}"
    arguments = parse(command, words[1:], name, _description(command))
    if arguments.action is not None:
        name = f"{name} {arguments.action}"
    if interrupts is not None:
        interrupts.message = visible(f"{name}: interrupted; {_cost(command, arguments)}")
    if command.parts is None and sys.stderr.isatty():
        say(f"{name}: if interrupted, {_BEGINS_ANEW}", file=sys.stderr)
    try:
        return _run(command, arguments)
    except (ValueError, OSError, ConsensusImitationError) as error:
        say(f"{_PROG} {chosen}: {error}", file=sys.stderr)
        return EXIT_USAGE
    except ImportError as error:
        say(f"{_PROG} {chosen}: {error}", file=sys.stderr)
        return EXIT_MISSING_EXTRA


def all_commands() -> dict[str, Command]:
    """Return the experiments' commands, and the others."""
    others = {"play": play, "journal": journal, "bench": bench, "envs": envs, "tasks": tasks}
    return find_commands() | {name: module.COMMAND for name, module in others.items()}


def _run(command: Command, arguments: Arguments) -> int:
    settings = arguments.make_settings()
    _check_sizes(settings)
    if command.results is not None and command.pictures:
        _require_pictures()
    with show_progress(command.outlook) as stages:
        outcome = command.run(settings, arguments.results, stages)
    for table in outcome.tables:
        print_table(table)
    for line in outcome.lines:
        say(line)
    for line in outcome.complaints:
        say(line, file=sys.stderr)
    return 0 if outcome.sound else EXIT_CHECK_FAILED


def _parser(commands: dict[str, Command]) -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = _Parser(prog=_PROG, description=_DESCRIPTION, epilog=_EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('consensus_imitation')}")
    listed = parser.add_subparsers(dest="command", required=True, metavar="command", parser_class=_Parser)
    for name, command in commands.items():
        listed.add_parser(name, help=command.text)
    return parser


def _description(command: Command) -> str:
    cost = _BEGINS_ANEW if command.parts is None else _CONTINUES.format(parts=command.parts, out="--out", without="")
    does = f"{command.text[0].upper()}{command.text[1:]}. If interrupted, {cost}."
    width = shutil.get_terminal_size().columns
    # tyro does not wrap a description, and joins lines, unless they are indented.
    return "\n\n".join(textwrap.fill(part, width, subsequent_indent="  ") for part in (does, _EXIT_CODES))


def _cost(command: Command, arguments: Arguments) -> str:
    """Return what an interrupt costs."""
    if command.parts is None or arguments.results is None:
        return _BEGINS_ANEW
    without = " without --overwrite" if arguments.results.overwrite else ""
    return _CONTINUES.format(parts=command.parts, out=arguments.results.out, without=without)


def _check_sizes(settings: Any) -> None:
    """Refuse whole numbers that the 32 bits of the arrays cannot hold, before anything is written."""
    for name, value in vars(settings).items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int) and one >= 2**31:
                raise ValueError(f"{name} must be below 2**31, got {one}")


def _require_pictures() -> None:
    """Report what is missing before the work, not after it."""
    for package, what in (("matplotlib", "pictures need matplotlib"), ("jinja2", "pages need Jinja2")):
        if find_spec(package) is None:
            raise ImportError(f'{what}: pip install "consensus_imitation[plot]"')
