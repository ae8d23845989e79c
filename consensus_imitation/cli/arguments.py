"""Options from typed configurations: every field of a command's settings is an option of the command line."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass
from functools import partial
from io import StringIO
from typing import Annotated, Any, get_type_hints

import tyro

from consensus_imitation.experiments.command import Command, Results
from consensus_imitation.experiments.printing import say
from consensus_imitation.experiments.settings import Settings, collect, parse_setting


@dataclass(frozen=True)
class Arguments:
    """The arguments of a command.

    Attributes:
        make_settings: makes the command's settings, and checks them.
        results: where the results go; None if the command has none.
        action: the name of the action, for a command that has several.
    """

    make_settings: Callable[[], Any]
    results: Results | None
    action: str | None


def parse(command: Command, words: Sequence[str], prog: str, description: str) -> Arguments:
    """Read the words behind a command's name.

    Args:
        command: the command.
        words: the words behind its name.
        prog: the program's and the command's name.
        description: for the help.

    Raises:
        SystemExit: after the help, with 0; after a message about a mistake, with 2.
    """
    _check_once(words, prog)
    alone = is_dataclass(command.settings)
    parts: list[Any] = [("settings", _options(command.settings) if alone else command.settings)]
    if command.results is not None:
        parts.append(("results", type(command.results), command.results))
    said = StringIO()
    try:
        # The message quotes the input, which a terminal must not obey.
        with redirect_stderr(said):
            given: Any = tyro.cli(
                make_dataclass("Arguments", parts),
                args=list(words),
                prog=prog,
                description=description,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    finally:
        if said.getvalue():
            say(said.getvalue().rstrip(), file=sys.stderr)
    results = getattr(given, "results", None)
    if alone:
        return Arguments(partial(command.settings, **_once(vars(given.settings))), results, None)
    return Arguments(lambda: given.settings, results, type(given.settings).__name__.lower())


def _options(settings: Any) -> Any:
    """Return the same fields without their checks, ``num_steps`` as ``--steps``."""
    hints = get_type_hints(settings)
    options: list[tuple[str, Any, Any]] = []
    for one in fields(settings):
        name = tyro.conf.arg(name=one.name.removeprefix("num_").replace("_", "-"))
        kind = Annotated[hints[one.name], name]
        if hints[one.name] == Settings:
            kind = Annotated[hints[one.name], name, _names_and_values(one.name)]
        default = field() if one.default is MISSING else field(default=one.default)
        if one.default_factory is not MISSING:
            default = field(default_factory=one.default_factory)
        options.append((one.name, kind, default))
    made = make_dataclass(settings.__name__, options)
    made.__doc__ = settings.__doc__
    return made


def _names_and_values(what: str) -> Any:
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME=VALUE ...]",
        instance_from_str=lambda words: collect(what, map(parse_setting, words)),
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [f"{name}={one}" for name, one in value.items()],
    )


def _check_once(words: Sequence[str], prog: str) -> None:
    """Exit if an option is given twice: the later one would silently replace the earlier, with all of its values."""
    counts = Counter(word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--"))
    twice = [option for option, count in counts.items() if count > 1]
    if twice:
        say(f"{prog}: {twice[0]} is given twice (see {prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _once(values: dict[str, Any]) -> dict[str, Any]:
    """Return the same values; a list keeps an entry that was given twice only once."""
    return {name: tuple(dict.fromkeys(one)) if isinstance(one, tuple) else one for name, one in values.items()}
