"""Whole files."""

import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from flax import serialization

from consensus_imitation import ConsensusImitator, ensembles
from consensus_imitation.errors import ConfigurationError, JournalCorruptedError
from consensus_imitation.journal import _disk, checkpoint
from consensus_imitation.journal._files import write_whole
from consensus_imitation.journal.checkpoint import Growing, load_checkpoint, save_checkpoint

from .faults import ERRORS, faults


def calls_of_a_write(path: Path) -> list[str]:
    with faults() as found:
        write_whole(path, b"new" * 1000)
    return found.seen


def test_a_write_waits_for_the_disk_before_and_after_it_replaces(tmp_path: Path) -> None:
    assert calls_of_a_write(tmp_path / "file") == ["remove", "create", "write", "sync", "replace", "sync"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ["full", "broken"])
@pytest.mark.parametrize("at", range(6))
def test_every_call_that_fails_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, at: int, error: str, after: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with faults(at, ERRORS[error], after) as found, pytest.raises(OSError, match=r"left on device|Input/output"):
        write_whole(path, b"new" * 1000)
    assert found.struck
    replaced = at > 4 or (at == 4 and after)
    assert path.read_bytes() == (b"new" * 1000 if replaced else b"old")
    assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _disk.write
    monkeypatch.setattr(_disk, "write", lambda descriptor, data: real(descriptor, data[:7]))
    write_whole(tmp_path / "file", bytes(range(256)))
    assert (tmp_path / "file").read_bytes() == bytes(range(256))


def test_a_file_is_its_owners_alone_and_leftovers_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"left over" * 1000)
    old = os.umask(0)
    try:
        write_whole(tmp_path / "file", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert (tmp_path / "file").read_bytes() == b""
    assert os.listdir(tmp_path) == ["file"]


# --- Checkpoints that somebody else made. ---


def test_a_checkpoint_whose_arrays_are_not_what_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.msgpack"
    state = ConsensusImitator(ensembles.tabular(np.full((2, 1, 2), 0.5)), seed=0).state
    save_checkpoint(path, state, {"step": 3})
    body = path.read_bytes()[checkpoint._BODY :]
    content = serialization.msgpack_restore(body)
    for changed in (np.zeros(7, np.float32), np.zeros((2, 2, 2), np.int8)):
        for name, leaf in content["leaves"].items():
            leaves = {**content["leaves"], name: changed}
            forged = serialization.msgpack_serialize({**content, "leaves": leaves})
            checksum = hashlib.sha256(checkpoint.FORMAT + forged).digest()
            path.write_bytes(checkpoint.FORMAT + checksum + forged)
            with pytest.raises(JournalCorruptedError, match="not what it says"):
                load_checkpoint(path, like=state)
            assert leaf.shape != changed.shape
    save_checkpoint(path, state, {"step": 3})
    assert load_checkpoint(path, like=state).header == {"step": 3}


def test_an_array_that_grows_has_any_length_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "state.msgpack"
    for length in (0, 2, 4):
        saved = {"count": np.int32(length), "rows": np.arange(2 * length, dtype=np.uint8).reshape(length, 2)}
        save_checkpoint(path, saved, {})
        like = {"count": np.int32(0), "rows": Growing((4, 2), np.dtype(np.uint8))}
        back = load_checkpoint(path, like).state
        np.testing.assert_array_equal(back["rows"], saved["rows"])
        assert (back["rows"].dtype, int(back["count"])) == (np.uint8, length)
    for shape, kind in (((3, 2), np.uint8), ((4, 3), np.uint8), ((4,), np.uint8), ((4, 2), np.int8)):
        with pytest.raises(ConfigurationError, match="does not fit"):
            load_checkpoint(path, {"count": np.int32(0), "rows": Growing(shape, np.dtype(kind))})
