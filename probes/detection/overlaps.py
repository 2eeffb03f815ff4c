"""Overlaps of detections and objects of one image, by pycocotools' own code. Letters: as in `columns.py`."""

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
    """[detections, objects] of each."""


class Overlaps:
    """Of the boxes, or the masks, of one truth and what was found."""

    def __init__(self, columns: Columns, found: RankedDetections, kind: Kind) -> None:
        self._columns, self._found, self._kind = columns, found, kind
        self._objects = columns.objects
        shape = "bbox" if kind == "box" else "segmentation"
        self._found_D: Any = [row[shape] for row in found.rows]
        self._objects_O: Any = [entry[shape] for entry in columns.objects.entries]
        if kind == "box":
            self._found_D = np.array(self._found_D, np.float64).reshape(-1, 4)
            self._objects_O = np.array(self._objects_O, np.float64).reshape(-1, 4)
        self._drawn: set[int] = set()

    def of(self, found: Ints, objects: Ints) -> Floats:
        """Intersection over union of some detections and objects of one image; with a crowd over the detection's own area."""
        from pycocotools import mask

        crowd = self._objects.crowd_O[objects].astype(np.uint8)
        if self._kind == "box":
            return np.asarray(mask.iou(self._found_D[found], self._objects_O[objects], crowd))
        for place in objects.tolist():
            if place not in self._drawn:
                self._drawn.add(place)
                size_hw = self._columns.truth.images[self._objects.image_O[place]].size_hw
                self._objects_O[place] = run_lengths(self._objects_O[place], size_hw)
        shapes = [self._found_D[row] for row in found], [self._objects_O[place] for place in objects]
        return np.asarray(mask.iou(*shapes, crowd))

    def pairs(self) -> Pairs:
        """Compare those of one image and category."""
        code_D = self._columns.code(self._found.image_D, self._found.category_D)
        code_O = self._columns.code(self._objects.image_O, self._objects.category_O)
        code_P = np.intersect1d(code_D, code_O)
        found_P2, objects_P2 = (
            np.stack([np.searchsorted(code, code_P, side) for side in ("left", "right")], axis=1)
            for code in (code_D, code_O)
        )
        places = zip(found_P2.tolist(), objects_P2.tolist(), strict=True)
        return Pairs(
            found_P2, objects_P2, [self.of(np.arange(*of_found), np.arange(*true)) for of_found, true in places]
        )


def run_lengths(segmentation: Any, size_hw: tuple[int, int] | None) -> Mapping[str, Any]:
    """Polygons, counts or compressed text as pycocotools' compressed run lengths."""
    from pycocotools import mask

    if isinstance(segmentation, dict) and not isinstance(segmentation["counts"], list):
        return segmentation
    assert size_hw is not None, "masks are judged only in images that have a size"
    drawn: Any = mask.frPyObjects(segmentation, *size_hw)
    text: Mapping[str, Any] = drawn if isinstance(segmentation, dict) else mask.merge(drawn)
    return text
