"""Archives of arrays: what they claim is checked before memory is taken for it."""

import io
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus_imitation.demonstrators import recordings
from consensus_imitation.demonstrators.recordings import Demonstrations
from consensus_imitation.experiments import load_demo
from consensus_imitation.journal._archives import read_arrays

MIB = 1 << 20


def npy(shape: Any, dtype: str, data: bytes = b"") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue() + data


def zipped(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def bomb(path: Path) -> None:
    """64 MiB of zeros in 64 KiB."""
    np.savez_compressed(path, a=np.zeros(64 * MIB, np.uint8))


def one_member_many_times(path: Path) -> None:
    """Each a small one: the claim is in their sum."""
    zipped(path, {f"{i}.npy": npy((MIB,), "|u1", bytes(MIB)) for i in range(16)})


def larger_in_the_directory(path: Path) -> None:
    """The archive's directory claims 8 MiB for a member of a few bytes, and so does the array's header."""
    zipped(path, {"a.npy": npy((8 * MIB,), "|u1", b"123")})
    data, true = path.read_bytes(), len(npy((8 * MIB,), "|u1", b"123"))
    size = struct.pack("<L", true)
    assert data.count(size) >= 2
    path.write_bytes(data.replace(size, struct.pack("<L", true - 3 + 8 * MIB)))


def member(shape: Any, dtype: str, data: bytes = b"") -> Callable[[Path], None]:
    return lambda path: zipped(path, {"a.npy": npy(shape, dtype, data)})


#: What claims far more than is there, or than is allowed: how it is made, and words of the error.
CLAIMS: dict[str, tuple[Callable[[Path], None], str]] = {
    "zeros, packed well": (bomb, r"more than the \d+ that are allowed.*larger max_bytes"),
    "many members": (one_member_many_times, "larger max_bytes"),
    "the directory of the archive": (larger_in_the_directory, "larger max_bytes"),
    "a shape": (member((1 << 40,), "<f8", b"12345678"), "claims the shape"),
    "an empty array of long texts": (member((0,), "<U500000000"), "claims the shape"),
    "axes that overflow": (member((1 << 32, 1 << 32), "<f8"), "claims the shape"),
}


@pytest.fixture
def measured() -> Any:
    """A function that calls another one and gives the error's text and the memory that was taken, in bytes."""

    def measure(call: Callable[[], Any]) -> tuple[str, int]:
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="arrays") as caught:
                call()
            return str(caught.value), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return measure


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("entrance", ["read_arrays", "demonstrations.load"])
def test_what_is_claimed_takes_no_memory(name: str, entrance: str, tmp_path: Path, measured: Any) -> None:
    spoil, said = CLAIMS[name]
    path = tmp_path / "claims.npz"
    spoil(path)
    read = read_arrays if entrance == "read_arrays" else recordings.load
    text, taken = measured(lambda: read(path, max_bytes=4 * MIB))
    assert re.search(said, text)
    assert taken < 2 * MIB


def test_the_page_of_the_demo_reads_its_archive_so(tmp_path: Path, measured: Any) -> None:
    (tmp_path / "config.json").write_text('{"env": "cliff", "seed": 0}')
    member((1 << 40,), "<f8", b"12345678")(tmp_path / "watched.npz")
    text, taken = measured(lambda: load_demo(tmp_path))
    assert "claims the shape" in text
    assert taken < 2 * MIB


def test_a_large_archive_is_read_where_it_is_allowed(tmp_path: Path) -> None:
    bomb(tmp_path / "a.npz")
    assert read_arrays(tmp_path / "a.npz", max_bytes=65 * MIB)["a"].nbytes == 64 * MIB
    assert read_arrays(tmp_path / "a.npz")["a"].shape == (64 * MIB,)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_all_kinds_of_arrays_come_back(write: Any, tmp_path: Path) -> None:
    arrays = {
        "floats": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "texts": np.array(["go", "étoile", ""]),
        "none": np.zeros((0, 3), np.float32),
        "one": np.array(True),
        "big": np.arange(3, dtype=">i4"),
        "x": np.array(1),
        "x.npy": np.array(2),
        "times": np.array(["2020-01-01"], "M8[D]"),
    }
    write(tmp_path / "a.npz", **arrays)
    back = read_arrays(tmp_path / "a.npz")
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back[name], array)
    back["floats"][0, 0] = 9  # may be written to


@pytest.mark.parametrize(
    ("members", "how"),
    [
        ({"a.txt": b"1"}, zipfile.ZIP_STORED),
        ({"a.npy": npy((1,), "|u1", b"1")}, zipfile.ZIP_LZMA),
        ({"a.npy": npy((1,), "|u1", b"1")}, zipfile.ZIP_BZIP2),
        ({"a.npy": npy((1,), "|u1", b"12")}, zipfile.ZIP_STORED),
        ({"a.npy": npy((-1,), "|u1")}, zipfile.ZIP_STORED),
        ({"a.npy": b"\x93NUMPY\x03\x00" + npy((1,), "|u1", b"1")[8:]}, zipfile.ZIP_STORED),
        ({"a.npy": npy((1,), "|O", b"12345678")}, zipfile.ZIP_STORED),
    ],
)
def test_other_archives_are_refused(members: dict[str, bytes], how: int, tmp_path: Path) -> None:
    zipped(tmp_path / "a.npz", members, how)
    with pytest.raises(ValueError, match="damaged or holds no arrays"):
        read_arrays(tmp_path / "a.npz")


def test_names_of_observations_that_differ_by_an_ending_come_back(tmp_path: Path) -> None:
    seen = {"x": np.array([1, 2]), "x.npy": np.array([3, 4]), "$": np.array([5, 6])}
    walk = Demonstrations(seen, np.zeros(2, np.int32), np.array([True, False]))
    walk.save(tmp_path / "walk.npz")
    back = recordings.load(tmp_path / "walk.npz").observations
    assert {name: array.tolist() for name, array in back.items()} == {"x": [1, 2], "x.npy": [3, 4], "$": [5, 6]}
