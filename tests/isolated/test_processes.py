"""The members' processes: what they get, and that none is left behind."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus_imitation import ensembles
from consensus_imitation.ensembles import isolated_worker
from consensus_imitation.journal import packing

from . import members

ROOT = Path(__file__).parents[2]


def alive(pid: int) -> bool:
    """Whether there is such a process; a zombie counts."""
    return Path(f"/proc/{pid}").exists()


def running(pid: int) -> bool:
    """Whether there is such a process that has not ended; whoever has to has perhaps not taken note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_gone(pids: Sequence[int | None], seconds: float) -> None:
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if pid is not None and running(pid)]:
        assert time.monotonic() < end, f"still running: {left}"
        time.sleep(0.02)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def one_use() -> None:
    """A start, a crash, a start again, an end."""
    with ensembles.isolated([members.good, members.faulty], 2) as ensemble:
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


def test_what_a_member_has_started_ends_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with ensembles.isolated([members.starts_another], 2, deadline=0.5) as ensemble:
        ensemble.log_probs((), str(note), None)  # type: ignore[arg-type]
        until_gone([int(note.read_text(encoding="ascii"))], 1.0)


def test_a_member_gets_a_socket_and_nothing_else_of_this_process(tmp_path: Path) -> None:
    note, secret = tmp_path / "note", tmp_path / "secret"
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        ensemble = ensembles.isolated([members.says_where], 2)
    with ensemble:
        assert np.isfinite(ensemble.log_probs((), str(note), None)).all(), ensemble.failures  # type: ignore[arg-type]
    parent, jax_is_loaded, kinds, folder = note.read_text(encoding="utf-8").split("\n")
    assert int(parent) == os.getpid()
    assert jax_is_loaded == "False"
    assert kinds.split() == ["/dev/null"] * 3 + ["socket"]
    assert folder == str(Path.cwd())


PARENT = """
import os, sys, warnings
from consensus_imitation import ensembles
from tests.isolated import members
ensemble = ensembles.isolated([members.good, members.hangs, members.hangs_in_c], 2, deadline=float(sys.argv[1]))
print(*ensemble.pids, flush=True)
ensemble.log_probs((), 0, None)
with warnings.catch_warnings(action="ignore"):
    if os.fork() == 0:
        # A copy that ends as usual is not to end what belongs to the original.
        sys.exit()
os.wait()
alive = [os.path.exists(f"/proc/{pid}") for pid in ensemble.pids]
print(*ensemble.pids, all(alive))
"""


def parent(deadline: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PARENT, str(deadline)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_members_end_when_their_parent_is_killed() -> None:
    with parent(2.0) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        time.sleep(0.3)
        assert [running(pid) for pid in pids] == [True] * 3
        process.send_signal(signal.SIGKILL)
        process.wait()
        # One waits, one hangs in Python, and one hangs in C until the system's alarm, two seconds after the deadline.
        until_gone(pids[:1], 1.0)
        until_gone(pids[:2], 1.5)
        until_gone(pids, 6.0)


def test_members_end_with_the_interpreter_and_not_with_a_copy_of_it() -> None:
    with parent(0.2) as process:
        output, errors = process.communicate(timeout=60)
    assert errors == ""
    assert process.returncode == 0
    before, after = output.splitlines()
    assert after.endswith("True")
    pids = {int(word) for word in (before + after.removesuffix("True")).split()}
    assert len(pids) == 5
    assert not any(alive(pid) for pid in pids)


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
    data = packing.pack(observation)
    read = isolated_worker.unpack(data)
    assert type(read) is type(packing.unpack(data))
    assert packing.pack(read) == data


def test_small_floats_of_jax_arrive_in_a_process_without_jax() -> None:
    with ensembles.isolated([members.by_sum], 2, deadline=10.0) as ensemble:
        row = ensemble.log_probs((), jnp.ones(4, jnp.bfloat16), None)  # type: ignore[arg-type]
        assert float(jnp.exp(row[0, 0])) == pytest.approx(0.25)
        assert ensemble.failures == ("",)
