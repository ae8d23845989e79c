"""Files that are written whole or not at all, and directories that stay."""

import os
from contextlib import suppress
from pathlib import Path

from consensus_imitation.journal import _disk


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` into a file, replacing what was there in one go; it is on the disk when this returns.

    Args:
        path: of the file; its directory has to be there. Only its owner may read it (mode 0600).
        data: all of the new content.

    Raises:
        OSError: if something cannot be written. The file is then the old one or the new one, and whole.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "state"
        >>> write_whole(path, b"old")
        >>> write_whole(path, b"new")
        >>> path.read_bytes()
        b'new'
    """
    part = path.with_name(path.name + ".part")
    try:
        # One that a crash left may be anybody's to read.
        _disk.remove(part)
        descriptor = _disk.create(part)
        try:
            rest = memoryview(data)
            while rest:
                # A full disk may take a part of it without an error; the next call then has one.
                rest = rest[_disk.write(descriptor, rest) :]
            _disk.sync(descriptor)
        finally:
            os.close(descriptor)
        _disk.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def put(part: Path, path: Path, overwrite: bool) -> None:
    """Give a whole file, which is on the disk, the name that it is to have; that is on the disk when this returns.

    Args:
        part: the file, under another name in the same directory; afterwards it is gone.
        path: its name.
        overwrite: whether a file of that name may be replaced.

    Raises:
        FileExistsError: if it may not, and there is one, however late it came.
        OSError: if the name cannot be given; what had it before is whole.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_whole(folder / "part", b"new")
        >>> put(folder / "part", folder / "state", overwrite=False)
        >>> [path.name for path in folder.iterdir()]
        ['state']
    """
    if overwrite:
        _disk.replace(part, path)
    else:
        _disk.link(part, path)
        _disk.remove(part)
    sync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, unless they are there; their names are on the disk when this returns.

    Raises:
        OSError: if one cannot be made, or its name not be brought to the disk.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "runs" / "first"
        >>> make_directory(path)
        >>> path.is_dir()
        True
    """
    made = [one for one in (path, *path.parents) if not one.is_dir()]
    _disk.make_directory(path)
    for one in made:
        sync_directory(one.parent)
    if not made:
        # Whoever made it may not have waited. It need not be one that we can open.
        with suppress(PermissionError):
            sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk.

    Raises:
        OSError: if that cannot be said.
    """
    if os.name != "posix":
        # Elsewhere a directory cannot be opened, and renaming is journalled by the file system.
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _disk.sync(descriptor)
    finally:
        os.close(descriptor)
