"""`open_dataset`: look at a folder, find its layout, read it. Nothing is decoded here but a few images that leave a doubt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rice_core.datasets.class_folders import ClassFolders
from rice_core.datasets.coco_layout import CocoFormat, LvisFormat
from rice_core.datasets.layout import Reader
from rice_core.datasets.nouns import Dataset
from rice_core.datasets.photos import Photos
from rice_core.datasets.splits import Judge, class_notes
from rice_core.disk.paths import as_text
from rice_core.errors import UserError

READERS: Mapping[str, Reader] = {
    reader.layout: reader for reader in (CocoFormat(), LvisFormat(), ClassFolders(), Photos())
}
"""By the name that is written after a folder, as in FOLDER@photos."""
# LVIS's annotations lie beside COCO's, of the same images: they are read where they are asked for.
_LOOKING = tuple(reader for name, reader in READERS.items() if name != "lvis")


def open_dataset(folder: Path, *, name: str = "", layout: str | None = None, judge: Judge = "val") -> Dataset:
    """Read a folder in one of the layouts of this package's docstring.

    A set with one split is divided: every fifth image by the order of the hashed ids is `val`, class by class where whole
    images are labelled. Photographs without labels are all `val`. COCO crowd regions are left out. A `test` split stands
    in for a missing `val`. A folder that looks like something else than what can be read is refused.

    Args:
        name: how the data set is called in records; the folder's name by default.
        layout: one of READERS, which then reads the folder whatever it looks like.
        judge: the split that becomes `val`. "test" refuses a set without train and test split.

    Raises:
        UserError: no such folder, no layout recognised or more than one, no split to judge on, a folder of several data
            sets, or annotations that cannot be used at all.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the images, or annotations/ beside them.")
    reader = choose(folder, _LOOKING) if layout is None else READERS[layout]
    dataset = reader.open(folder, name=as_text(name or folder.resolve().name or "data"), judge=judge)
    return dataclasses.replace(dataset, notes=class_notes(dataset.classes, dataset.splits))


def choose(folder: Path, readers: tuple[Reader, ...]) -> Reader:
    """The one reader that is sure of a folder; else, where none has a doubt, the last resort.

    Raises:
        UserError: several are sure, or what was seen speaks against every layout.
    """
    seen = [(reader, sighting) for reader in readers if (sighting := reader.recognises(folder))]
    sure = [(reader, sighting) for reader, sighting in seen if sighting.how == "sure"]
    if len(sure) > 1:
        both = " and ".join(f"{reader.layout} ({sighting.words})" for reader, sighting in sure)
        raise UserError(f"{folder} looks like {both}; write {folder}@{sure[0][0].layout} or the like to say which.")
    if sure:
        return sure[0][0]
    if doubt := next((sighting for _, sighting in seen if sighting.how == "doubtful"), None):
        raise UserError(f"{folder} {doubt.words}.")
    return seen[0][0] if seen else readers[-1]
