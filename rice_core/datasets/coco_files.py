"""Where the annotation files of COCO format are.

By the names that its tools give them:

    COCO           annotations/instances_<split>*.json
    LVIS           lvis_v1_<split>.json, there or in the folder itself
    Roboflow       <split>/_annotations.coco.json, or one beside the images
    FiftyOne       labels.json beside data/, or <split>/labels.json beside <split>/data/
    Label Studio   result.json beside images/
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from rice_core.datasets.walk import folders, relative
from rice_core.record import Skipped

ROBOFLOW = "_annotations.coco.json"
_FIFTYONE = "labels.json"
_LABEL_STUDIO = "result.json"
_LISTS = tuple(re.compile(rb'"%s"\s*:\s*\[' % name) for name in (b"images", b"annotations", b"categories"))
_PANOPTIC = re.compile(rb'"segments_info"')
"""COCO's panoptic files have the three lists too, and no region in them: those are painted in PNGs."""
_BESIDE_COCO = ("captions_", "image_info_", "person_keypoints_", "panoptic_", "stuff_", "text_")
"""What COCO itself has beside `instances_*.json`: its absence is missed by nobody."""


def annotation_files(folder: Path, *, lvis: bool = False) -> dict[str, Path]:
    """Split, as the files call it (`train2017`) -> its annotation file; empty where this is no COCO-format folder.

    Args:
        lvis: LVIS's files alone. Without it they are taken where there are none of COCO's.
    """
    if not lvis and (coco := _named(folder / "annotations", "instances_")):
        return coco
    if found := _named(folder, "lvis_v1_") | _named(folder / "annotations", "lvis_v1_"):
        return found
    return {} if lvis else _exported(folder)


def image_folder(path: Path) -> Path | None:
    """The one folder in which the images of an annotation file are, where the layout fixes it."""
    return {ROBOFLOW: path.parent, _FIFTYONE: path.parent / "data"}.get(path.name)


def roboflow_folders(folder: Path) -> list[Path]:
    """The folders in a folder that are each a Roboflow export."""
    names = [f"{split}/{ROBOFLOW}" for split in ("train", "valid", "test")]
    return [child for child in folders(folder) if any((child / name).is_file() for name in names)]


def other_coco_files(folder: Path) -> dict[str, Path]:
    """Stem -> a JSON file with COCO's three lists under a name that says nothing, in the folder or one below it."""
    places = [folder, *folders(folder)]
    found: dict[str, Path] = {}
    for path in (path for place in places for path in sorted(place.glob("*.json"))[:8]):
        if path.stem not in found and _has_lists(path):
            found[path.stem] = path
    return found


def beside(folder: Path, used: dict[str, Path]) -> list[Skipped]:
    """The annotation files that could have been read instead, listed so that nobody takes them for read."""
    files = {*used.values()}
    known = [*folder.glob("*.json"), *(folder / "annotations").glob("*.json")]
    other = [path for path in sorted(known) if path not in files and not path.name.startswith(_BESIDE_COCO)]
    reason = f"is in COCO format too, and {relative(min(files), folder)} is read"
    return [Skipped(item=relative(path, folder), reason=reason) for path in other if _has_lists(path)]


def _named(folder: Path, prefix: str) -> dict[str, Path]:
    return {path.stem.removeprefix(prefix): path for path in sorted(folder.glob(f"{prefix}*.json"))}


def _exported(folder: Path) -> dict[str, Path]:
    if found := {path.parent.name: path for path in sorted(folder.glob(f"*/{ROBOFLOW}"))}:
        return found
    if (path := folder / ROBOFLOW).is_file():
        return {"all": path}
    if (path := folder / _FIFTYONE).is_file() and (folder / "data").is_dir():
        return {"data": path}
    paths = sorted(folder.glob(f"*/{_FIFTYONE}"))
    if found := {path.parent.name: path for path in paths if (path.parent / "data").is_dir()}:
        return found
    if (path := folder / _LABEL_STUDIO).is_file() and (folder / "images").is_dir():
        return {"images": path}
    return {}


def _has_lists(path: Path) -> bool:
    """By a look at the bytes: annotations of a large set take seconds to parse."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return all(known.search(data) for known in _LISTS) and not _PANOPTIC.search(data)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False
