"""What speaks against reading a folder as classes, or as photographs without labels.

Each doubt is the end of a sentence that begins with the folder and ends in the next step. A reader that has one is not
sure; FOLDER@layout reads the folder all the same. No single sign is trusted that legitimate class folders have too: files
called alike in every class (0001.png), classes called `train` or `mask`, flat drawings, images below folders of a class.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from rice_core.datasets.coco_files import annotation_files, roboflow_folders
from rice_core.datasets.foreign import tracking_truth, unread_labels
from rice_core.datasets.frames import are_videos, numbered
from rice_core.datasets.label_tables import label_table
from rice_core.datasets.masks import masks_among, masks_beside
from rice_core.datasets.splits import role
from rice_core.datasets.walk import first_folders, folders, holds_images, image_names, images_below, relative

Found = Mapping[str, Sequence[Path]]
"""Split -> the folders that look like classes."""

# Nobody calls a class so.
_NEVER = frozenset(
    """images imgs img jpegimages pngimages leftimg8bit rightimg8bit gtfine gtcoarse segmentationclass segmentationobject
    segmentationclassaug annotations pedmasks groundtruth imagesets""".split()  # noqa: SIM905
)
# A class may be called so, but not all of them.
_PARTS = _NEVER | frozenset(
    """image mask masks label labels annotation anno annos gt seg segs segmentation segmentations rgb depth disparity color
    colour frames input inputs target targets data trimaps instance instances semantic panoptic edges normals flow""".split()  # noqa: SIM905
)
_PAIRED = 8
"""Names in common that are no accident."""


def doubt_about_classes(folder: Path, found: Found) -> str | None:
    """Why the folders that look like classes may be none."""
    names = {child.name: child for children in found.values() for child in children}
    children = list(names.values())
    called = _first([f"{name}/" for name in names])
    instead = f"or write {folder}@class-folders if they are classes"
    if words := _doubt_about_anything(folder, "class-folders"):
        return words
    if pair := masks_beside(children):
        return _masks(folder, pair, instead)
    if parts := _parts(names):
        return (
            f"holds {_first([f'{name}/' for name in parts])}, called like parts of a layout and not like classes; export it in COCO "
            f"format, or write {folder}@class-folders if they are classes, {folder}@photos if all are photographs"
        )
    if words := _doubt_about_depth(folder, children, instead):
        return words
    inside = [place for child in children[:8] for place in first_folders(child, depth=1, each=1)]
    if pair := next((pair for place in inside if (pair := masks_among(place))), None):
        return _masks(folder, pair, instead)
    if len(one := {child.name for child in found.get("train", children)}) < 2:
        where = next(iter(found.values()))[0].parent
        return (
            f"holds a single folder in {relative(where, folder)}/ ({min(one)}), so that there are no classes to be told apart; write "
            f"{folder}@photos to take all for photographs, {instead}"
        )
    if 2 <= len(names) <= 4 and (stem := _paired(found)):
        return f"holds {called}, whose files go by the same names (such as {stem}), so that they look like views of the same things; give one of them, {instead}"
    if are_videos(children):
        return (
            f"holds {called}, whose images look like the frames of a video each; put groundtruth.txt, x,y,w,h a line, beside the frames of "
            f"each to read them as videos for a tracking probe, give a folder of photographs, {instead}"
        )
    return None


def doubt_about_splits(folder: Path, found: Found, unusable: Sequence[Path]) -> str | None:
    """Why the split that would be judged on may not be the data set's own."""
    if set(found) == {"train", "val"}:
        train, val = ({child.name for child in found[split]} for split in ("train", "val"))
        if not train & val:
            return (
                f"has classes in {found['val'][0].parent.name}/ ({_first(sorted(val))}) of which none is in "
                f"{found['train'][0].parent.name}/ ({_first(sorted(train))}), so they are no classes to be told apart; give one of "
                f"the two folders, or write {folder}@class-folders to read it all the same"
            )
        return None
    if not unusable:
        return None
    bad, root = unusable[0], next(iter(found.values()))[0].parent
    has = "images in no class folder" if holds_images(bad) else "no images"
    if root == folder:
        return (
            f"holds {_first([f'{c.name}/' for c in next(iter(found.values()))])} like classes and {bad.name}/ like a split, with {has}; write "
            f"{folder}@class-folders if all are classes, or {folder}@photos if none is"
        )
    return (
        f"holds a folder a class in {root.name}/, and {bad.name}/ has {has}, so it cannot be judged on; sort {bad.name}/ as "
        f"{root.name}/ is, or give {root} to judge on a fifth of it"
    )


