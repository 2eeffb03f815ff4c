"""Folders and images below a folder, in the order of their names, hidden ones left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rice_core.images import is_image_name
from rice_core.record import Skipped


def folders(folder: Path) -> list[Path]:
    """The folders in a folder."""
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(e.name for e in entries if e.name[0] != "." and e.is_dir())]


def image_names(folder: Path) -> list[str]:
    """The files that are called images in the folder itself."""
    return sorted(e.name for e in os.scandir(folder) if is_image_name(e.name) and e.name[0] != "." and e.is_file())


def file_names(folder: Path, *endings: str) -> list[str]:
    """The files in the folder itself whose names end so, in any case."""
    return sorted(e.name for e in os.scandir(folder) if e.name.lower().endswith(endings) and e.is_file())


def first_lines(path: Path, most: int) -> list[str]:
    """Of the first `most` bytes of a text the lines that are whole and not empty."""
    with path.open("rb") as file:
        head = file.read(most)
    lines = head.decode(errors="replace").splitlines()
    return [line for line in (lines[:-1] if len(head) == most else lines) if line.strip()]


def images_below(top: Path, folder: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """Files that are called images, at any depth; those that cannot be used are added to `skipped`, named from `folder` on."""
    for parent, children, files in os.walk(top):
        children[:] = sorted(name for name in children if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith(".") or not is_image_name(name):
                continue
            try:
                relative(path, folder).encode()
            except UnicodeEncodeError:  # bytes that are no text can stand in no record
                skipped.append(Skipped(item=ascii(name), reason="has a name that is no valid Unicode"))
                continue
            if not path.is_file():
                skipped.append(Skipped(item=relative(path, folder), reason="is no file that can be opened"))
                continue
            yield path


def holds_images(folder: Path) -> bool:
    """Whether there is an image at any depth."""
    return next(images_below(folder, folder, []), None) is not None


def first_folders(folder: Path, *, depth: int, each: int = 16, most: int = 200) -> list[Path]:
    """The folder and some of those below it, upper ones first: `each` of a folder's, `most` in all.

    Enough to see what a layout is made of, however many folders it has.
    """
    found, level = [folder], [folder]
    for _ in range(depth):
        level = [child for parent in level for child in folders(parent)[:each]][: most - len(found)]
        found += level
    return found


def relative(path: Path, folder: Path) -> str:
    """The name of a path from the folder on, the same on every machine."""
    return path.relative_to(folder).as_posix()
