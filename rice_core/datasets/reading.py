"""`open_dataset`: look at a folder, find its layout, read it. Nothing is decoded here but a few images that leave a doubt."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from rice_core.datasets.division import divided
from rice_core.datasets.layout import Reader, Sighting
from rice_core.datasets.nouns import FRAMES_READ, Dataset
from rice_core.datasets.splits import Judge, class_notes
from rice_core.disk.paths import as_text
from rice_core.errors import UserError, loaded, one_line

_LAST = {"class-folders": 1, "photos": 2}
"""Those that see something in nearly any folder: the doubt of a layout of its own says more, and photographs are what is left."""
FRAMES_NOTE = f"of each video the names of all frames count for the data's digest, and the bytes of {FRAMES_READ} at most, spread evenly"


def open_dataset(
    folder: Path,
    *,
    name: str = "",
    layout: str | None = None,
    judge: Judge = "val",
    reader: Reader | None = None,
    groups: str = "",
) -> Dataset:
    """Read a folder in one of the installed layouts.

    A set with one split is divided: about a fifth of its images is `val`, whole scenes by the order of their hashed names, class by
    class where whole images are labelled (`rice_core.datasets.division`). Photographs without labels are all `val`. COCO crowd regions are left out. A `test` split stands
    in for a missing `val`. A folder that looks like something else than what can be read is refused.

    Args:
        name: how the data set is called in records; the folder's name by default.
        layout: one of `layouts()`, which then reads the folder whatever it looks like.
        judge: the split that becomes `val`. "test" refuses a set without train and test split.
        reader: one that is not installed, which then reads the folder.
        groups: images that show one scene, as the user names them (`rice_core.datasets.groups`); by names, fields and bytes by default.

    Raises:
        UserError: no such folder, no layout recognised or more than one, no split to judge on, a folder of several data
            sets, annotations that cannot be used at all, or images of one scene that would have to be divided.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the images, or annotations/ beside them.")
    broken: list[str] = []
    if reader is None:
        reader = choose(folder, _installed(broken), broken) if layout is None else load_reader(layouts()[layout])
    dataset = _opened(reader, folder, as_text(name or folder.resolve().name or "data"), judge)
    _check_ids(dataset, reader)
    dataset = divided(dataset, groups, str(folder))
    notes = (*dataset.notes, *class_notes(dataset), *([FRAMES_NOTE] if "videos" in dataset.provides else []))
    # Regions say what each pixel shows.
    provides = dataset.provides | ({"dense-labels"} if "regions" in dataset.provides else set())
    saw = "; ".join(filter(None, [dataset.saw, *broken]))
    return dataclasses.replace(dataset, provides=provides, notes=notes, saw=saw)


def layouts() -> dict[str, EntryPoint]:
    """The installed layouts by the name that is written after a folder, as in FOLDER@photos; nothing is imported.

    Raises:
        UserError: not even our own are installed.
    """
    found = sorted(entry_points(group="ricebench.layouts"), key=lambda point: (_LAST.get(point.name, 0), point.name))
    if not found:
        raise UserError('no layout is installed; run "pip install -e ." again in the project\'s folder.')
    return {point.name: point for point in found}


def load_reader(point: EntryPoint) -> Reader:
    """The reader of an installed layout.

    Raises:
        UserError: what is installed under its name cannot be imported or made.
    """
    kind = loaded(point, "layout")
    try:
        reader: Reader = kind()
    except Exception as error:  # a package of others may fail in any way
        raise UserError(
            f"the layout {point.name} ({point.value}) cannot be made: {one_line(error)}; mend it."
        ) from error
    return reader


def choose(folder: Path, readers: Iterable[Reader], broken: list[str] | None = None) -> Reader:
    """The one reader that is sure of a folder; else, where none has a doubt, the last resort.

    Args:
        broken: sentences about readers that fail; without it their errors are raised.

    Raises:
        UserError: several are sure, or what was seen speaks against every layout.
    """
    readers = tuple(readers)
    seen = [(reader, sighting) for reader in readers if (sighting := _look(reader, folder, broken))]
    sure = [(reader, sighting) for reader, sighting in seen if sighting.how == "sure"]
    if len(sure) > 1:
        both = " and ".join(f"{reader.layout} ({sighting.words})" for reader, sighting in sure)
        raise UserError(f"{folder} looks like {both}; write {folder}@{sure[0][0].layout} or the like to say which.")
    if sure:
        return sure[0][0]
    if doubt := next((sighting for _, sighting in seen if sighting.how == "doubtful"), None):
        raise UserError("; ".join([f"{folder} {doubt.words}", *(broken or [])]) + ".")
    return seen[0][0] if seen else readers[-1]


def _installed(broken: list[str]) -> Sequence[Reader]:
    """All readers that can be loaded; of the others a sentence each goes into `broken`: they cost nobody a data set."""
    found = []
    for point in layouts().values():
        try:
            found.append(load_reader(point))
        except UserError as error:
            broken.append(str(error).rstrip("."))
    return found


def _look(reader: Reader, folder: Path, broken: list[str] | None) -> Sighting | None:
    try:
        return reader.recognises(folder)
    except (UserError, OSError):
        raise
    except Exception as error:  # a package of others may fail in any way
        if broken is None:
            raise
        broken.append(f"the layout {reader.layout} fails on this folder: {one_line(error)}")
        return None


def _opened(reader: Reader, folder: Path, name: str, judge: Judge) -> Dataset:
    try:
        dataset: Any = reader.open(folder, name=name, judge=judge)
    except (UserError, OSError):
        raise
    except Exception as error:  # a package of others may fail in any way
        raise UserError(f"the layout {reader.layout} fails on {folder}: {one_line(error)}; mend its reader.") from error
    if not isinstance(dataset, Dataset):
        raise UserError(f"the layout {reader.layout} makes a {type(dataset).__name__} and no Dataset; mend its reader.")
    return dataset


def _check_ids(dataset: Dataset, reader: Reader) -> None:
    seen: set[str] = set()
    for item in (item for items in dataset.splits.values() for item in items):
        if item.id in seen:  # its files would stand in for the other's in every digest and cache
            raise UserError(
                f"the layout {reader.layout} gives two items the id {item.id}; its reader has to tell them apart."
            )
        seen.add(item.id)