def doubt_about_photos(folder: Path) -> str | None:
    """Why a folder of images may be more than photographs without labels."""
    if words := _doubt_about_anything(folder, "photos"):
        return words
    instead = f"or write {folder}@photos to take all of them for photographs"
    top = folder
    while not image_names(top) and len(inside := [child for child in folders(top) if holds_images(child)]) == 1:
        top = inside[0]
        if annotation_files(top):
            break
    if top != folder and (annotation_files(top) or _holds_splits(top)):
        return f"holds nothing but {relative(top, folder)}/, which is a data set of its own; give {top}, {instead}"
    if pair := masks_beside([child for child in folders(top) if holds_images(child)]):
        return _masks(folder, pair, instead)
    if pair := next((pair for place in first_folders(top, depth=2) if (pair := masks_among(place))), None):
        return _masks(folder, pair, instead)
    names = [child.name for child in folders(top) if holds_images(child)]
    if top != folder and not image_names(top) and not all(map(role, names)):
        return f"holds nothing but {relative(top, folder)}/, whose folders ({_first(names)}) look like classes; give {top}, {instead}"
    if table := label_table(folder):
        return (
            f"holds labels in {table}, which are not read; sort the images into a folder a class, or write {folder}@photos to do "
            "without"
        )
    return None


def _doubt_about_anything(folder: Path, layout: str) -> str | None:
    # Each set of a suite would pass for a class.
    if len(several := roboflow_folders(folder)) > 1:
        return f"holds {len(several)} data sets; give one of them, as {several[0]}"
    if truth := tracking_truth(folder):
        return f"holds videos ({truth} says where something is in each frame), for a tracking probe; write {folder}@videos to read them, or {folder}@photos to take each frame for a photograph"
    return unread_labels(folder, layout)


def _masks(folder: Path, pair: tuple[Path, Path], instead: str) -> str:
    picture, mask = (relative(path, folder) for path in pair)
    return f"holds label masks beside pictures ({mask} is one of {picture}), which are not read; export it in COCO format, {instead}"


def _parts(names: Mapping[str, Path]) -> list[str]:
    """Folders that are called like parts of a layout (images/ and masks/), or like splits (train_images/ and test_images/)."""
    if never := [name for name in names if name.lower() in _NEVER]:
        return never
    # images/ and masks/, my-imgs/ and my-mask-anno/; but mask/ and no_mask/ are classes.
    said = {frozenset(re.findall(r"[a-z0-9]+", name.lower())) & _PARTS for name in names}
    if len(said) > 1 and all(said):
        return list(names)
    if any("_leftImg8bit" in path or "_gtFine_" in path for child in names.values() for path in image_names(child)[:1]):
        return list(names)
    alike: dict[tuple[str, ...], dict[str, str | None]] = {}
    for name in names:  # those that differ in the name of the split alone
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
        rest = tuple(word.lower() for word in words if not role(word))
        if split := next(filter(None, map(role, words)), None):
            alike.setdefault(rest, {})[name] = split
    return next((list(these) for these in alike.values() if len(set(these.values())) > 1), [])


def _doubt_about_depth(folder: Path, children: Sequence[Path], instead: str) -> str | None:
    """Folders of the same names in all that look like classes are the classes, or splits of data sets apart."""
    often = Counter(name for child in children for name in _branches(child))
    shared = sorted(name for name, n in often.items() if n > 1 and 2 * n > len(children))
    if len(shared) > 1 or any(role(name) for name in shared):
        return (
            f"holds {_first([f'{child.name}/' for child in children])}, and in them folders of the same names ({_first(shared)}), so "
            f"that it is open which are the classes; give one of them, as {children[0]}, {instead}"
        )
    return None


def _branches(child: Path) -> set[str]:
    """The names of the folders with images in a folder; where there is one alone, those below it."""
    inside = [c for c in folders(child) if holds_images(c)]
    if len(inside) != 1 or image_names(child):
        return {c.name for c in inside}
    below = _branches(inside[0])
    return below if len(below) > 1 and not role(inside[0].name) else {inside[0].name}


def _paired(found: Found) -> str | None:
    """A name that files of two folders have in common, where nearly all have and the names are no mere count."""
    stems: dict[str, set[str]] = {}
    for children in found.values():  # over the splits: a count may be divided between them
        for child in children:
            stems.setdefault(child.name, set()).update(path.stem for path in images_below(child, child, []))
    for one, other in combinations(stems.values(), 2):
        common = one & other
        if len(common) >= max(_PAIRED, 0.9 * min(len(one), len(other))) and not _are_counts(one | other):
            return min(common)
    return None


def _are_counts(stems: set[str]) -> bool:
    """Whether names are a mere count, or one in each split where they begin or end with its name (train_001, val_001)."""
    of_split: dict[tuple[str, ...], set[str]] = {}
    for stem in stems:
        splits = tuple(word for word in re.findall(r"[A-Za-z]+", stem) if role(word))
        of_split.setdefault(splits, set()).add(stem)
    return all(map(numbered, of_split.values()))


def _holds_splits(folder: Path) -> bool:
    """Whether it looks like class folders in splits."""
    return any(role(child.name) and sum(map(holds_images, folders(child))) > 1 for child in folders(folder))


def _first(names: Sequence[str], most: int = 3) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])
