"""The command of an experiment: its folder has a ``command.py`` that holds a ``COMMAND``.

Nothing that computes is imported before a command runs: its help starts at once, and an interrupt costs nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NamedTuple

from consensus_imitation.experiments.ledger import Stages
from consensus_imitation.experiments.tables import Table


@dataclass(frozen=True)
class Results:
    """The place of the results.

    Attributes:
        out: directory for the results.
        overwrite: replace results of another configuration in --out.
    """

    out: Path
    overwrite: bool = False


class Outcome(NamedTuple):
    """The output of a command.

    Attributes:
        tables: printed first.
        lines: printed after them.
        complaints: printed on standard error.
        sound: whether nothing is wrong.
    """

    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    complaints: Sequence[str] = ()
    sound: bool = True


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        text: what it does, in one line.
        settings: a dataclass whose fields are its options (``num_steps`` as ``--steps``), or a union of dataclasses, of
            which each is an action.
        run: called with the settings, the results, and a function that gives each stage its progress callback.
        results: the defaults of its `Results`; None if it has none.
        parts: what it saves as soon as it is finished; None if it begins anew each time.
        outlook: what it is about to do and how long that takes, said before it begins.
        pictures: whether it draws pictures and pages of its results, so that it needs the extra ``plot``.
    """

    text: str
    settings: Any
    run: Callable[[Any, Any, Stages], Outcome]
    results: Results | None = None
    parts: str | None = None
    outlook: str = ""
    pictures: bool = True


def find_commands() -> dict[str, Command]:
    """Return the commands of all experiments, by the names of their folders."""
    found: dict[str, Command] = {}
    package = import_module(__name__.rpartition(".")[0])
    for folder in iter_modules(package.__path__):
        if folder.ispkg and (Path(package.__path__[0]) / folder.name / "command.py").exists():
            found[folder.name] = import_module(f"{package.__name__}.{folder.name}.command").COMMAND
    return found


def written(out: Path, *names: str) -> str:
    """Return the line that lists the written files."""
    return f"written: {out}/{', '.join(names)}"
