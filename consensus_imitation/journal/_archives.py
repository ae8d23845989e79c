"""Archives of plain arrays (``.npz``) from anybody: what they claim is checked before memory is taken for it."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

#: The most that an archive's arrays may take together, in bytes, unless the reader says otherwise.
MAX_BYTES = 1 << 30

_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_SUFFIX = ".npy"


def read_arrays(path: str | Path, max_bytes: int = MAX_BYTES) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz`` file, by name. Nothing in the file is ever executed.

    Args:
        path: of the file, which `numpy.savez` or `numpy.savez_compressed` wrote.
        max_bytes: that the arrays may take together; a small file may claim a thousand times its size.

    Raises:
        OSError: if there is no such file, or it cannot be opened.
        ValueError: if the file is damaged or no such archive, or its arrays would take more.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.npz"
        >>> np.savez_compressed(path, zeros=np.zeros(1000))
        >>> read_arrays(path)["zeros"].shape
        (1000,)
        >>> read_arrays(path, max_bytes=1000)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ...
    """
    with Path(path).open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                claimed = sum(member.file_size for member in members)
                if claimed <= max_bytes:
                    return _arrays(archive, members)
        except Exception as error:  # A damaged archive raises a dozen different ones.
            raise ValueError(f"{path} is damaged or holds no arrays ({error}): make it anew") from error
    raise ValueError(
        f"the arrays in {path} take {claimed} bytes, more than the {max_bytes} that are allowed: if you trust the "
        "file, pass a larger max_bytes"
    )


def check_name(name: str) -> None:
    """Refuse a name that would not come back from an archive.

    Raises:
        ValueError: if it is empty, or has a slash, a backslash, a control character or half a character in it.
    """
    if not name or set(name) & {"/", "\\"} or any(one < " " or "\ud800" <= one <= "\udfff" for one in name):
        raise ValueError(
            f"{name!r} cannot be the name of an array: use some text without slashes or control characters"
        )


def _arrays(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {}
    for member in members:
        name = member.filename.removesuffix(_SUFFIX)
        if name in found or name == member.filename:
            raise ValueError(f"{member.filename} is there twice, or no array")
        # Other ways to compress may ask for gigabytes to begin with.
        if member.compress_type not in _STORED:
            raise ValueError(f"{name} is compressed in an unknown way")
        with archive.open(member) as file:
            found[name] = _array(file, member.file_size, name)
    return found


def _array(file: IO[bytes], size: int, name: str) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"{name} is in version {version} of the format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects, not numbers or texts")
    there = size - file.tell()
    if dtype.itemsize * math.prod(shape) != there or dtype.itemsize > max(there, 1 << 16):
        raise ValueError(f"{name} claims the shape {shape} of {dtype}, and has {there} bytes")
    data = file.read(there)
    if len(data) != there or file.read(1):
        raise ValueError(f"{name} has another size than it claims")
    flat = np.frombuffer(bytearray(data), dtype) if there else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C")
