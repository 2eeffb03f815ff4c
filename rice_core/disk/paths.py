"""No machine's paths in what is kept and shown: a record, a table or a page may be read by anyone, anywhere."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from rice_core.errors import UserError

_PLAIN = {"encoder", "hf"}
"""What every training calls its output: alone it says nothing."""
_ABSOLUTE = re.compile(
    r"""
    (?<![\w./~\\-])         # not the middle of a relative path, a fraction or an address
    (?:file://)?
    /(?:[^\s/"'`<>|:;,()\[\]{}]+/)+   # /home/me/data/
    (?=[^\s/"'`<>|:;,()\[\]{}])       # the last name stays
    """,
    re.VERBOSE,
)


def at_home(path: str | Path) -> Path:
    """The path with `~` as the user's own folder.

    Raises:
        UserError: `~name` of nobody who is known here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no user of that name here; write the path in full.") from None


def nearest(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(here for here in (path, *path.absolute().parents) if here.exists())


def as_text(name: str) -> str:
    """A name of a file system as text that a record can hold: bytes that are none are spelled out (`\\xff`)."""
    return os.fsencode(name).decode(errors="backslashreplace")


def folder_name(path: str) -> str:
    """`b16/encoder~3fa9c1d2` for an absolute path, `mine~0b1c2d3e`, anything else as it is.

    The last name, with the one before it where the last is what every training writes, and a digest of the whole path that
    tells two folders of one name apart. The same path gives the same name, whatever is in the folder.
    """
    if not path.startswith("/"):
        return path
    whole = os.path.normpath(path)
    parts = PurePosixPath(whole).parts[1:] or ("root",)
    shown = parts[-2:] if parts[-1] in _PLAIN else parts[-1:]
    return "/".join(shown) + "~" + hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]


def is_told(path: str) -> bool:
    """Whether it looks like a name of `folder_name`."""
    return re.search(r"~[0-9a-f]{8}$", path) is not None


def without_paths(text: str) -> str:
    """A sentence in which of every absolute path the last name is left."""
    return _ABSOLUTE.sub("", text) if "/" in text else text
