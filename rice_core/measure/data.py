"""What `--data` means: the name of a world, which is drawn, or a folder in one of the installed layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rice_core.disk.paths import at_home
from rice_core.errors import UserError, did_you_mean
from rice_core.world.mini import WORLDS, draw

if TYPE_CHECKING:
    from rice_core.datasets import Dataset


def open_data(text: str, worlds: Path, *, limit: int | None = None) -> Dataset:
    """The data set that a name of WORLDS, drawn below `worlds`, or a folder stands for.

    FOLDER@LAYOUT reads a folder as one of the installed layouts, whatever it looks like; a folder that is called so
    itself comes first. A folder of several Roboflow exports is a suite, judged on its test splits. Behind either, `?groups=` names
    which images show one scene (rice_core.datasets.groups).

    Args:
        limit: images of each split at most.

    Raises:
        UserError: the folder is not there, holds no layout that can be read, or leaves a doubt which.
    """
    from rice_core import datasets

    dataset = _opened(text, worlds)
    return dataset if limit is None else datasets.limit(dataset, limit)


def open_annotated(words: Sequence[str], images: str, *, limit: int | None = None) -> Dataset:
    """The data set of annotation files that are named (`--annotations`), for the images of a folder (`--images`).

    It is called as the one file is, else, and where that has its tool's name, as the folder. Behind the folder, `?groups=` names which
    images show one scene (rice_core.datasets.groups).

    Raises:
        UserError: a file or the folder is not there, or it is not clear which file is for what.
    """
    from rice_core import datasets
    from rice_core.datasets.annotated import NamedFiles, annotation_words
    from rice_core.datasets.coco_files import image_folder

    images, groups = _parted(images)
    files, folder = annotation_words(words), at_home(images)
    if not folder.is_dir():
        raise UserError(
            f"--images {images} is no folder; give the folder that the names in the annotations start from."
        )
    alone = files.get("all")
    name = "" if alone is None or image_folder(alone) else alone.stem
    dataset = datasets.open_dataset(folder, name=name, reader=NamedFiles(files), groups=groups)
    return dataset if limit is None else datasets.limit(dataset, limit)


def _opened(text: str, worlds: Path) -> Dataset:
    from rice_core.datasets import is_suite, joined, layouts, open_dataset, open_suite

    world = None if Path(text).is_dir() else WORLDS.get(text)
    text, groups = _parted(text)
    if groups and text in WORLDS and not at_home(text).is_dir():
        raise UserError(
            f"{text} is drawn with train and val of its own, and nothing of it is divided; leave out ?groups=."
        )
    folder, name = (at_home(text), "") if world is None else (draw(world, worlds), text)
    if is_suite(folder):
        if groups:
            raise UserError(
                f"{text} is a suite, whose data sets have train and test; leave out ?groups=, or give one of its folders."
            )
        return joined(open_suite(folder, name=name))
    before, _, layout = text.rpartition("@")
    if folder.is_dir() or not before or not (named := at_home(before)).is_dir():
        if folder.is_file() and folder.suffix == ".json":
            raise UserError(
                f"{text} is a file; where it is in COCO's format, write --annotations {text} --images FOLDER."
            )
        if not folder.exists() and (near := did_you_mean(text, WORLDS)):
            raise UserError(f"There is no folder {text} and no data set of that name; {near.rstrip()}")
        return open_dataset(folder, name=name, groups=groups)
    if layout not in (known := layouts()):
        near = did_you_mean(layout, known)
        raise UserError(f"{layout!r} is no layout of {before}; {near}write one of {', '.join(known)} after the @.")
    # LVIS's annotations make another data set of the same folder; the other layouts are what the folder is.
    name = named.resolve().name
    return open_dataset(named, name=f"{name}@lvis" if layout == "lvis" else name, layout=layout, groups=groups)


def _parted(text: str) -> tuple[str, str]:
    """A folder, and what stands behind `?groups=`; a folder that is called so itself comes first."""
    folder, asked, groups = text.partition("?groups=")
    if not asked or at_home(text).is_dir():
        return text, ""
    if not groups:
        raise UserError(f"{text} names no groups; write FILE.csv, a field, /REGEX/ or none after the =.")
    return folder, groups
