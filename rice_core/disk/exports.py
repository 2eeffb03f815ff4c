"""Results in a benchmark's own format, for other tools: a file, or a folder of files, and beside it NAME.about.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rice_core.digest import file_digest
from rice_core.disk.files import write_atomically

ABOUT = ".about.json"


def about_of(place: Path) -> Path:
    """The file beside an export that says what it was made from."""
    return place.with_name((place.name if place.is_dir() else place.stem) + ABOUT)


def write_about(place: Path, about: Mapping[str, str]) -> None:
    """Say beside an export that was written what it was made from, so that `ricebench verify` can tell if it is whole.

    Args:
        about: "cell" and "weights"; the digest of the file ("results"), or of each of the folder's ("files"), is added.

    Raises:
        StoreError: the disk is full.
    """
    body: dict[str, Any] = {**about}
    if place.is_dir():
        files = sorted(path for path in place.rglob("*") if path.is_file())
        body["files"] = {path.relative_to(place).as_posix(): file_digest(path) for path in files}
    else:
        body["results"] = file_digest(place)
    write_atomically(about_of(place), (json.dumps(body, indent=2, sort_keys=True) + "\n").encode())
