"""sha256 of files that were read before, believed while their size and times stand: a set of a million images is read once."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rice_core.digest import bytes_digest, file_digest
from rice_core.disk.files import is_plain, write_atomically
from rice_core.disk.sealed import Damaged, Unsealed, seal_json, unseal_json

_SETTLED = 2_000_000_000
"""Nanoseconds. What changed just now may change again within one tick of a file system's clock."""
Known = tuple[int, int, int, str]
"""Size, time of the last writing, time of the last change of any kind (which nobody sets by hand), sha256."""


class KnownFiles:
    """What one file of a store remembers of files elsewhere, by a digest of where they are.

    Args:
        path: NAME.json; what is damaged there counts as nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known = read_known(path)
        except (OSError, Damaged, Unsealed):
            self._known = {}
        self._changed = False

    def digest(self, path: Path) -> str:
        """sha256 of the file's bytes.

        Raises:
            OSError: it cannot be read.
        """
        key, stat = bytes_digest(os.fsencode(path.absolute()))[:20], path.stat()
        now = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known = self._known.get(key)
        if known is not None and known[:3] == now:
            return known[3]
        digest = file_digest(path)
        if time.time_ns() - max(now[1:]) > _SETTLED:
            self._known[key] = (*now, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Write what is known, if there is news.

        Raises:
            StoreError: the disk is full.
        """
        if self._changed:
            write_atomically(self._path, seal_json(self._path.stem, self._known))


def read_known(path: Path) -> dict[str, Known]:
    """What a file of `KnownFiles` says.

    Raises:
        Damaged: it is torn, changed, or lies under another data set's name. Unsealed: it carries no name.
        OSError: it is not there, or cannot be read.
    """
    if not is_plain(path):
        raise FileNotFoundError(path)
    body = unseal_json(path.stem, path.read_bytes())
    try:
        return {
            key: (int(size), int(written), int(changed), str(sha))
            for key, (size, written, changed, sha) in body.items()
        }
    except (ValueError, TypeError, AttributeError):
        raise Damaged("holds no digests of files") from None
