"""Folders of videos by name, without looking into them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rice_core.datasets.splits import role
from rice_core.disk.paths import as_text
from rice_core.errors import UserError
from rice_core.images import is_image_name
from rice_core.record import Skipped

_EACH = 10
"""Things with one reason that are named one by one; of more the first is named and all are counted."""
_NOBODYS = frozenset({"__MACOSX", "@eaDir", "System Volume Information"})
"""What archives and file servers leave."""
IMAGE_FOLDERS = ("img", "imgs", "images", "frames", "frame", "color", "rgb")


def inside(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted, hidden ones left out; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name[0] != "." and e.name not in _NOBODYS and e.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def has_image(folder: Path) -> bool:
    """Whether there is an image in the folder itself; looks no further than the first."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image_name(e.name) and e.name[0] != "." and e.is_file() for e in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False


def named(folder: Path, name: str) -> Path | None:
    """A folder in a folder by its name in any case: `Test` is `TEST`."""
    if (folder / name).is_dir():
        return folder / name
    return next((folder / each for each in inside(folder) if each.lower() == name.lower()), None)


def split_folders(folder: Path, known: Callable[[Path], bool] = lambda _: True) -> dict[str, Path]:
    """Split -> the folder in a folder that is called so, of those that are `known` for videos.

    Raises:
        UserError: two are.
    """
    found: dict[str, Path] = {}
    for name in inside(folder):
        if (split := role(name)) and known(folder / name) and found.setdefault(split, folder / name).name != name:
            raise UserError(
                f"{folder} has two {split} folders, {found[split].name} and {name}; keep one, or give one of them."
            )
    return found


def lines(path: Path) -> list[str]:
    """The lines of a list of names, without empty ones; none where there is no such file."""
    try:
        return [
            line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()
        ]
    except OSError:
        return []


def labelled(folder: Path, **files: str) -> dict[str, Path]:
    """Those of some label files that are there."""
    return {name: folder / file for name, file in files.items() if (folder / file).is_file()}


def leave_out(names: Sequence[str], reason: str) -> list[Skipped]:
    """Each with the reason, where they are few; of many the first, and how many they are."""
    names = [as_text(name) for name in names]
    if len(names) <= _EACH:
        return [Skipped(item=name, reason=reason) for name in names]
    return [Skipped(item=f"{names[0]} and {len(names) - 1} more videos", reason=reason, times=len(names))]


def told_apart(videos: Mapping[str, Path], truth: str, images: str) -> tuple[list[str], list[Skipped]]:
    """The names of the videos that have both an annotation and a folder of frames; and the others, with what they lack."""
    unannotated = [name for name, place in videos.items() if not (place / truth).is_file()]
    lacking = {*unannotated}
    unframed = [name for name, place in videos.items() if name not in lacking and not named(place, images)]
    lacking |= {*unframed}
    left_out = leave_out(unannotated, f"has no {truth}") + leave_out(unframed, f"has no {images}/: it is not extracted")
    return [name for name in videos if name not in lacking], left_out
