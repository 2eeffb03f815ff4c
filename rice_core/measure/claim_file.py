"""The file of one claim: locked while it is held, and in words for people. See `rice_core.measure.claims`."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rice_core.disk.files import locked
from rice_core.disk.temporaries import beside, is_alive
from rice_core.spec import Frozen

HOST = socket.gethostname()
STALE = 600.0
"""Seconds without a sign of life after which a holder whose lock cannot be seen counts as dead."""
_SETTLE = 0.3
"""Seconds in which, without locks, of two that take a dead claim at once the later one has written its name."""


class Holder(Frozen):
    """Who holds a claim."""

    host: str
    pid: int
    started: str
    """UTC, ISO 8601."""
    what: str = ""

    @property
    def words(self) -> str:
        """`process 4711 on gpu3, since 2026-01-31T12:00:00Z`."""
        return f"process {self.pid} on {self.host}, since {self.started}"


@dataclass
class Mine:
    """A claim of this process."""

    holder: Holder
    descriptor: int | None
    """Of the locked file; None where the file system knows no locks."""


# Not the package filelock: it knows no holder to name, and no way to take over from a dead one on another host.
def take(path: Path, holder: Holder) -> Mine | None:
    """The claim, where it is free."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            free = locked(descriptor)
            if free and not is_file_of(descriptor, path):
                continue  # its holder removed the file just now
            if free is False or _outlives(_read(descriptor), path, free is True):
                return None
            if free is None:
                return _take_unlocked(path, holder)
            body = holder.model_dump_json().encode() + b"\n"
            os.pwrite(descriptor, body, 0)
            os.ftruncate(descriptor, len(body))
            taken, descriptor = Mine(holder, descriptor), -1
            return taken
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _take_unlocked(path: Path, holder: Holder) -> Mine | None:
    """Without locks the last one to write its name has it, once all who saw it free have written theirs."""
    draft = beside(path)
    draft.write_text(holder.model_dump_json() + "\n")
    draft.replace(path)
    time.sleep(_SETTLE)
    return Mine(holder, None) if read_holder(path) == holder else None


def standing(path: Path) -> Holder | None:
    """Who of the other processes holds it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError:  # a store that can only be read: the file alone says
        holder = read_holder(path)
        return holder if _outlives(holder, path, False) else None
    try:
        free, holder = locked(descriptor), _read(descriptor)
        return holder if free is False or _outlives(holder, path, free is True) else None
    finally:
        os.close(descriptor)


def is_file_of(descriptor: int, path: Path) -> bool:
    """False where the holder before removed the file after it was opened here."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _outlives(holder: Holder | None, path: Path, ours: bool) -> bool:
    """Whether the one who is named in the file holds it though its lock does not say so.

    Args:
        ours: the lock is here, so nobody of this host has it.
    """
    if holder is None or (holder.host == HOST and (ours or not is_alive(holder.pid, None))):
        return False
    try:
        return _now_there(path.parent) - path.stat().st_mtime < STALE
    except FileNotFoundError:
        return False


def _now_there(folder: Path) -> float:
    """The time by the clock that also writes the beats: a file server's may differ from ours."""
    probe = beside(folder / "now")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _read(descriptor: int) -> Holder | None:
    """By the descriptor that is locked: to open and close the file again would give up the lock."""
    try:
        return Holder.model_validate(json.loads(os.pread(descriptor, 4096, 0)))
    except (OSError, ValueError, ValidationError):
        return None


def read_holder(path: Path) -> Holder | None:
    try:
        return Holder.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None
