"""Problems of a store: what is not as it has to be, in one line each with its next step; damaged files are set aside."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from rice_core.disk.files import first_link, is_plain


@dataclass(frozen=True)
class Problem:
    """What is not as it has to be, why, and what to do about it."""

    file: str
    """Relative to the root; characters that cannot be printed are escaped."""
    reason: str
    step: str
    moved: bool = False
    """It was damaged and is in quarantine now."""

    def __str__(self) -> str:
        return f"{'quarantined: ' * self.moved}{self.file}: {self.reason}; {self.step}."


def set_aside(root: Path, path: Path, reason: str) -> bool:
    """Move a damaged file to the quarantine of a store, with its reason; False where it has to stay."""
    target = root / "quarantine" / f"{path.name}.{secrets.token_hex(3)}"
    if not is_plain(path) or first_link(root, path) or first_link(root, target):
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    except OSError:  # a store on a read-only disk can still be read
        return False
    with contextlib.suppress(OSError):
        said = f"{printable(path.relative_to(root))}: {reason}\n"
        target.with_name(target.name + ".reason").write_bytes(said.encode("utf-8", "backslashreplace"))
    return True


def damaged(root: Path, path: Path, reason: str) -> Problem:
    """A damaged file, set aside where it can be."""
    moved = set_aside(root, path, reason)
    step = (
        "the next run of its command makes it anew" if moved else "move it out of the store and run its command again"
    )
    return Problem(printable(path.relative_to(root)), reason, step, moved)


def foreign(root: Path, path: Path) -> Problem:
    """Something below the root that the store did not write."""
    what = "is a link, which is never followed" if path.is_symlink() else "is no file of a store"
    return Problem(printable(path.relative_to(root)), what, "move it out of the store")


def fault(root: Path, path: Path, error: Exception) -> Problem:
    """A file whose reading failed: one that cannot be looked at may be sound, any other error says that it is damaged."""
    if not isinstance(error, OSError):
        return damaged(root, path, str(error).splitlines()[0])
    reason = f"cannot be read ({error.strerror or error})"
    return Problem(printable(path.relative_to(root)), reason, "make it readable, then verify again")


def printable(name: Path | str) -> str:
    """A name as one line of text; one that could hide something is escaped and quoted."""
    text = str(name)
    return text if text.isprintable() else ascii(text)
