"""Temporaries: files and folders on their way to a name, which say whose they are, so that what a kill left is swept.

    .NAME.HOST.PID-START.TOKEN.tmp

HOST is the machine and the process namespace in which PID means something (containers can share a host name), START is when
the process began in the kernel's own count: a later process with the same number is not taken for the writer. What this
machine's dead processes left goes at once. Another machine's processes cannot be seen from here, so what they left goes when
nothing in it has changed for a day; so does what was written by versions that told no process. Links are neither followed nor
removed: no temporary is one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Kind = Literal["tmp", "old"]
_OLD_SECONDS = 24 * 3600
_LONGEST = 140
"""Bytes of NAME that are kept: file systems take 255 for the whole."""
_OURS = re.compile(
    r"\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)(?:-(?P<start>\d*))?\.[0-9a-f]{8}\.(?P<kind>tmp|old)", re.DOTALL
)
_NAMELESS = re.compile(r"\.(?:.+\.[0-9a-f]{8}(?:\.old)?|step-\d{8}|encoder|shard-\d{6}\.tar)\.tmp", re.DOTALL)
"""Of versions that told no process."""


def beside(path: Path, kind: Kind = "tmp") -> Path:
    """A new name in the folder of `path` for what this process will rename to it, or (`old`) has renamed it from."""
    pid = os.getpid()
    return (
        path.parent
        / f".{_shortened(path.name)}.{_HOST}.{pid}-{_of_process(pid)[1] or ''}.{secrets.token_hex(4)}.{kind}"
    )


def sweep(folder: Path) -> int:
    """Remove the abandoned temporaries anywhere below `folder`; returns how many files and folders those were."""
    swept = 0
    for here, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(here, name)
            if name.endswith(".tmp") and is_abandoned(path):
                swept += _remove(path)
        folders[:] = [name for name in folders if not is_temporary(Path(here, name))]
    return swept


def sweep_beside(path: Path) -> int:
    """Remove the abandoned temporaries of one name; whatever else its folder holds is not looked at."""
    return sum(_remove(each) for each in temporaries_of(path, "tmp") if is_abandoned(each))


def temporaries_of(path: Path, kind: Kind) -> list[Path]:
    """Everyone's temporaries of one name, and those of versions that told no process."""
    name = _shortened(path.name)
    found = []
    for each in _listed(path.parent):
        match = _OURS.fullmatch(each.name)
        if match is not None:
            ours = match["name"] == name and match["kind"] == kind
        else:
            ours = kind == "tmp" and each.name.startswith(f".{name}.") and bool(_NAMELESS.fullmatch(each.name))
        if ours:
            found.append(each)
    return sorted(found)


def is_temporary(path: Path) -> bool:
    """Whether a name is one that this module gives, or that earlier versions gave."""
    return bool(_OURS.fullmatch(path.name) or _NAMELESS.fullmatch(path.name))


def is_abandoned(path: Path) -> bool:
    """Whether it is a temporary that nobody will rename any more."""
    match = _OURS.fullmatch(path.name)
    if match is not None and match["host"] in (_HOST, _HOST_NAME):
        return not is_alive(int(match["pid"]), match["start"] or None)
    if match is None and not _NAMELESS.fullmatch(path.name):
        return False
    return time.time() - _last_change(path) > _OLD_SECONDS


def is_alive(pid: int, started: str | None) -> bool:
    """Whether the process of this machine that began at `started` still runs; None: whichever has the number now."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state, now = _of_process(pid)
    if state in ("Z", "X"):  # killed, and nobody has asked how it ended: some containers never do
        return False
    return started is None or now is None or now == started


def _of_process(pid: int) -> tuple[str | None, str | None]:
    """(state, clock ticks from the machine's start to the process's), as proc(5) gives them; None where there is no /proc."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return after_name[0].decode(), after_name[19].decode()
    except (OSError, IndexError):
        return None, None


def _remove(path: Path) -> int:
    """1 where it is gone."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return 0
    if stat.S_ISDIR(mode):
        shutil.rmtree(path, ignore_errors=True)  # follows no link in it
    elif stat.S_ISREG(mode):
        with contextlib.suppress(OSError):
            path.unlink()
    return int(not os.path.lexists(path))


def _last_change(path: Path) -> float:
    """The newest time of change of a file, or of a folder and anything in it; now, where that cannot be seen."""
    try:
        newest = path.lstat().st_mtime
        for here, folders, names in os.walk(path):
            newest = max([newest, *(Path(here, name).lstat().st_mtime for name in (*folders, *names))])
    except OSError:
        return time.time()
    return newest


def _listed(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from folder.iterdir()


def _shortened(name: str) -> str:
    data = os.fsencode(name)
    return name if len(data) <= _LONGEST else data[:_LONGEST].decode("utf-8", "ignore")


def _namespace() -> str:
    """What the numbers of processes are relative to; nothing where the system does not say."""
    try:
        return "-" + re.sub(r"\D", "", str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return ""


_HOST_NAME = socket.gethostname().replace(".", "_") or "host"
"""How earlier versions wrote the host."""
_HOST = _HOST_NAME[:40] + _namespace()
