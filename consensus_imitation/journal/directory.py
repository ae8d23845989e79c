"""A run's directory: the journal, the state at the beginning, checkpoints, and the lock of the only writer."""

import os
import re
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from consensus_imitation.errors import ConfigurationError, JournalCorruptedError, JournalError, JournalWriteError
from consensus_imitation.journal import _disk
from consensus_imitation.journal._files import make_directory
from consensus_imitation.journal._lock import Lock
from consensus_imitation.journal._new_file import clear
from consensus_imitation.journal.checkpoint import Checkpoint, load_checkpoint, load_header, save_checkpoint
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.record import Record
from consensus_imitation.journal.recovery import Report, mend
from consensus_imitation.journal.store import Store

_NAME = re.compile(r"\d{12}\.msgpack(\.part)?")
#: The first checkpoint: no cache of what the journal says, but what it begins with.
_BEGINNING = "beginning.msgpack"
#: Checkpoints that are kept: the newest, and one to fall back on.
_KEPT = 2
#: What of a `Journal` goes on with the run.
_SETTINGS = ("observations", "group", "checkpoint_every", "keep")

#: What is kept of the imitator's own steps.
Keep = Literal["everything", "digests"]


@dataclass(frozen=True)
class Journal:
    """How an imitator is to be recorded.

    Args:
        path: of the run's directory, which is made if need be.
        observations: keep every observation for good, not only its hash. The recent ones are kept in any case, for
            going on after a crash.
        group: calls per transaction. 1: every step is on the disk before its action is given out. More is faster, and a
            crash may forget that many of the imitator's own last steps; questions and answers are always on the disk.
        checkpoint_every: calls between checkpoints of the imitator's state.
        keep: of the imitator's own steps, ``"everything"``; or ``"digests"``: in place of the members' predictions and
            the law, a SHA-256 of both, which is compared when a step is done again, and the likeliest actions. Of
            queries everything is kept. For members in JAX and numbered actions only.

    Raises:
        ConfigurationError: if a number is below 1, ``observations`` is neither True nor False, or there is no such
            ``keep``.

    Example:
        >>> Journal("runs/one", group=100).checkpoint_every
        1000
    """

    path: str | Path
    observations: bool = field(default=False, kw_only=True)
    group: int = field(default=1, kw_only=True)
    checkpoint_every: int = field(default=1000, kw_only=True)
    keep: Keep = field(default="everything", kw_only=True)

    def __post_init__(self) -> None:
        for name in ("group", "checkpoint_every"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(f"{name} of a journal must be an integer of at least 1, got {value!r}")
        if self.observations is not True and self.observations is not False:
            raise ConfigurationError(f"observations of a journal must be True or False, got {self.observations!r}")
        if self.keep not in get_args(Keep):
            raise ConfigurationError(f"keep of a journal must be one of {', '.join(get_args(Keep))}; got {self.keep!r}")


class _Saved(NamedTuple):
    """A checkpoint on the disk: after which call, and the calls whose queries waited then."""

    call: int
    path: Path
    waiting: tuple[int, ...]


class RunDirectory:
    """A run's directory, open for writing; made by `create` or `open`.

    Attributes:
        path: of the directory.
        settings: how it is recorded.
        run: the run's identity.
        store: the journal.
        report: what was found when it was opened.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "run"
        >>> RunDirectory.create(Journal(path), {"num_members": 2, "num_actions": 3}).close()
        >>> directory = RunDirectory.open(path)
        >>> directory.append([Record(kind="begin")])
        1
        >>> directory.close()
    """

    def __init__(self, path: Path, settings: Journal, lock: Lock, store: Store, report: Report) -> None:
        self.path, self.settings, self.store, self.report = path, settings, store, report
        self._lock = lock
        # Another directory may be in this one's place.
        store.before_writing = lock.check
        self.run: str = store.meta["run"]
        self._whole: list[_Saved] = []

    @classmethod
    def create(cls, journal: Journal, meta: dict[str, Any]) -> "RunDirectory":
        """Start a run.

        Args:
            journal: where, and how it is to be recorded.
            meta: the run's description, anything that JSON can hold, with ``num_members`` and ``num_actions``. The
                run's identity and the settings are added.

        Raises:
            JournalError: if the directory holds a run, or cannot be made.
            LockedError: if somebody else writes it.
            ConfigurationError: if the description is not one.
        """
        # Absolute: the process may change its working directory.
        path = Path(journal.path).absolute()
        try:
            make_directory(path)
            make_directory(path / "checkpoints")
        except OSError as error:
            raise JournalError(f"the directory {path} cannot be made: {error}") from error
        lock = Lock(path)
        try:
            file = path / "journal.sqlite"
            if _is_begun(path):
                shell = meta.get("shell", "ConsensusImitator")
                raise JournalError(
                    f"{path} holds a run already: go on with it by {shell}.resume({str(path)!r}, ...), or choose "
                    "another directory"
                )
            try:
                clear(file)
            except (OSError, sqlite3.Error) as error:
                raise JournalWriteError(f"what a start left behind at {file} cannot be deleted: {error}") from error
            settings = {name: getattr(journal, name) for name in _SETTINGS}
            if journal.keep == "everything":
                # As before there was a choice: earlier versions can go on with it.
                del settings["keep"]
            store = Store.create(file, {**meta, "run": uuid.uuid4().hex, "settings": settings}, journal.group)
            return cls(path, journal, lock, store, Report(path=file, entries=0, calls=0))
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(cls, journal: "Journal | str | Path") -> "RunDirectory":
        """Go on with a run: take the lock, read all of the journal, and cut back a torn tail.

        Args:
            journal: where; a `Journal` also says how it is to be recorded from now on.

        Raises:
            JournalError: if there is no run.
            LockedError: if somebody else writes it.
            JournalCorruptedError: if the journal is damaged in the middle, naming the place.
        """
        path = Path(journal.path if isinstance(journal, Journal) else journal).absolute()
        file = path / "journal.sqlite"
        if not file.is_file():
            raise JournalError(f"{path} holds no run: there is no {file.name}")
        lock = Lock(path)
        try:
            report = mend(file)
            store = Store.open(file)
            try:
                settings = journal if isinstance(journal, Journal) else Journal(path, **store.meta["settings"])
                store.group = settings.group
                opened = cls(path, settings, lock, store, report)
                opened._find_checkpoints()
            except (KeyError, TypeError) as error:
                raise JournalCorruptedError(f"{file} is no journal of a run: {error}") from error
            except BaseException:
                store.close()
                raise
            return opened
        except BaseException:
            lock.close()
            raise

    def append(self, records: Sequence[Record], observation: bytes | None = None) -> int:
        """Write one call: `Store.append`."""
        return self.store.append(records, observation)

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether as many calls as the settings say have been written since the newest checkpoint."""
        newest = self._whole[-1].call if self._whole else 0
        return self.store.last_call - newest >= self.settings.checkpoint_every

    def checkpoint(
        self, state: Any, header: dict[str, Any], *, waiting: Sequence[int] = (), ahead: bool = False
    ) -> None:
        """Save the imitator's state after the last call; keep the one before, too, and what is needed to go on from it.

        The first one is kept for as long as the journal can be done again from there: if all observations are kept, for
        good.

        Args:
            state: of the learner.
            header: whatever else is needed to go on; anything that JSON can hold.
            waiting: numbers of the queries that wait for an answer; the observations that they are about are kept.
            ahead: the state is that after the next call, which will be a ``study``: of that, nothing else is kept.

        Raises:
            JournalWriteError: if it cannot be written, or something could not be before.
        """
        self._stay()
        self.store.flush()
        call = self.store.last_call + ahead
        path = self.path / "checkpoints" / f"{call:012d}.msgpack" if self._whole else self.path / _BEGINNING
        bound = {"call": call, "run": self.run, "chain": self.store.chain.hex(), "ahead": ahead}
        saved = _Saved(call, path, self._asked_in(waiting))
        with self.store.writing():
            save_checkpoint(path, state, {**header, **bound, "waiting": list(waiting)})
            whole = [*(one for one in self._whole if one.path != path), saved]
            first = whole[: int(self.settings.observations)]
            self._whole = [*(one for one in first if one not in whole[-_KEPT:]), *whole[-_KEPT:]]
            for old in _checkpoints(self.path):
                if old not in [one.path for one in self._whole]:
                    _disk.remove(old)
        if len(self._whole) == _KEPT and not self.settings.observations:
            oldest = self._whole[0]
            self.store.forget_observations(oldest.call, oldest.waiting)

    def checkpoints(self, like: Any) -> Iterator[Checkpoint]:
        """The checkpoints that are whole and of this history, newest first.

        Args:
            like: a state of the same kind.

        Raises:
            ConfigurationError: if one is of another ensemble or other rules.
        """
        for saved in reversed(self._whole):
            yield load_checkpoint(saved.path, like)

    def close(self) -> None:
        """Bring everything to the disk, and let go of the directory.

        Raises:
            JournalWriteError: if it cannot be written now.
        """
        try:
            self.store.close()
        finally:
            self._lock.close()

    def __repr__(self) -> str:
        """Where it is, and how much was written."""
        return f"RunDirectory({str(self.path)!r}, {self.store.last_call} calls)"

    def _stay(self) -> None:
        with self.store.writing():
            self._lock.check()

    def _find_checkpoints(self) -> None:
        """Those that are whole and of this history; why the others are not used goes into the report."""
        skipped: list[str] = []
        for path in _checkpoints(self.path):
            if path.suffix != ".msgpack":
                continue
            try:
                header = load_header(path)
            except (JournalCorruptedError, OSError) as error:
                skipped.append(f"not used: {error}")
                continue
            call, ahead = header.get("call", -1), header.get("ahead", False)
            chain = self.store.chain_at(call - ahead) if call >= 0 else None
            foreign = header.get("run") != self.run or chain is None or chain.hex() != header.get("chain")
            if foreign or (ahead and self.store.kind_of(call) != "study"):
                skipped.append(f"not used: {path} is of call {call}, which the journal does not hold")
            else:
                self._whole.append(_Saved(call, path, self._asked_in(header.get("waiting", ()))))
        self.report = replace(self.report, skipped=tuple(skipped))

    def _asked_in(self, queries: Sequence[int]) -> tuple[int, ...]:
        """The calls that posed these queries."""
        return tuple(self.store.of_query(query)[0].call for query in queries)


def _is_begun(path: Path) -> bool:
    """Whether a directory holds a run that may have given out an action.

    The first checkpoint comes before any: a start that was cut off before it left nothing that could be gone on with.
    """
    file = path / "journal.sqlite"
    if any(one.suffix == ".msgpack" for one in _checkpoints(path)):
        return True
    if not file.exists():
        return False
    try:
        with reading(file) as reader:
            return bool(reader.select("SELECT 1 FROM entries WHERE kind <> 'open' LIMIT 1"))
    except JournalError:
        return True


def _checkpoints(path: Path) -> list[Path]:
    """The files of checkpoints that are there, whole or not, from the beginning on."""
    directory = path / "checkpoints"
    later = sorted(directory.iterdir()) if directory.is_dir() else []
    named = [path / _BEGINNING, path / f"{_BEGINNING}.part", *(file for file in later if _NAME.fullmatch(file.name))]
    return [file for file in named if os.path.lexists(file) and not file.is_dir()]
