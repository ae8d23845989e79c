"""Files of a run, and of demonstrations, that are not what was written: each case does one thing to sound ones."""

import hashlib
import io
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flax import serialization

from consensus_imitation import ConsensusImitator, Journal, TopK, ensembles
from consensus_imitation.demonstrators.recordings import Demonstrations
from tests.stress.crowd_world import make

STEPS = 14


def with_checksum(body: bytes) -> bytes:
    start = b"consensus-imitation-state-2\n"
    return start + hashlib.sha256(start + body).digest() + body


#: Contents that give their checksum, and are no checkpoint.
STRUCTURES: dict[str, bytes] = {
    "nothing": with_checksum(b""),
    "no dictionary": with_checksum(serialization.msgpack_serialize([1, 2])),  # type: ignore[arg-type]
    "no leaves": with_checksum(serialization.msgpack_serialize({"json": json.dumps({"structure": [], "header": {}})})),
    "no header": with_checksum(serialization.msgpack_serialize({"json": "{}", "leaves": {}})),
    "no json": with_checksum(serialization.msgpack_serialize({"json": "{", "leaves": {}})),
}


def run(path: Path, seed: int = 3) -> ConsensusImitator:
    """A closed run with several checkpoints; steps follow the last one."""
    one = make(demonstrator=scripted, seed=seed, journal=Journal(path, checkpoint_every=6))
    for step in range(STEPS):
        one.act(step % 7)
    one.close()
    return one


def scripted(observation: Any) -> int:
    return int(observation) % 3


class Executed:
    """Unpickled, it leaves a mark: nothing in a file may ever run."""

    mark = Path("executed-by-a-file")

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def journal(run_dir: Path) -> Path:
    return run_dir / "journal.sqlite"


def newest(run_dir: Path) -> Path:
    """The newest checkpoint."""
    return max((run_dir / "checkpoints").iterdir())


