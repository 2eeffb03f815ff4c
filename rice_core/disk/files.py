"""Files that are whole or not there: written beside their place, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rice_core.disk.temporaries import beside
from rice_core.errors import StoreError


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a kill at any moment, sees the old file or the new one.

    Raises:
        StoreError: the disk is full, or the folder cannot be written; nothing half-written stays behind.
    """
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # The folder is not flushed: after a power cut the old file may be back, which is whole as well.
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"The disk is full: {path.parent} could not take {len(data):,} bytes; what was finished is safe. Free some space "
                "(`ricebench cache clear` empties the feature cache), then run the same command again."
            ) from error
        if isinstance(error, IsADirectoryError):
            raise StoreError(
                f"{path} is a folder where a file has to be; move it away, then run the same command again."
            ) from error
        refused = (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError)
        if isinstance(error, refused) or error.errno == errno.EROFS:
            raise StoreError(f"{path.parent} cannot be written ({error.strerror}); choose another folder.") from error
        raise


def check_writable(folder: Path) -> None:
    """Make the folder, so that hours of work do not end at its first file.

    Raises:
        StoreError: it cannot be made, or nothing can be written into it.
    """
    probe = beside(folder / "writable")
    write_atomically(probe, b"")
    probe.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether this process alone holds the lock file while the block runs; a kill gives it up, children do not keep it.

    Where the file system knows no locks, everyone holds it.
    """
    with path.open("wb") as file:
        yield locked(file.fileno()) is not False


def locked(descriptor: int) -> bool | None:
    """Whether it is locked for this process now; None where the file system knows no locks."""
    import fcntl  # Unix alone has it; nothing else of the command needs it

    try:
        # Not flock: a forked worker would inherit that lock, and hold it on when this process is dead.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def is_plain(path: Path) -> bool:
    """Whether it is a file itself: no link to one, no folder, nothing that could block a reader."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def first_link(root: Path, path: Path) -> Path | None:
    """The first link on the way from `root`, which may be one itself, to `path`, which counts; None where there is none."""
    here = root
    for part in path.relative_to(root).parts:
        here = here / part
        if here.is_symlink():
            return here
    return None


def refuse_links(root: Path, path: Path) -> Path:
    """`path`, where writing and removing there stays below `root`.

    Raises:
        StoreError: a link lies on the way, or is `path`.
    """
    link = first_link(root, path)
    if link is not None:
        raise StoreError(
            f"{link} is a link, and behind a link nothing is written or removed; remove it, or put a folder in its place, "
            "then run the same command again."
        )
    return path
