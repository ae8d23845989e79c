"""A disk that loses its power: what a process did to its files is played again, and what nobody waited for may be gone.

The model is the worst that POSIX allows. Of the writes to a file since the last `fsync` of it any may be there, sector
by sector; a name made, moved or deleted since the last `fsync` of its directory may be there or not, that of a new
directory, too; and a file that became longer may have anything where nothing was written.
"""

import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

HEAD = struct.Struct("<cxxxiqii")
SECTORS = (512, 4096)
STYLES = ("none", "all", "first", "any")


class Event(NamedTuple):
    """What a process did: see `power_shim.c`; ``A`` is its own word that something is acknowledged."""

    what: str
    file: int
    number: int
    first: bytes
    second: bytes


def acknowledgement(run: int, number: int) -> bytes:
    """A record that a process writes into the log by itself: of which run, and how many calls."""
    return HEAD.pack(b"A", run, number, 0, 0)


def read_log(path: Path) -> list[Event]:
    """All of a log."""
    data, place, found = path.read_bytes(), 0, list[Event]()
    while place < len(data):
        what, file, number, m, n = HEAD.unpack_from(data, place)
        place += HEAD.size
        found.append(Event(what.decode(), file, number, data[place : place + m], data[place + m : place + m + n]))
        place += m + n
    return found


def of_run(events: list[Event], run: int, root: str) -> list[Event]:
    """Those events that are about one run, which has a directory of its own."""
    below, files, found = os.fsencode(root) + b"/", set[int](), list[Event]()
    for event in events:
        of_path = (event.first + b"/").startswith(below)
        if event.what == "O":
            (files.add if of_path else files.discard)(event.file)
        if event.file == run if event.what == "A" else of_path or event.file in files:
            found.append(event)
    return found


@dataclass(eq=False)
class File:
    """Bytes on the disk, bytes now, and what happened in between: a place and bytes, or a new length."""

    durable: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def write(self, place: int, data: bytes | None) -> None:
        """Write at a place; or cut there, or lengthen to there (None)."""
        put(self.now, place, data, b"\0")
        self.pending.append((place, data))

    def sync(self) -> None:
        self.durable, self.pending = bytes(self.now), []


@dataclass(eq=False)
class Directory:
    """Names on the disk, names now, and what happened in between: names that go, and names that come."""

    durable: dict[str, "Node"] = field(default_factory=dict)
    now: dict[str, "Node"] = field(default_factory=dict)
    pending: list[tuple[list[str], dict[str, "Node"]]] = field(default_factory=list)

    def change(self, gone: list[str], new: dict[str, "Node"]) -> None:
        rename(self.now, gone, new)
        self.pending.append((gone, new))

    def sync(self) -> None:
        self.durable, self.pending = dict(self.now), []


Node = File | Directory


class Disk:
    """Everything below a directory that is there already, and empty.

    Args:
        root: the directory.
        deaf: what is not waited for all the same, by its path and whether it is a directory; nothing by default.
    """

    def __init__(self, root: str, deaf: Callable[[str, bool], bool] = lambda path, is_directory: False) -> None:
        self.root, self.top, self._deaf = root, Directory(), deaf
        self._open: dict[int, tuple[Node, str]] = {}

    def play(self, event: Event) -> None:
        """Do one thing again."""
        what, file, number, first, second = event
        if what == "O":
            place, name = self._find(first)
            there = place.now.get(name) if name else place
            if there is None:
                there = File()
                place.change([], {name: there})
            elif number & os.O_TRUNC and isinstance(there, File):
                there.write(0, None)
            self._open[file] = there, first.decode()
        elif what in "WT":
            written, _ = self._open[file]
            assert isinstance(written, File)
            written.write(number, second if what == "W" else None)
        elif what == "S":
            waited, path = self._open[file]
            if not self._deaf(path, isinstance(waited, Directory)):
                waited.sync()
        elif what == "M":
            place, name = self._find(first)
            place.change([], {name: Directory()})
        elif what == "U":
            place, name = self._find(first)
            place.change([name], {})
        elif what in "RL":
            (place, name), (target, other) = self._find(first), self._find(second)
            assert place is target, "between directories nothing is moved"
            place.change([name] if what == "R" else [], {other: place.now[name]})

    def lose_power(self, rng: random.Random, target: Path) -> int:
        """Put what is left into a directory: how many changes had not been waited for."""
        return _put_down(self.top, target, rng, rng.choice(SECTORS))

    def _find(self, path: bytes) -> tuple[Directory, str]:
        """The directory of a path, and its name there."""
        place, parts = self.top, os.path.relpath(path.decode(), self.root).split("/")
        if parts == ["."]:
            return place, ""
        for part in parts[:-1]:
            inner = place.now[part]
            assert isinstance(inner, Directory)
            place = inner
        return place, parts[-1]


def put(data: bytearray, place: int, piece: bytes | None, filler: bytes) -> None:
    """Write into bytes as a file system does."""
    if len(data) < place:
        data += (filler * (place - len(data)))[: place - len(data)]
    if piece is None:
        del data[place:]
    else:
        data[place : place + len(piece)] = piece


def rename(names: dict[str, Node], gone: list[str], new: dict[str, Node]) -> None:
    for name in gone:
        names.pop(name, None)
    names.update(new)


def _put_down(place: Directory, target: Path, rng: random.Random, sector: int) -> int:
    target.mkdir(exist_ok=True)
    names, lost = dict(place.durable), len(place.pending)
    for gone, new in _some(place.pending, rng):
        rename(names, gone, new)
    for name, node in names.items():
        if isinstance(node, Directory):
            lost += _put_down(node, target / name, rng, sector)
        else:
            (target / name).write_bytes(_left(node, rng, sector))
            lost += len(node.pending)
    return lost


def _some(pending: Sequence[Any], rng: random.Random) -> list[Any]:
    """Which of several changes are there: none, all, the first ones, or any."""
    style = rng.choice(STYLES)
    if style == "any":
        share = rng.choice((0.1, 0.5, 0.9))
        return [one for one in pending if rng.random() < share]
    return list(pending[: {"none": 0, "all": len(pending)}.get(style, rng.randint(0, len(pending)))])


def _left(file: File, rng: random.Random, sector: int) -> bytes:
    """What is left of a file."""
    data, filler = bytearray(file.durable), rng.choice((b"\0", rng.randbytes(sector)))
    parts: list[tuple[int, bytes | None]] = []
    for place, piece in file.pending:
        parts += [(place, None)] if piece is None else _sectors(place, piece, sector)
    for place, piece in _some(parts, rng):
        put(data, place, piece, filler)
    if len(data) < len(file.now) and rng.random() < 0.3:
        put(data, len(file.now), None, filler)
    return bytes(data)


def _sectors(place: int, data: bytes, sector: int) -> Iterator[tuple[int, bytes]]:
    """The parts of a write that are there or not."""
    begin = 0
    while begin < len(data):
        end = begin + sector - (place + begin) % sector
        yield place + begin, data[begin:end]
        begin = end
