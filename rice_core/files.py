"""Files that are whole or not there: written beside their place, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from rice_core.errors import StoreError

_HOST = socket.gethostname().replace(".", "_")


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a kill at any moment, sees the old file or the new one.

    Raises:
        StoreError: the disk is full, or the folder cannot be written; nothing half-written stays behind.
    """
    temporary = path.parent / f".{path.name}.{_HOST}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(
                f"The disk is full: {path.parent} could not take {len(data):,} bytes; what was finished is safe. Free some space "
                "(`ricebench cache clear` empties the feature cache), then run the same command again."
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
    probe = folder / ".writable"
    write_atomically(probe, b"")
    probe.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether this process alone holds the lock file while the block runs; a kill gives it up, children do not keep it.

    Where the file system knows no locks, everyone holds it.
    """
    import fcntl  # Unix alone has it; nothing else of the command needs it

    with path.open("wb") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:
            pass
        yield True


def sweep_temporaries(folder: Path) -> int:
    """Remove what killed processes of this machine left half-written below `folder`; returns how many files."""
    swept = 0
    for path in folder.rglob(".*.tmp"):
        *_, host, pid, _, _ = ("", "", "", *path.name.rsplit(".", 4)[-4:])
        if host == _HOST and pid.isdigit() and not _alive(int(pid)):
            with contextlib.suppress(OSError):
                path.unlink()
                swept += 1
    return swept


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
