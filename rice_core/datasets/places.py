"""Where the image of an annotation entry is: by its file name, or by its address, which is all that LVIS v1 has."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rice_core.datasets.coco_masks import BadEntry


class Places:
    """Finds the images of one annotation file.

    Args:
        split: as the file's name has it (`train2017`); the folder of the images is called alike.
        only: the one folder in which images may be, where the layout fixes it.
        told: whether the user named the folder as that which the names start from: it comes before what looks likely.
    """

    def __init__(self, folder: Path, split: str, *, only: Path | None = None, told: bool = False) -> None:
        self.folder = folder
        self._split = split
        self._only = only
        self._told = [folder] if told else []
        self._of_split: dict[str, list[Path]] = {}

    def find(self, entry: dict[str, Any]) -> Path:
        """The file of an entry of `images`.

        Raises:
            BadEntry: no name, a name that leaves the folder, or no such file.
        """
        split, name = self._named(entry)
        # An export that was made on Windows may part folders by backslashes, which elsewhere are part of a name.
        for spelt in dict.fromkeys((name, name.replace("\\", "/"))):
            for place in self._folders(split):
                if _is_file(place / spelt):
                    return place / spelt
            if self._only and _is_file(self.folder / spelt):  # named from the folder on
                return self.folder / spelt
        raise BadEntry(f"has no file {name!r:.80}")

    def _named(self, entry: dict[str, Any]) -> tuple[str, str]:
        """The split whose folder it is in, and its name there."""
        name, address = entry.get("file_name"), entry.get("coco_url")
        if isinstance(name, str) and name.strip():
            # Some tools write whole paths; one into the folder itself is as good as a relative one.
            name = name.removeprefix(f"{self.folder.absolute().as_posix()}/")
            _check(name, "file_name")
            return self._split, name
        if not isinstance(address, str) or not address.strip():
            raise BadEntry("has no file_name and no coco_url")
        # .../train2017/000000391895.jpg; LVIS's val has images of train2017 too.
        _, *parts = address.rsplit("/", 2)
        if len(parts) != 2 or not all(parts):
            raise BadEntry(f"has a coco_url without folder and file ({address!r:.80})")
        _check("/".join(parts), "coco_url")
        return parts[0], parts[1]

    def _folders(self, split: str) -> list[Path]:
        if self._only:
            return [self._only]
        if split not in self._of_split:
            self._of_split[split] = list(dict.fromkeys([*self._told, *_likely(self.folder, split)]))
        return self._of_split[split]


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - once an image of a large set, so it has to be cheap
    except (OSError, ValueError):
        return False


def _likely(folder: Path, split: str) -> list[Path]:
    """Where the images of a split may be, the likeliest first."""
    plain = split.rstrip("0123456789_-")
    alike = sorted(path for path in folder.glob("*") if path.name.startswith(plain))
    inside = sorted(path for path in folder.glob("images/*") if path.name.startswith(plain))
    likely = [folder / split, folder / plain, folder / "images" / split, folder / "images" / plain, *alike, *inside]
    return [path for path in dict.fromkeys([*likely, folder / "images", folder]) if path.is_dir()]


def _check(name: str, field: str) -> None:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    # A file made on Windows may hide `..\\x` from a POSIX reader, and the other way round.
    if posix.is_absolute() or windows.anchor or ".." in (*posix.parts, *windows.parts) or "\0" in name:
        raise BadEntry(f"has a {field} that leaves the folder ({name!r:.80})")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise BadEntry(f"has a {field} that is no valid Unicode") from None
