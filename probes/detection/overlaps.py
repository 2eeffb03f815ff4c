"""Overlaps of the detections and objects of one image and category, by pycocotools' own code.

Letters: as in `columns.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.detection.columns import Columns, Floats, Ints, Kind, RankedDetections


@dataclass(frozen=True)
class Pairs:
    """Images and categories with both detections and objects."""

    found_P2: Ints
    """First and end of their detections."""
    objects_P2: Ints
    ious: list[Floats]
    """[detections, objects] of each: intersection over union, with a crowd over the detection's own area."""


def pairs_of(columns: Columns, found: RankedDetections, kind: Kind) -> Pairs:
    """Compare the detections and objects of each image and category."""
    from pycocotools import mask

    objects = columns.objects
    code_D = columns.code(found.image_D, found.category_D)
    code_O = columns.code(objects.image_O, objects.category_O)
    code_P = np.intersect1d(code_D, code_O)
    found_P2, objects_P2 = (
        np.stack([np.searchsorted(code, code_P, side) for side in ("left", "right")], axis=1)
        for code in (code_D, code_O)
    )
    shape = "bbox" if kind == "box" else "segmentation"
    found_D: Any = [row[shape] for row in found.rows]
    objects_O: Any = [entry[shape] for entry in objects.entries]
    if kind == "box":
        found_D, objects_O = (np.array(boxes, np.float64).reshape(-1, 4) for boxes in (found_D, objects_O))
    crowd_O = objects.crowd_O.astype(np.uint8)
    ious = []
    for (d0, d1), (o0, o1), image in zip(
        found_P2.tolist(), objects_P2.tolist(), (code_P // max(len(columns.labels), 1)).tolist(), strict=True
    ):
        true = objects_O[o0:o1]
        if kind == "mask":
            true = [run_lengths(each, columns.truth.images[image].size_hw) for each in true]
        ious.append(np.asarray(mask.iou(found_D[d0:d1], true, crowd_O[o0:o1])))
    return Pairs(found_P2, objects_P2, ious)


def run_lengths(segmentation: Any, size_hw: tuple[int, int] | None) -> Mapping[str, Any]:
    """Polygons, counts or compressed text as pycocotools' compressed run lengths."""
    from pycocotools import mask

    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    assert size_hw is not None, "masks are judged only where every image has a size"
    drawn: Any = mask.frPyObjects(segmentation, *size_hw)
    text: Mapping[str, Any] = drawn if isinstance(segmentation, dict) else mask.merge(drawn)
    return text
