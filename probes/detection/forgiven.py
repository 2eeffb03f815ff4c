"""The truth as boxes, or masks, are judged by it: with what is found in ignored places neither right nor wrong.

COCO's rules forgive what lies in a crowd (overlap by the detection's own area, so that whatever found the true object
is forgiven at the same threshold), LVIS's what is of a category that is not exhaustively annotated in its image. Crowds come
last in COCO's matching, so what found an ignored object could still take a neighbour from its own detection; that is not judged.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probes.detection.columns import Kind
from probes.detection.truth import GroundTruth, TruthImage
from rice_core.datasets.entries import Key
from rice_core.datasets.regions import ANY

Row = Mapping[str, Any]
_FOUND = 0.5
"""The least overlap with which AP takes an object for found."""


@dataclass(frozen=True)
class _Place:
    """Where something is that cannot be judged."""

    image: TruthImage
    category: Key | None
    """None: it may be of any."""
    box_xyxy: tuple[float, float, float, float]
    segmentation: Any
    single: bool = True
    """Else a crowd."""


def as_judged(truth: GroundTruth, rows: Sequence[Row], kind: Kind) -> tuple[GroundTruth, Sequence[Row]]:
    """The truth with its annotations (COCO) or images (LVIS) as evaluators are to read them, and the detections to judge.

    Of masks, objects without one are ignored, and images without a size as a whole.

    Args:
        rows: the detections; those of categories that the truth does not have are passed over.
    """
    counted, places = _parted(truth, kind)
    unsized = {image.key for image in truth.images if image.size_hw is None} if kind == "mask" else set()
    if not places and not unsized:
        return truth, rows
    rows = [row for row in rows if row["image_id"] not in unsized]
    found: dict[Key, list[Row]] = defaultdict(list)
    known = {category.id for category in truth.categories}
    for row in rows:
        if row["category_id"] in known:
            found[row["image_id"]].append(row)
    counted = [entry for entry in counted if entry["image_id"] not in unsized]
    places = [place for place in places if place.image.key not in unsized]
    if truth.style == "lvis":
        return _not_exhaustive(truth, counted, places, found), rows
    taking = _taking(counted, places, found)
    rows = [row for row in rows if id(row) not in taking]
    forgiving = [entry for place in places for entry in _crowds(place, found[place.image.key], kind)]
    return replace(truth, body={**truth.body, "annotations": [*counted, *forgiving]}), rows


def _taking(counted: Sequence[Row], places: Sequence[_Place], found: Mapping[Key, Sequence[Row]]) -> set[int]:
    """The detections (by `id`) that find an object which is not judged best, and another of its category well enough to take it."""
    from pycocotools import mask

    objects: dict[tuple[Key, Key], list[Sequence[float]]] = defaultdict(list)
    for entry in counted:
        if not entry["iscrowd"]:
            objects[entry["image_id"], entry["category_id"]].append(entry["bbox"])
    taking: set[int] = set()
    for place in (place for place in places if place.single):
        key, (x0, y0, x1, y1) = place.image.key, place.box_xyxy
        for category in dict.fromkeys(row["category_id"] for row in found[key]):
            rivals = objects.get((key, category))
            if rivals and place.category in (None, category):
                rows = [row for row in found[key] if row["category_id"] == category]
                boxes_G4 = np.array([[x0, y0, x1 - x0, y1 - y0], *rivals], np.float64)
                iou_DG = mask.iou(np.array([row["bbox"] for row in rows], np.float64), boxes_G4, [0] * len(boxes_G4))
                most_D = iou_DG[:, 1:].max(1)
                taking |= {id(rows[d]) for d in np.flatnonzero((iou_DG[:, 0] > most_D) & (most_D >= _FOUND))}
    return taking


def _parted(truth: GroundTruth, kind: Kind) -> tuple[list[dict[str, Any]], list[_Place]]:
    """The annotations that count (crowds among them), and what cannot."""
    names = [category.id for category in truth.categories]
    places = [
        _Place(image, None if thing.label == ANY else names[thing.label], thing.box_xyxy, thing.segmentation)
        for image in truth.images
        for thing in image.ignored
    ]
    if kind == "box":
        return truth.body["annotations"], places
    images = {image.key: image for image in truth.images}
    counted = []
    for entry in truth.body["annotations"]:
        if "segmentation" in entry:
            counted.append(entry)
        else:
            x, y, w, h = entry["bbox"]
            box = (x, y, x + w, y + h)
            places.append(
                _Place(images[entry["image_id"]], entry["category_id"], box, None, single=not entry["iscrowd"])
            )
    return counted, places


def _crowds(place: _Place, rows: Sequence[Row], kind: Kind) -> Iterator[dict[str, Any]]:
    """Crowds that forgive what is found there: of its category, else of all that something was found of."""
    x0, y0, x1, y1 = place.box_xyxy
    if x0 == x1 or y0 == y1:  # nothing lies in it
        yield from (
            _same(row)
            for row in rows
            if place.category in (None, row["category_id"]) and near(row["bbox"], place.box_xyxy)
        )
        return
    shape = {} if kind == "box" else {"segmentation": place.segmentation or _rectangle(place)}
    of_any = dict.fromkeys(row["category_id"] for row in rows)
    for category in of_any if place.category is None else [place.category]:
        about = {"image_id": place.image.key, "category_id": category, "iscrowd": 1}
        yield about | {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)} | shape


def _same(row: Row) -> dict[str, Any]:
    """A crowd that is the detection itself, which is so forgiven whatever the threshold."""
    return {**row, "iscrowd": 1, "area": row["bbox"][2] * row["bbox"][3]}


def near(bbox: Sequence[float], place_xyxy: tuple[float, float, float, float]) -> bool:
    """Whether what was found (x, y, width, height) may be the object of which a point or a line is known: it would be with less than its own
    width and height between, for half of the two overlaps."""
    (x, y, w, h), (x0, y0, x1, y1) = bbox, place_xyxy
    return x - w <= x1 and y - h <= y1 and x + 2 * w >= x0 and y + 2 * h >= y0


def _rectangle(place: _Place) -> list[list[float]]:
    """As a polygon, cut at the border; out to whole pixels, so that no pixel of the true mask is left over."""
    assert place.image.size_hw is not None
    (height, width), (x0, y0, x1, y1) = place.image.size_hw, place.box_xyxy
    left, top = max(math.floor(x0), 0), max(math.floor(y0), 0)
    right, bottom = min(math.ceil(x1), width), min(math.ceil(y1), height)
    return [[left, top, right, top, right, bottom, left, bottom]]


def _not_exhaustive(
    truth: GroundTruth,
    counted: list[dict[str, Any]],
    places: Sequence[_Place],
    found: Mapping[Key, Sequence[Row]],
) -> GroundTruth:
    """LVIS knows no crowds: what is found of a category, and nothing true, counts neither way in the whole image."""
    partial: dict[Key, dict[Key, None]] = defaultdict(dict)
    for place in places:
        of_any = (row["category_id"] for row in found.get(place.image.key, ()))
        partial[place.image.key] |= dict.fromkeys(of_any if place.category is None else [place.category])
    images = tuple(
        replace(image, not_exhaustive=tuple(dict.fromkeys((*image.not_exhaustive, *partial.get(image.key, ())))))
        for image in truth.images
    )
    return replace(truth, images=images, body={**truth.body, "annotations": counted})
