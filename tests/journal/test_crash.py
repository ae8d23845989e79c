"""A process that is killed with SIGKILL while it writes: what was acknowledged is there, and nothing is half there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consensus_imitation.errors import JournalCorruptedError, LockedError
from consensus_imitation.journal.directory import RunDirectory
from consensus_imitation.journal.reader import reading
from consensus_imitation.journal.recovery import examine
from consensus_imitation.journal.store import Store

from .runs import observation, small, told

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


#: Dirty pages are written to the file in the midst of the transaction, as they are when memory is short.
MID_TRANSACTION = """
import os, signal, sqlite3, sys
from tests.journal.runs import step, observation
from consensus_imitation.journal.store import Store
from consensus_imitation.journal import _disk as disk
from pathlib import Path
store = Store.open(Path(sys.argv[1]))
real = disk.execute
def killed(connection, sql, values=()):
    if sql == "COMMIT":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(connection, sql, values)
disk.execute = killed
real(store._connection, "PRAGMA cache_size = 1")
real(store._connection, "PRAGMA cache_spill = 1")
store.append([step(i) for i in range(60)], observation(1) * 1000)
"""


def test_a_transaction_that_was_cut_off_is_undone(tmp_path: Path) -> None:
    path = small(tmp_path / "journal.sqlite")
    before = path.read_bytes()
    with reading(path) as reader:
        whole = [told(entry) for entry in reader.entries()]
    done = python(MID_TRANSACTION, path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # The file is half changed, and what it was is in a rollback journal that is hot.
    assert path.read_bytes() != before
    assert (tmp_path / "journal.sqlite-journal").read_bytes()[:8] == b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

    copy = tmp_path / "copied-alone.sqlite"
    copy.write_bytes(path.read_bytes())

    report = examine(path)
    assert report.sound
    assert report.entries == len(whole)
    store = Store.open(path)
    assert [told(entry) for entry in store.entries()] == whole
    store.close()

    # Control: without its rollback journal the same file is not what it was.
    with pytest.raises(JournalCorruptedError):
        examine(copy)


#: Forks writers, and kills each after a while; says which calls each had acknowledged.
KILLING = """
import os, random, signal, sys, time
from pathlib import Path
from consensus_imitation.journal.directory import Journal, RunDirectory
from tests.journal.runs import META, observation, step
path, rounds, group = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
random.seed(group)
RunDirectory.create(Journal(path, group=group), META).close()
for _ in range(rounds):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        directory = RunDirectory.open(path)
        os.write(theirs, b"opened\\n")
        while True:
            query = directory.store.last_query + 1
            for kind in ("act", "act", "ask", "answer"):
                named = {} if kind == "act" else {"query": query}
                call = directory.append([step(query, kind, **named)], observation(query))
                os.write(theirs, f"{call} {kind}\\n".encode())
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        first = pipe.readline()
        time.sleep(random.uniform(0.0, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(first, pipe.read(), sep="", end="")
"""


@pytest.mark.parametrize("group", [1, 5])
def test_kill_at_random_moments(tmp_path: Path, group: int) -> None:
    """Acknowledged questions and answers are all there, each once; so are steps, unless they wait for their group."""
    path = tmp_path / "run"
    done = python(KILLING, path, 12, group)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    assert said.count(["opened"]) == 12
    acknowledged = [(int(line[0]), line[1]) for line in said if len(line) == 2]
    assert len(acknowledged) > 5
    directory = RunDirectory.open(path)
    assert directory.report.sound
    entries = list(directory.store.entries())
    written = {entry.call: entry.record.kind for entry in entries}
    if group == 1:
        assert all(written[call] == kind for call, kind in acknowledged)
        assert len(written) - len(acknowledged) <= 12
    else:
        assert all(written[call] == kind for call, kind in acknowledged if kind != "act")
    answers = [entry.record.query for entry in entries if entry.record.kind == "answer"]
    assert len(answers) == len(set(answers))
    for entry in entries:
        assert directory.store.observation_of(entry.call) == observation(entry.record.step)
    directory.close()


def test_a_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    from consensus_imitation.journal.directory import Journal

    from .runs import META

    one = RunDirectory.create(Journal(tmp_path / "run"), META)
    code = (
        "import sys; from consensus_imitation.journal.directory import RunDirectory\n"
        "try: RunDirectory.open(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__)"
    )
    assert python(code, tmp_path / "run").stdout == "LockedError\n"
    with pytest.raises(LockedError):
        RunDirectory.open(tmp_path / "run")
    one.close()
    RunDirectory.open(tmp_path / "run").close()
    assert os.listdir(tmp_path / "run" / "checkpoints") == []