def write(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def replaced(place: Callable[[Path], Path], data: bytes) -> Callable[[Path, Path], None]:
    return lambda own, other: write(place(own), data)


def shortened(place: Callable[[Path], Path], keep: Callable[[int], int]) -> Callable[[Path, Path], None]:
    def spoil(own: Path, other: Path) -> None:
        data = place(own).read_bytes()
        write(place(own), data[: keep(len(data))])

    return spoil


def turned(place: Callable[[Path], Path], where: Callable[[int], int]) -> Callable[[Path, Path], None]:
    """One byte is another."""

    def spoil(own: Path, other: Path) -> None:
        data = bytearray(place(own).read_bytes())
        data[where(len(data))] ^= 0xFF
        write(place(own), bytes(data))

    return spoil


def directory(place: Callable[[Path], Path]) -> Callable[[Path, Path], None]:
    def spoil(own: Path, other: Path) -> None:
        path = place(own)
        path.unlink()
        path.mkdir()

    return spoil


def loop(place: Callable[[Path], Path]) -> Callable[[Path, Path], None]:
    """A link to itself."""

    def spoil(own: Path, other: Path) -> None:
        path = place(own)
        path.unlink()
        path.symlink_to(path)

    return spoil


def taken_from(place: Callable[[Path], Path], source: Callable[[Path], Path]) -> Callable[[Path, Path], None]:
    """The file of another run."""
    return lambda own, other: write(place(own), source(other).read_bytes())


def other_database(own: Path, other: Path) -> None:
    journal(own).unlink()
    with sqlite3.connect(journal(own)) as connection:
        connection.execute("CREATE TABLE entries (seq INTEGER)")
    connection.close()


def newer(own: Path, other: Path) -> None:
    """Of a version of the library that is yet to come."""
    with sqlite3.connect(journal(own)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.close()


def removed_entry(own: Path, other: Path) -> None:
    tampered(own, "DELETE FROM {table} WHERE seq = 5")


def tampered(own: Path, sql: str) -> None:
    with sqlite3.connect(journal(own)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in names:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if {"seq", "kind", "action"} <= set(columns):
                connection.execute(sql.format(table=table))
    connection.close()


def other_answer(own: Path, other: Path) -> None:
    """Somebody would like the demonstrator to have said something else."""
    tampered(own, "UPDATE {table} SET action = (action + 1) % 3 WHERE kind = 'answer'")


#: What is done to a run's directory, and the words of the error with which it is refused.
RUNS: dict[str, tuple[Callable[[Path, Path], None], str, str]] = {
    "no journal": (
        lambda own, other: journal(own).unlink(),
        "JournalError",
        "holds no run: there is no journal.sqlite",
    ),
    "no directory": (lambda own, other: shutil.rmtree(own), "JournalError", "holds no run"),
    "file for a run": (
        lambda own, other: (shutil.rmtree(own), own.write_text("a run"), None)[-1],
        "JournalError",
        "holds no run",
    ),
    "journal empty": (
        replaced(journal, b""),
        "JournalCorruptedError",
        "is no journal of this library|cannot be read|damaged",
    ),
    "journal text": (replaced(journal, b"a run\n" * 999), "JournalCorruptedError", "cannot be read|not a database"),
    "journal pickled": (
        replaced(journal, pickle.dumps(Executed())),
        "JournalCorruptedError",
        "cannot be read|not a database",
    ),
    "journal half": (
        shortened(journal, lambda size: size // 2),
        "JournalCorruptedError",
        "damaged|cannot be read|missing|restore",
    ),
    "journal a page": (
        shortened(journal, lambda size: 512),
        "JournalCorruptedError",
        "damaged|cannot be read|missing|restore",
    ),
    "journal begins otherwise": (
        turned(journal, lambda size: 3),
        "JournalCorruptedError",
        "cannot be read|not a database",
    ),
    "journal a directory": (directory(journal), "JournalError", "holds no run"),
    "journal a loop": (loop(journal), "JournalError", "holds no run"),
    "journal another database": (other_database, "JournalCorruptedError", "is no journal of this library"),
    "journal newer": (newer, "JournalError", "newer|version|format"),
    "journal without an entry": (removed_entry, "JournalCorruptedError", "entry 5 .*missing"),
    "journal with another answer": (
        other_answer,
        "JournalCorruptedError",
        r"entry \d+ .*damaged: its content does not give",
    ),
    "journal is a checkpoint": (taken_from(journal, newest), "JournalCorruptedError", "cannot be read|not a database"),
}

#: What is done to the newest checkpoint: it is not used, which is said, and the run is taken up all the same.
CHECKPOINTS: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "empty": (replaced(newest, b""), "is no checkpoint of this library"),
    "text": (replaced(newest, b"a checkpoint"), "is no checkpoint of this library"),
    "pickled": (replaced(newest, pickle.dumps(Executed())), "is no checkpoint of this library"),
    "older": (replaced(newest, b'\x82\xa4json{"format": "consensus-imitation-state-1"'), "in an older format"),
    "half": (shortened(newest, lambda size: size // 2), "is damaged: its content does not give its checksum"),
    "one byte short": (shortened(newest, lambda size: size - 1), "is damaged"),
    "one byte turned": (turned(newest, lambda size: size - 9), "is damaged"),
    "checksum turned": (turned(newest, lambda size: 40), "is damaged"),
    "loop": (loop(newest), "symbolic link|loop"),
    "of another run": (taken_from(newest, newest), "which the journal does not hold"),
    "is a journal": (taken_from(newest, journal), "is no checkpoint of this library"),
}

#: Imitators that are not those of the run, with words of the error.
OTHERS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "other members": (
        lambda: {"ensemble": ensembles.tabular(np.full((5, 7, 3), 1 / 3))},
        "num_members was 4, and is 5",
    ),
    "other actions": (lambda: {"ensemble": ensembles.tabular(np.full((4, 7, 2), 0.5))}, "num_actions was 3, and is 2"),
    "other kind": (
        lambda: {"ensemble": ensembles.callables([lambda seen: [1, 0, 0]] * 4, 3)},
        "ensemble was 'Tabular', and is 'Callables'|rules was",
    ),
    "other prior": (
        lambda: {"ensemble": ensembles.tabular(np.full((4, 7, 3), 1 / 3), [1, 1, 1, 2])},
        r"prior\[0\] was",
    ),
    "other rule": (lambda: {"selection": TopK(3)}, "rules.numbers.* was .*construct everything as it was then"),
}


def demonstrated(path: Path) -> Path:
    """Sound demonstrations on disk."""
    walk = Demonstrations(
        np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0], np.int32), np.array([True, False, False, True])
    )
    walk.save(path)
    return path


def archive(**arrays: Any) -> Callable[[Path], None]:
    """The arrays of sound demonstrations, some of them changed; None leaves one out."""

    def spoil(path: Path) -> None:
        with np.load(path) as sound:
            kept = {name: sound[name] for name in sound.files if name != "names"}
        kept = {name: array for name, array in {**kept, **arrays}.items() if array is not None}
        with path.open("wb") as file:
            np.savez(file, names=np.array(sorted(kept)), **kept)

    return spoil


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


#: What is done to a file of demonstrations, and words of the error.
WALKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "empty": (lambda path: write(path, b""), "is damaged or holds no arrays.*make it anew"),
    "text": (lambda path: write(path, b"0,1,2"), "is damaged or holds no arrays"),
    "half": (lambda path: write(path, path.read_bytes()[:200]), "is damaged or holds no arrays"),
    "one byte turned": (lambda path: turned(lambda p: p, lambda size: 60)(path, path), "is damaged"),
    "pickled": (lambda path: write(path, pickle.dumps(Executed())), "is damaged"),
    "objects": (archive(observations=np.array([Executed()] * 4, object)), "is damaged"),
    "npy": (lambda path: write(path, npy()), "is damaged or holds no arrays"),
    "other format": (archive(format=np.array("walks/9")), "no demonstrations, which are marked"),
    "actions missing": (archive(actions=None), "actions missing"),
    "actions negative": (archive(actions=np.array([0, -1, 2, 0], np.int32)), "actions must be int32.*non-negative"),
    "actions floats": (archive(actions=np.zeros(4)), "actions must be int32"),
    "starts too few": (archive(starts=np.array([True])), "starts must be bool"),
    "observations too few": (archive(observations=np.array([0])), "must be an array of 4 rows"),
}


def contents(path: Path) -> dict[str, str]:
    """What lies in a directory, except for the lock, and for what SQLite keeps for a rollback and clears away."""
    found: dict[str, str] = {}
    for file in sorted(path.rglob("*")) if path.is_dir() else []:
        if file.is_symlink():
            found[file.name] = f"link to {os.readlink(file)}"
        elif file.is_file() and not file.name.startswith("lock") and not file.name.endswith("-journal"):
            found[str(file.relative_to(path))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
