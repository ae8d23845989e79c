"""The finished parts of an experiment on disk: an interrupted experiment continues with the parts that are missing.

An experiment is a list of *parts* that do not depend on each other: a run, a scenario, a few seeds. A part is saved as
a whole or not at all, whenever the process ends. So an experiment that was interrupted and continued has the same
tables as an uninterrupted one.
"""

import json
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from consensus_imitation.experiments.results import Row, read_csv, whole, write_csv

#: A callback with the number of finished parts, and of all parts.
Progress = Callable[[int, int], None]
#: What a stage is called; a function if that changes while it runs.
Title = str | Callable[[], str]
#: A function from the title of a stage to its `Progress`.
Stages = Callable[[Title], Progress]

Part = TypeVar("Part", bound=Hashable)


class Ledger:
    """Rows of finished parts, in one table or several.

    Every table is written again after each part and replaced as a whole, in the given order. A part counts as finished
    if all tables have rows of it.

    Args:
        out: directory, made if necessary; None to keep the rows in memory only.
        config: what the results depend on, see `identity`.
        overwrite: start again, whatever ``out`` holds.
        tables: name of each table and its columns; ``out`` gets a file ``name.csv`` for each.
        part_of: the part that a row belongs to.
        files: other files in ``out`` that belong to these results, see `once`.

    Raises:
        ValueError: if ``out`` holds results of another configuration, or tables with other columns, and ``overwrite``
            is False.

    Example:
        >>> import tempfile
        >>> from consensus_imitation.experiments.ledger import Ledger
        >>> out = Path(tempfile.mkdtemp())
        >>> def ledger():
        ...     return Ledger(out, {"seed": 0}, False, {"runs": ("run", "reward")}, lambda row: row["run"])
        >>> ledger().add([{"run": 3, "reward": 0.5}])
        >>> ledger().finished
        {3}
    """

    def __init__(
        self,
        out: Path | None,
        config: Mapping[str, Any],
        overwrite: bool,
        tables: Mapping[str, Sequence[str]],
        part_of: Callable[[Row], Hashable],
        files: Sequence[str] = (),
    ) -> None:
        self._out, self._tables, self._part_of, self._files = out, tables, part_of, tuple(files)
        self._rows: list[list[Row]] = [[] for _ in tables]
        self.finished: set[Hashable] = set()
        names = [f"{name}.csv" for name in tables]
        if out is None or not claim_directory(out, config, overwrite, (*names, *files)):
            return
        if all((out / name).exists() for name in names):
            saved = [read_csv(out / name) for name in names]
            if any(rows and tuple(rows[0]) != tuple(tables[name]) for rows, name in zip(saved, tables, strict=True)):
                raise ValueError(
                    f"{out} holds tables of another version of the library: choose another --out or add --overwrite"
                )
            self.finished = set.intersection(*({part_of(row) for row in rows} for rows in saved))
            # Rows that an earlier table has of an unfinished part are made again.
            self._rows = [[row for row in rows if part_of(row) in self.finished] for rows in saved]

    def add(self, *rows: Sequence[Row]) -> None:
        """Save a finished part.

        Args:
            *rows: the rows of each table, in the order of the tables.
        """
        for (name, columns), kept, new in zip(self._tables.items(), self._rows, rows, strict=True):
            kept.extend(new)
            if self._out is not None:
                write_csv(self._out / f"{name}.csv", kept, columns)
        self.finished.update(self._part_of(row) for row in rows[-1])

    def once(self, file: str, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return what is measured once for all parts: read it back, or make and save it.

        Args:
            file: one of the ``files``; it holds JSON.
            make: makes it.
        """
        if file not in self._files:
            raise ValueError(f"{file} is not one of the ledger's files")
        path = None if self._out is None else self._out / file
        if path is not None and path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        found = make()
        if path is not None:
            with whole(path) as part:
                part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return found

    def missing(self, parts: Sequence[Part], progress: Progress | None = None) -> Iterator[Part]:
        """Yield the parts that are not finished, in this order, and report the progress.

        Args:
            parts: all parts.
            progress: called as ``progress(done, total)`` before each missing part and at the end.
        """
        missing = [part for part in parts if part not in self.finished]
        for done, part in enumerate(missing, len(parts) - len(missing)):
            if progress is not None:
                progress(done, len(parts))
            yield part
        if progress is not None:
            progress(len(parts), len(parts))

    def rows(self, parts: Iterable[Hashable]) -> tuple[list[Row], ...]:
        """Return the rows of these parts in each table, part by part in this order."""
        order = list(parts)
        found: list[dict[Hashable, list[Row]]] = []
        for rows in self._rows:
            by_part: dict[Hashable, list[Row]] = {part: [] for part in order}
            for row in rows:
                by_part.get(self._part_of(row), []).append(row)
            found.append(by_part)
        return tuple([row for part in order for row in by_part[part]] for by_part in found)


def identity(experiment: str, config: Any, grows: Collection[str] = (), **more: Any) -> dict[str, Any]:
    """Return what the results of an experiment depend on, for ``config.json``.

    Args:
        experiment: its name.
        config: its configuration, a dataclass.
        grows: fields that are left out, since you can add parts to existing results, for example more seeds.
        **more: what else the results depend on; where names can be added, what each of them stands for (``made``), or
            a directory would be continued under names that mean something else by now.
    """
    # Directories from before there were such settings can continue: what is empty is left out.
    fields = {name: value for name, value in asdict(config).items() if name not in grows and value != {}}
    return {"experiment": experiment, **more, **fields}


def claim_directory(path: Path, config: Mapping[str, Any], overwrite: bool, files: Iterable[str] = ()) -> bool:
    """Make the directory of a run, and return whether it holds an unfinished or finished run of the same kind.

    ``config.json`` in it decides. A directory with another run's results is refused, since to mix two runs is worse
    than to stop.

    Args:
        path: of the directory.
        config: what the results depend on, see `identity`.
        overwrite: start again, whatever the directory holds.
        files: files to delete when the run starts again, relative to the directory.

    Raises:
        ValueError: if the directory holds results of another configuration and ``overwrite`` is False.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: results need a directory, choose another --out")
    path.mkdir(parents=True, exist_ok=True)
    file = path / "config.json"
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    same = file.exists() and file.read_text(encoding="utf-8") == text
    if file.exists() and not same and not overwrite:
        # A run that ended with a mistake left no results; but one that has none yet may still be running.
        alone = [one.name for one in path.iterdir()] == [file.name]
        holds = (
            "was begun with another configuration and has no results yet"
            if alone
            else ("holds results of another configuration")
        )
        raise ValueError(f"{path} {holds} (see {file.name}): choose another --out or add --overwrite")
    if same and not overwrite:
        return True
    # In this order, so that old results are never beside the new configuration, whenever the process ends.
    for old in (file.name, *files):
        (path / old).unlink(missing_ok=True)
    with whole(file) as part:
        part.write_text(text, encoding="utf-8")
    return False
