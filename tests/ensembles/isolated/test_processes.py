"""The members' processes: what they get, and that none is left behind."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus_imitation import ensembles
from consensus_imitation.core import _packing
from consensus_imitation.ensembles.isolated import _process, _worker

from . import members
from .clock import GIVE_UP, clocked, until

ROOT = Path(__file__).parents[3]


def alive(pid: int) -> bool:
    """Whether there is such a process; a zombie counts."""
    return Path(f"/proc/{pid}").exists()


def running(pid: int) -> bool:
    """Whether there is such a process that has not ended; whoever has to has perhaps not taken note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until_gone(pids: Iterable[int | None]) -> None:
    until(lambda: not [pid for pid in pids if pid is not None and running(pid)])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def one_use() -> None:
    """A start, a crash, a start again, an end."""
    with ensembles.isolated([members.good, members.faulty], 2, deadline=GIVE_UP) as ensemble:
        ensemble.log_probs((), [name for name, _, _ in members.FAULTS].index("exit"), None)  # type: ignore[arg-type]
        assert ensemble.starts == (1, 2)


def test_closing_leaves_no_process_no_zombie_and_no_file() -> None:
    one_use()
    before = open_files()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    processes = children.read_text(encoding="ascii")
    for _ in range(3):
        one_use()
    assert open_files() == before
    assert children.read_text(encoding="ascii") == processes


def test_members_that_are_no_longer_used_end() -> None:
    ensemble = ensembles.isolated([members.good], 2)
    pids = [pid for pid in ensemble.pids if pid is not None]
    assert alive(pids[0])
    del ensemble
    gc.collect()
    assert not alive(pids[0])


