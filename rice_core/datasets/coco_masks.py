"""The `segmentation` of an annotation in COCO's form -> polygons or run lengths that can be drawn, or the reason why not.

Everything is checked before pycocotools sees it: it reads uninitialised memory for run lengths that do not fill the
mask, and allocates by the perimeter of a polygon, however far that leaves the image.
"""

from __future__ import annotations

import math
from typing import Any

from rice_core.datasets.runs import runs_of
from rice_core.images import MAX_PIXELS

_FAR = 100_000.0
"""Pixels that a polygon may reach where the image's size is not annotated."""


class BadEntry(Exception):
    """Why an entry of an annotation file, or a field of one, cannot be used."""


def read_segmentation(value: Any, size_hw: tuple[int, int] | None) -> tuple[Any, str]:
    """Polygons, run lengths or None, and what was mended, "" where nothing was.

    A polygon of fewer than three points covers nothing and is left out of several, as detectron2 does. One polygon alone
    and points in pairs are read for what they can only mean. A polygon that says something else makes the whole mask wrong.

    Raises:
        BadEntry: there is something, and it is no mask.
    """
    if value is None or value == []:
        return None, ""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0]
    if isinstance(value, dict):
        return _run_lengths(value, size_hw), ""
    if not isinstance(value, list):
        raise BadEntry("has a segmentation that is neither polygons nor run lengths")
    polygons = _listed(value)
    whole = [polygon for polygon in polygons if not _sliver(polygon)]
    found = read_polygons(whole or polygons, size_hw)
    if len(whole) < len(polygons):
        return found, "has a polygon of fewer than three points beside others"
    return found, "" if polygons == value else "has polygons that are not lists of x, y, x, y"


def read_polygons(value: Any, size_hw: tuple[int, int] | None) -> list[list[float]]:
    """COCO's polygons, checked.

    Raises:
        BadEntry: no lists of x, y pairs, not finite, far outside the image, or without area.
    """
    if not isinstance(value, list):
        raise BadEntry("has a segmentation that is neither polygons nor run lengths")
    height, width = size_hw or (_FAR, _FAR)
    for polygon in value:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or not all(map(is_number, polygon)):
            raise BadEntry("has a polygon that is no list of three or more x, y pairs")
        xs, ys = polygon[::2], polygon[1::2]
        if not all(map(math.isfinite, polygon)):
            raise BadEntry("has a polygon that is not finite")
        if min(xs) < -width or max(xs) > 2 * width or min(ys) < -height or max(ys) > 2 * height:
            raise BadEntry("has a polygon that lies far outside the image")
    if all(_flat(polygon) for polygon in value):
        raise BadEntry("has polygons without area")
    return value


def rle_counts(counts: Any) -> list[int]:
    """Lengths of the runs of 0, 1, 0, ... down the columns, from a list or from COCO's compressed text.

    Raises:
        ValueError: neither of the two forms.
    """
    if isinstance(counts, list):
        if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
            raise ValueError("counts are not whole numbers")
        return counts
    if not isinstance(counts, (str, bytes)):
        raise ValueError("counts are neither a list nor a plain text")
    return runs_of(counts)


def box_around(segmentation: Any) -> tuple[float, float, float, float]:
    """Left, top, width and height of what `read_segmentation` found, as COCO draws boxes around masks."""
    if isinstance(segmentation, dict):
        from pycocotools import mask

        size, counts = segmentation["size"], segmentation["counts"]
        packed = mask.frPyObjects(segmentation, *size) if isinstance(counts, list) else segmentation
        x, y, w, h = map(float, mask.toBbox(packed))
        return x, y, w, h
    xs = [x for polygon in segmentation for x in polygon[::2]]
    ys = [y for polygon in segmentation for y in polygon[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def is_number(value: Any) -> bool:
    """A number of JSON that fits a float."""
    # A whole number too long for a float would overflow later on.
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15)


def _listed(value: list[Any]) -> list[Any]:
    """As a list of polygons, each x, y, x, y, ..."""
    if all(map(is_number, value)) or (len(value) > 2 and all(map(_is_point, value))):
        value = [value]
    return [_flattened(polygon) for polygon in value]


def _flattened(polygon: Any) -> Any:
    points = isinstance(polygon, list) and len(polygon) > 2 and all(map(_is_point, polygon))
    return [number for point in polygon for number in point] if points else polygon


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value))


def _sliver(polygon: Any) -> bool:
    return isinstance(polygon, list) and len(polygon) in (0, 2, 4) and all(map(is_number, polygon))


def _flat(polygon: list[float]) -> bool:
    """Whether all points lie on one line; a signed area of 0 has a bow tie too, and that covers pixels."""
    (x, y), *others = zip(polygon[::2], polygon[1::2], strict=True)
    u, v = max(((u - x, v - y) for u, v in others), key=lambda step: abs(step[0]) + abs(step[1]))
    return all((p - x) * v == (q - y) * u for p, q in others)


def _run_lengths(value: dict[str, Any], size_hw: tuple[int, int] | None) -> dict[str, Any]:
    size, counts = _whole(value.get("size")), _whole(value.get("counts"))
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise BadEntry("has run lengths without a size")
    if size_hw is not None and tuple(size) != size_hw:
        raise BadEntry(
            f"has run lengths for {size[1]} x {size[0]} pixels, and the image has {size_hw[1]} x {size_hw[0]}"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise BadEntry("has run lengths for more pixels than are read")
    try:
        runs = rle_counts(counts)
    except ValueError as error:
        raise BadEntry(f"has run lengths that cannot be read: {error}") from None
    if sum(runs) != size[0] * size[1]:
        raise BadEntry("has run lengths that do not fill the mask")
    if not any(runs[1::2]):
        raise BadEntry("has run lengths that cover no pixel")
    return {"size": size, "counts": counts}


def _whole(value: Any) -> Any:
    """A list of whole numbers, where some are written as 5.0."""
    if not isinstance(value, list) or not any(isinstance(n, float) for n in value):
        return value
    return [int(n) if isinstance(n, float) and n.is_integer() else n for n in value]