def test_a_failed_construction_leaves_nothing(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    file = tmp_path / "broken.py"
    file.write_text(f"import os\nopen({str(note)!r}, 'w').write(str(os.getpid()))\nraise ValueError", encoding="utf-8")
    before = open_files()
    with pytest.raises(ValueError, match="could not be started"):
        ensembles.isolated([f"{file}:act", members.good], 2)
    assert not alive(int(note.read_text(encoding="ascii")))
    assert open_files() == before


def noted(folder: Path, count: int) -> list[int]:
    """The processes that members said there are, once there are so many."""
    until(lambda: len(list(folder.iterdir())) == count)
    return [int(file.name) for file in folder.iterdir()]


@pytest.mark.parametrize("member", members.STAYING, ids=lambda member: member.__name__)
def test_a_member_ends_with_all_that_it_has_started(tmp_path: Path, member: Callable[[Any], Any]) -> None:
    """When it misses the deadline, whatever it does then."""
    count = members.STAYING[member]
    with clocked() as clock, ensembles.isolated([member], 2) as ensemble:
        clock.hang(member.__name__, str(tmp_path))
        clock.when = lambda: len(list(tmp_path.iterdir())) == count
        ensemble.log_probs((), str(tmp_path), None)  # type: ignore[arg-type]
        assert ensemble.failures == ("no answer within 1 s",)
        until_gone(noted(tmp_path, count))


def test_a_member_gets_a_socket_and_nothing_else_of_this_process(tmp_path: Path) -> None:
    note, secret = tmp_path / "note", tmp_path / "secret"
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        ensemble = ensembles.isolated([members.says_where], 2, deadline=GIVE_UP)
    with ensemble:
        assert np.isfinite(ensemble.log_probs((), str(note), None)).all(), ensemble.failures  # type: ignore[arg-type]
    parent, jax_is_loaded, kinds, folder = note.read_text(encoding="utf-8").split("\n")
    assert int(parent) == os.getpid()
    assert jax_is_loaded == "False"
    assert kinds.split() == ["/dev/null"] * 3 + ["socket"]
    assert folder == str(Path.cwd())


#: Asks members that hang; and may have made a copy of itself before.
PARENT = """
import os, sys, time
from consensus_imitation import ensembles
from tests.ensembles.isolated import members
folder, copied = sys.argv[1], sys.argv[2] == "copied"
ensemble = ensembles.isolated([members.good, *members.STAYING], 2, deadline=1000.0, start_deadline=1000.0)
copy = os.fork() if copied else -1
if copy == 0:
    time.sleep(1000)
print(copy, *ensemble.pids, flush=True)
ensemble.log_probs((), folder, None)
"""


@pytest.mark.parametrize("copied", ["copied", "alone"])
def test_members_end_when_their_parent_is_killed(tmp_path: Path, copied: str) -> None:
    """Stopped, deaf to signals, in endless loops, with children: nothing is left, also if a copy of the parent is."""
    command = [sys.executable, "-c", PARENT, tmp_path, copied]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        copy, *pids = map(int, process.stdout.readline().split())
        assert len(pids) == 1 + len(members.STAYING)
        try:
            pids += noted(tmp_path, sum(members.STAYING.values()))
            assert all(map(running, pids))
            process.kill()
            process.wait()
            until_gone(pids)
            assert copy == -1 or running(copy)
        finally:
            for pid in (copy, *pids):
                if pid > 0 and running(pid):
                    os.kill(pid, signal.SIGKILL)


ENDS = """
import os, signal, sys, warnings
from consensus_imitation import ensembles
from tests.ensembles.isolated import members
ensemble = ensembles.isolated([members.good, members.hangs, members.hangs_in_c], 2, deadline=0.2)
print(*ensemble.pids)
ensemble.log_probs((), 0, None)
while not ensemble.ready.all():
    pass
print(*ensemble.pids, flush=True)
with warnings.catch_warnings(action="ignore"):
    if os.fork() == 0:
        # A copy that ends as usual is not to end what belongs to the original. Our handlers come first; JAX's own, in a
        # copy of a process with threads, may wait for a lock that nobody holds any more.
        signal.alarm(10)
        sys.exit()
os.wait()
print(all(os.path.exists(f"/proc/{pid}") for pid in ensemble.pids))
"""


@pytest.mark.slow
def test_members_end_with_the_interpreter_and_not_with_a_copy_of_it() -> None:
    command = [sys.executable, "-W", "error", "-c", ENDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    before, after, alive_with_the_copy = done.stdout.splitlines()
    assert alive_with_the_copy == "True"
    pids = set(map(int, (before + " " + after).split()))
    assert len(pids) >= 5
    assert not any(map(alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody ends a member whose guardian was killed")
def test_a_member_ends_with_its_guardian_too() -> None:
    with ensembles.isolated([members.good], 2, deadline=GIVE_UP) as ensemble:
        (pid,) = ensemble.pids
        guardian = ensemble._members[0]._process
        assert guardian is not None
        guardian.guardian.kill()
        until_gone([pid])


def test_a_guardian_that_hangs_does_not_keep_close_waiting_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "_REAP_S", 0.01)
    ensemble = ensembles.isolated([members.good], 2)
    (pid,) = ensemble.pids
    process = ensemble._members[0]._process
    assert process is not None
    process.guardian.send_signal(signal.SIGSTOP)
    ensemble.close()
    until_gone([pid, process.guardian.pid])
    process.guardian.wait()


OBSERVATIONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64]), hnp.array_shapes()
    )
    | st.sampled_from([np.float32(0.1), np.int64(7), np.zeros((0, 3)), np.array("text"), jnp.ones(2, jnp.bfloat16)]),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(OBSERVATIONS)
def test_a_member_reads_what_was_packed(observation: Any) -> None:
    """Against the journal's own reading: the packed form is canonical, so equal bytes are equal values and types."""
    data = _packing.pack(observation)
    read = _worker.unpack(data)
    assert type(read) is type(_packing.unpack(data))
    assert _packing.pack(read) == data


def test_small_floats_of_jax_arrive_in_a_process_without_jax() -> None:
    with ensembles.isolated([members.by_sum], 2, deadline=GIVE_UP) as ensemble:
        row = ensemble.log_probs((), jnp.ones(4, jnp.bfloat16), None)  # type: ignore[arg-type]
        assert float(jnp.exp(row[0, 0])) == pytest.approx(0.25)
        assert ensemble.failures == ("",)
